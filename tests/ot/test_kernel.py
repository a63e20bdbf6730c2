"""Embeddings to log-kernel: costs, layouts, excluded pairs, the two options of published runs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ott.geometry import costs

from gca_jax import losses, ot
from tests import reference, toy

LAYOUTS = ("cross", "joint")


def log_kernel(z_a, z_b, epsilon, **kernel):
    return -reference.cost_matrix(z_a, z_b, **kernel) / epsilon


@pytest.mark.parametrize("epsilon", [0.01, 0.5, 10.0])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_cosine_kernel_is_minus_cosine_cost_over_epsilon(layout, epsilon):
    z_a, z_b = toy.batch(0)
    with jax.enable_x64(True):
        kernel = ot.cosine_kernel(z_a, z_b, epsilon=epsilon, layout=layout)
        np.testing.assert_allclose(
            kernel.log_matrix, log_kernel(z_a, z_b, epsilon, layout=layout), rtol=1e-12, atol=1e-12
        )


def test_joint_kernel_is_symmetric_and_excludes_exactly_the_self_pairs():
    z_a, z_b = toy.batch(1, n=4)
    log_matrix = np.asarray(ot.cosine_kernel(z_a, z_b, layout="joint").log_matrix)
    assert log_matrix.shape == (8, 8)
    np.testing.assert_array_equal(np.isneginf(log_matrix), np.eye(8, dtype=bool))
    np.testing.assert_allclose(log_matrix, log_matrix.T, rtol=1e-6)


def test_a_kernel_that_is_an_argument_of_a_compiled_function_keeps_its_cost():
    """OTT-JAX's cosine cost, as an argument itself, would forget that its ridge is 0."""
    z_a, z_b = toy.batch(2)
    with jax.enable_x64(True):
        kernel = ot.cost_kernel(costs.Cosine(0.0), z_a, z_b, epsilon=0.5)
        matrix = jax.jit(lambda kernel: kernel.log_matrix)(kernel)
        np.testing.assert_allclose(matrix, log_kernel(z_a, z_b, 0.5), rtol=1e-12, atol=1e-12)


def test_rectangular_cross_kernel():
    z_a, z_b = toy.batch(2, n=3, m=6)
    kernel = ot.cosine_kernel(z_a, z_b, epsilon=0.5)
    assert tuple(kernel.shape) == (3, 6)
    assert kernel.layout == "cross"
    np.testing.assert_allclose(kernel.log_matrix, log_kernel(z_a, z_b, 0.5), rtol=1e-5, atol=1e-6)


def test_defaults_are_epsilon_one_half_and_cross():
    z_a, z_b = toy.batch(0)
    kernel = ot.cosine_kernel(z_a, z_b)
    assert (float(kernel.epsilon), kernel.layout) == (0.5, "cross")


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_cosine_kernel_does_not_depend_on_lengths(scale):
    z_a, z_b = toy.batch(3)
    np.testing.assert_allclose(
        ot.cosine_kernel(scale * z_a, z_b / scale).log_matrix,
        ot.cosine_kernel(z_a, z_b).log_matrix,
        atol=1e-5,
    )


def test_rows_up_to_the_largest_float_have_numpys_unit_vectors_and_gradient():
    """Up to 2**127 the row's squares, and near it 1 / its largest entry, leave float32."""
    rows, weights = np.random.default_rng(0).uniform(-1, 1, (2, 6, 5))
    lengths = np.array([[1.0], [1e19], [1e36], [1e38], [2e38], [np.finfo(np.float32).max]])
    z = np.float32(lengths * rows / np.abs(rows).max(axis=1, keepdims=True))
    weights = np.float32(lengths * weights)  # large, so that the gradient is no subnormal number
    unit, pullback = jax.vjp(ot.normalize, jnp.asarray(z))
    (gradient,) = pullback(jnp.asarray(weights))
    scaled = np.float64(z) / lengths
    norm = np.linalg.norm(scaled, axis=1, keepdims=True)
    want = scaled / norm
    np.testing.assert_allclose(unit, want, rtol=1e-6)
    weights = np.float64(weights) / lengths
    slope = (weights - want * np.sum(want * weights, axis=1, keepdims=True)) / norm
    np.testing.assert_allclose(gradient, slope, rtol=0, atol=1e-5 * np.abs(slope).max())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_similarity_floor_clamps_similarities_from_below(layout):
    z_a, z_b = toy.batch(4)
    with jax.enable_x64(True):
        got = ot.cosine_kernel(z_a, z_b, epsilon=0.2, layout=layout, similarity_floor=1e-7)
        want = log_kernel(z_a, z_b, 0.2, layout=layout, similarity_floor=1e-7)
        np.testing.assert_allclose(got.log_matrix, want, rtol=1e-12, atol=1e-12)
    finite = want[np.isfinite(want)]
    assert np.isclose(finite, -(1 - 1e-7) / 0.2).any(), "the batch must have a clamped pair"


@pytest.mark.parametrize("floor", [None, 1e-7])
def test_self_pairs_at_the_batches_largest_cost(floor):
    z_a, z_b = toy.batch(5)
    options = {"layout": "joint", "self_pairs": "max_cost", "similarity_floor": floor}
    with jax.enable_x64(True):
        got = np.asarray(ot.cosine_kernel(z_a, z_b, epsilon=0.3, **options).log_matrix)
    np.testing.assert_allclose(got, log_kernel(z_a, z_b, 0.3, **options), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(np.diag(got), got.min())


def test_cost_kernel_of_a_matrix():
    C = np.random.default_rng(0).uniform(0, 2, size=(3, 5))
    kernel = ot.cost_kernel(jnp.asarray(C, jnp.float32), epsilon=0.25)
    assert tuple(kernel.shape) == (3, 5)
    np.testing.assert_allclose(kernel.log_matrix, -C / 0.25, rtol=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_cost_kernel_of_an_ott_cost_takes_embeddings_as_they_are(layout):
    z_a, z_b = toy.batch(6)
    rows, columns = (z_a, z_b) if layout == "cross" else (np.concatenate([z_a, z_b]),) * 2
    C = ((rows[:, None] - columns[None]) ** 2).sum(-1)
    if layout == "joint":
        np.fill_diagonal(C, np.inf)
    with jax.enable_x64(True):
        kernel = ot.cost_kernel(costs.SqEuclidean(), z_a, z_b, epsilon=0.5, layout=layout)
        np.testing.assert_allclose(kernel.log_matrix, -C / 0.5, rtol=1e-10, atol=1e-10)


def test_low_precision_embeddings_are_cast_up():
    z_a, z_b = toy.batch(7)
    for dtype in (jnp.bfloat16, jnp.float16):
        low = [jnp.asarray(z, dtype) for z in (z_a, z_b)]
        log_matrix = ot.cosine_kernel(*low).log_matrix
        assert log_matrix.dtype == jnp.float32
        exact = log_kernel(*(np.asarray(z, np.float64) for z in low), 0.5)
        np.testing.assert_allclose(log_matrix, exact, rtol=1e-5, atol=1e-5)


def square(n=3, m=3, d=2, d_b=2):
    return jnp.ones((n, d)), jnp.ones((m, d_b))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "options", "says"),
    [
        ((jnp.ones(3), jnp.ones((3, 2))), {}, ["z_a", r"\(3,\)"]),
        ((jnp.ones((3, 2)), jnp.ones((3, 2, 1))), {}, ["z_b", r"\(3, 2, 1\)"]),
        (square(d_b=3), {}, ["z_a", "z_b", r"\(3, 2\)", r"\(3, 3\)"]),
        (square(m=4), {"layout": "joint"}, ["z_a", "z_b", r"\(3, 2\)", r"\(4, 2\)"]),
        ((jnp.ones((3, 2), jnp.int32), jnp.ones((3, 2))), {}, ["z_a", "int32"]),
        (square(), {"epsilon": 0.0}, ["epsilon", "0"]),
        (square(), {"epsilon": -1.5}, ["epsilon", r"-1\.5"]),
        (square(), {"epsilon": float("nan")}, ["epsilon", "nan"]),
        (square(), {"layout": "crossed"}, ["layout", "crossed", "cross", "joint"]),
        (
            square(),
            {"layout": "joint", "self_pairs": "drop"},
            ["self_pairs", "drop", "exclude", "max_cost"],
        ),
        (square(), {"self_pairs": "max_cost"}, ["self_pairs", "max_cost", "joint"]),
    ],
)
def test_bad_input_is_refused_naming_the_argument_and_its_value(arguments, options, says):
    with pytest.raises(ValueError, match=says[0]) as error:
        ot.cosine_kernel(*arguments, **options)
    for text in says:
        assert error.match(text)


@pytest.mark.usefixtures("unchecked")
def test_cost_kernel_refuses_what_is_no_cost_matrix():
    with pytest.raises(ValueError, match="cost"):
        ot.cost_kernel(jnp.ones(3))
    with pytest.raises(ValueError, match="epsilon"):
        ot.cost_kernel(jnp.ones((3, 3)), epsilon=-1.0)


@pytest.mark.parametrize(
    ("how", "layout"),
    [
        ({"block_size": 3}, "cross"),
        ({"block_size": 3}, "joint"),
        ({"domain": "scaling"}, "joint"),
        ({"domain": "log"}, "cross"),
    ],
)
def test_products_in_bfloat16_are_those_of_embeddings_rounded_once(how, layout):
    """InfoNCE and its gradient by hand, in float64, of unit embeddings rounded to bfloat16."""
    epsilon, how = 0.1, {**how, "precision": "bfloat16", "layout": layout}
    views = np.random.default_rng(0).normal(size=(2, 8, 5)).astype(np.float32)
    loss = jax.jit(jax.value_and_grad(lambda z: losses.ince(*z, epsilon=epsilon, **how)[0]))

    def by_hand(rounding):
        z = views.astype(np.float64)
        lengths = np.linalg.norm(z, axis=2, keepdims=True)
        unit = z / lengths
        used = unit.astype(np.float32).astype(rounding).astype(np.float64)
        x = y = used.reshape(-1, 5)
        positive = np.arange(16) ^ 8
        if layout == "cross":
            x, y, positive = used[0], used[1], np.arange(8)
        k = np.exp((x @ y.T - 1) / epsilon)
        if layout == "joint":
            np.fill_diagonal(k, 0)
        p, rows = k / k.sum(axis=1, keepdims=True), np.arange(len(x))
        value = -np.log(p[rows, positive]).mean()
        p[rows, positive] -= 1
        weights = p / (len(x) * epsilon)
        of_unit = np.stack([weights @ y, weights.T @ x])
        if layout == "joint":
            of_unit = of_unit.sum(axis=0).reshape(2, 8, 5)
        along = np.sum(of_unit * unit, axis=2, keepdims=True)
        return value, (of_unit - along * unit) / lengths

    value, gradient = loss(views)
    expected, of_views = by_hand(jnp.bfloat16)
    np.testing.assert_allclose(value, expected, rtol=2e-6)
    assert abs(by_hand(np.float32)[0] - expected) > 1e-4 * expected
    error = np.linalg.norm(gradient - of_views) / np.linalg.norm(of_views)
    assert error < 2e-5
