"""Embeds a batch in parts: chunks, to save memory, or groups with batch statistics of their own.

The encoder runs over the chunks one by one, the loss sees all embeddings, and the reverse pass
recomputes each chunk: the exact gradient of the whole batch, as in GradCache (Gao et al., arXiv
2101.06983), by rematerialisation in place of two hand-written passes.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from gca_jax.models import Embedded

Embed = Callable[..., Embedded]
"""(variables, two views[, method]) -> embeddings, as `Network.embed`."""


def in_chunks(embed: Embed, size: int) -> Embed:
    """Embed chunks of `size` pairs one by one, and recompute each in the reverse pass.

    Chunk k of n has the rows k, k + n, k + 2n, ... of the batch: a share of each device's rows, and
    the same rows on any number of devices. Batch norm sees one chunk at a time ("ghost batch norm",
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
        # In a loop XLA cannot merge the recomputation with the first run; unrolled it could.
        recomputed = jax.checkpoint(embed_chunk, prevent_cse=unroll)
        _, parts = jax.lax.scan(recomputed, None, chunks, unroll=unroll)
        return _join(parts, lambda z: z.swapaxes(0, 1).reshape(rows, *z.shape[2:]))

    return embedded


def in_groups(embed: Embed, groups: int) -> Embed:
    """Embed groups of neighbouring pairs in parallel, each with batch statistics of its own.

    With as many groups as devices each device normalises by itself, without communication. The new
    running statistics are the mean over the groups.
    """

    def embedded(variables: Any, views: tuple[Array, Array], *method: str) -> Embedded:
        rows = len(views[0])
        split = jax.tree.map(lambda x: x.reshape(groups, rows // groups, *x.shape[1:]), views)
        parts = jax.vmap(lambda part: embed(variables, part, *method))(split)
        return _join(parts, lambda z: z.reshape(rows, *z.shape[2:]))

    return embedded


def _join(parts: Embedded, rows: Callable[[Array], Array]) -> Embedded:
    """Put the rows of embeddings and features in order, and average the batch statistics."""
    mean = jax.tree.map(lambda x: jnp.mean(x, axis=0), parts.batch_stats)
    pair, features = jax.tree.map(rows, (parts.pair, parts.features))
    return Embedded(pair, mean, features)


def _must_unroll(embed_chunk: Callable[..., object], chunks: tuple[Array, Array]) -> bool:
    """Tell whether a loop would be too slow: one over convolutions on a CPU.

    XLA for CPUs optimises convolutions only outside loops: inside, their gradients take 25 times as
    long, those of `models.convolution` four times (docs/engine.md). Unrolling saves no memory.
    """
    if jax.default_backend() != "cpu":
        return False
    first = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), chunks)
    return "conv_general_dilated" in str(jax.make_jaxpr(embed_chunk)(None, first))


def check(size: int | None, groups: int | None, batch_size: int, devices: int) -> None:
    """Refuse chunks or groups that do not divide the batch, or chunks the devices cannot share."""
    seen = batch_size if size is None else size
    if groups is not None and (groups < 1 or seen % groups):
        name = "batch_size" if size is None else "encoder_chunk"
        raise ValueError(f"batch_norm_groups must divide {name}, {seen}; got {groups}")
    if size is not None and (size < 1 or batch_size % size or size % devices):
        raise ValueError(
            f"encoder_chunk must divide batch_size, {batch_size}, and be a multiple of the number "
            f"of devices, {devices}; got {size}"
        )
