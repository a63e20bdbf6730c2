"""Gaussian blur of one image [h, w, c] with values in [0, 1], as torchvision defines it."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

Image = Float[Array, "h w c"]


def kernel_size(side: int, size: int) -> int:
    """Rows of the kernel: `size`, or for 0 a tenth of the image's side, made odd as SimCLR does.

    Raises:
        ValueError: an even kernel, or one that reflection cannot fill.
    """
    size = size or int(0.1 * side) + (int(0.1 * side) + 1) % 2
    if size % 2 == 0 or size // 2 >= side:
        raise ValueError(f"blur_size must be odd and below {2 * side}; got {size}")
    return size


def gaussian_blur(image: Image, size: int, sigma: Array | float) -> Image:
    """Convolve with a Gaussian cut off at `size` rows and columns; the image is mirrored outside.

    Args:
        image: [h, w, c].
        size: odd.
        sigma: in pixels, > 0.
    """
    reach = size // 2
    weights = jnp.exp(-0.5 * ((jnp.arange(size) - reach) / sigma) ** 2)
    weights = weights / weights.sum()
    for axis in (0, 1):
        pad = [(reach, reach) if i == axis else (0, 0) for i in range(3)]
        padded = jnp.pad(image, pad, mode="reflect")
        length = image.shape[axis]
        shifted = [jax.lax.slice_in_dim(padded, i, i + length, axis=axis) for i in range(size)]
        image = functools.reduce(jnp.add, [weights[i] * shifted[i] for i in range(size)])
    return image


def random_blur(
    key: PRNGKeyArray, image: Image, *, probability: float, size: int, sigma: tuple[float, float]
) -> Image:
    """torchvision's GaussianBlur, applied with a probability.

    Args:
        key: random key.
        image: [h, w, c].
        probability: of blurring at all.
        size: rows and columns of the kernel, odd; 0: a tenth of the image's side, made odd.
        sigma: range of the deviation in pixels, uniform.
    """
    draws = jax.random.uniform(key, (2,))
    blurred = gaussian_blur(
        image, kernel_size(image.shape[0], size), sigma[0] + (sigma[1] - sigma[0]) * draws[0]
    )
    return jnp.where(draws[1] < probability, blurred, image)
