"""Embeds a batch in parts: chunks, for memory, or groups with batch statistics of their own.

The encoder goes over the chunks, the loss sees the embeddings of all of them, and the reverse pass
runs each chunk again: the exact gradient of the whole batch, as GradCache's (Gao et al., arXiv
2101.06983), by rematerialisation in place of two hand-written passes.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from gca_jax.models import Embedded

Embed = Callable[..., Embedded]
"""(variables, both sides of a batch of pairs[, method]) -> embeddings, as `Network.embed`."""


def in_chunks(embed: Embed, size: int) -> Embed:
    """Embed chunks of `size` pairs one after the other, and run each again in the reverse pass.

    Chunk k of n has the rows k, k + n, k + 2n, ... of the batch: a share of each device's rows, and
    the same ones on any number of devices. Batch norm sees one chunk at a time ("ghost batch norm",
    Hoffer et al., arXiv 1705.08741); the new running statistics are the mean over the chunks.
    """

    def embedded(variables: Any, views: tuple[Array, Array]) -> Embedded:
        rows = len(views[0])

        def embed_chunk(_: None, chunk: tuple[Array, Array]) -> tuple[None, Embedded]:
            return None, embed(variables, chunk)

        def split(x: Array) -> Array:
            return x.reshape(size, rows // size, *x.shape[1:]).swapaxes(0, 1)

        chunks = jax.tree.map(split, views)
        unroll = _must_unroll(embed_chunk, chunks)
        # Where there is a loop, nothing else has to keep the second run apart from the first.
        again = jax.checkpoint(embed_chunk, prevent_cse=unroll)
        _, found = jax.lax.scan(again, None, chunks, unroll=unroll)
        return _joined(found, lambda z: z.swapaxes(0, 1).reshape(rows, *z.shape[2:]))

    return embedded


def in_groups(embed: Embed, groups: int) -> Embed:
    """Embed groups of neighbouring pairs side by side, each with batch statistics of its own.

    With as many groups as devices these are the statistics of each device, which normalises without
    waiting for the others. The new running statistics are the mean over the groups.
    """

    def embedded(variables: Any, views: tuple[Array, Array], *method: str) -> Embedded:
        rows = len(views[0])
        split = jax.tree.map(lambda x: x.reshape(groups, rows // groups, *x.shape[1:]), views)
        found = jax.vmap(lambda part: embed(variables, part, *method))(split)
        return _joined(found, lambda z: z.reshape(rows, *z.shape[2:]))

    return embedded


def _joined(parts: Embedded, join: Callable[[Array], Array]) -> Embedded:
    """Join the embeddings and features of parts, and average their batch statistics."""
    mean = jax.tree.map(lambda x: jnp.mean(x, axis=0), parts.batch_stats)
    pair, features = jax.tree.map(join, (parts.pair, parts.features))
    return Embedded(pair, mean, features)


def _must_unroll(embed_chunk: Callable[..., object], chunks: tuple[Array, Array]) -> bool:
    """Tell whether a loop would be too slow: over convolutions on a CPU.

    XLA's compiler for CPUs makes convolutions fast in a program's outermost part alone; in a loop
    their gradients take 25 times as long, those of `models.convolution` four times
    (docs/engine.md). Unrolled, memory is not saved there.
    """
    if jax.default_backend() != "cpu":
        return False
    first = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), chunks)
    return "conv_general_dilated" in str(jax.make_jaxpr(embed_chunk)(None, first))


def check(size: int | None, groups: int | None, batch_size: int, devices: int) -> None:
    """Refuse parts that do not make up the batch, or chunks that the devices cannot share."""
    seen = batch_size if size is None else size
    if groups is not None and (groups < 1 or seen % groups):
        name = "batch_size" if size is None else "encoder_chunk"
        raise ValueError(f"batch_norm_groups must divide {name}, {seen}; got {groups}")
    if size is not None and (size < 1 or batch_size % size or size % devices):
        raise ValueError(
            f"encoder_chunk must divide batch_size, {batch_size}, and be a multiple of the number "
            f"of devices, {devices}; got {size}"
        )
