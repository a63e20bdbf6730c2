"""Targets that learn from the plan: against NumPy, without a gradient, at their limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from gca_jax import losses, ot
from gca_jax.ot.learned import bootstrapped, evidence, likeliest_share, self_weighted, smoothed
from tests import toy
from tests.ot.test_priors import q_matrix

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
    for rule in (bootstrapped, evidence):
        with pytest.raises(ValueError, match="share must lie in"):
            losses.ince(*VIEWS, target=Partial(rule, share=2.0))


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


def positives(n, m, layout):
    """Row and column of each positive pair."""
    index = np.arange(n)
    partner = index if layout == "cross" else (index + n // 2) % n
    return np.stack([index, partner], axis=1)[: min(n, m)]


@pytest.mark.parametrize("layout", ["cross", "joint"])
@pytest.mark.parametrize("steps", [{"half_steps": 1}, {"iterations": 3}, {"half_steps": 5}])
def test_of_a_flat_plan_the_posterior_is_the_prior(layout, steps):
    """Q: a row goes to its partner with π, else to anyone, in the joint layout but itself."""
    n, share = 6, 0.4
    with jax.enable_x64(True):
        plan = ot.project(ot.cost_kernel(np.zeros((n, n)), layout=layout), **steps)
        found = jax.jit(Partial(evidence, share=share))(plan).matrix
    anyone = np.ones((n, n)) if layout == "cross" else 1 - np.eye(n)
    want = (1 - share) * anyone / anyone.sum()
    want[tuple(positives(n, n, layout).T)] += share / n
    np.testing.assert_allclose(found, want, rtol=1e-9)


def test_further_columns_are_anyone_s():
    """Rows alone: a row's own share of m columns; both marginals: a column has room for 1/m."""
    n, m, share = 3, 7, 0.6
    pairs = positives(n, m, "cross")
    with jax.enable_x64(True):
        kernel = ot.cost_kernel(np.zeros((n, m)))
        of_rows = evidence(ot.project(kernel, half_steps=1), share=share).matrix
        kernel = ot.cost_kernel(0.01 * np.random.default_rng(0).random((n, m)))
        of_both = evidence(ot.project(kernel, iterations=50), share=share).matrix
    want = np.full((n, m), (1 - share) / (n * m))
    want[tuple(pairs.T)] += share / n
    np.testing.assert_allclose(of_rows, want, rtol=1e-9)
    uniform = np.full(n, 1 / n), np.full(m, 1 / m)
    np.testing.assert_allclose(of_both, q_matrix(*uniform, pairs, share)[0], rtol=0.05)


@pytest.mark.parametrize("layout", ["cross", "joint"])
def test_of_a_row_plan_the_tilt_is_exact(layout):
    """q = e^β p/(1 - p + e^β p), the others of a row times (1 - q)/(1 - p)."""
    with jax.enable_x64(True):
        views = [np.asarray(z, np.float64) for z in VIEWS]
        settings = {"epsilon": EPSILON, "layout": layout}
        plan, target = losses.transport(
            "ince", *views, **settings, target=Partial(evidence, share=0.3)
        )
        p = len(plan.matrix) * np.asarray(plan.matrix)
        found = np.asarray(target.matrix)
    n, at = len(p), tuple(positives(*p.shape, layout).T)
    odds = 1 + (n - (layout == "joint")) * 0.3 / 0.7
    q = odds * p[at] / (1 - p[at] + odds * p[at])
    want = p * ((1 - q) / (1 - p[at]))[:, None]
    want[at] = q
    np.testing.assert_allclose(found, want / n, rtol=1e-9)


@pytest.mark.parametrize(
    ("epsilon", "share", "apart"), [(1.0, 0.1, 1e-7), (0.3, 0.5, 5e-3), (0.3, 0.99, 5e-3)]
)
def test_of_sinkhorn_s_plan_it_is_that_of_the_prior(epsilon, share, apart):
    """The plan of a kernel whose pairs are tilted, in the equation of `ot.prior` and by it.

    Where pairs outweigh the rest, twenty sweeps leave half a percent of the mass misplaced.
    """
    pairs = positives(8, 8, "cross")
    with jax.enable_x64(True):
        views = [np.asarray(z, np.float64) for z in VIEWS]
        kernel = ot.cosine_kernel(*views, epsilon=epsilon)
        found = np.asarray(evidence(ot.project(kernel, iterations=200), share=share).matrix)
        tilted = ot.prior(kernel, pairs, np.log(share) - np.log1p(-share))
        by_prior = np.asarray(ot.project(tilted, iterations=200).matrix)
        matrix = np.exp(kernel.log_matrix)
    uniform = np.full(8, 1 / 8)
    want = matrix * q_matrix(uniform, uniform, pairs, share)[0]
    for _ in range(500):
        want *= (uniform / want.sum(axis=1))[:, None]
        want *= uniform / want.sum(axis=0)
    assert np.abs(by_prior - want).sum() / 2 < apart
    assert np.abs(found - want).sum() / 2 < apart


def test_of_an_unbalanced_plan_it_keeps_the_sums():
    plan, target = transport("gca_uot", epsilon=EPSILON, target=Partial(evidence, share=0.7))
    p = np.asarray(plan, np.float64)
    for axis in (0, 1):
        sums = p.sum(axis) / p.sum()
        assert np.abs(target.matrix.sum(axis) - sums).sum() / 2 < 5e-3
    assert np.trace(target.matrix) > np.trace(p) / p.sum() + 0.05
    assert np.abs(p.sum(axis=1) / p.sum() - 1 / 8).sum() / 2 > 0.01  # they are not even


LEARNING = [name for name in losses.METHODS if name != "byol"]


@pytest.mark.parametrize("name", [pytest.param(x, marks=pytest.mark.slow) for x in LEARNING])
def test_limits_and_the_gradient_of_posterior_plans(name):
    """π = 1 is the identity, π = 0 the plan; the gradient is that of the target as an array."""
    loss, rule = losses.METHODS[name], Partial(evidence, share=0.5)
    how = {"epsilon": EPSILON}

    @jax.jit
    def both(a, b, target):
        return jax.value_and_grad(lambda a: loss(a, b, target=target, **how)[0])(a)

    plain, certain = both(*VIEWS, None), both(*VIEWS, Partial(evidence, share=1.0))
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6), plain, certain
    )
    plan, target = transport(name, target=Partial(evidence, share=0.0), **how)
    np.testing.assert_allclose(target.matrix, plan / plan.sum(), rtol=1e-3, atol=1e-6)
    _, target = transport(name, target=rule, **how)
    value, slope = both(*VIEWS, rule)
    given = jax.jit(
        jax.value_and_grad(
            lambda a: (
                loss(a, VIEWS[1], target=target, marginals="uniform", **how)[0]
                if "marginals" in losses.keywords(name)
                else loss(a, VIEWS[1], target=target, **how)[0]
            )
        )
    )(VIEWS[0])
    if name not in ("rince", "gca_rince"):  # whose μ are the target's sums
        np.testing.assert_allclose(value, given[0], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(slope, given[1], rtol=1e-3, atol=1e-5)
    assert np.isfinite(slope).all()


@pytest.mark.parametrize("name", ["ince", "gca_ince"])
def test_the_share_is_the_likeliest(name):
    """The most of Σ log (π L + 1 - π), L = m p, over a grid in NumPy."""
    a = VIEWS[0]
    b = a[jnp.array([1, 2, 0, 3, 4, 5, 6, 7])]
    plan, _ = losses.transport(name, a, b, epsilon=0.2)
    lifts = 64 * np.diag(np.asarray(plan.matrix, np.float64))
    shares = np.linspace(0.01, 0.995, 2000)
    likelihood = np.log(shares[:, None] * lifts + 1 - shares[:, None]).sum(axis=1)
    best = shares[likelihood.argmax()]
    assert 0.3 < best < 0.9
    np.testing.assert_allclose(likeliest_share(plan), best, atol=0.01)
    given = evidence(plan, share=likeliest_share(plan)).matrix
    np.testing.assert_allclose(evidence(plan).matrix, given, rtol=1e-6)
