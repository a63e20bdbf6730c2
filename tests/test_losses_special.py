"""Special cases that must coincide, and the kinds of gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.tree_util import Partial
from ott.geometry import costs

from gca_jax import losses, ot
from tests import reference, toy

pytestmark = pytest.mark.slow

EPSILON = 0.3
INF = float("inf")


def value(name, *views, **hyper):
    """The loss alone, under jit, at the epsilon of this file."""
    hyper = {"epsilon": EPSILON} | hyper
    return jax.jit(lambda *views: losses.METHODS[name](*views, **hyper)[0])(*views)


PAIRS = {
    "one half-step of GCA-INCE is INCE": (
        lambda a, b: ot.divergence.kl(
            ot.target.identity(len(a)),
            ot.project(ot.cosine_kernel(a, b, epsilon=EPSILON), half_steps=1),
        ),
        lambda a, b: value("ince", a, b),
    ),
    "GCA-RINCE of one sweep is RINCE": (
        lambda a, b: value("gca_rince", a, b, iterations=1, q=0.7, lam=0.1),
        lambda a, b: value("rince", a, b, q=0.7, lam=0.1),
    ),
    "GCA-RINCE of one sweep is RINCE, joint": (
        lambda a, b: value("gca_rince", a, b, iterations=1, layout="joint"),
        lambda a, b: value("rince", a, b, layout="joint"),
    ),
    "GCA-UOT with hard marginals and no RINCE part is GCA-INCE": (
        lambda a, b: value(
            "gca_uot", a, b, penalty_a=INF, penalty_b=INF, w_rince=0.0, mass="generalized"
        ),
        lambda a, b: value("gca_ince", a, b),
    ),
    "its total mass is 1 already": (
        lambda a, b: value(
            "gca_uot", a, b, penalty_a=INF, penalty_b=INF, w_rince=0.0, mass="total"
        ),
        lambda a, b: value("gca_ince", a, b),
    ),
    "GCA-UOT with hard rows and free columns is INCE": (
        lambda a, b: value("gca_uot", a, b, penalty_a=INF, penalty_b=0.0, w_rince=0.0),
        lambda a, b: value("ince", a, b),
    ),
    "its RINCE part is RINCE up to scale": (
        lambda a, b: value(
            "gca_uot", a, b,
            penalty_a=INF, penalty_b=0.0, w_kl=0.0, w_rince=1.0, q=0.7, lam=0.1,
        ),
        lambda a, b: np.exp(-0.7 / EPSILON) * value("rince", a, b, q=0.7, lam=0.1 * len(a)),
    ),
    "SimCLR is INCE of all views": (
        lambda a, b: value("simclr", a, b),
        lambda a, b: value("ince", a, b, layout="joint"),
    ),
    "SimCLR is optax's NT-Xent": (
        lambda a, b: value("simclr", a, b),
        lambda a, b: optax_ntxent(a, b),
    ),
    "IOT is GCA-INCE of all views": (
        lambda a, b: value("iot", a, b),
        lambda a, b: value("gca_ince", a, b, layout="joint"),
    ),
    "IOT-uni without its weight is IOT": (
        lambda a, b: value("iot_uni", a, b, lam_p=0.0),
        lambda a, b: value("iot", a, b),
    ),
    "block targets without alpha and beta are the identity": (
        lambda a, b: value("gca_ince", a, b, target=no_blocks(a)),
        lambda a, b: value("gca_ince", a, b),
    ),
    "a target is scaled to mass 1": (
        lambda a, b: value("gca_uot", a, b, target=17.0 * jnp.eye(len(a))),
        lambda a, b: value("gca_uot", a, b, target=ot.target.identity(len(a))),
    ),
}  # fmt: skip


def no_blocks(a):
    domains = jnp.zeros(len(a), jnp.int32)
    return ot.target.blocks(domains, domains, alpha=0.0, beta=0.0)


def optax_ntxent(a, b):
    with jax.numpy_rank_promotion("allow"):
        views = jnp.concatenate([a, b])
        labels = jnp.concatenate([jnp.arange(len(a))] * 2)
        return optax.losses.ntxent(views, labels, temperature=EPSILON)


@pytest.mark.parametrize("name", PAIRS)
def test_coincide_with_their_gradients(name):
    one, other = PAIRS[name]
    with jax.enable_x64(True):
        z_a, z_b = (jnp.asarray(z) for z in toy.batch(0))
        got, slope = jax.jit(jax.value_and_grad(lambda z: one(*z)))((z_a, z_b))
        want, expected = jax.jit(jax.value_and_grad(lambda z: other(*z)))((z_a, z_b))
        np.testing.assert_allclose(got, want, rtol=1e-8)
        np.testing.assert_allclose(slope[0], expected[0], rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(slope[1], expected[1], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ["rince", "gca_uot", "iot_uni"])
def test_otts_cosine_cost_is_the_default(name):
    """The distance given in full gives the same loss (so scores are (1 - C)/epsilon)."""
    with jax.enable_x64(True):
        z_a, z_b = toy.batch(1)
        own, given = (value(name, z_a, z_b, **o) for o in ({}, {"cost_fn": costs.Cosine(0.0)}))
        np.testing.assert_allclose(given, own, rtol=1e-9)


def test_rince_tends_to_ince_as_q_tends_to_0():
    """The gradient to INCE's, the value to INCE + log lambda."""
    with jax.enable_x64(True):
        z_a, z_b = toy.batch(2)
        rince = jax.jit(jax.value_and_grad(lambda a: value("rince", a, z_b, q=1e-6, lam=0.3)))(z_a)
        ince = jax.jit(jax.value_and_grad(lambda a: value("ince", a, z_b)))(z_a)
        np.testing.assert_allclose(rince[0], ince[0] + np.log(0.3), atol=1e-4)
        np.testing.assert_allclose(rince[1], ince[1], atol=1e-4)


def test_the_batches_convention_does_not_change_a_value():
    """Mass 1 makes every loss a mean: a batch twice over adds only log 2 of more candidates."""
    z_a, z_b = toy.batch(3)
    twice_a, twice_b = (np.concatenate([z, z]) for z in (z_a, z_b))
    with jax.enable_x64(True):
        for name in ("ince", "gca_ince"):
            once, twice = value(name, z_a, z_b), value(name, twice_a, twice_b)
            np.testing.assert_allclose(twice, once + np.log(2), rtol=1e-9)
        once, twice = losses.byol(z_a, z_b)[0], losses.byol(twice_a, twice_b)[0]
        np.testing.assert_allclose(twice, once, rtol=1e-9)
        once = value("rince", z_a, z_b, lam=0.2)
        twice = value("rince", twice_a, twice_b, lam=0.1)
        np.testing.assert_allclose(twice, once, rtol=1e-9)


# --- the authors' CIFAR losses, from their two quirks of the kernel ------------------------


def authors_kernel(z_a, z_b):
    """Interleaved in their code; the order of views does not matter to a mean over them."""
    z = np.concatenate([reference.unit(z_a), reference.unit(z_b)])
    C = 1 - np.clip(z @ z.T, 1e-7, None)
    np.fill_diagonal(C, C.max())
    return np.exp(-C / EPSILON)


def cross_entropy_of_log_plan(P):
    """Torch's cross_entropy(P.log(), partner), which divides each row by its sum once more."""
    n = len(P) // 2
    partner = np.concatenate([np.arange(n, 2 * n), np.arange(n)])
    return -np.mean(np.log(P[np.arange(2 * n), partner] / P.sum(1)))


def test_the_authors_losses_with_their_kernels_options():
    z_a, z_b = toy.batch(4)
    K = authors_kernel(z_a, z_b)
    ones = np.ones(len(K))
    options = {"similarity_floor": 1e-7, "self_pairs": "max_cost", "layout": "joint"}
    with jax.enable_x64(True):
        hs_ince = cross_entropy_of_log_plan(reference.plan(K, ones, ones, 1))
        np.testing.assert_allclose(value("simclr", z_a, z_b, **options), hs_ince, rtol=1e-9)
        gca_ince = cross_entropy_of_log_plan(reference.plan(K, ones, ones, 10))
        kernel = ot.cosine_kernel(z_a, z_b, epsilon=EPSILON, **options)
        plan = ot.project(kernel, half_steps=11)
        target = ot.target.identity(len(z_a)).with_layout("joint")
        np.testing.assert_allclose(ot.divergence.kl(target, plan), gca_ince, rtol=1e-9)
        by_rows = {"penalty_a": INF, "penalty_b": INF, "w_rince": 0.0, "mass": "rows"}
        uot = value("gca_uot", z_a, z_b, iterations=5, **by_rows, **options)
        np.testing.assert_allclose(uot, gca_ince, rtol=1e-9)


def direction(loss, z_a, z_b):
    slopes = jax.grad(lambda z: loss(*z)[0])((z_a, z_b))
    flat = np.concatenate([np.ravel(slope) for slope in slopes])
    return flat / np.linalg.norm(flat)


@pytest.mark.parametrize("q", [0.3, 1.0])
def test_gca_gce_has_the_direction_of_self_weighting(q):
    """d GCE = -Σ T p^q d log p: that of KL to weights p^q, which pass no gradient."""
    with jax.enable_x64(True):
        views = toy.batch(2, n=6, d=3)
        target = Partial(ot.learned.self_weighted, sharpness=q)
        one = direction(lambda a, b: losses.gca_gce(a, b, q=q, epsilon=0.3), *views)
        other = direction(lambda a, b: losses.gca_ince(a, b, target=target, epsilon=0.3), *views)
    assert one @ other > 1 - 1e-9


@pytest.mark.parametrize(
    ("name", "limit", "words"),
    [("gce", "clip", {}), ("gce", "simclr", {"layout": "joint"}), ("gca_gce", "gca_ince", {})],
)
def test_gce_tends_to_the_cross_entropy(name, limit, words):
    with jax.enable_x64(True):
        views = toy.batch(1, n=6, d=3)
        value, _ = losses.METHODS[name](*views, q=1e-7, epsilon=0.4, **words)
        more = {} if limit == "clip" else words
        want, _ = losses.METHODS[limit](*views, epsilon=0.4, **more)
    np.testing.assert_allclose(value, want, rtol=1e-5)


def test_rcl_of_a_wrong_pair_that_looks_right():
    """1 - p is e^-60 here, far below the resolution of float32 at 1."""
    z = jnp.eye(2)
    value, _ = losses.rcl(z, z[::-1], epsilon=1 / 60)
    np.testing.assert_allclose(value, np.log1p(np.exp(60.0)), rtol=1e-6)
    slope = jax.grad(lambda z_a: losses.rcl(z_a, z[::-1], epsilon=1 / 60)[0])(z)
    assert jnp.isfinite(slope).all()
    assert jnp.abs(slope).max() > 1


def test_gca_gce_needs_a_column_for_each_row():
    with pytest.raises(ValueError, match="gca_gce needs a column for each row, got n=3, m=2"):
        losses.gca_gce(
            jnp.eye(3),
            jnp.eye(3)[:2],
            target=ot.target.classes(np.array([0, 1, 0]), np.array([0, 1])),
        )
