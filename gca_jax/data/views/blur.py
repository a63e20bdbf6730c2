"""Gaussian blur of one image [h, c, w] with values in [0, 1], as torchvision defines it."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

Image = Float[Array, "h c w"]


def random_blur(
    key: PRNGKeyArray,
    image: Image,
    *,
    blur_probability: float,
    blur_size: int,
    blur_sigma: tuple[float, float],
) -> Image:
    """torchvision's GaussianBlur, applied with a probability.

    The kernel has `blur_size` rows and columns, an odd number, or 0: a tenth of the image's side.
    Its deviation in pixels is uniform in `blur_sigma`.
    """
    draws = jax.random.uniform(key, (2,))
    size = kernel_size(min(image.shape[0], image.shape[2]), blur_size)
    low, high = blur_sigma
    weights = gaussian(size, low + (high - low) * draws[0])
    untouched = jnp.arange(size) == size // 2
    return convolve(image, jnp.where(draws[1] < blur_probability, weights, untouched))


def kernel_size(side: int, size: int) -> int:
    """Rows of the kernel: `size`, or for 0 a tenth of the image's side, made odd as SimCLR does."""
    size = size or int(0.1 * side) // 2 * 2 + 1
    if size % 2 == 0 or size // 2 >= side:
        raise ValueError(f"blur_size must be odd and at most {2 * side - 1}; got {size}")
    return size


def gaussian(size: int, sigma: Array | float) -> Float[Array, "k"]:
    """Weights of a Gaussian of deviation `sigma` pixels, cut off at an odd size and normalised."""
    weights = jnp.exp(-0.5 * ((jnp.arange(size) - size // 2) / sigma) ** 2)
    return weights / weights.sum()


def convolve(image: Image, weights: Float[Array, "k"]) -> Image:
    """Convolve columns and rows with an odd number of weights; outside, the image is mirrored."""
    height, _, width = image.shape
    rows = image.reshape(-1, width)
    half = jnp.dot(rows, band(width, weights).T, precision="highest").reshape(height, -1)
    return jnp.dot(band(height, weights), half, precision="highest").reshape(image.shape)


def band(side: int, weights: Float[Array, "k"]) -> Float[Array, "side side"]:
    """The matrix of a convolution with reflection: row p has the weights around column p."""
    size = len(weights)
    column = np.abs(np.arange(side)[:, None] + np.arange(size) - size // 2)
    column = np.where(column < side, column, 2 * (side - 1) - column)
    places = np.float32(column[:, :, None] == np.arange(side))  # [row, weight, column]
    return jnp.einsum("i,piq->pq", weights, places, precision="highest")
