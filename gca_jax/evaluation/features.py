"""From images to features: frozen encoders in batches, and raw pixels."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, TypeAlias

import jax
import numpy as np
from jaxtyping import Array, Float, UInt8

from gca_jax.data.dataset import Images

Variables: TypeAlias = Mapping[str, Any]
Prepare: TypeAlias = Callable[[UInt8[Array, "b h w c"]], Float[Array, "b h w c"]]
Encode: TypeAlias = Callable[[UInt8[np.ndarray, "b h w c"]], Any]

IMAGES_AT_ONCE = 512
PIXELS_AT_ONCE = IMAGES_AT_ONCE * 64**2
LARGEST_SIDE = 32  # of an image whose pixels are features


def batch_size(images: Images) -> int:
    """How many images go through a network at once: 512, fewer where they are large."""
    _, height, width, _ = images.shape
    return max(1, min(IMAGES_AT_ONCE, PIXELS_AT_ONCE // (height * width)))


def batches(images: Images, size: int) -> Iterator[UInt8[np.ndarray, "b h w c"]]:
    """All images in order, in batches of one size; the last is filled up with black images."""
    for start in range(0, len(images), size):
        part = images[start : start + size]
        yield np.pad(part, ((0, size - len(part)), (0, 0), (0, 0), (0, 0)))


def extract(
    encoders: Mapping[str, Encode], images: Images, *, batch_size: int
) -> dict[str, Float[np.ndarray, "n f"]]:
    """Features of all images by several encoders; each image is read and decoded once.

    Args:
        encoders: Name to a function of a batch, such as `encoder` makes, or `pixels`.
        images: `[n, h, w, c]`, 0 to 255, in memory or streamed.
        batch_size: Images at once.

    Returns:
        For each encoder one row of features for each image, float32, `[n, f]`.

    Raises:
        ValueError: There is no image, or `batch_size` is below 1.
    """
    if batch_size < 1 or len(images) < 1:
        raise ValueError(
            f"extract needs images and a batch_size ≥ 1, got {len(images)} and {batch_size}"
        )
    parts: dict[str, list[np.ndarray]] = {name: [] for name in encoders}
    for batch in batches(images, batch_size):
        for name, encode in encoders.items():
            parts[name].append(np.asarray(encode(batch), np.float32))
    return {name: np.concatenate(part)[: len(images)] for name, part in parts.items()}


def encoder(network: Any, variables: Variables, prepare: Prepare) -> Encode:
    """A frozen encoder, the projector left out, in inference mode.

    Batch statistics are read, never written.

    Args:
        network: Linen module with a method `encode`.
        variables: Its `params` and `batch_stats`.
        prepare: Normalises a batch of images without augmenting it (`Augment.plain`); hashable.
    """
    return partial(_encode, network, prepare, variables)


@partial(jax.jit, static_argnums=(0, 1))
def _encode(
    network: Any, prepare: Prepare, variables: Variables, images: UInt8[Array, "b h w c"]
) -> Float[Array, "b f"]:
    return network.apply(variables, prepare(images), train=False, method="encode")


def pixels(images: UInt8[np.ndarray, "b h w c"]) -> Float[np.ndarray, "b f"]:
    """The images themselves as features, in [0, 1]; large ones are shrunk to 32 x 32 pixels."""
    b, h, w, c = images.shape
    unit = np.asarray(images, np.float32) / 255
    if max(h, w) <= LARGEST_SIDE:
        return unit.reshape(b, -1)
    small = jax.image.resize(unit, (b, LARGEST_SIDE, LARGEST_SIDE, c), "linear")
    return np.asarray(small).reshape(b, -1)
