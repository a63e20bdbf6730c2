"""Sums over a target plan that never form its n×m matrix, where its structure allows.

With one weight a positive pair, one inside a group and one across groups, every sum over all pairs
is a sum over groups, corrected at the positive pairs and at self-pairs: O(n d) for block targets.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gca_jax.ot import numerics
from gca_jax.ot.kernel import Kernel
from gca_jax.ot.numerics import weighted_sum
from gca_jax.ot.target import AnyTarget, DenseTarget
from gca_jax.ot.weights import SimilarityTarget, Target, TargetSums


class _Groups(NamedTuple):
    """Groups as indices, their sizes, and how much each positive pair weighs beyond its group's."""

    rows: Int[Array, " n"]
    columns: Int[Array, " m"]
    row_counts: Float[Array, " g"]
    column_counts: Float[Array, " g"]
    same_pairs: Float[Array, " k"]  # 1 where a positive pair is inside a group
    excess: Float[Array, " k"]


def row_sums(target: AnyTarget) -> Float[Array, " n"]:
    """Σ_j P_tgt,ij (n,)."""
    if isinstance(target, DenseTarget):
        return target.matrix.sum(axis=1)
    sums = _raw_sums(target, axis=1)
    return sums / sums.sum()


def column_sums(target: AnyTarget) -> Float[Array, " m"]:
    """Σ_i P_tgt,ij (m,)."""
    if isinstance(target, DenseTarget):
        return target.matrix.sum(axis=0)
    sums = _raw_sums(target, axis=0)
    return sums / sums.sum()


def total(target: AnyTarget) -> Float[Array, ""]:
    """The sum of `target.weights`, by which they are divided for a total mass of 1."""
    if isinstance(target, DenseTarget):
        return jnp.ones((), target.matrix.dtype)
    return _raw_sums(target, axis=1).sum()


def negative_entropy(target: AnyTarget) -> Float[Array, ""]:
    """Σ P_tgt log P_tgt, in nats."""
    if isinstance(target, DenseTarget):
        return numerics.negative_entropy(target.matrix)
    if isinstance(target, SimilarityTarget):
        raw = _formed(target).w_log_w
    else:
        raw = _structured_w_log_w(target)
    mass = total(target)
    return raw / mass - jnp.log(mass)


def _structured_w_log_w(target: Target) -> Array:
    """Σ w log w over all pairs, from the number of pairs of each weight."""
    raw = jnp.asarray(0.0, target.same.dtype)
    if target.positives is not None:
        copies = 2 if target.layout == "joint" else 1
        raw += copies * numerics.negative_entropy(target.positives)
    if target.groups is None:
        return raw
    g, (n, m) = _groups(target), target.shape
    same = jnp.sum(g.column_counts[g.rows]) - (n if target.layout == "joint" else 0)
    pairs = n * m - (n if target.layout == "joint" else 0)
    if target.positives is not None:
        same, pairs = same - g.same_pairs.sum(), pairs - g.same_pairs.size
    of_same, of_different = (numerics.negative_entropy(w) for w in (target.same, target.different))
    return raw + of_same * same + of_different * (pairs - same)


def inner(target: AnyTarget, kernel: Kernel) -> Float[Array, ""]:
    """Σ P_tgt log K, over the pairs with target mass."""
    if isinstance(target, Target) and target.groups is None:
        weights = _tiled_positives(target)
        return weighted_sum(weights, kernel.log_positives) / total(target)
    if not isinstance(target, Target) or kernel.domain == "log":
        mass = total(target)
        whole: Array = kernel.sum_over_rows(
            lambda log_k, rows: weighted_sum(target.weights(rows) / mass, log_k)
        )
        return whole
    mass = total(target)
    g = _groups(target)
    x, y = kernel.points_a, kernel.points_b
    assert x is not None
    assert y is not None
    by_group = jax.ops.segment_sum(x, g.rows, g.row_counts.size)
    by_group *= jax.ops.segment_sum(y, g.columns, g.row_counts.size)
    cosines = target.different * jnp.sum(x.sum(axis=0) * y.sum(axis=0))
    cosines += (target.same - target.different) * by_group.sum()
    cosines += jnp.sum(g.excess * (1.0 + kernel.epsilon * kernel.log_positives))
    if target.layout == "joint":
        cosines -= target.same * jnp.sum(x * x)
    return (cosines / mass - 1.0) / kernel.epsilon


def _formed(target: SimilarityTarget) -> TargetSums:
    if target.sums is None:
        raise ValueError("a SimilarityTarget has its sums once `target.resolve` gave it a kernel")
    return target.sums


def _raw_sums(target: Target | SimilarityTarget, axis: int) -> Array:
    """Sums along an axis before scaling to mass 1."""
    if isinstance(target, SimilarityTarget):
        return _formed(target).rows if axis == 1 else _formed(target).columns
    n, m = target.shape
    size = n if axis == 1 else m
    if target.groups is None:
        positives = _tiled_positives(target)
        return jnp.zeros(size, target.same.dtype).at[: positives.size].set(positives[:size])
    g = _groups(target)
    own, others, counts = g.rows, m, g.column_counts
    if axis == 0:
        own, others, counts = g.columns, n, g.row_counts
    same = counts[own]
    sums = target.same * same + target.different * (others - same)
    if target.layout == "joint":
        sums -= target.same
    return sums.at[: g.excess.size].add(g.excess)


def _tiled_positives(target: Target) -> Array:
    assert target.positives is not None
    positives = target.positives[: min(target.rows, target.columns)]
    return jnp.tile(positives, 2) if target.layout == "joint" else positives


def _groups(target: Target) -> _Groups:
    assert target.groups is not None
    rows, columns = target.groups
    n, m = target.shape
    _, index = jnp.unique(jnp.concatenate([rows, columns]), return_inverse=True, size=n + m)
    rows, columns = index[:n], index[n:]
    ones = jnp.ones(n + m, target.same.dtype)
    row_counts, column_counts = (
        jax.ops.segment_sum(ones[: i.size], i, num_segments=n + m) for i in (rows, columns)
    )
    pairs = min(n, m)
    partner = jnp.roll(columns, n // 2) if target.layout == "joint" else columns
    same = (rows[:pairs] == partner[:pairs]).astype(ones.dtype)
    excess = jnp.zeros(pairs, ones.dtype)
    if target.positives is not None:
        usual = jnp.where(same > 0, target.same, target.different)
        excess = _tiled_positives(target) - usual
    return _Groups(rows, columns, row_counts, column_counts, same, excess)
