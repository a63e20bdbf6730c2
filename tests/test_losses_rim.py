"""Losses at the rim: costs with a corner, zeros, far targets, strict types, symbolic sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ott.geometry import costs

from gca_jax import losses, ot
from tests import reference

Z = np.random.default_rng(0).normal(size=(2, 6, 4)).astype(np.float32)
ZEROS = np.array([0.0, 0.5, 0.25, 0.25], np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ince", "simclr", "rince"])
@pytest.mark.parametrize("cost", [costs.Euclidean(), costs.PNormP(3), costs.EuclideanP(1.5)])
def test_a_value_is_the_same_with_and_without_its_gradient(name, cost):
    """Equal rows: OTT-JAX's derivative rule of a norm gives √d for their distance 0."""

    def loss(a):
        return losses.METHODS[name](a, Z[1], cost_fn=cost)[0]

    value, slope = jax.value_and_grad(loss)(jnp.asarray(Z[1]))
    np.testing.assert_allclose(value, loss(Z[1]), rtol=1e-6)
    assert jnp.isfinite(slope).all()


def test_equal_rows_have_the_value_of_their_distances():
    unit = np.float64(Z[1] / np.linalg.norm(Z[1], axis=1, keepdims=True))
    distances = np.linalg.norm(unit[:, None] - unit[None], axis=2)
    scores = -distances / 0.5
    want = np.mean(np.log(np.exp(scores).sum(1)) - scores.diagonal())
    value, _ = jax.value_and_grad(lambda a: losses.ince(a, Z[1], cost_fn=costs.Euclidean())[0])(
        jnp.asarray(Z[1])
    )
    np.testing.assert_allclose(value, want, rtol=1e-5)


TARGETS = {
    "none": lambda: None,
    "array": lambda: jnp.eye(4),
    "classes": lambda: ot.target.classes(jnp.arange(4)),
    "blocks": lambda: ot.target.blocks(jnp.arange(4), alpha=0.5),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize(
    ("name", "words", "infinite"),
    [
        ("gca_rince", {"nu": ZEROS}, False),
        ("gca_uot", {"nu": ZEROS, "w_kl": 0.0, "w_rince": 1.0}, False),
        ("gca_uot", {"mu": ZEROS}, True),  # a positive pair in a row without mass
        ("gca_ince", {"nu": ZEROS}, True),
    ],
)
def test_a_zero_in_a_marginal(kind, name, words, infinite):
    """Whatever way the identity is given: W_q is finite, KL of an empty positive is infinite."""
    z_a, z_b = Z[:, :4]

    def loss(a):
        return losses.METHODS[name](a, z_b, target=TARGETS[kind](), **words)[0]

    value, slope = jax.jit(jax.value_and_grad(loss))(z_a)
    if infinite:
        assert value == np.inf
        return
    assert jnp.isfinite(slope).all()
    K = np.exp(-reference.cost_matrix(z_a, z_b) / 0.5)
    u, v = np.ones(4), np.ones(4)
    tau = 1.0 if name == "gca_rince" else 0.2 / 0.7
    for t in range(10):
        u = (0.25 / (K @ v)) ** tau
        if t < 9 or name == "gca_uot":
            v = (ZEROS / (K.T @ u)) ** tau
    if name == "gca_rince":
        s = np.exp(1 / 0.5) * K
        rows = (0.01 * (s @ v)) ** 0.98
        want = np.mean(rows - (s.diagonal() * v) ** 0.98) / 0.98
    else:
        want = np.mean((0.01 / u) ** 0.98 - (K.diagonal() * v) ** 0.98) / 0.98
    np.testing.assert_allclose(value, want, rtol=1e-5)


def test_labels_far_apart_make_the_target_of_their_distances():
    z_a, z_b = Z[:, :2]
    a, b = np.array([0.0, 100.0]), np.array([33.2, 133.3])  # weights of 1e-240
    log_w = -((a[:, None] - b[None]) ** 2) / 2
    want = np.exp(log_w - log_w.max())
    target = ot.target.continuous(a, b, bandwidth=1.0)
    np.testing.assert_allclose(target.matrix, want / want.sum(), rtol=1e-3)
    value = jax.jit(lambda x: losses.ince(x, z_b, target=target)[0])(z_a)
    np.testing.assert_allclose(value, losses.ince(z_a, z_b, target=want)[0], rtol=1e-3)


def test_supcon_is_a_target_of_classes_per_anchor():
    labels = np.array([0, 0, 0, 0, 1, 2])
    both = np.tile(labels, 2)
    same = (both[:, None] == both[None]) & ~np.eye(12, dtype=bool)
    z = np.concatenate(Z).astype(np.float64)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    scores = np.where(np.eye(12, dtype=bool), -np.inf, z @ z.T / 0.5)
    log_p = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    supcon = -np.mean([log_p[i, same[i]].mean() for i in range(12)])
    entropy = np.mean([np.log(same[i].sum()) for i in range(12)])  # KL is without it
    target = ot.target.classes(labels, per="anchor")
    value, aux = losses.simclr(*Z, target=target, keep_plan=True)
    np.testing.assert_allclose(value, supcon - entropy, rtol=1e-5)
    np.testing.assert_allclose(np.asarray(aux["target"]).sum(1), 1 / 12, rtol=1e-5)
    np.testing.assert_allclose(np.asarray(aux["plan"]), aux["plan"].matrix)


@pytest.mark.parametrize("name", losses.METHODS)
def test_strict_promotion_of_dtypes(name):
    want = losses.METHODS[name](*Z, diagnose=True)[0]
    with jax.numpy_dtype_promotion("strict"):
        value, _ = losses.METHODS[name](*Z, diagnose=True)
        np.testing.assert_allclose(value, want, rtol=1e-6)


@pytest.mark.usefixtures("unchecked")  # a symbol is no int
@pytest.mark.parametrize("name", ["byol", "clip", "gca_uot", "simclr"])
def test_an_export_with_a_symbolic_batch(name):
    (n,) = jax.export.symbolic_shape("n")
    z = jax.ShapeDtypeStruct((n, 4), jnp.float32)
    loss = jax.jit(lambda a, b: losses.METHODS[name](a, b)[0])
    exported = jax.export.export(loss)(z, z)
    for rows in (3, 6):
        np.testing.assert_allclose(
            exported.call(*Z[:, :rows]), loss(*Z[:, :rows]), rtol=1e-6, err_msg=rows
        )


def test_a_plan_that_has_not_converged_is_told():
    z = np.random.default_rng(0).normal(size=(2, 64, 3)).astype(np.float32)
    words = {"until": 1e-6, "gradient": "implicit"}
    with pytest.warns(RuntimeWarning, match="gca_ince is of a plan that has not converged"):
        _, aux = losses.gca_ince(*z, epsilon=0.002, **words)
    assert not aux["converged"]
    assert losses.gca_ince(*Z, **words)[1]["converged"]


def test_a_learned_epsilon_at_its_bound_runs_in_the_scaling_domain():
    """docs/losses.md's recipe: exp(log 0.03) is less than 0.03 by its rounding."""
    bounded = jax.jit(
        lambda log_epsilon: losses.clip(*Z, epsilon=jnp.exp(log_epsilon), epsilon_min=0.0299)[1]
    )
    aux = bounded(jnp.log(0.03))
    assert aux["scaling_domain"]
    assert not aux["overflow"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gca_uot", "rince"])
def test_the_hessian_is_that_of_the_log_domain(name):
    def loss(a, **words):
        return losses.METHODS[name](a, Z[1, :3], **words)[0]

    got = jax.jit(jax.hessian(loss))(Z[0, :3])
    want = jax.jit(jax.hessian(lambda a: loss(a, domain="log")))(Z[0, :3])
    np.testing.assert_allclose(got, want, atol=1e-4 * np.abs(want).max())
