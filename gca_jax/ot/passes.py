"""Passes over the rows of the cosine kernel in the scaling domain, whole or block by block.

K = exp((x yᵀ - 1)/ε): every entry in [e^(-2/ε), 1], excluded pairs exactly 0.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

HIGHEST = jax.lax.Precision.HIGHEST  # TF32 on a GPU is too coarse for scalings
Rowwise = Callable[[Array, Any], tuple[Array, Any]]
"""(K r on some rows, the caller's data of those rows) → (l on those rows, what to keep of them)."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Points:
    """What generates K: unit vectors and ε.

    Attributes:
      x: The rows' points (n, d).
      y: The columns' points (m, d); None where they are x itself, and K is symmetric.
      epsilon: ε.
      exclude_diagonal: Whether the pairs (i, i) have K = 0.
      block_size: Rows of K formed at a time; None forms K once and keeps it.
      axis_name: Mapped axis over which the rows are split, each device holding its x; or None.
    """

    x: Float[Array, "n d"]
    y: Float[Array, "m d"] | None
    epsilon: Float[Array, ""]
    exclude_diagonal: bool = dataclasses.field(metadata={"static": True})
    block_size: int | None = dataclasses.field(default=None, metadata={"static": True})
    axis_name: str | None = dataclasses.field(default=None, metadata={"static": True})


class Passes(NamedTuple):
    """Passes over the rows of K, which is kept whole or formed block by block.

    A pass multiplies K with a vector on the right; the caller turns those products, row by row,
    into a vector on the left, whose product with K the pass returns. One sweep reads K once.
    """

    points: Points
    columns: Float[Array, "m d"]
    indices: Int[Array, " n"]
    whole: Float[Array, "n m"] | None

    def form(self, indices: Array, x: Array) -> Array:
        """The rows of K of the points x, whose global indices are given."""
        cosine = jnp.matmul(x, self.columns.T, precision=HIGHEST)
        k = jnp.exp((cosine - 1.0) / self.points.epsilon)
        if not self.points.exclude_diagonal:
            return k
        return jnp.where(indices[:, None] == jnp.arange(k.shape[1])[None, :], 0.0, k)

    def over_rows(
        self, piece: Callable[[Array, Any], tuple[Any, Any]], rows: Any
    ) -> tuple[Any, Any]:
        """Sums the first results of piece(K_block, rows_block) and stacks the second ones."""
        if self.whole is not None:
            return piece(self.whole, rows)
        x, size = self.points.x, self.points.block_size
        assert size is not None
        steps = (x.shape[0] - 1) // size
        head = x.shape[0] - steps * size  # the odd block comes first, the others are scanned
        data = (self.indices, x, rows)

        def block(total: Any, data: Any) -> tuple[Any, Any]:
            indices, x, rows = data
            more, kept = piece(self.form(indices, x), rows)
            return (more if total is None else jax.tree.map(jnp.add, total, more)), kept

        block = jax.checkpoint(block)  # a reverse pass forms the block again
        total, kept = block(None, jax.tree.map(lambda a: a[:head], data))
        if not steps:
            return total, kept
        rest = jax.tree.map(lambda a: a[head:].reshape(steps, size, *a.shape[1:]), data)
        total, more = jax.lax.scan(block, total, rest)
        join = lambda a, b: jnp.concatenate([a, b.reshape(-1, *b.shape[2:])])  # noqa: E731
        return total, jax.tree.map(join, kept, more)

    def sweep(self, right: Array, rowwise: Rowwise, rows: Any) -> tuple[Array, Any]:
        """(l K, kept) with (l, kept) = rowwise(K r, rows): one pass."""

        def piece(k: Array, rows: Any) -> tuple[Array, Any]:
            left, kept = rowwise(jnp.matmul(k, right, precision=HIGHEST), rows)
            return jnp.matmul(left, k, precision=HIGHEST), kept

        total, kept = self.over_rows(piece, rows)
        return self.all_devices(total), kept

    def times(self, right: Array) -> Array:
        """K r."""
        return self.over_rows(lambda k, _: ((), jnp.matmul(k, right, precision=HIGHEST)), ())[1]

    def left_times(self, left: Array) -> Array:
        """l K."""
        piece = lambda k, left: (jnp.matmul(left, k, precision=HIGHEST), ())  # noqa: E731
        return self.all_devices(self.over_rows(piece, left)[0])

    def all_devices(self, x: Array) -> Array:
        """Sum over the devices that share the rows."""
        axis = self.points.axis_name
        return x if axis is None else jax.lax.psum(x, axis)


def make_passes(points: Points) -> Passes:
    """Gathers the columns' points over the devices and, unless in blocks, forms K."""
    columns = points.x if points.y is None else points.y
    indices = jnp.arange(points.x.shape[0])
    if points.axis_name is not None:
        columns = jax.lax.all_gather(columns, points.axis_name, tiled=True)
        indices = indices + jax.lax.axis_index(points.axis_name) * points.x.shape[0]
    passes = Passes(points, columns, indices, None)
    if points.block_size is None:
        passes = passes._replace(whole=passes.form(indices, points.x))
    return passes


def contract(
    passes: Passes, left: Float[Array, "k n"], right: Float[Array, "k m"]
) -> tuple[Float[Array, "n d"], Float[Array, "m d"] | None]:
    """The cotangents of x and y that K ∘ (leftᵀ right), that of log K, comes to, times ε."""
    points, columns = passes.points, passes.columns
    if points.y is None:
        # K is symmetric: with the cotangent's transpose added, one product gives all of x's.
        mine = right[:, passes.indices] if points.axis_name else right
        everyone = left
        if points.axis_name is not None:
            everyone = jax.lax.all_gather(left, points.axis_name, axis=1, tiled=True)
        left, right = jnp.concatenate([left, mine]), jnp.concatenate([right, everyone])

    def piece(k: Array, rows: Any) -> tuple[Any, Array]:
        left, x = rows
        weights = k * _outer(left, right)
        of_x = jnp.matmul(weights, columns, precision=HIGHEST)
        if points.y is None:
            return (), of_x
        return jnp.matmul(x.T, weights, precision=HIGHEST), of_x

    of_columns, of_x = passes.over_rows(piece, (left.T, points.x))
    if points.y is None:
        return of_x, None
    of_columns = of_columns.T
    if points.axis_name is not None:
        of_columns = jax.lax.psum_scatter(of_columns, points.axis_name, tiled=True)
    return of_x, of_columns


def _outer(left: Float[Array, "n k"], right: Float[Array, "k m"]) -> Float[Array, "n m"]:
    """left right; a few rank-one terms are written out, so that they fuse with what follows."""
    if left.shape[1] > 4:
        return jnp.matmul(left, right, precision=HIGHEST)
    terms = [left[:, i, None] * right[None, i] for i in range(left.shape[1])]
    return functools.reduce(jnp.add, terms)


def with_epsilon(passes: Passes, of_points: tuple[Array, Array | None], of_log_k: Array) -> Points:
    """Cotangents of the points from ε times theirs; of_log_k is the sum of log K's cotangent.

    d log K/dε = -log K/ε with log K = (s - 1)/ε, and Σ (cotangent · s) is Σ_i x_i · (ε of_x)_i.
    """
    points, (of_x, of_y) = passes.points, of_points
    weighted = passes.all_devices(jnp.sum(points.x * of_x)) / (2 if of_y is None else 1)
    of_epsilon = (of_log_k - weighted) / points.epsilon**2
    return dataclasses.replace(
        points,
        x=of_x / points.epsilon,
        y=None if of_y is None else of_y / points.epsilon,
        epsilon=of_epsilon,
    )
