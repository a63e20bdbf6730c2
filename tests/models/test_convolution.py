"""Convolutions with a kernel gradient of their own against Flax's, and against sums by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from gca_jax.models import convolution, resnet


@pytest.mark.slow
@pytest.mark.parametrize(
    ("side", "window", "stride"), [(6, 3, 1), (7, 3, 2), (6, 3, 2), (5, 1, 2), (4, 1, 1), (9, 7, 2)]
)
def test_value_and_gradients_are_those_of_flax(side, window, stride):
    """Over groups side by side too, as `train.batch_norm_groups` has them."""
    x = jax.random.normal(jax.random.key(0), (2, 3, side, side, 16))
    ours = resnet.conv(5, window, stride, "conv")
    flax = nn.Conv(5, (window, window), stride, window // 2, use_bias=False)
    variables = flax.init(jax.random.key(1), x[0])
    found = []
    for module in (ours, flax):
        apply = jax.vmap(module.apply, (None, 0))
        y, pull = jax.vjp(apply, variables, x)
        found.append((y, *pull(jnp.cos(y))))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), *found)


def test_the_gradient_of_the_kernel_is_the_sum_of_products():
    rng = np.random.default_rng(0)
    x, g = rng.normal(size=(2, 5, 6, 3)), rng.normal(size=(2, 3, 3, 4))
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = np.zeros((3, 3, 3, 4))
    for i, j, h, w in np.ndindex(3, 3, 3, 3):
        expected[i, j] += padded[:, 2 * h + i, 2 * w + j].T @ g[:, h, w]
    arguments = jnp.asarray(x, jnp.float32), jnp.asarray(g, jnp.float32)
    found = convolution.ct_kernel(*arguments, (3, 3), (2, 2), ((1, 1), (1, 1)))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_images_are_convolved_in_several_chunks_too(monkeypatch):
    x, g = jax.random.normal(jax.random.key(0), (2, 6, 4, 4, 3))
    arguments = x, g, (3, 3), (1, 1), ((1, 1), (1, 1))
    whole = convolution.ct_kernel(*arguments)
    monkeypatch.setattr(convolution, "AT_ONCE", 2 * 4 * 4 * 9 * 3)
    jaxpr = jax.make_jaxpr(lambda x, g: convolution.ct_kernel(x, g, *arguments[2:]))(x, g)
    assert "length=3" in str(jaxpr)
    np.testing.assert_allclose(convolution.ct_kernel(*arguments), whole, rtol=1e-4, atol=1e-5)


def test_accelerators_keep_the_compiler_s_convolutions():
    def gradient(kernel, x):
        how = dict(dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return jax.grad(
            lambda kernel: convolution.convolve(x, kernel, (1, 1), ((1, 1), (1, 1)), **how).sum()
        )(kernel)

    shapes = jnp.zeros((3, 3, 16, 4)), jnp.zeros((2, 8, 8, 16))
    products = {}
    for platform in ("cpu", "cuda", "tpu"):
        exported = jax.export.export(jax.jit(gradient), platforms=[platform])(*shapes)
        products[platform] = exported.mlir_module().count("stablehlo.dot_general")
    assert products == {"cpu": 1, "cuda": 0, "tpu": 0}
