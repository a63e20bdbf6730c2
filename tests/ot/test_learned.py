"""Targets that learn from the plan: against NumPy, without a gradient, at their limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from gca_jax import losses, ot
from gca_jax.ot.learned import bootstrapped, self_weighted, smoothed
from tests import toy

VIEWS = [jnp.asarray(z) for z in toy.batch(3, n=8, d=4)]
EPSILON = 0.3


def transport(name, **settings):
    """The plan's matrix and the target, compiled: op by op it takes ten times as long."""

    @jax.jit
    def both(a, b):
        plan, target = losses.transport(name, a, b, **settings)
        return plan.matrix, target

    return both(*VIEWS)


def softmax_shares(a, b, joint):
    """The probability that each row gives its positive, in float64."""
    a, b = (np.asarray(z, np.float64) for z in (a, b))
    a, b = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (a, b))
    n = len(a)
    if joint:
        a = b = np.concatenate([a, b])
    k = np.exp(a @ b.T / EPSILON)
    if joint:
        np.fill_diagonal(k, 0.0)
    p = k / k.sum(axis=1, keepdims=True)
    if not joint:
        return np.diag(p)
    return (np.diag(p, n) + np.diag(p, -n)) / 2


@pytest.mark.parametrize(
    ("layout", "sharpness", "floor", "keep"),
    [("cross", 2.0, 0.1, 1.0), ("cross", 0.5, 0.0, 0.5), ("joint", 2.0, 0.1, 0.5)],
)
def test_weights_of_the_row_projection_are_powers_of_the_softmax(layout, sharpness, floor, keep):
    shares = softmax_shares(*VIEWS, layout == "joint")
    weights = floor + (1 - floor) * (shares / shares.max()) ** sharpness
    weights[np.argsort(weights)[: round(8 * (1 - keep))]] = 0.0
    rule = Partial(self_weighted, sharpness=sharpness, floor=floor, keep=keep)
    settings = dict(epsilon=EPSILON, layout=layout, target=rule)
    _, target = transport("ince", **settings)
    expected = np.diag(weights / weights.sum())
    if layout == "joint":  # each pair twice, once in each order of its views
        expected = np.kron([[0, 0.5], [0.5, 0]], expected)
    np.testing.assert_allclose(target.matrix, expected, rtol=1e-4)
    effective = jax.jit(lambda *z: losses.ince(*z, **settings)[1]["effective_pairs"])(*VIEWS)
    number = weights.sum() ** 2 / (weights**2).sum()
    np.testing.assert_allclose(effective, number, rtol=1e-4)


def test_weights_of_a_sinkhorn_plan_are_its_mass_on_the_pairs():
    plan, target = transport("gca_ince", target=self_weighted)
    mass = np.diag(np.asarray(plan, np.float64))
    np.testing.assert_allclose(np.diag(target.matrix), mass / mass.sum(), rtol=1e-5)


@pytest.mark.parametrize("name", ["ince", pytest.param("gca_uot", marks=pytest.mark.slow)])
def test_no_gradient_flows_through_the_weights(name):
    """The gradient is that of the same loss with the weights as given numbers."""
    loss = losses.METHODS[name]

    def of(rule):
        return jax.jit(jax.grad(lambda a: loss(a, VIEWS[1], epsilon=EPSILON, target=rule)[0]))

    _, target = transport(name, epsilon=EPSILON, target=self_weighted)
    given = ot.target.weighted(target.positives)
    expected = of(lambda plan: given)(VIEWS[0])
    np.testing.assert_allclose(of(self_weighted)(VIEWS[0]), expected, rtol=1e-4, atol=1e-6)
    plain = of(None)(VIEWS[0])
    assert np.abs(plain - expected).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["clip", "rince", "gca_uot", "iot_uni"])
def test_sharpness_0_is_the_identity(name):
    loss, flat = losses.METHODS[name], Partial(self_weighted, sharpness=0.0)
    value = jax.jit(lambda *z: loss(*z, target=flat)[0])(*VIEWS)
    np.testing.assert_allclose(value, jax.jit(lambda *z: loss(*z)[0])(*VIEWS), rtol=1e-6)


@pytest.mark.parametrize("epsilon", [1e-3, 0.05])
def test_small_epsilon_leaves_value_gradient_and_weights_finite(epsilon):
    """All pairs are wrong, and all shares underflow."""
    a, b = VIEWS[0], jnp.roll(VIEWS[0], 1, axis=0)

    def loss(a):
        value, aux = losses.gca_ince(a, b, epsilon=epsilon, target=self_weighted)
        return value, aux["effective_pairs"]

    (value, pairs), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(a)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    assert 1.0 <= pairs <= 8.0


def test_a_plan_without_mass_on_any_positive_weighs_all_alike():
    kernel = ot.cost_kernel(jnp.where(jnp.eye(3) > 0, jnp.inf, 1.0), epsilon=0.5)
    target = jax.jit(lambda k: self_weighted(ot.project(k, half_steps=1)))(kernel)
    np.testing.assert_allclose(target.matrix, np.eye(3) / 3, rtol=1e-6)


def test_bootstrapping_mixes_the_identity_with_the_plan():
    p, target = transport("gca_ince", target=Partial(bootstrapped, share=0.3))
    np.testing.assert_allclose(target.matrix, 0.7 * np.eye(8) / 8 + 0.3 * p / p.sum(), atol=1e-6)


def test_what_no_target_can_learn_from_is_refused():
    with pytest.raises(ValueError, match="gradient='envelope' needs a target that does not"):
        losses.gca_ince(*VIEWS, target=self_weighted, gradient="envelope")
    with pytest.raises(ValueError, match="byol projects on no plan"):
        losses.byol(*VIEWS, target=self_weighted)
    for setting in ({"sharpness": -1.0}, {"floor": 1.5}, {"keep": 0.0}):
        with pytest.raises(ValueError, match=f"{next(iter(setting))} must lie in"):
            losses.ince(*VIEWS, target=Partial(self_weighted, **setting))
    with pytest.raises(ValueError, match="share must lie in"):
        losses.ince(*VIEWS, target=Partial(bootstrapped, share=2.0))


@pytest.mark.parametrize("layout", ["cross", "joint"])
def test_a_smoothed_target_mixes_the_identity_with_the_uniform_plan(layout):
    """Uniform over all that a row can be paired with: in the joint layout not with itself."""
    _, target = transport("ince", layout=layout, target=Partial(smoothed, share=0.3))
    identity, pairs = np.eye(8), np.ones((8, 8))
    if layout == "joint":
        identity, pairs = np.kron([[0, 1], [1, 0]], identity), 1 - np.eye(16)
    expected = 0.7 * identity / identity.sum() + 0.3 * pairs / pairs.sum()
    np.testing.assert_allclose(target.matrix, expected, rtol=1e-5)


def test_smoothing_by_nothing_is_the_identity_s_loss():
    for method in ("ince", "gca_ince"):
        loss, rule = losses.METHODS[method], Partial(smoothed, share=0.0)
        value = jax.jit(lambda *z, loss=loss, rule=rule: loss(*z, target=rule)[0])(*VIEWS)
        plain = jax.jit(lambda *z, loss=loss: loss(*z)[0])(*VIEWS)
        np.testing.assert_allclose(value, plain, rtol=1e-5)
