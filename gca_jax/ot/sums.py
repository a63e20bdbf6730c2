"""Sums over a target plan that never form its n×m matrix, where its structure allows.

With one weight a positive pair, one inside a group and one across groups, every sum over all pairs
is a sum over groups: O(n d) for block targets. Positive pairs and self-pairs are taken out of a
group's sum before its weight multiplies it; corrected afterwards, a large weight would cancel.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from gca_jax.ot import numerics
from gca_jax.ot.kernel import Kernel
from gca_jax.ot.numerics import weighted_sum
from gca_jax.ot.target_types import AnyTarget, DenseTarget, SimilarityTarget, Target, TargetSums


class _Others(NamedTuple):
    """Counts of each row's (or column's) pairs, without its positive pair and its self-pair."""

    same: Float[Array, " n"]  # how many of its group
    different: Float[Array, " n"]  # how many of others


class _Groups(NamedTuple):
    """Groups as indices below n + m, and the pairs inside and across them."""

    rows: Int[Array, " n"]
    columns: Int[Array, " m"]
    is_same: Float[Array, " k"]  # 1 where a positive pair is of one group; k = 0 without
    of_rows: _Others
    of_columns: _Others


def row_sums(target: AnyTarget) -> Float[Array, " n"]:
    """Compute Σ_j P_tgt,ij (n,)."""
    if isinstance(target, DenseTarget):
        return target.matrix.sum(axis=1)
    sums = _raw_sums(target, axis=1)
    return sums / sums.sum()


def column_sums(target: AnyTarget) -> Float[Array, " m"]:
    """Compute Σ_i P_tgt,ij (m,)."""
    if isinstance(target, DenseTarget):
        return target.matrix.sum(axis=0)
    sums = _raw_sums(target, axis=0)
    return sums / sums.sum()


def has_mass(target: AnyTarget) -> Bool[Array, ""]:
    """Tell whether any pair has mass, or is NaN."""
    dense = isinstance(target, DenseTarget)
    return ~((target.matrix if dense else _raw_sums(target, axis=1)).sum() <= 0)


def total(target: AnyTarget) -> Float[Array, ""]:
    """Sum `target.weights`; divided by it, they have a total mass of 1."""
    if isinstance(target, DenseTarget):
        return jnp.ones((), target.matrix.dtype)
    return _raw_sums(target, axis=1).sum()


def negative_entropy(target: AnyTarget) -> Float[Array, ""]:
    """Compute Σ P_tgt log P_tgt, in nats."""
    if isinstance(target, DenseTarget):
        return numerics.negative_entropy(target.matrix)
    if isinstance(target, SimilarityTarget):
        raw = _formed(target).w_log_w
    else:
        raw = _structured_w_log_w(target)
    mass = total(target)
    return raw / mass - jnp.log(mass)


def _structured_w_log_w(target: Target) -> Array:
    """Compute Σ w log w over all pairs, from the number of pairs of each weight."""
    raw = jnp.asarray(0.0, target.same.dtype)
    if target.positives is not None:
        copies = 2 if target.layout == "joint" else 1
        raw += copies * numerics.negative_entropy(target.positives)
    if target.groups is None:
        return raw
    others = _groups(target).of_rows
    of_same, of_different = (numerics.negative_entropy(w) for w in (target.same, target.different))
    return raw + of_same * others.same.sum() + of_different * others.different.sum()


@jax.jit
def inner(target: AnyTarget, kernel: Kernel) -> Float[Array, ""]:
    """Compute Σ P_tgt log K, over the pairs with target mass."""
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
    count_x, count_y = _counts(target)
    x, y = x * count_x[:, None], y * count_y[:, None]
    of_group = jax.ops.segment_sum(y, g.columns, sum(target.shape))
    none = jnp.zeros_like(of_group[:1])
    before = jnp.concatenate([none, jnp.cumsum(of_group[:-1], axis=0)])
    after = jnp.concatenate([jnp.cumsum(of_group[:0:-1], axis=0)[::-1], none])
    same = jnp.sum(x * of_group[g.rows], axis=1)
    different = jnp.sum(x * (before + after)[g.rows], axis=1)
    if target.layout == "joint":
        same -= jnp.sum(x * x, axis=1)
    cosines = jnp.zeros((), x.dtype)
    if target.positives is not None:
        positive = 1.0 + kernel.epsilon * kernel.log_positives
        positive = jnp.where(positive == -jnp.inf, 0.0, positive)  # of a pair that does not count
        same = same.at[: positive.size].add(-g.is_same * positive)
        different = different.at[: positive.size].add(-(1.0 - g.is_same) * positive)
        cosines += jnp.sum(_tiled_positives(target) * positive)
    # Where a row has no such pair, what is left of its sum is rounding error.
    cosines += target.same * jnp.sum(jnp.where(g.of_rows.same > 0, same, 0.0))
    cosines += target.different * jnp.sum(jnp.where(g.of_rows.different > 0, different, 0.0))
    return (cosines / mass - 1.0) / kernel.epsilon


def _formed(target: SimilarityTarget) -> TargetSums:
    if target.sums is None:
        raise ValueError("a SimilarityTarget has its sums once `target.resolve` gave it a kernel")
    return target.sums


@partial(jax.jit, static_argnames="axis")
def _raw_sums(target: Target | SimilarityTarget, axis: int) -> Array:
    """Sum weights along an axis, before they are scaled to mass 1."""
    if isinstance(target, SimilarityTarget):
        return _formed(target).rows if axis == 1 else _formed(target).columns
    n, m = target.shape
    size = n if axis == 1 else m
    if target.groups is None:
        positives = _tiled_positives(target)
        return jnp.zeros(size, target.same.dtype).at[: positives.size].set(positives[:size])
    g = _groups(target)
    others = g.of_rows if axis == 1 else g.of_columns
    sums = target.same * others.same + target.different * others.different
    if target.positives is None:
        return sums
    positives = _tiled_positives(target)
    return sums.at[: positives.size].add(positives)


def _tiled_positives(target: Target) -> Array:
    assert target.positives is not None
    positives = target.positives[: min(target.rows, target.columns)]
    return jnp.tile(positives, 2) if target.layout == "joint" else positives


def _counts(target: Target) -> tuple[Float[Array, " n"], Float[Array, " m"]]:
    """Return 1 for each row and column that counts, 0 for others."""
    if target.counted is None:
        n, m = target.shape
        return jnp.ones(n, target.same.dtype), jnp.ones(m, target.same.dtype)
    rows, columns = target.counted
    return rows.astype(target.same.dtype), columns.astype(target.same.dtype)


@jax.jit
def _groups(target: Target) -> _Groups:
    assert target.groups is not None
    rows, columns = target.groups
    n, m = target.shape
    size = n + m
    _, index = jnp.unique(jnp.concatenate([rows, columns]), return_inverse=True, size=size)
    rows, columns = index[:n], index[n:]
    joint, pairs = target.layout == "joint", 0 if target.positives is None else min(n, m)
    partner = jnp.roll(columns, n // 2) if joint else columns
    is_same = (rows[:pairs] == partner[:pairs]).astype(target.same.dtype)
    count_rows, count_columns = _counts(target)
    count_partners = jnp.roll(count_columns, n // 2) if joint else count_columns
    count_pairs = count_rows[:pairs] * count_partners[:pairs]

    def others(own: Array, count: Array, across: Array, count_across: Array) -> _Others:
        sizes = jax.ops.segment_sum(count_across, across, size)
        same, different = sizes[own] - float(joint), count_across.sum() - sizes[own]
        same = same.at[:pairs].add(-is_same * count_pairs)
        different = different.at[:pairs].add((is_same - 1.0) * count_pairs)
        return _Others(same * count, different * count)

    of_rows = others(rows, count_rows, columns, count_columns)
    of_columns = others(columns, count_columns, rows, count_rows)
    return _Groups(rows, columns, is_same, of_rows, of_columns)
