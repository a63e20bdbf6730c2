"""What is not finite stays visible; what is large or small, but finite, is right."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from gca_jax import losses, ot
from tests import reference, toy

pytestmark = pytest.mark.slow

N = 8
MODES = {
    "log": {"domain": "log"},
    "whole": {"domain": "scaling"},
    "blocks": {"domain": "scaling", "block_size": 3},
}


def views(seed=0, n=N, dtype=np.float32):
    return tuple(z.astype(dtype) for z in toy.batch(seed, n=n))


@functools.cache
def compiled(name, **words):
    """Value and gradient."""
    return jax.jit(jax.value_and_grad(lambda z: losses.METHODS[name](*z, **words)[0]))


def flagged(name, *views, **words):
    """Value, and whether it overflowed; the rest of `aux` is not compiled."""
    value, aux = losses.METHODS[name](*views, **words)
    return value, aux.get("overflow", True)


def value_and_gradient(name, pair, **words):
    numbers = all(isinstance(word, str | float | int) for word in words.values())
    make = compiled if numbers else compiled.__wrapped__  # an array has no hash
    return make(name, **words)(pair)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_is_normalised_to_nan_and_a_zero_row_to_zero(bad):
    z = np.array([[1.0, 2.0], [bad, 1.0], [0.0, 0.0]], np.float32)
    unit = np.asarray(ot.normalize(jnp.asarray(z)))
    assert np.isfinite(unit[[0, 2]]).all()
    assert np.isnan(unit[1]).any()


NAN_IN = [(name, {}) for name in losses.METHODS]  # whole, but for byol, which has no kernel
NAN_IN += [(name, MODES[m]) for name in ("clip", "gca_uot", "iot_uni") for m in ("log", "blocks")]


@pytest.mark.parametrize(("name", "mode"), NAN_IN)
def test_nan_in_is_nan_out(name, mode):
    loss = jax.jit(functools.partial(flagged, name, **mode))
    for view in (0, 1):
        pair = views()
        pair[view][3, 1] = np.nan
        value, flag = loss(*pair)
        assert np.isnan(value), view
        assert flag, view


# Groups of rows and of columns: each its own, pairs, one apart, one; then pairs across groups.
SAME = (np.arange(N), np.arange(N) // 2, np.array([0] * (N - 1) + [1]), np.zeros(N, int))
GROUPS = [(groups, groups) for groups in SAME]
GROUPS += [(np.array([0, 0, 1, 2, 2, 2, 3, 4]), np.array([1, 0, 1, 3, 2, 5, 3, 0]))]


def blocks_in_float64(rows, columns, alpha, beta, layout, z_a, z_b):
    """KL of a block target, summing to 1, to the row projection with uniform rows, pair by pair."""
    if layout == "joint":
        n = len(z_a)
        z_a = z_b = np.concatenate([z_a, z_b])
        rows = columns = np.concatenate([rows, columns])
        partner = (np.arange(2 * n) + n) % (2 * n)
    else:
        partner = np.arange(len(z_a))
    x, y = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in np.float64([z_a, z_b]))
    scores = (x @ y.T - 1) / 0.5
    target = np.where(rows[:, None] == columns[None], float(alpha), float(beta))
    target[np.arange(len(target)), partner] = 1.0
    if layout == "joint":
        np.fill_diagonal(target, 0.0)
        np.fill_diagonal(scores, -np.inf)
    target /= target.sum()
    log_p = np.log(target.sum(1, keepdims=True)) + scores - logsumexp(scores, 1, keepdims=True)
    some = target > 0
    return np.sum(target[some] * (np.log(target[some]) - log_p[some]))


@pytest.mark.parametrize("layout", ["cross", "joint"])
def test_block_targets_of_any_weights_are_right_in_float32(layout):
    @jax.jit
    def single(alpha, beta, rows, columns, pair):
        def loss(pair):
            target = ot.target.blocks(rows, columns, alpha=alpha, beta=beta)
            return losses.ince(*pair, layout=layout, target=target)[0]

        return jax.value_and_grad(loss)(pair)

    pair = views(1)
    for rows, columns in GROUPS:
        for alpha in (0.0, 1.0, 100.0, 1e4, 1e6):
            for beta in (0.0, 1e-3, 1.0, 1e6):
                got, slopes = single(alpha, beta, rows, columns, pair)
                want = blocks_in_float64(rows, columns, alpha, beta, layout, *pair)
                assert abs(got - want) < 1e-5 * max(1.0, abs(want)), (rows, alpha, beta, got, want)
                assert all(np.isfinite(slope).all() for slope in slopes)


@pytest.mark.parametrize("penalise", [False, True])
def test_a_traced_penalty_of_infinity_is_the_hard_constraint_or_not_finite(penalise):
    pair = views()

    @jax.jit
    def soft(penalty, pair):
        return losses.gca_uot(
            *pair, penalty_a=penalty, penalty_b=penalty, penalise_marginals=penalise
        )

    value, aux = soft(math.inf, pair)
    hard, _ = jax.jit(lambda p: losses.gca_uot(*p, penalty_a=math.inf, penalty_b=math.inf))(pair)
    if penalise:  # inf * KL(P1 | mu): no finite number would be right
        assert not np.isfinite(value)
        assert aux["overflow"]
    else:
        np.testing.assert_allclose(value, hard, rtol=1e-6)
        slope = jax.jit(jax.grad(lambda p: soft(math.inf, p)[0]))(pair)
        assert all(np.isfinite(s).all() for s in slope)


@pytest.mark.parametrize(
    ("name", "iterations"), [("gca_rince", 2), ("gca_uot", 1), ("gca_uot", 100), ("iot", 2)]
)
def test_columns_without_mass_beside_equal_embeddings(name, iterations):
    """They enter K v of the first sweep alone, though it moves all others by one number."""
    z, labels = np.ones((N, 3), np.float32), (np.arange(N), np.array([0] + (N - 1) * [-1]))
    words = {"iterations": iterations, "layout": "cross"}
    target = ot.target.classes(*labels)
    value, gradient = value_and_gradient(name, (z, z), target=target, **words)
    want = reference.METHODS[name](z, z, target=reference.classes(*labels), **words)
    np.testing.assert_allclose(value, want, rtol=1e-4, atol=1e-6)
    assert all(np.isfinite(g).all() for g in gradient)


@pytest.mark.parametrize("how", [{}, {"until": 1e-3, "gradient": "implicit"}])
def test_the_gradient_where_a_row_meets_no_mass(how):
    """A view whose one column with mass is itself: K v is 0 there, and so is its cotangent."""
    pair = views(n=2)
    target = np.zeros((4, 4))
    target[0, 1] = 1.0
    for name in ("iot", "iot_uni"):
        slopes = [
            value_and_gradient(name, pair, target=target, **words)[1]
            for words in (how, {"domain": "log"})
        ]
        for got, want in zip(*slopes, strict=True):
            np.testing.assert_allclose(got, want, atol=1e-6)


@pytest.mark.parametrize("none", [0.0, np.zeros(N)])
def test_a_marginal_without_penalty_costs_nothing_where_it_is_zero(none):
    quality = np.where(np.arange(N) % 3, 1.0, 0.0)
    words = {"penalty_a": none, "penalty_b": none, "target": ot.target.weighted(quality)}
    free = value_and_gradient("gca_uot", views(), **words)
    penalised = value_and_gradient("gca_uot", views(), penalise_marginals=True, **words)
    for got, want in zip(jax.tree.leaves(penalised), jax.tree.leaves(free), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-8)


def test_the_scaling_domain_refuses_an_epsilon_that_it_cannot_have():
    pair = views()
    says = r"epsilon must be >= 0.0299 in the scaling domain of float32, got 0.02"
    with pytest.raises(ValueError, match=says):
        losses.gca_ince(*pair, epsilon=0.02, domain="scaling")
    with jax.enable_x64(True):
        double = views(dtype=np.float64)
        value, _ = losses.gca_ince(*double, epsilon=0.02, domain="scaling")
        want, _ = losses.gca_ince(*double, epsilon=0.02, domain="log")
        np.testing.assert_allclose(value, want, rtol=1e-9)


@pytest.mark.parametrize("name", ["ince", "clip", "rince", "gca_uot", "iot_uni"])
def test_a_traced_epsilon_too_small_for_the_scaling_domain_is_flagged(name):
    step = jax.jit(lambda e, a, b: flagged(name, a, b, epsilon=e, domain="scaling"))
    value, flag = step(0.02, *views())
    assert np.isnan(value)
    assert flag
    value, flag = step(0.2, *views())
    assert np.isfinite(value)
    assert not flag


@pytest.mark.parametrize(
    ("name", "groups"),
    [("rince", None), *((name, np.arange(N) // 2) for name in ("rince", "gca_rince", "gca_uot"))],
)
def test_rince_is_finite_or_infinite_and_then_flagged(name, groups):
    words = {"domain": "log"} | ({"w_rince": 1.0} if name == "gca_uot" else {})
    if groups is not None:
        words["target"] = ot.target.blocks(groups, alpha=0.5)

    @jax.jit
    def step(epsilon, lam, pair):
        loss = lambda z: losses.METHODS[name](*z, epsilon=epsilon, lam=lam, q=1.0, **words)  # noqa: E731
        return jax.value_and_grad(loss, has_aux=True)(pair)

    infinite = 0
    for pair in (views(), (views()[0],) * 2):
        for inverse in (20.0, 60.0, 75.0, 79.0, 81.0, 83.0, 85.0, 87.0, 89.0, 92.0, 120.0, 400.0):
            for lam in (0.01, 1.0, 100.0):
                (value, aux), slopes = step(1 / inverse, lam, pair)
                assert not np.isnan(value), (inverse, lam)
                assert bool(aux["overflow"]) == bool(np.isinf(value)), (inverse, lam)
                infinite += bool(np.isinf(value))
                if np.isfinite(value):
                    assert all(np.isfinite(s).all() for s in slopes), (inverse, lam)
    assert infinite or name == "gca_uot"  # whose λ/u stays small


@pytest.mark.parametrize("name", ["byol", "clip", "rince", "gca_uot", "iot_uni"])
def test_float16_embeddings_have_finite_gradients(name):
    for length in (1e-6, 1e-3, 1.0, 1e4):
        pair = tuple((length * z).astype(np.float16) for z in views())
        value, gradient = value_and_gradient(name, pair)
        assert np.isfinite(value), length
        assert all(g.dtype == jnp.float16 and np.isfinite(g).all() for g in gradient), length


@pytest.mark.parametrize("until", [1e-3, 1e-5])
def test_a_converged_plan_of_aligned_views_has_a_gradient(until):
    """The linear system of its implicit derivative is singular up to rounding."""
    z = views(4, n=64)[0]
    converged = {"epsilon": 0.05, "until": until, "gradient": "implicit"}
    _, gradient = value_and_gradient("gca_ince", (z, z), **converged)
    _, unrolled = value_and_gradient("gca_ince", (z, z), epsilon=0.05, iterations=500)
    assert max(np.abs(g).max() for g in unrolled) > 1e-5
    for got, want in zip(gradient, unrolled, strict=True):
        np.testing.assert_allclose(got, want, atol=0.01 * np.abs(want).max())
