"""Two views of every image, on the device and inside the jitted step."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray, UInt8

from gca_jax.data.views import color, geometry, policies

Batch = Float[Array, "b h w c"]
Chain = tuple[tuple[Callable[..., Array], tuple[tuple[str, Any], ...]], ...]
"""Distortions in order, (function, keywords), with function(key, image [h, c, w]) -> image."""
Images = UInt8[Array | np.ndarray, "b h w c"] | UInt8[Array | np.ndarray, "b 2 h w c"]
NEED_COLOUR = (color.random_jitter, color.random_grey, color.raise_value)


@dataclasses.dataclass(frozen=True, eq=False)
class Augment:
    """An augmentation policy with its strengths and normalisation, made by `make`.

    Attributes:
        distort: (key, images [b, h, w, c] in [0, 1], or [b, 2, h, w, c] if both views are cropped
            already) -> two views of each, in [0, 1].
        mean: See `make`.
        std: See `make`.
        crop: Ranges of area and aspect ratio (width over height) for crops made before `views`;
            None if the policy does not crop.
        supervised: Distortions of images to train a classifier on, and to evaluate it on.
    """

    distort: Callable[[PRNGKeyArray, Float[Array, "..."]], tuple[Batch, Batch]]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop: tuple[geometry.Range, geometry.Range] | None = None
    supervised: tuple[policies.Distortions, policies.Distortions] = ([], [])

    def views(self, key: PRNGKeyArray, images: Images) -> tuple[Batch, Batch]:
        """Make two independent views of each image, or of its two crops; float32, normalised."""
        a, b = self.distort(key, _unit(images))
        return self._normalise(a), self._normalise(b)

    def skipped(self, channels: int) -> list[str]:
        """Name the distortions of views that do not apply to so many channels."""
        _, views = self.distort.args  # type: ignore[attr-defined]
        kept = applicable(views[0], channels)
        return [one.func.__name__ for one in views[0] if one not in kept]

    def plain(self, images: UInt8[Array | np.ndarray, "b h w c"]) -> Batch:
        """Normalise images without augmentation, as float32."""
        return self._normalise(_unit(images))

    def training(self, key: PRNGKeyArray, images: UInt8[Array | np.ndarray, "b h w c"]) -> Batch:
        """Crop, flip and normalise images to train a classifier on."""
        return self._normalise(_distorted(self.supervised[0], key, _unit(images)))

    def evaluation(self, key: PRNGKeyArray, images: UInt8[Array | np.ndarray, "b h w c"]) -> Batch:
        """Normalise images to evaluate a classifier on; extreme policies distort these too."""
        return self._normalise(_distorted(self.supervised[1], key, _unit(images)))

    def _normalise(self, images: Batch) -> Batch:
        channels = images.shape[-1]
        mean, std = np.array(self.mean), np.array(self.std)
        if len({*zip(self.mean, self.std, strict=True)}) == 1:  # for any number of channels
            mean, std = mean[:1], std[:1]
        if len(mean) not in (1, channels):
            raise ValueError(
                f"mean and std have {len(self.mean)} values, the images {channels} channels: give "
                "one for all, or one for each"
            )
        shape = (1, 1, 1, -1)
        return (images - jnp.array(mean).reshape(shape)) / jnp.array(std).reshape(shape)


def make(policy: str, *, mean: Sequence[float], std: Sequence[float], **strengths: Any) -> Augment:
    """Set a policy's strengths.

    Args:
        policy: A key of `policies.POLICIES`.
        mean: Mean of the training images in [0, 1], one for all channels or one for each.
        std: Their standard deviation, likewise.
        **strengths: Strengths to replace in both views; None keeps the policy's own.

    Raises:
        ValueError: An unknown policy, a strength that it does not have, or a value out of range.
    """
    views = policies.with_changes(policy, strengths)
    if len(mean) != len(std) or min(std) <= 0:
        raise ValueError(f"mean and std need a value for each channel, std > 0; got {mean}, {std}")
    known = policies.strengths(views[0])
    crop = (known["crop_scale"], known["crop_ratio"]) if "crop_scale" in known else None
    distort, supervised = partial(_views, policy, views), policies.supervised(policy, views[0])
    return Augment(distort, tuple(mean), tuple(std), crop, supervised)


def _unit(images: Images) -> Float[Array, "..."]:
    return jnp.asarray(images).astype(jnp.float32) / 255


def _views(
    policy: str,
    views: tuple[policies.Distortions, policies.Distortions],
    key: PRNGKeyArray,
    images: Float[Array, "..."],
) -> tuple[Batch, Batch]:
    """Make both views of images [b, h, w, c], or of pairs of crops [b, 2, h, w, c].

    One after the other, which takes half the memory: arrays that fit into the allocator's 32 MB
    (1,024 views of CIFAR's size) are not mapped again in every step.
    """
    cropped = images.ndim == 5
    channels = images.shape[-1]
    if channels == 1 and any(one.func in NEED_COLOUR for one in views[0]):
        raise ValueError(
            f"policy {policy} needs RGB images, got grey ones; for these there are "
            "--config.augment.policy=digits and fashion_mnist"
        )
    planes = _planes(images)
    keys = jax.vmap(lambda k: jax.random.split(k, len(images)))(jax.random.split(key)).T
    # One order for all images: under `vmap`, an order for each would compute every branch.
    order = jax.random.permutation(jax.random.fold_in(key, 2), 4)
    one, other = (
        _each(
            _chain(applicable(distortions, channels), cropped),
            keys[:, view],
            planes[:, view] if cropped else planes,
            order,
        )
        for view, distortions in enumerate(views)
    )
    return one.swapaxes(2, 3), other.swapaxes(2, 3)


def _distorted(distortions: policies.Distortions, key: PRNGKeyArray, images: Batch) -> Batch:
    """Distort each image [h, w, c] once, without jitter."""
    distortions = applicable(distortions, images.shape[-1])
    if not distortions:
        return images
    keys = jax.random.split(key, len(images))
    return _each(_chain(distortions), keys, _planes(images), jnp.arange(4)).swapaxes(2, 3)


def applicable(distortions: policies.Distortions, channels: int) -> policies.Distortions:
    """Drop distortions of colour for images that are neither grey nor RGB."""
    return [one for one in distortions if channels in (1, 3) or one.func not in NEED_COLOUR]


def _planes(images: Float[Array, "*b h w c"]) -> Float[Array, "*b h c w"]:
    """Transpose images so that rows hold one colour plane after the other, in memory too."""
    planes = images.swapaxes(-2, -1)
    rows = planes.reshape(*planes.shape[:-2], -1)
    # Without it the compiler keeps the colours interleaved and reads them with a stride.
    return jax.lax.optimization_barrier(rows).reshape(planes.shape)


def _chain(distortions: policies.Distortions, cropped: bool = False) -> Chain:
    """List the distortions of one image; the flip is part of the crop unless that is made."""
    operations = {one.func: one.keywords for one in distortions}
    if cropped:
        operations.pop(geometry.random_resized_crop, None)
    elif crop := operations.get(geometry.random_resized_crop):
        operations[geometry.random_resized_crop] = crop | operations.pop(geometry.random_flip)
    return tuple((function, tuple(keywords.items())) for function, keywords in operations.items())


@partial(jax.jit, static_argnames="chain")  # traced once for equal views, also of several runs
def _each(
    chain: Chain, keys: Key[Array, "b"], planes: Float[Array, "b h c w"], order: Int[Array, "4"]
) -> Float[Array, "b h c w"]:
    """Make one view of each image, with one order of colour jitter for all."""

    def one(key, image):
        steps = jax.random.split(key, len(chain))
        for step, (function, keywords) in zip(steps, chain, strict=True):
            jittered = {"order": order} if function is color.random_jitter else {}
            image = function(step, image, **dict(keywords), **jittered)
        return image

    return jax.vmap(one)(keys, planes)
