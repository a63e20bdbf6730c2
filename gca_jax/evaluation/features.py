"""Features and embeddings that a frozen network gives of many samples, in batches."""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from gca_jax import distributed
from gca_jax.models import Network

Variables: TypeAlias = Mapping[str, Any]
"""`{"params": ..., "batch_stats": ...}`, as `Network.apply` takes them."""
Features: TypeAlias = Float[np.ndarray, "n f"]
Inputs: TypeAlias = Any
"""An array [n, ...], or what gives slices of one, such as images that lie on disk."""
Batch: TypeAlias = Shaped[np.ndarray, "b ..."]
Prepare: TypeAlias = Callable[[Array], Float[Array, "b ..."]]
Encode: TypeAlias = Callable[[Batch], Float[Array | np.ndarray, "b f"]]
Pair: TypeAlias = tuple[Float[Array, "b d"], Float[Array, "b d"]]
MakeViews: TypeAlias = Callable[[PRNGKeyArray, Array], tuple[Array, Array]]
Embed: TypeAlias = Callable[[PRNGKeyArray, Batch], Pair]

SAMPLES_AT_ONCE = 512
FULL_SIZE = 64  # pixels of a side; of larger images fewer go through a network at once


def batch_size(shape: tuple[int, ...], most: int = SAMPLES_AT_ONCE) -> int:
    """Choose how many samples of a shape go through a network at once: fewer of large images."""
    places = math.prod(shape[:2]) if len(shape) == 3 else 1
    return max(1, min(most, most * FULL_SIZE**2 // places))


def batches(inputs: Inputs, size: int | None = None) -> Iterator[tuple[int, np.ndarray]]:
    """Give this process's share of all inputs, in batches with their indices, padded by zeros."""
    size = batch_size(inputs.shape[1:]) if size is None else size
    for index in distributed.share(-(-len(inputs) // size)):
        part = inputs[index * size : (index + 1) * size]
        yield index, np.pad(part, ((0, size - len(part)), *[(0, 0)] * (part.ndim - 1)))


def extract(
    encoders: Mapping[str, Encode], inputs: Inputs, size: int | None = None
) -> dict[str, Features]:
    """Extract float32 features of all inputs by several encoders, reading each once.

    They go through in batches of `size`; None: as `batch_size` has it. Of several processes each
    extracts its share, and all get all features.

    Raises:
        ValueError: There is no input, or `size` is below 1.
    """
    if len(inputs) < 1 or (size is not None and size < 1):
        raise ValueError(f"extract needs inputs and a size ≥ 1, got {len(inputs)} and {size}")
    parts: dict[str, list[np.ndarray]] = {name: [] for name in encoders}
    for _, batch in batches(inputs, size):
        for name, encode in encoders.items():
            parts[name].append(np.asarray(encode(batch), np.float32))
    return {
        name: distributed.gather(np.concatenate(part))[: len(inputs)]
        for name, part in parts.items()
    }


@partial(jax.jit, static_argnums=(0, 1))
def encode(
    network: Network, prepare: Prepare, variables: Variables, inputs: Shaped[Array, "b ..."]
) -> Float[Array, "b f"]:
    """Encode a batch by the network without its projector, in inference mode.

    Batch statistics are read, never written; `prepare` (`Augment.plain`) is hashable.
    """
    return network.bind(variables).encode(prepare(inputs), train=False)


@partial(jax.jit, static_argnums=(0, 1))
def embed(
    network: Network,
    make_views: MakeViews,
    variables: Variables,
    key: PRNGKeyArray,
    inputs: Shaped[Array, "b ..."],
) -> Pair:
    """Embed two augmented views (hashable) of a batch, in inference mode.

    The embeddings `(z_a, z_b)` are not normalised.
    """
    both = jnp.concatenate(make_views(key, inputs))  # one pass: half the time to compile
    z_a, z_b = jnp.split(network.bind(variables)(both, train=False), 2)
    return z_a, z_b


def embed_all(embed: Embed, inputs: Inputs, key: PRNGKeyArray, batch_size: int) -> Pair:
    """Embed two views of every sample, `[n, d]` each, in batches of one compiled size."""
    pairs = [
        embed(jax.random.fold_in(key, batch_size * index), batch)
        for index, batch in batches(inputs, batch_size)
    ]
    sides = (np.concatenate(side) for side in zip(*pairs, strict=True))
    z_a, z_b = (jnp.asarray(distributed.gather(side)[: len(inputs)]) for side in sides)
    return z_a, z_b
