"""Two views of every image, on the device and inside the jitted step.

A policy's name and the strengths that replace its own become two lists of distortions of one image,
one for each view, which run over the batch with `jax.vmap`.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from gca_jax.data.views import blur, color, geometry, policies

Batch = Float[Array, "b h w c"]
Plane = Float[Array, "h c w"]
Images = UInt8[Array, "b h w c"] | UInt8[Array, "b 2 h w c"]
Distort = Callable[[PRNGKeyArray, Float[Array, "..."]], tuple[Batch, Batch]]
Range = tuple[float, float]


def _raise_value(key: PRNGKeyArray, image: Array, *, shift: float) -> Array:
    """The only distortion that draws nothing."""
    del key
    return color.raise_value(image, shift)


# Distortions in the order in which they are applied: a function (key, image, **keywords) -> image
# and, for each of its keywords, the strength that sets it.
OPERATIONS: dict[Callable[..., Array], dict[str, str]] = {
    geometry.random_affine: dict(rotation="rotation", shift="shift", scale="scale", shear="shear"),
    geometry.random_resized_crop: dict(
        scale="crop_scale", ratio="crop_ratio", flip="flip_probability"
    ),
    geometry.random_second_crop: dict(
        probability="recrop_probability", scale="recrop_scale", ratio="crop_ratio"
    ),
    geometry.random_flip: dict(probability="flip_probability"),
    color.random_intensity: dict(gain="gain", gamma="gamma"),
    color.random_jitter: dict(
        probability="jitter_probability",
        brightness="brightness",
        contrast="contrast",
        saturation="saturation",
        hue="hue",
        order="jitter_order",  # drawn for each batch
    ),
    color.random_grey: dict(probability="grey_probability"),
    blur.random_blur: dict(probability="blur_probability", size="blur_size", sigma="blur_sigma"),
    color.random_solarise: dict(probability="solarise_probability", threshold="solarise_threshold"),
    _raise_value: dict(shift="value_shift"),
    geometry.random_crop: dict(side="strong_crop_side"),
    geometry.random_erasing: dict(probability="erase_probability", area="erase_area"),
}
NEED_COLOUR = (color.random_jitter, color.random_grey, _raise_value)


@dataclasses.dataclass(frozen=True, eq=False)
class Augment:
    """A policy with its strengths set; made by `make`.

    Attributes:
        distort: (key, images [b, h, w, c] in [0, 1], or [b, 2, h, w, c] where the crops of both
            views have been made) -> two views of each, in [0, 1].
        mean: mean of the training images in [0, 1], for each channel or one for all.
        std: their standard deviation, likewise.
        crop: range of area and of aspect ratio (width over height) that crops made before
            `views` must have; None where the policy does not crop.
    """

    distort: Distort
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop: tuple[Range, Range] | None = None

    def views(self, key: PRNGKeyArray, images: Images) -> tuple[Batch, Batch]:
        """Two independent views of each image, float32 and normalised.

        Args:
            key: random key.
            images: [b, h, w, c], or [b, 2, h, w, c]: two random crops of each, already made.
        """
        a, b = self.distort(key, _unit(images))
        return self._normalise(a), self._normalise(b)

    def plain(self, images: UInt8[Array, "b h w c"]) -> Batch:
        """The images themselves, float32 and normalised."""
        return self._normalise(_unit(images))

    def _normalise(self, images: Batch) -> Batch:
        if len(self.mean) not in (1, images.shape[-1]):
            raise ValueError(
                f"mean and std have {len(self.mean)} values, the images {images.shape[-1]} channels"
            )
        shape = (1, 1, 1, -1)
        return (images - jnp.array(self.mean).reshape(shape)) / jnp.array(self.std).reshape(shape)


def make(
    policy: str, *, mean: tuple[float, ...], std: tuple[float, ...], **strengths: Any
) -> Augment:
    """Set a policy's strengths.

    Args:
        policy: a key of `policies.POLICIES`.
        mean: mean of the training images in [0, 1], for each channel or one for all.
        std: their standard deviation, likewise.
        **strengths: strengths of the policy to replace in both views; None: the policy's own.

    Raises:
        ValueError: an unknown policy, a strength that the policy does not have, or a bad value.
    """
    a, b = policies.with_changes(policy, strengths)
    if len(mean) != len(std) or min(std) <= 0:
        raise ValueError(f"mean and std need a value for each channel, std > 0; got {mean}, {std}")
    crop = (a["crop_scale"], a["crop_ratio"]) if "crop_scale" in a else None
    return Augment(partial(_views, policy, a, b), tuple(mean), tuple(std), crop)


def _unit(images: Images) -> Float[Array, "..."]:
    return images.astype(jnp.float32) / 255


def _views(
    policy: str,
    a: policies.Strengths,
    b: policies.Strengths,
    key: PRNGKeyArray,
    images: Float[Array, "..."],
) -> tuple[Batch, Batch]:
    """Both views of images [b, h, w, c], or of pairs of crops [b, 2, h, w, c].

    One after the other, which takes half the memory: what fits into the allocator's 32 MB (1,024
    views of CIFAR's size) is not mapped anew in every step.
    """
    cropped = images.ndim == 5
    channels = images.shape[-1]
    if channels != 3 and any(operation in NEED_COLOUR for operation in _operations(a, cropped)):
        raise ValueError(
            f"policy {policy} needs RGB images, got {channels} channel(s); for these there are "
            "--config.augment.policy=digits and fashion_mnist"
        )
    planes = _planes(images)
    keys = jax.vmap(lambda k: jax.random.split(k, len(images)))(jax.random.split(key)).T
    # One order for both views: under `vmap` an order of each image would compute every branch.
    order = jax.random.permutation(jax.random.fold_in(key, 2), 4)
    one, other = (
        jax.vmap(_distortion(strengths, cropped, order))(
            keys[:, view], planes[:, view] if cropped else planes
        )
        for view, strengths in enumerate((a, b))
    )
    return one.swapaxes(2, 3), other.swapaxes(2, 3)


def _planes(images: Float[Array, "*b h w c"]) -> Float[Array, "*b h c w"]:
    """Images whose rows hold one colour plane after the other, in memory too."""
    planes = images.swapaxes(-2, -1)
    rows = planes.reshape(*planes.shape[:-2], -1)
    # The compiler would rather keep the colours interleaved and read them with a stride.
    return jax.lax.optimization_barrier(rows).reshape(planes.shape)


def _operations(strengths: policies.Strengths, cropped: bool) -> list[Callable[..., Array]]:
    """Distortions that the strengths ask for, in order; none that the crops made before replace."""
    there = {*strengths, "jitter_order"}
    asked = [o for o, keywords in OPERATIONS.items() if there.issuperset(keywords.values())]
    crop = geometry.random_resized_crop
    # The resized crop mirrors as well.
    done = geometry.random_flip if crop in asked and not cropped else crop
    return [operation for operation in asked if operation is not done]


def _distortion(
    strengths: policies.Strengths, cropped: bool, order: Int[Array, "4"]
) -> Callable[[PRNGKeyArray, Plane], Plane]:
    """One view of one image, as a function of a key and the image."""
    values = {**strengths, "jitter_order": order}
    operations = [
        partial(operation, **{k: values[name] for k, name in OPERATIONS[operation].items()})
        for operation in _operations(strengths, cropped)
    ]

    def one(key, image):
        for step, operation in zip(jax.random.split(key, len(operations)), operations, strict=True):
            image = operation(step, image)
        return image

    return one
