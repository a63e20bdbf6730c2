"""From images to features: the frozen encoder in batches, and raw pixels."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias

import jax
import numpy as np
from jaxtyping import Array, Float, UInt8

Variables: TypeAlias = Mapping[str, Any]
Prepare: TypeAlias = Callable[[UInt8[Array, "b h w c"]], Float[Array, "b h w c"]]


def extract(
    network: Any,
    variables: Variables,
    images: UInt8[np.ndarray, "n h w c"],
    *,
    batch_size: int,
    prepare: Prepare,
) -> Float[np.ndarray, "n f"]:
    """Features of a frozen encoder, the projector left out.

    The encoder runs in inference mode: batch statistics are read, never written. The last batch
    is filled up with black images whose features are dropped, so there is one compilation.

    Args:
        network: Linen module with a method `encode`.
        variables: Its `params` and `batch_stats`.
        images: `[n, h, w, c]`, 0 to 255.
        batch_size: Images at once.
        prepare: Normalises a batch of images without augmenting it (`Augment.plain`); hashable.

    Returns:
        One row of features for each image, float32, `[n, f]`.

    Raises:
        ValueError: There is no image, or `batch_size` is below 1.
    """
    if batch_size < 1 or len(images) < 1:
        raise ValueError(
            f"extract needs images and a batch_size ≥ 1, got {len(images)} and {batch_size}"
        )
    missing = -len(images) % batch_size
    padded = np.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0)))
    parts = [
        np.asarray(_encode(network, prepare, variables, padded[i : i + batch_size]))
        for i in range(0, len(padded), batch_size)
    ]
    return np.concatenate(parts)[: len(images)].astype(np.float32)


@partial(jax.jit, static_argnums=(0, 1))
def _encode(
    network: Any, prepare: Prepare, variables: Variables, images: UInt8[Array, "b h w c"]
) -> Float[Array, "b f"]:
    return network.apply(variables, prepare(images), train=False, method="encode")


def pixels(images: UInt8[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n f"]:
    """The images themselves as features, in [0, 1], `[n, h·w·c]`."""
    return images.reshape(len(images), -1).astype(np.float32) / 255
