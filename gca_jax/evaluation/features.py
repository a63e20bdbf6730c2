"""What a frozen network makes of images: features, embeddings of two views; and raw pixels."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from gca_jax import distributed
from gca_jax.data.dataset import Images
from gca_jax.models import Network

Variables: TypeAlias = Mapping[str, Any]
"""`{"params": ..., "batch_stats": ...}`, as `Network.apply` takes them."""
Features: TypeAlias = Float[np.ndarray, "n f"]
Batch: TypeAlias = UInt8[np.ndarray, "b h w c"]
Prepare: TypeAlias = Callable[[UInt8[Array, "b h w c"]], Float[Array, "b h w c"]]
Encode: TypeAlias = Callable[[Batch], Float[Array | np.ndarray, "b f"]]
Pair: TypeAlias = tuple[Float[Array, "b d"], Float[Array, "b d"]]
MakeViews: TypeAlias = Callable[[PRNGKeyArray, UInt8[Array, "b h w c"]], tuple[Array, Array]]
Embed: TypeAlias = Callable[[PRNGKeyArray, Batch], Pair]

IMAGES_AT_ONCE = 512
FULL_SIZE = 64  # pixels of a side; of larger images fewer go through a network at once
LARGEST_SIDE = 32  # of an image whose pixels are features


def batch_size(shape: tuple[int, ...], most: int = IMAGES_AT_ONCE) -> int:
    """Choose how many images ([n,] h, w, c) go through a network at once: fewer of large ones."""
    *_, height, width, _ = shape
    return max(1, min(most, most * FULL_SIZE**2 // (height * width)))


def batches(images: Images, size: int | None = None) -> Iterator[tuple[int, Batch]]:
    """Give this process's share of all images, in batches with their indices, padded by black."""
    size = batch_size(images.shape) if size is None else size
    for index in distributed.share(-(-len(images) // size)):
        part = images[index * size : (index + 1) * size]
        yield index, np.pad(part, ((0, size - len(part)), (0, 0), (0, 0), (0, 0)))


def extract(
    encoders: Mapping[str, Encode], images: Images, size: int | None = None
) -> dict[str, Features]:
    """Extract float32 features of all images by several encoders, reading each image once.

    They go through in batches of `size`; None: as `batch_size` has it. Of several processes each
    extracts its share, and all get all features.

    Raises:
        ValueError: There is no image, or `size` is below 1.
    """
    if len(images) < 1 or (size is not None and size < 1):
        raise ValueError(f"extract needs images and a size ≥ 1, got {len(images)} and {size}")
    parts: dict[str, list[np.ndarray]] = {name: [] for name in encoders}
    for _, batch in batches(images, size):
        for name, encode in encoders.items():
            parts[name].append(np.asarray(encode(batch), np.float32))
    return {
        name: distributed.gather(np.concatenate(part))[: len(images)]
        for name, part in parts.items()
    }


@partial(jax.jit, static_argnums=(0, 1))
def encode(
    network: Network, prepare: Prepare, variables: Variables, images: UInt8[Array, "b h w c"]
) -> Float[Array, "b f"]:
    """Encode images by the network without its projector, in inference mode.

    Batch statistics are read, never written; `prepare` (`Augment.plain`) is hashable.
    """
    return network.bind(variables).encode(prepare(images), train=False)


def pixels(images: Batch) -> Float[np.ndarray, "b f"]:
    """Take the images themselves as features, in [0, 1]; large ones are shrunk to 32 x 32."""
    return np.asarray(flatten(np.asarray(images, np.float32) / 255))


def flatten(x: Float[Array | np.ndarray, "b h w c"]) -> Float[Array | np.ndarray, "b f"]:
    """Lay the pixels of each image in a row, of large ones those of 32 x 32."""
    b, h, w, c = x.shape
    if max(h, w) > LARGEST_SIDE:
        x = jax.image.resize(x, (b, LARGEST_SIDE, LARGEST_SIDE, c), "linear")
    return x.reshape(b, -1)


@partial(jax.jit, static_argnums=(0, 1))
def embed(
    network: Network,
    make_views: MakeViews,
    variables: Variables,
    key: PRNGKeyArray,
    images: UInt8[Array, "b h w c"],
) -> Pair:
    """Embed two augmented views (`Augment.views`, hashable) of images, in inference mode.

    The embeddings `(z_a, z_b)` are not normalised.
    """
    both = jnp.concatenate(make_views(key, images))  # one pass: half the time to compile
    z_a, z_b = jnp.split(network.bind(variables)(both, train=False), 2)
    return z_a, z_b


def embed_all(embed: Embed, images: Images, key: PRNGKeyArray, batch_size: int) -> Pair:
    """Embed two views of every image, `[n, d]` each, in batches of one compiled size."""
    pairs = [
        embed(jax.random.fold_in(key, batch_size * index), batch)
        for index, batch in batches(images, batch_size)
    ]
    sides = (np.concatenate(side) for side in zip(*pairs, strict=True))
    z_a, z_b = (jnp.asarray(distributed.gather(side)[: len(images)]) for side in sides)
    return z_a, z_b
