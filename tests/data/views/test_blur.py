"""Gaussian blur against a float64 transcription of torchvision's, and its laws."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage, stats

from gca_jax.data.views import color

IMAGE = np.random.default_rng(0).random((12, 15, 3)).astype(np.float32)


def planes(image):
    """From [h, w, c] to [h, c, w], or back."""
    return jnp.asarray(image).swapaxes(-1, -2)


def reference_blur(image, size, sigma):
    """torchvision's gaussian_blur: a sampled, normalised Gaussian over a reflected image."""
    x = np.linspace(-(size - 1) * 0.5, (size - 1) * 0.5, size)
    kernel = np.exp(-0.5 * (x / sigma) ** 2)
    kernel = np.outer(kernel, kernel) / kernel.sum() ** 2
    reach = size // 2
    padded = np.pad(image.astype(float), [(reach, reach), (reach, reach), (0, 0)], mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(0, 1))
    return np.einsum("hwcij,ij->hwc", windows, kernel)


@partial(jax.jit, static_argnames="size")
def blur(image, size, sigma):
    return color.convolve(image, color.gaussian(size, sigma))


@pytest.mark.parametrize(("size", "sigma"), [(1, 0.7), (3, 0.1), (9, 2.0), (21, 0.7)])
def test_blur_is_torchvisions(size, sigma):
    out = planes(blur(planes(IMAGE), size, sigma))
    np.testing.assert_allclose(out, reference_blur(IMAGE, size, sigma), atol=2e-6)


def test_blur_is_scipys_where_nothing_is_cut_off():
    out = planes(blur(planes(IMAGE), 9, 0.8))
    expected = ndimage.gaussian_filter(
        IMAGE.astype(float), (0.8, 0.8, 0), mode="mirror", truncate=5.0
    )
    np.testing.assert_allclose(out, expected, atol=1e-5)


@pytest.mark.parametrize(("side", "size"), [(8, 1), (32, 3), (96, 9), (224, 23)])
def test_kernel_is_a_tenth_of_the_image(side, size):
    # 3 at 32 pixels and 23 at 224 are the paper's, the latter SimCLR's and BYOL's too.
    assert color.kernel_size(side, 0) == size
    assert color.kernel_size(side, 3) == 3


@pytest.mark.parametrize("size", [2, 4, 17])
def test_kernel_that_cannot_be_is_refused(size):
    with pytest.raises(ValueError, match=f"blur_size must be odd and at most 15; got {size}"):
        color.kernel_size(8, size)


def test_blur_follows_its_law():
    # Of a line, a kernel of three keeps 1 / (1 + 2 exp(-1 / (2 sigma^2))): this gives sigma.
    line = np.zeros((5, 5, 1), np.float32)
    line[2] = 1.0
    keys = jax.random.split(jax.random.key(0), 4000)
    random_blur = jax.vmap(
        lambda k: color.random_blur(
            k, planes(line), blur_probability=0.5, blur_size=3, blur_sigma=(0.3, 2.0)
        )
    )
    out = np.asarray(planes(jax.jit(random_blur)(keys)), np.float64)
    kept = out[:, 2, 2, 0]
    blurred = kept < 1
    assert abs(blurred.mean() - 0.5) < 0.032  # four standard deviations
    sigma = np.sqrt(-0.5 / np.log((1 / kept[blurred] - 1) / 2))
    assert stats.kstest(sigma, stats.uniform(0.3, 1.7).cdf).pvalue > 1e-3
