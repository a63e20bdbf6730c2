"""Colour of one image [h, w, c] with values in [0, 1], as torchvision defines it.

Everything works plane by plane and without `%`: the usual forms (a dot product over the channel
axis, a floating-point remainder) are ten to fifty times slower on XLA's CPU backend.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

Image = Float[Array, "h w c"]
Plane = Float[Array, "h w"]


def grey(image: Float[Array, "h w 3"]) -> Plane:
    """Luma of an RGB image (ITU-R 601, torchvision's weights)."""
    return 0.2989 * image[..., 0] + 0.587 * image[..., 1] + 0.114 * image[..., 2]


def blend(image: Image, other: Image | Array, factor: Array) -> Image:
    """`factor * image + (1 - factor) * other`, clipped to [0, 1]."""
    return jnp.clip(factor * image + (1 - factor) * other, 0, 1)


def adjust_brightness(image: Image, factor: Array) -> Image:
    """Scale towards black (factor 0) or away from it."""
    return jnp.clip(factor * image, 0, 1)


def adjust_contrast(image: Float[Array, "h w 3"], factor: Array) -> Image:
    """Blend with the image's mean grey value."""
    return blend(image, jnp.mean(grey(image)), factor)


def adjust_saturation(image: Float[Array, "h w 3"], factor: Array) -> Image:
    """Blend with the grey image."""
    return blend(image, grey(image)[..., None], factor)


def adjust_hue(image: Float[Array, "h w 3"], shift: Array) -> Image:
    """Turn the hue by `shift` of a full circle."""
    hue, saturation, value = rgb_to_hsv(image)
    return hsv_to_rgb(hue + shift, saturation, value)


def rgb_to_hsv(image: Float[Array, "h w 3"]) -> tuple[Plane, Plane, Plane]:
    """Hue in [0, 1), saturation and value."""
    red, green, blue = image[..., 0], image[..., 1], image[..., 2]
    value = jnp.maximum(jnp.maximum(red, green), blue)
    chroma = value - jnp.minimum(jnp.minimum(red, green), blue)
    safe = jnp.where(chroma == 0, 1, chroma)
    sector = jnp.where(
        value == red,
        (green - blue) / safe,
        jnp.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    hue = jnp.where(chroma == 0, 0, sector / 6)
    return hue - jnp.floor(hue), chroma / jnp.where(value == 0, 1, value), value


def hsv_to_rgb(hue: Plane, saturation: Plane, value: Plane) -> Float[Array, "h w 3"]:
    """Inverse of `rgb_to_hsv`, for any real hue."""

    def channel(offset):
        turn = hue + offset / 6
        k = 6 * (turn - jnp.floor(turn))
        ramp = jnp.clip(jnp.minimum(k, 4 - k), 0, 1)
        return value * (1 - saturation * ramp)

    return jnp.stack([channel(5), channel(3), channel(1)], axis=-1)


def random_jitter(
    key: PRNGKeyArray,
    image: Float[Array, "h w 3"],
    order: Int[Array, "4"],
    *,
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
    probability: float,
) -> Image:
    """torchvision's ColorJitter, applied with a probability.

    Args:
        key: random key.
        image: RGB in [0, 1].
        order: in which order brightness, contrast, saturation and hue (0 to 3) are changed. Drawn
            once a batch: under `vmap` an order of each image's own would compute every branch.
        brightness: factor is uniform in [max(0, 1 - brightness), 1 + brightness].
        contrast: as brightness.
        saturation: as brightness.
        hue: shift is uniform in +-hue of a full circle.
        probability: of changing this image at all.
    """
    k_factors, k_coin = jax.random.split(key)
    draws = jax.random.uniform(k_factors, (4,))

    def factor(draw, strength):
        low = jnp.maximum(0, 1 - strength)
        return low + draw * (1 + strength - low)

    operations = [
        lambda x: adjust_brightness(x, factor(draws[0], brightness)),
        lambda x: adjust_contrast(x, factor(draws[1], contrast)),
        lambda x: adjust_saturation(x, factor(draws[2], saturation)),
        lambda x: adjust_hue(x, hue * (2 * draws[3] - 1)),
    ]
    changed = image
    for position in range(4):
        changed = jax.lax.switch(order[position], operations, changed)
    return jnp.where(jax.random.bernoulli(k_coin, probability), changed, image)


def random_grey(key: PRNGKeyArray, image: Float[Array, "h w 3"], *, probability: float) -> Image:
    """Replace all three channels by the luma."""
    drained = jnp.broadcast_to(grey(image)[..., None], image.shape)
    return jnp.where(jax.random.bernoulli(key, probability), drained, image)


def solarise(image: Image, threshold: float) -> Image:
    """Invert values at or above the threshold."""
    return jnp.where(image >= threshold, 1 - image, image)


def random_solarise(
    key: PRNGKeyArray, image: Image, *, probability: float, threshold: float
) -> Image:
    """torchvision's RandomSolarize."""
    chosen = jax.random.bernoulli(key, probability)
    return jnp.where(chosen, solarise(image, threshold), image)


def raise_value(key: PRNGKeyArray, image: Float[Array, "h w 3"], *, shift: float) -> Image:
    """Add to the value of HSV, clipped to [0, 1]: the brightness corruption of CIFAR-10-C.

    Args:
        key: unused; nothing is random.
        image: RGB in [0, 1].
        shift: what is added.
    """
    del key
    hue, saturation, value = rgb_to_hsv(image)
    return hsv_to_rgb(hue, saturation, jnp.clip(value + shift, 0, 1))


def random_intensity(key: PRNGKeyArray, image: Image, *, gain: float, gamma: float) -> Image:
    """`clip(g * image, 0, 1) ** e^u`, g uniform in 1 +- gain and u uniform in +-gamma."""
    draws = jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0)
    return jnp.clip((1 + gain * draws[0]) * image, 0, 1) ** jnp.exp(gamma * draws[1])
