"""Colour and blur of one image [h, c, w] with values in [0, 1], as torchvision defines them.

Each row of an image holds its colour planes one after the other. Everything works on whole planes
and without `%`: on XLA's CPU backend the usual forms (a dot product over the last axis of an
[h, w, c] image, a floating-point remainder) are ten to fifty times slower.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

Image = Float[Array, "h c w"]
RGB = Float[Array, "h 3 w"]
Plane = Float[Array, "h w"]

LUMA = (0.2989, 0.587, 0.114)


def grey(image: RGB) -> Plane:
    """Compute the luma of an RGB image (ITU-R 601, torchvision's weights)."""
    return LUMA[0] * image[:, 0] + LUMA[1] * image[:, 1] + LUMA[2] * image[:, 2]


def mean_grey(image: RGB) -> Float[Array, ""]:
    """Compute the mean luma, as one dot product with the whole image."""
    height, _, width = image.shape
    weights = np.tile(np.repeat(np.array(LUMA, np.float32), width), height) / (height * width)
    return jnp.dot(image.reshape(-1), weights, precision="highest")


def blend(image: Image, other: Array, factor: Array | float) -> Image:
    """Compute `factor * image + (1 - factor) * other`, clipped to [0, 1]."""
    return jnp.clip(factor * image + (1 - factor) * other, 0, 1)


def adjust_brightness(image: Image, factor: Array | float) -> Image:
    """Scale towards black (factor 0) or away from it."""
    return jnp.clip(factor * image, 0, 1)


def adjust_contrast(image: RGB, factor: Array | float) -> RGB:
    """Blend with the image's mean grey value."""
    return blend(image, mean_grey(image), factor)


def adjust_saturation(image: RGB, factor: Array | float) -> RGB:
    """Blend with the grey image."""
    return blend(image, grey(image)[:, None, :], factor)


def adjust_hue(image: RGB, shift: Array | float) -> RGB:
    """Rotate the hue by `shift` of a full circle."""
    hue, chroma, value = hue_chroma_value(image)
    return to_rgb(hue + 6 * shift, chroma, value)


def raise_value(key: PRNGKeyArray, image: RGB, *, value_shift: float) -> RGB:
    """Add to the value of HSV, clipped to [0, 1]; hue and saturation stay. Not random."""
    del key
    hue, chroma, value = hue_chroma_value(image)
    raised = jnp.clip(value + value_shift, 0, 1)
    # A black image has no saturation: what is added to it is grey.
    return to_rgb(hue, chroma * (raised / jnp.where(value == 0, 1, value)), raised)


def hue_chroma_value(image: RGB) -> tuple[Plane, Plane, Plane]:
    """Convert to HSV: hue in sixths of the circle in [-1, 5), saturation times value, value."""
    red, green, blue = image[:, 0], image[:, 1], image[:, 2]
    value = jnp.maximum(jnp.maximum(red, green), blue)
    chroma = value - jnp.minimum(jnp.minimum(red, green), blue)
    from_red, from_green = value == red, value == green
    difference = jnp.where(from_red, green - blue, jnp.where(from_green, blue - red, red - green))
    sector = jnp.where(from_red, 0.0, jnp.where(from_green, 2.0, 4.0))
    return sector + difference / jnp.where(chroma == 0, 1, chroma), chroma, value


def to_rgb(hue: Plane, chroma: Plane, value: Plane) -> RGB:
    """Convert back from `hue_chroma_value`, for any real hue."""
    # Foley and van Dam: a channel is the value minus a part of the chroma that rises and falls
    # along the circle; red, green and blue are a third of the circle apart.
    turn = (hue[:, None, :] + np.array([5, 3, 1], np.float32)[None, :, None]) / 6
    k = 6 * (turn - jnp.floor(turn))
    return value[:, None, :] - chroma[:, None, :] * jnp.clip(jnp.minimum(k, 4 - k), 0, 1)


def random_jitter(
    key: PRNGKeyArray,
    image: RGB,
    *,
    jitter_probability: float,
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
    order: Int[Array, "4"],
) -> RGB:
    """Apply torchvision's ColorJitter with a probability.

    Factors are uniform in [max(0, 1 - strength), 1 + strength], the hue's shift in +-hue of a full
    circle. `order` is a permutation of brightness, contrast, saturation and hue (0 to 3), drawn
    once a batch: under `vmap`, an order for each image would compute every branch.
    """
    draws = jax.random.uniform(key, (5,))
    chosen = draws[4] < jitter_probability

    def factor(draw, strength):
        low = max(0.0, 1 - strength)
        return jnp.where(chosen, low + draw * (1 + strength - low), 1)

    operations = [
        lambda x: adjust_brightness(x, factor(draws[0], brightness)),
        lambda x: adjust_contrast(x, factor(draws[1], contrast)),
        lambda x: adjust_saturation(x, factor(draws[2], saturation)),
        lambda x: adjust_hue(x, jnp.where(chosen, hue * (2 * draws[3] - 1), 0)),
    ]
    for position in range(4):
        image = jax.lax.switch(order[position], operations, image)
    return image


def random_grey(key: PRNGKeyArray, image: RGB, *, grey_probability: float) -> RGB:
    """Replace all three channels by the luma, with a probability."""
    return jnp.where(jax.random.uniform(key) < grey_probability, grey(image)[:, None, :], image)


def random_solarise(
    key: PRNGKeyArray, image: Image, *, solarise_probability: float, solarise_threshold: float
) -> Image:
    """Invert values at or above the threshold, as torchvision's RandomSolarize."""
    chosen = jax.random.uniform(key) < solarise_probability
    return jnp.where(chosen & (image >= solarise_threshold), 1 - image, image)


def random_intensity(key: PRNGKeyArray, image: Image, *, gain: float, gamma: float) -> Image:
    """Compute `clip(g * image, 0, 1) ** e^u`, g uniform in 1 +- gain and u in +-gamma."""
    draws = jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0)
    return jnp.clip((1 + gain * draws[0]) * image, 0, 1) ** jnp.exp(gamma * draws[1])


def random_blur(
    key: PRNGKeyArray,
    image: Image,
    *,
    blur_probability: float,
    blur_size: int,
    blur_sigma: tuple[float, float],
) -> Image:
    """Apply torchvision's GaussianBlur with a probability.

    The kernel has `blur_size` rows and columns, an odd number, or a tenth of the image's side if
    0. Its standard deviation in pixels is uniform in `blur_sigma`.
    """
    draws = jax.random.uniform(key, (2,))
    size = kernel_size(min(image.shape[0], image.shape[2]), blur_size)
    low, high = blur_sigma
    weights = gaussian(size, low + (high - low) * draws[0])
    identity = jnp.arange(size) == size // 2
    return convolve(image, jnp.where(draws[1] < blur_probability, weights, identity))


def kernel_size(side: int, size: int) -> int:
    """Return the kernel's size: `size`, or for 0 a tenth of the side, made odd as SimCLR does."""
    size = size or int(0.1 * side) // 2 * 2 + 1
    if size % 2 == 0 or size // 2 >= side:
        raise ValueError(f"blur_size must be odd and at most {2 * side - 1}; got {size}")
    return size


def gaussian(size: int, sigma: Array | float) -> Float[Array, "k"]:
    """Compute normalised Gaussian weights of an odd size, standard deviation `sigma` pixels."""
    weights = jnp.exp(-0.5 * ((jnp.arange(size) - size // 2) / sigma) ** 2)
    return weights / weights.sum()


def convolve(image: Image, weights: Float[Array, "k"]) -> Image:
    """Convolve columns and rows with an odd number of weights, reflecting at the borders."""
    height, _, width = image.shape
    rows = image.reshape(-1, width)
    half = jnp.dot(rows, band(width, weights).T, precision="highest").reshape(height, -1)
    return jnp.dot(band(height, weights), half, precision="highest").reshape(image.shape)


def band(side: int, weights: Float[Array, "k"]) -> Float[Array, "side side"]:
    """Make the matrix of a convolution with reflection, row p with the weights around column p."""
    size = len(weights)
    column = np.abs(np.arange(side)[:, None] + np.arange(size) - size // 2)
    column = np.where(column < side, column, 2 * (side - 1) - column)
    places = np.float32(column[:, :, None] == np.arange(side))  # [row, weight, column]
    return jnp.einsum("i,piq->pq", weights, places, precision="highest")
