"""Every way of running the sweeps gives the same loss: scaling or log domain, K whole or in blocks.

The log domain is the one that the equations in NumPy and finite differences hold to account.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from gca_jax import losses, ot
from gca_jax.losses import _common
from tests import toy

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("in_parts")]

N = 8
RNG = np.random.default_rng(0)
DENSE = RNG.uniform(0, 1, size=(N, N))
RNG_PENALTIES = np.r_[np.inf, RNG.uniform(0, 2, size=N - 1)]
MODES = {
    "whole": {"domain": "scaling"},
    "blocks": {"domain": "scaling", "block_size": 3},  # 3 goes neither into 8 nor into 16
}
ROWS = {
    "rows": {"domain": "scaling", "block_size": 1}
}  # as is the first block of 16 rows in threes
# Cases that try every mode: both directions of a sweep, and every divergence.
EVERY_MODE = ("ince", "gca_ince blocks", "gca_rince", "gca_uot per sample")


def blocks():
    return ot.target.blocks(jnp.arange(N) % 3, alpha=0.4, beta=0.1)


# method, hyper-parameters made late (float64 must be on)
CASES = {
    "ince": ("ince", lambda: {}),
    "ince blocks": ("ince", lambda: {"layout": "joint", "target": blocks()}),
    "gca_ince small epsilon": ("gca_ince", lambda: {"iterations": 3, "epsilon": 0.05}),
    "gca_ince converged early": ("gca_ince", lambda: {"iterations": 40, "epsilon": 1.0}),
    "gca_ince blocks": ("gca_ince", lambda: {"iterations": 2, "target": blocks()}),
    "gca_ince blocks joint": (
        "gca_ince",
        lambda: {"iterations": 2, "layout": "joint", "target": blocks()},
    ),
    "gca_ince weighted": (
        "gca_ince",
        lambda: {"iterations": 2, "target": ot.target.weighted(jnp.arange(N) / N)},
    ),
    "gca_ince array": ("gca_ince", lambda: {"iterations": 2, "target": DENSE}),
    "gca_ince envelope": ("gca_ince", lambda: {"gradient": "envelope", "layout": "joint"}),
    "rince": ("rince", lambda: {"layout": "joint"}),
    "gca_rince": ("gca_rince", lambda: {"iterations": 4}),
    "gca_rince long": ("gca_rince", lambda: {"iterations": 30, "epsilon": 1.0}),
    "gca_rince blocks": ("gca_rince", lambda: {"iterations": 2, "target": blocks()}),
    "gca_uot": ("gca_uot", lambda: {"iterations": 3, "w_rince": 1.0}),
    "gca_uot joint": ("gca_uot", lambda: {"layout": "joint", "penalty_a": 0.7, "w_rince": 1.0}),
    "gca_uot total": ("gca_uot", lambda: {"iterations": 2, "mass": "total"}),
    "gca_uot eq. 9": (
        "gca_uot",
        lambda: {"iterations": 2, "mass": "generalized", "penalise_marginals": True},
    ),
    "gca_uot no constraint": ("gca_uot", lambda: {"iterations": 2, "penalty_a": 0.0}),
    "gca_uot per sample": ("gca_uot", lambda: {"penalty_a": RNG_PENALTIES, "w_rince": 1.0}),
    "gca_uot continuous joint": (
        "gca_uot",
        lambda: {
            "iterations": 2,
            "layout": "joint",
            "w_rince": 1.0,
            "target": ot.target.continuous(jnp.arange(N) / 3.0, bandwidth=1.0),
        },
    ),
    "gca_ince evidence": ("gca_ince", lambda: {"target": ot.learned.evidence}),
    "gca_uot self-weighted joint": (
        "gca_uot",
        lambda: {
            "iterations": 2,
            "layout": "joint",
            "w_rince": 1.0,
            "target": Partial(ot.learned.self_weighted, sharpness=jnp.asarray(0.7), floor=0.1),
        },
    ),
    "clip": ("clip", lambda: {"epsilon": 0.3, "target": blocks()}),
    "iot_uni": ("iot_uni", lambda: {"iterations": 2, "lam_p": 3.0}),
    "gce": ("gce", lambda: {"epsilon": 0.3}),
    "gce classes": ("gce", lambda: {"target": ot.target.classes(jnp.arange(N) % 3)}),
    "gca_gce": ("gca_gce", lambda: {"iterations": 2, "layout": "joint"}),
    "rcl blocks": ("rcl", lambda: {"target": blocks()}),
}


COMPARED = ("residual", "plan_entropy", "mass", "contrastive_accuracy")


def compiled(name, hyper):
    """A loss's value, part of its `aux`, and its gradient by both views."""

    def loss(views):
        value, aux = losses.METHODS[name](*views, diagnose=True, **hyper)
        return value, {
            key: aux[key] for key in (*COMPARED, "scaling_domain", "sweeps") if key in aux
        }

    return jax.jit(jax.value_and_grad(loss, has_aux=True))


def run(name, hyper, views):
    return compiled(name, hyper)(views)


def modes(case):
    """Every mode, or whole and blocks by turns: most cases differ in what no mode touches."""
    if case in EVERY_MODE:
        return [*MODES.values(), *ROWS.values()]
    return [list(MODES.values())[list(CASES).index(case) % 2]]


@pytest.mark.parametrize("case", CASES)
def test_every_mode_is_the_log_domain(case):
    name, make = CASES[case]
    views = toy.batch(3, n=N, d=4)
    with jax.enable_x64(True):
        hyper = make()
        (value, aux), gradient = run(name, hyper | {"domain": "log"}, views)
        for mode in modes(case):
            (got, got_aux), got_gradient = run(name, hyper | mode, views)
            np.testing.assert_allclose(got, value, rtol=1e-11)
            for a, b in zip(got_gradient, gradient, strict=True):
                np.testing.assert_allclose(a, b, rtol=0, atol=1e-9 * np.abs(b).max())
            for key in COMPARED:
                np.testing.assert_allclose(got_aux[key], aux[key], rtol=1e-9, atol=1e-12)


def test_gradients_with_respect_to_epsilon_and_marginals():
    """What else may be differentiated: ε (through K and τ), μ and ν."""
    z_a, z_b = toy.batch(5, n=N, d=4)
    mu, nu = RNG.dirichlet(np.ones(N), size=2)

    def loss(epsilon, mu, nu, **words):
        kernel = ot.cosine_kernel(z_a, z_b, epsilon=epsilon, **words)
        tau = 0.3 / (0.3 + epsilon)
        plan = ot.project(kernel, iterations=3, tau_a=tau, tau_b=tau, mu=mu, nu=nu)
        return jnp.sum(jnp.sin(plan.log_u)) + jnp.sum(plan.log_v**2) + plan.mass

    with jax.enable_x64(True):
        slope = lambda **words: jax.jit(  # noqa: E731
            jax.grad(lambda *x: loss(*x, **words), argnums=(0, 1, 2))
        )(0.4, mu, nu)
        expected = slope(domain="log")
        for words in (MODES | ROWS).values():
            for got, want in zip(slope(**words), expected, strict=True):
                np.testing.assert_allclose(got, want, rtol=1e-9)


def test_blocks_that_a_last_sweep_back_and_the_contraction_share():
    """Also where that sweep was not the last.

    The second half of the pairs mirrors the first, a cluster each: what differs between the two
    halves (the shift of one point) decays slowly, all else fast.
    """
    n, d = 64, 8
    rng, direction = np.random.default_rng(0), np.eye(d)[0]
    z_a = 0.1 * rng.normal(size=(n // 2, d)) + direction
    z_b = z_a + 0.05 * rng.normal(size=(n // 2, d))
    views = [np.concatenate([z, z * (1 - 2 * direction)]) for z in (z_a, z_b)]
    shift = 1e-8 * rng.normal(size=d) * np.eye(n)[:, :1]
    hyper = {"epsilon": 1.0, "iterations": 60, "target": ot.learned.self_weighted}
    log = compiled("gca_ince", hyper | {"domain": "log"})
    blocks = compiled("gca_ince", hyper | {"domain": "scaling", "block_size": 16})
    with jax.enable_x64(True):
        for pair in (views, [views[0] + shift, views[1]]):
            for a, b in zip(blocks(pair)[1], log(pair)[1], strict=True):
                np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * np.abs(b).max())


@pytest.mark.parametrize("name", ["simclr", "gca_ince", "gca_rince", "gca_uot"])
def test_float32_against_float64(name):
    """Value to 1e-5 and gradient to 1e-4 relative, at ε = 0.05."""
    views = toy.batch(1, n=64, d=16)
    hyper = {"epsilon": 0.05, "layout": "joint"}
    single = [np.float32(z) for z in views]
    (value, _), gradient = run(name, hyper, single)
    with jax.enable_x64(True):
        (want, _), want_gradient = run(name, hyper | {"domain": "log"}, views)
    np.testing.assert_allclose(value, want, rtol=1e-5)
    for a, b in zip(gradient, want_gradient, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * np.abs(np.asarray(b)).max())


@pytest.mark.parametrize("name", ["clip", "gca_uot"])
def test_a_learned_epsilon_with_a_stated_bound_runs_in_the_scaling_domain(name):
    """Value and all gradients are the log domain's; below the bound the loss is NaN, not wrong."""
    views = toy.batch(2, n=N, d=4)

    def step(epsilon, **words):
        run = lambda e, v: losses.METHODS[name](*v, epsilon=e, **words)  # noqa: E731
        return jax.jit(jax.value_and_grad(run, argnums=(0, 1), has_aux=True))(epsilon, views)

    with jax.enable_x64(True):
        (value, aux), slopes = step(0.2, epsilon_min=0.05)
        (want, log_aux), want_slopes = step(0.2)
        assert aux["scaling_domain"]
        assert not log_aux["scaling_domain"]
        np.testing.assert_allclose(value, want, rtol=1e-11)
        for got, other in zip(jax.tree.leaves(slopes), jax.tree.leaves(want_slopes), strict=True):
            np.testing.assert_allclose(got, other, rtol=1e-8, atol=1e-10)
        (value, aux), _ = step(0.04, epsilon_min=0.05)
        assert np.isnan(value)
        assert aux["overflow"]
    with pytest.raises(ValueError, match=r"epsilon must be >= epsilon_min=0\.05, got 0\.04"):
        losses.METHODS[name](*views, epsilon=0.04, epsilon_min=0.05)


def test_sweeps_that_change_no_digit_are_not_run():
    views = toy.batch(1, n=32, d=16)
    (_, aux), _ = run("gca_ince", {"epsilon": 0.5, "iterations": 100}, views)
    assert 1 < aux["sweeps"] < 20
    assert aux["scaling_domain"]
    (_, aux), _ = run("gca_ince", {"epsilon": 0.02, "iterations": 5}, views)
    assert not aux["scaling_domain"]


@pytest.mark.parametrize("name", ["ince", "gca_uot"])
def test_another_epsilon_compiles_nothing(name):
    """Outside `jit`, where ε is a number: the parts of a loss take it as an array."""
    views = [np.float32(z) for z in toy.batch(1, n=6)]
    compiled = (ot.sums.inner, _common.alignment, _common._of_vectors)
    losses.METHODS[name](*views, epsilon=0.5)
    sizes = [function._cache_size() for function in compiled]
    losses.METHODS[name](*views, epsilon=0.4)
    assert [function._cache_size() for function in compiled] == sizes


def test_a_new_batch_of_the_same_shape_compiles_nothing():
    loss = jax.jit(jax.grad(lambda z_a, z_b: losses.gca_uot(z_a, z_b)[0]))
    for seed in range(3):
        loss(*(np.float32(z) for z in toy.batch(seed, n=6)))
    assert loss._cache_size() == 1


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"block_size": 4, "epsilon": 0.01}, "block_size=4 needs the scaling domain"),
        ({"block_size": 0}, "block_size must be an integer >= 1"),
        ({"domain": "fast"}, "domain must be one of log, scaling"),
        ({"domain": "scaling", "similarity_floor": 0.0}, "no similarity_floor"),
    ],
)
def test_a_mode_that_does_not_go_with_the_rest_is_refused(words, says):
    with pytest.raises(ValueError, match=says):
        losses.gca_ince(*toy.batch(), **words)
