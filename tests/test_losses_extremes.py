"""What is not finite stays visible; what is large or small, but finite, is right."""

import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gca_jax import losses, ot
from tests import toy

N = 8
MODES = {
    "log": {"domain": "log"},
    "whole": {"domain": "scaling"},
    "blocks": {"domain": "scaling", "block_size": 3},
}


def views(seed=0, n=N, dtype=np.float32):
    return tuple(z.astype(dtype) for z in toy.batch(seed, n=n))


def value_and_gradient(name, pair, **words):
    step = jax.value_and_grad(lambda z: losses.METHODS[name](*z, **words), has_aux=True)
    (value, aux), gradient = jax.jit(step)(pair)
    return value, aux, gradient


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_is_normalised_to_nan_and_a_zero_row_to_zero(bad):
    z = np.array([[1.0, 2.0], [bad, 1.0], [0.0, 0.0]], np.float32)
    unit = np.asarray(ot.normalize(jnp.asarray(z)))
    assert np.isfinite(unit[[0, 2]]).all()
    assert np.isnan(unit[1]).any()


@pytest.mark.parametrize("mode", [*MODES, "byol"])
@pytest.mark.parametrize("view", [0, 1])
def test_nan_in_is_nan_out(mode, view):
    for name in ["byol"] if mode == "byol" else [m for m in losses.METHODS if m != "byol"]:
        pair = views()
        pair[view][3, 1] = np.nan
        value, aux = losses_of(name, pair, MODES.get(mode, {}))
        assert np.isnan(value), name
        assert aux.get("overflow", True), name


def losses_of(name, pair, words):
    return jax.jit(lambda a, b: losses.METHODS[name](a, b, **words))(*pair)


GROUPS = {
    "each its own": np.arange(N),
    "pairs": np.arange(N) // 2,
    "one apart": np.array([0] * (N - 1) + [1]),
    "one": np.zeros(N, int),
}


@pytest.mark.parametrize("layout", ["cross", "joint"])
@pytest.mark.parametrize("groups", GROUPS)
def test_block_targets_of_any_weights_are_right_in_float32(groups, layout):
    """Against the target's matrix and logarithms of sums in float64."""
    labels, pair = GROUPS[groups], views(1)
    single = jax.jit(lambda *z, **w: loss_of_blocks(labels, layout, *z, **w))
    for alpha in (0.0, 1.0, 100.0, 1e4, 1e6):
        for beta in (0.0, 1e-3, 1.0, 1e6):
            got, slope = single(alpha, beta, pair)
            with jax.enable_x64(True):
                z = tuple(jnp.asarray(z, jnp.float64) for z in pair)
                target = ot.target.blocks(labels, alpha=alpha, beta=beta).with_layout(layout)
                want = losses.ince(*z, layout=layout, target=target.matrix, domain="log")[0]
                want = float(want)
            assert abs(got - want) < 1e-5 * max(1.0, abs(want)), (alpha, beta, got, want)
            assert np.isfinite(slope).all()


def loss_of_blocks(labels, layout, alpha, beta, pair):
    def loss(pair):
        target = ot.target.blocks(labels, alpha=alpha, beta=beta)
        return losses.ince(*pair, layout=layout, target=target)[0]

    value, slopes = jax.value_and_grad(loss)(pair)
    return value, jnp.stack(slopes)


def test_a_block_target_of_other_columns_is_right_in_float32():
    """Positive pairs across groups, and columns without a row."""
    rows, columns = np.array([0, 0, 1, 2]), np.array([1, 0, 1, 3, 3, 0])
    pair = (views(2)[0][:4], views(3)[0][:6])
    for alpha, beta in ((1e6, 0.0), (0.0, 1e6), (1e6, 1e6), (1e4, 1e-3)):
        words = {"marginals": "uniform"}
        target = ot.target.blocks(rows, columns, alpha=alpha, beta=beta)
        got = losses.ince(*pair, target=target, **words)[0]
        with jax.enable_x64(True):
            target = ot.target.blocks(rows, columns, alpha=alpha, beta=beta).matrix
            z = tuple(jnp.asarray(z, jnp.float64) for z in pair)
            want = float(losses.ince(*z, target=target, domain="log", **words)[0])
        assert abs(got - want) < 1e-5 * max(1.0, abs(want))


@pytest.mark.parametrize("penalise", [False, True])
def test_a_traced_penalty_of_infinity_is_the_hard_constraint_or_not_finite(penalise):
    pair = views()

    @jax.jit
    def soft(penalty, pair):
        return losses.gca_uot(
            *pair, penalty_a=penalty, penalty_b=penalty, penalise_marginals=penalise
        )

    value, aux = soft(math.inf, pair)
    hard, _ = losses.gca_uot(*pair, penalty_a=math.inf, penalty_b=math.inf)
    if penalise:  # inf * KL(P1 | mu): no finite number would be right
        assert not np.isfinite(value)
        assert aux["overflow"]
    else:
        np.testing.assert_allclose(value, hard, rtol=1e-6)
        slope = jax.grad(lambda p: soft(math.inf, p)[0])(pair)
        assert all(np.isfinite(s).all() for s in slope)


def test_the_scaling_domain_refuses_an_epsilon_that_it_cannot_have():
    pair = views()
    says = r"epsilon must be >= 0.03 in the scaling domain of float32, got 0.02"
    with pytest.raises(ValueError, match=says):
        losses.gca_ince(*pair, epsilon=0.02, domain="scaling")
    with jax.enable_x64(True):
        double = views(dtype=np.float64)
        value, _ = losses.gca_ince(*double, epsilon=0.02, domain="scaling")
        want, _ = losses.gca_ince(*double, epsilon=0.02, domain="log")
        np.testing.assert_allclose(value, want, rtol=1e-9)


@pytest.mark.parametrize("name", [name for name in losses.METHODS if name != "byol"])
def test_a_traced_epsilon_too_small_for_the_scaling_domain_is_flagged(name):
    step = jax.jit(lambda e, a, b: losses.METHODS[name](a, b, epsilon=e, domain="scaling"))
    value, aux = step(0.02, *views())
    assert np.isnan(value)
    assert aux["overflow"]
    value, aux = step(0.2, *views())
    assert np.isfinite(value)
    assert not aux["overflow"]


@pytest.mark.parametrize("name", ["rince", "gca_rince", "gca_uot"])
@pytest.mark.parametrize("layout", ["cross", "joint"])
def test_rince_is_finite_or_infinite_and_then_flagged(name, layout):
    words = {"layout": layout} | ({"w_rince": 1.0} if name == "gca_uot" else {})
    aligned = (views()[0],) * 2
    infinite = 0
    for pair in (views(), aligned):
        for inverse in (20, 60, 75, 79, 81, 83, 85, 87, 89, 92, 120, 400):
            for lam in (0.01, 1.0, 100.0):
                more = {"epsilon": 1 / inverse, "q": 1.0, "lam": lam, "domain": "log"}
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", RuntimeWarning)
                    value, aux = losses.METHODS[name](*pair, **words, **more)
                assert not np.isnan(value), more
                assert bool(aux["overflow"]) == bool(np.isinf(value)), more
                infinite += bool(np.isinf(value))
                if inverse <= 60 and np.isfinite(value):
                    slope = jax.grad(lambda p: losses.METHODS[name](*p, **words, **more)[0])(pair)  # noqa: B023
                    assert all(np.isfinite(s).all() for s in slope), more
    assert infinite or name == "gca_uot"  # whose λ/u stays small


@pytest.mark.parametrize("length", [1e-6, 1e-3, 1.0, 1e4])
def test_float16_embeddings_have_finite_gradients(length):
    for name in losses.METHODS:
        pair = tuple((length * z).astype(np.float16) for z in views())
        value, _, gradient = value_and_gradient(name, pair)
        assert np.isfinite(value), name
        assert all(g.dtype == jnp.float16 and np.isfinite(g).all() for g in gradient), name


@pytest.mark.parametrize("until", [1e-3, 1e-5])
def test_a_converged_plan_of_aligned_views_has_a_gradient(until):
    """The linear system of its implicit derivative is singular up to rounding."""
    z = views(4, n=64)[0]
    converged = {"epsilon": 0.05, "until": until, "gradient": "implicit"}
    _, _, gradient = value_and_gradient("gca_ince", (z, z), **converged)
    _, _, unrolled = value_and_gradient("gca_ince", (z, z), epsilon=0.05, iterations=500)
    assert max(np.abs(g).max() for g in unrolled) > 1e-5
    for got, want in zip(gradient, unrolled, strict=True):
        np.testing.assert_allclose(got, want, atol=0.01 * np.abs(want).max())
