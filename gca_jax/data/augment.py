"""Two views of every image, on the device and inside the jitted step.

A policy is a row of `POLICIES`: a function that distorts a batch in [0, 1], with its strengths as
keyword arguments, and the mean and deviation that views and plain images are normalised with.
"""

import dataclasses
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from gca_jax.data import color, geometry

Batch = Float[Array, "b h w c"]


@dataclasses.dataclass(frozen=True)
class Augment:
    """A policy with its strengths set; made by `make`.

    Attributes:
        distort: (key, images in [0, 1]) -> one view of each, in [0, 1].
        mean: of the data set's training images, for each channel.
        std: deviation, likewise.
    """

    distort: Callable[[PRNGKeyArray, Batch], Batch]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def views(self, key: PRNGKeyArray, images: UInt8[Array, "b h w c"]) -> tuple[Batch, Batch]:
        """Two independent views of each image, float32 and normalised."""
        unit = _unit(images)
        # A loop over the two views compiles the policy once instead of twice.
        both = jax.lax.map(lambda k: self.distort(k, unit), jax.random.split(key))
        return self._normalise(both[0]), self._normalise(both[1])

    def plain(self, images: UInt8[Array, "b h w c"]) -> Batch:
        """The images themselves, float32 and normalised."""
        return self._normalise(_unit(images))

    def _normalise(self, images: Batch) -> Batch:
        shape = (1, 1, 1, -1)
        return (images - jnp.array(self.mean).reshape(shape)) / jnp.array(self.std).reshape(shape)


def _unit(images: UInt8[Array, "b h w c"]) -> Batch:
    return images.astype(jnp.float32) / 255


def digits(
    key: PRNGKeyArray,
    images: Batch,
    *,
    rotation: float = 20.0,
    shift: float = 1.5,
    scale: float = 0.25,
    shear: float = 0.2,
    gain: float = 0.4,
    gamma: float = 0.4,
    erase_probability: float = 0.5,
    erase_area: tuple[float, float] = (0.03, 0.15),
) -> Batch:
    """Views of handwriting: affine map, gain and gamma, erasing; no flips, a mirrored 2 is no 2.

    Args:
        key: random key.
        images: [b, h, w, c] in [0, 1].
        rotation: degrees, either way.
        shift: pixels, either way on each axis.
        scale: of e^+-scale.
        shear: either way.
        gain: of 1 +- gain.
        gamma: of e^+-gamma, an exponent.
        erase_probability: of blackening one rectangle.
        erase_area: range of its area, as a part of the image's.
    """

    def one(key, image):
        k_affine, k_intensity, k_erase = jax.random.split(key, 3)
        image = geometry.random_affine(
            k_affine, image, rotation=rotation, shift=shift, scale=scale, shear=shear
        )
        image = color.random_intensity(k_intensity, image, gain=gain, gamma=gamma)
        return geometry.random_erasing(
            k_erase, image, probability=erase_probability, area=erase_area
        )

    return jax.vmap(one)(jax.random.split(key, len(images)), images)


def cifar(
    key: PRNGKeyArray,
    images: Float[Array, "b h w 3"],
    *,
    crop_scale: tuple[float, float] = (0.08, 1.0),
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3),
    flip_probability: float = 0.5,
    jitter_probability: float = 0.8,
    brightness: float = 0.4,
    contrast: float = 0.4,
    saturation: float = 0.4,
    hue: float = 0.1,
    grey_probability: float = 0.2,
) -> Batch:
    """The paper's views of CIFAR: random resized crop, flip, colour jitter, grey (torchvision's).

    Args:
        key: random key.
        images: [b, h, w, 3] in [0, 1].
        crop_scale: range of the crop's area, as a part of the image's.
        crop_ratio: range of its width over its height.
        flip_probability: of mirroring.
        jitter_probability: of changing the colours at all.
        brightness: of factors within 1 +- brightness.
        contrast: likewise.
        saturation: likewise.
        hue: of shifts within +-hue of a circle.
        grey_probability: of dropping all colour.

    Raises:
        ValueError: images that are not RGB.
    """
    if images.shape[-1] != 3:
        raise ValueError(f"policy cifar needs RGB images, got shape {images.shape}")
    k_order, k_images = jax.random.split(key)
    order = jax.random.permutation(k_order, 4)

    def one(key, image):
        k_crop, k_flip, k_jitter, k_grey = jax.random.split(key, 4)
        image = geometry.random_resized_crop(k_crop, image, scale=crop_scale, ratio=crop_ratio)
        image = geometry.random_flip(k_flip, image, probability=flip_probability)
        image = color.random_jitter(
            k_jitter,
            image,
            order,
            brightness=brightness,
            contrast=contrast,
            saturation=saturation,
            hue=hue,
            probability=jitter_probability,
        )
        return color.random_grey(k_grey, image, probability=grey_probability)

    return jax.vmap(one)(jax.random.split(k_images, len(images)), images)


POLICIES: dict[str, tuple[Callable[..., Batch], tuple[float, ...], tuple[float, ...]]] = {
    "digits": (digits, (0.3054,), (0.3760,)),
    "cifar": (cifar, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
}


def make(policy: str, **strengths) -> Augment:
    """Set a policy's strengths.

    Args:
        policy: a key of `POLICIES`.
        **strengths: keyword arguments of that policy's function; the rest keep their defaults.

    Raises:
        ValueError: an unknown policy.
        TypeError: a strength that the policy does not have.
    """
    if policy not in POLICIES:
        raise ValueError(f"unknown policy {policy!r}; one of: {', '.join(POLICIES)}")
    distort, mean, std = POLICIES[policy]
    return Augment(partial(distort, **strengths), mean, std)
