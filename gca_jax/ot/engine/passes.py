"""Passes over the rows of the cosine kernel in the scaling domain, whole or block by block.

K = exp((x yᵀ - 1)/ε): every entry in [e^(-2/ε), 1], excluded pairs exactly 0.

On a mapped axis each device goes over its share of the rows; points and vectors are replicated.
Results are replicated too or, for cotangents, partial sums (`engine.sharding`).
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from gca_jax.ot.engine.excluded import Excluded
from gca_jax.ot.engine.prior import Prior
from gca_jax.ot.engine.sharding import AxisName, on_first_device, varying

HIGHEST = jax.lax.Precision.HIGHEST  # TF32 on a GPU is too coarse for scalings
MAX_FUSED_TERMS = 4  # so few rank-one terms fuse with K elementwise; more go through a matmul
PARTS = 8  # the most of a K kept whole that must not be overwritten, weighted one after the other
PART = 2**20  # the fewest entries of each: smaller ones would keep threads waiting
Rows = TypeVar("Rows")  # a pytree of arrays with one entry a row
Summed = TypeVar("Summed")
Kept = TypeVar("Kept")
Data = TypeVar("Data")  # a pytree of arrays with one leading axis
PointsCotangent = tuple[Array, Array | None]
"""ε times the cotangents of x and y, the second None where y is x."""
Piece = Callable[[Array, Rows], tuple[Summed, Kept]]
Rowwise = Callable[[Array, Rows], tuple[Array, Kept]]
"""Row callback: (K_block @ r, per-row inputs) → (left vector of these rows, residuals to save)."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Points:
    """Generates K from the unit vectors x of its rows and y of its columns, and ε.

    `block_size` rows of K are formed at a time; None forms K once and keeps it. The devices of the
    mapped axis `axis_name` share the rows; n divides by their number.
    """

    x: Float[Array, "n d"]
    y: Float[Array, "m d"] | None  # None where it is x, and K is symmetric
    epsilon: Float[Array, ""]
    exclude_diagonal: bool = dataclasses.field(metadata={"static": True})  # K = 0 on pairs (i, i)
    block_size: int | None = dataclasses.field(default=None, metadata={"static": True})
    axis_name: AxisName | None = dataclasses.field(default=None, metadata={"static": True})
    rounded: bool = dataclasses.field(default=False, metadata={"static": True})  # x, y to bfloat16
    excluded: Excluded | None = None  # further pairs at which K = 0
    prior: Prior | None = None  # pairs at which K is multiplied


class Passes(NamedTuple):
    """Passes over the rows of K, which is kept whole or formed block by block.

    One pass computes K r, lets the caller turn it row by row into a left vector l, and returns
    l K: a sweep reads each block of K once.
    """

    points: Points
    columns: Float[Array, "m d"]
    whole: Float[Array, "n m"] | None

    def form(self, indices: Array, x: Array) -> Array:
        """Form the rows of K that belong to the points x, whose row indices are given."""
        cosine = product(x, self.columns.T, self.points.rounded)
        log_k = (cosine - 1.0) / self.points.epsilon
        if self.points.prior is not None:
            log_k = self.points.prior.tilt(log_k, indices)
        k = jnp.exp(log_k)
        if self.points.exclude_diagonal:
            k = jnp.where(indices[:, None] == jnp.arange(k.shape[1])[None, :], 0.0, k)
        if self.points.excluded is None:
            return k
        return jnp.where(self.points.excluded.of(indices, k.shape[1]), 0.0, k)

    def over_rows(
        self,
        piece: Piece[Rows, Summed, Kept],
        rows: Rows,
        part: int | None = None,
        most: int | None = None,
    ) -> tuple[Summed, Kept]:
        """Sum the first results of piece(K_block, rows_block) and stack the second ones.

        With `part` and `most` a K kept whole is gone over as by `in_parts`, else at once.
        """
        own = jax.tree.map(self.own, rows)
        if part is None or most is None:
            total, kept = self.over_own_rows(piece, own)
        else:
            total, kept = self.over_parts(piece, own, part, most)
        return jax.tree.map(self.all_devices, total), jax.tree.map(self.gather, kept)

    def over_own_rows(self, piece: Piece[Rows, Summed, Kept], rows: Rows) -> tuple[Summed, Kept]:
        """Do as `over_rows`, for the rows of this device alone."""
        if self.whole is not None:
            return piece(self.whole, rows)
        x, size = self.own(self.points.x), self.points.block_size
        assert size is not None
        steps, head = divmod(x.shape[0], size)  # an odd block comes first, the others are scanned
        data = (self.own(jnp.arange(self.points.x.shape[0])), x, rows)

        @jax.checkpoint  # a reverse pass forms the block again
        def block(data: tuple[Array, Array, Rows]) -> tuple[Summed, Kept]:
            indices, x, rows = data
            return piece(self.form(indices, x), rows)

        rest = jax.tree.map(lambda a: a[head:].reshape(steps, size, *a.shape[1:]), data)
        flat = lambda b: b.reshape(-1, *b.shape[2:])  # noqa: E731
        if not head:  # nothing is cut off and joined again: no copies of points and results
            total, kept = _scan_sum(block, rest, None, self.points.axis_name)
            return total, jax.tree.map(flat, kept)
        first, kept = block(jax.tree.map(lambda a: a[:head], data))
        total, more = _scan_sum(block, rest, first, self.points.axis_name)
        return total, jax.tree.map(lambda a, b: jnp.concatenate([a, flat(b)]), kept, more)

    def over_parts(
        self, piece: Piece[Rows, Summed, Kept], rows: Rows, part: int, most: int
    ) -> tuple[Summed, Kept]:
        """Do as `over_own_rows`, but go over a K kept whole as `in_parts` does."""
        if self.whole is None:
            return self.over_own_rows(piece, rows)
        return in_parts(self.whole, piece, rows, part, most, self.points.axis_name)

    def sweep(self, right: Array, rowwise: Rowwise[Rows, Kept], rows: Rows) -> tuple[Array, Kept]:
        """Return (l K, kept) with (l, kept) = rowwise(K r, rows), in one pass."""

        def piece(k: Array, rows: Rows) -> tuple[Array, Kept]:
            left, kept = rowwise(jnp.matmul(k, right, precision=HIGHEST), rows)
            return jnp.matmul(left, k, precision=HIGHEST), kept

        return self.over_rows(piece, rows)

    def times(self, right: Array) -> Array:
        """Return K r."""
        return self.over_rows(lambda k, _: ((), jnp.matmul(k, right, precision=HIGHEST)), ())[1]

    def left_times(self, left: Array) -> Array:
        """Return l K."""
        piece = lambda k, left: (jnp.matmul(left, k, precision=HIGHEST), ())  # noqa: E731
        return self.over_rows(piece, left)[0]

    def own(self, x: Shaped[Array, "n ..."]) -> Shaped[Array, "k ..."]:
        """Slice this device's rows out of an array that has all of them."""
        axis = self.points.axis_name
        if axis is None:
            return x
        size = x.shape[0] // jax.lax.axis_size(axis)
        return jax.lax.dynamic_slice_in_dim(x, jax.lax.axis_index(axis) * size, size)

    def gather(self, x: Array) -> Array:
        """Gather the rows of an array of which each device has its own."""
        axis = self.points.axis_name
        return x if axis is None else jax.lax.all_gather(x, axis, tiled=True)

    def all_devices(self, x: Array) -> Array:
        """Sum over the devices that share the rows."""
        axis = self.points.axis_name
        return x if axis is None else varying(jax.lax.psum(x, axis), axis)


def make_passes(points: Points) -> Passes:
    """Return passes over the points' K, which is formed now unless it goes in blocks."""
    passes = Passes(points, points.x if points.y is None else points.y, None)
    if points.block_size is None:
        indices = passes.own(jnp.arange(points.x.shape[0]))
        passes = passes._replace(whole=passes.form(indices, passes.own(points.x)))
    return passes


def in_parts(
    matrix: Float[Array, "n m"],
    piece: Piece[Rows, Summed, Kept],
    rows: Rows,
    part: int,
    most: int,
    axis_name: AxisName | None = None,
) -> tuple[Summed, Kept]:
    """Sum the first results of piece over parts of the rows, one by one: it needs less memory.

    There are at most `most` parts of at least `part` entries. Part t of p has the rows t, t + p,
    ...: where the compiler split the rows over devices, each device has rows of every part.
    """
    size, most = matrix.shape[0], min(most, matrix.size // part)
    parts = max((p for p in range(1, most + 1) if size % p == 0), default=1)
    if parts == 1:
        return piece(matrix, rows)

    def of_part(t: Array) -> tuple[Summed, Kept]:
        def own(a: Array) -> Array:
            a = a.reshape(size // parts, parts, *a.shape[1:])
            return jax.lax.dynamic_index_in_dim(a, t, axis=1, keepdims=False)

        return piece(*jax.tree.map(own, (matrix, rows)))

    total, kept = _scan_sum(of_part, jnp.arange(parts), None, axis_name)
    return total, jax.tree.map(lambda a: a.swapaxes(0, 1).reshape(size, *a.shape[2:]), kept)


def _scan_sum(
    part: Callable[[Data], tuple[Summed, Kept]],
    data: Data,
    start: Summed | None,
    axis_name: AxisName | None,
) -> tuple[Summed, Kept]:
    """Sum the first results of part over the leading axis of data, and stack the second."""

    def add(total: Summed, data: Data) -> tuple[Summed, Kept]:
        more, kept = part(data)
        return jax.tree.map(jnp.add, total, more), kept

    if start is None:
        shapes = jax.eval_shape(part, jax.tree.map(lambda a: a[0], data))[0]
        zeros = lambda a: varying(jnp.zeros(a.shape, a.dtype), axis_name)  # noqa: E731
        start = jax.tree.map(zeros, shapes)
    return jax.lax.scan(add, start, data)


def contract(
    passes: Passes,
    left: Float[Array, "k n"],
    right: Float[Array, "k m"],
    overwrite: bool = True,
) -> PointsCotangent:
    """Pull G = K ∘ (leftᵀ right), the cotangent of log K, back to the points: ε times theirs.

    With few terms and `overwrite`, G may take the memory of a K kept whole; else it is formed in
    parts. On a mapped axis these are partial sums, from this device's rows of K.
    """
    symmetric = passes.points.y is None
    if symmetric:
        # With the cotangent's transpose added, one product gives all of x's.
        left, right = jnp.concatenate([left, right]), jnp.concatenate([right, left])

    def piece(k: Array, rows: tuple[Array, Array]) -> tuple[Array, Array]:
        return _pull(passes, k, rows[0], right, rows[1])

    few = len(left) <= MAX_FUSED_TERMS
    rows = passes.own(left.T), passes.own(passes.points.x)
    if few and overwrite:
        ct_columns, ct_x = passes.over_own_rows(piece, rows)
    else:
        ct_columns, ct_x = passes.over_parts(piece, rows, PART, PARTS)
    return _of_all(passes, ct_x), None if symmetric else ct_columns.T


def contracting_sweep(
    passes: Passes,
    right: Float[Array, " m"],
    rowwise: Rowwise[Rows, Kept],
    rows: Rows,
    left: Callable[[Kept, Rows], Float[Array, "b k"]],
    terms: Float[Array, "k m"],
) -> tuple[Array, Kept, PointsCotangent]:
    """Do `Passes.sweep` and `contract` in one pass, which forms each block of K once for both.

    `left` gives the rows' left vectors of the terms, from what `rowwise` keeps too. K is of two
    sets of points: where it is symmetric, `contract` needs all left vectors before it begins.
    """

    def piece(k: Array, rows: tuple[Array, Rows]) -> tuple[tuple[Array, Array], tuple[Kept, Array]]:
        x, given = rows
        vector, kept = rowwise(jnp.matmul(k, right, precision=HIGHEST), given)
        ct_columns, ct_x = _pull(passes, k, left(kept, given), terms, x)
        return (jnp.matmul(vector, k, precision=HIGHEST), ct_columns), (kept, ct_x)

    own = jax.tree.map(passes.own, (passes.points.x, rows))
    (total, ct_columns), (kept, ct_x) = passes.over_own_rows(piece, own)
    kept = jax.tree.map(passes.gather, kept)
    return passes.all_devices(total), kept, (_of_all(passes, ct_x), ct_columns.T)


def _pull(
    passes: Passes, k: Array, left: Array, right: Array, x: Array
) -> tuple[Float[Array, "..."], Float[Array, "b d"]]:
    """Products of G = k ∘ (left right) with its rows' points x and with those of the columns.

    Where K is symmetric the first product is left out.
    """
    columns, rounded, terms = passes.columns, passes.points.rounded, left.shape[1]
    if terms <= MAX_FUSED_TERMS:  # written out, they fuse with the product
        outer = functools.reduce(jnp.add, [left[:, i, None] * right[None, i] for i in range(terms)])
    else:
        outer = jnp.matmul(left, right, precision=HIGHEST)
    weights: tuple[Array, ...] = (k * outer,)
    if rounded:  # in a row they nearly cancel at small ε: one bfloat16 is too coarse
        high = jax.lax.reduce_precision(weights[0], 8, 7)
        weights = high, weights[0] - high
    ct_x = functools.reduce(jnp.add, [product(w, columns, rounded) for w in weights])
    if passes.points.y is None:
        return jnp.zeros_like(x[0]), ct_x
    ct_columns = [product(x.T, w, rounded) for w in weights]
    return functools.reduce(jnp.add, ct_columns), ct_x


def _of_all(passes: Passes, ct_x: Float[Array, "k d"]) -> Float[Array, "n d"]:
    """Put the cotangents of this device's rows in place, zeros elsewhere."""
    points = passes.points
    if points.axis_name is None:
        return ct_x
    start = jax.lax.axis_index(points.axis_name) * ct_x.shape[0]
    everyone = varying(jnp.zeros_like(points.x), points.axis_name)
    return jax.lax.dynamic_update_slice_in_dim(everyone, ct_x, start, 0)


def product(a: Array, b: Array, rounded: bool) -> Array:
    """Return a b at full precision; `rounded` says that bfloat16 holds the numbers of both."""
    if not rounded:
        return jnp.matmul(a, b, precision=HIGHEST)
    short = a.astype(jnp.bfloat16), b.astype(jnp.bfloat16)
    return jnp.matmul(*short, preferred_element_type=a.dtype)


def with_epsilon(passes: Passes, ct_points: PointsCotangent, ct_log_k: Array) -> Points:
    """Divide by ε and adds ε's own cotangent; ct_log_k is the sum of log K's cotangent.

    d log K/dε = -log K/ε with log K = (s - 1)/ε, and Σ (cotangent · s) is Σ_i x_i · (ε ct_x)_i.
    """
    points, (ct_x, ct_y) = passes.points, ct_points
    weighted = jnp.sum(points.x * ct_x) / (2 if ct_y is None else 1)
    ct_epsilon = (on_first_device(ct_log_k, points.axis_name) - weighted) / points.epsilon**2
    ct_y = None if ct_y is None else ct_y / points.epsilon
    ct_x = ct_x / points.epsilon
    return dataclasses.replace(
        points, x=ct_x, y=ct_y, epsilon=ct_epsilon, excluded=None, prior=None
    )
