"""Types of target plans: by pairs and groups, by similarities, by an array."""

import dataclasses
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from gca_jax import check
from gca_jax.ot import inputs
from gca_jax.ot.cost import SquaredEuclidean
from gca_jax.ot.engine import Excluded
from gca_jax.ot.kernel import Kernel, Layout
from gca_jax.ot.numerics import negative_entropy, ratio

MAX_DIFFERENCES = 8  # coordinates whose differences are formed one by one


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Target:
    """A target plan P_tgt of total mass 1.

    Attributes:
      positives: Weight of each positive pair before scaling (n,); None gives it that of its group.
      groups_a: Group of each row (n,), or None where only positive pairs have mass.
      groups_b: Group of each column (m,), likewise.
      same: Weight of a pair of one group that is no positive pair.
      different: Weight of a pair of two groups.
      rows: n in the cross layout.
      columns: m in the cross layout.
      counted: Which rows and columns in the layout count, those of `valid=`; None: all.
      per: "anchor": each row has the same mass; such a target is used as a `DenseTarget`.
      layout: "cross", (n, m); or "joint", (2n, 2n) with no mass on self-pairs.
    """

    positives: Float[Array, " n"] | None
    groups_a: Int[Array, " n"] | None
    groups_b: Int[Array, " m"] | None
    same: Float[Array, ""]
    different: Float[Array, ""]
    rows: int = dataclasses.field(metadata={"static": True})
    columns: int = dataclasses.field(metadata={"static": True})
    counted: tuple[Bool[Array, " n"], Bool[Array, " m"]] | None = None
    layout: Layout = dataclasses.field(default="cross", metadata={"static": True})
    per: Literal["pair", "anchor"] = dataclasses.field(default="pair", metadata={"static": True})

    @property
    def shape(self) -> tuple[int, int]:
        """(n, m), or (2n, 2n) in the joint layout."""
        scale = 2 if self.layout == "joint" else 1
        return scale * self.rows, scale * self.columns

    @property
    def matrix(self) -> Float[Array, "n m"]:
        """P_tgt, scaled to total mass 1."""
        return self._scaled(self.weights(jnp.arange(self.shape[0])))

    def _scaled(self, weights: Float[Array, "n m"]) -> Float[Array, "n m"]:
        if self.per == "anchor":
            weights = ratio(weights, weights.sum(axis=1, keepdims=True))
        return ratio(weights, weights.sum())

    def weights(self, rows: Int[Array, " k"]) -> Float[Array, "k m"]:
        """Return the given rows of P_tgt before it is scaled."""
        column = jnp.arange(self.shape[1])[None, :]
        weights = jnp.zeros((rows.size, self.shape[1]), self.same.dtype)
        if self.groups is not None:
            group_a, group_b = self.groups
            same = group_a[rows][:, None] == group_b[None, :]
            weights = jnp.where(same, self.same, self.different)
        if self.positives is not None:
            is_positive = column == positive_columns(self.layout, self.shape[0])[rows][:, None]
            weights = jnp.where(is_positive, self.positives[rows % self.rows][:, None], weights)
        if self.layout == "joint":
            weights = jnp.where(column == rows[:, None], 0.0, weights)
        if self.counted is not None:
            both = self.counted[0][rows][:, None] & self.counted[1][None, :]
            weights = jnp.where(both, weights, 0.0)
        return weights

    @property
    def groups(self) -> tuple[Int[Array, " n"], Int[Array, " m"]] | None:
        """The groups of rows and columns in the layout."""
        if self.groups_a is None or self.groups_b is None:
            return None
        if self.layout == "cross":
            return self.groups_a, self.groups_b
        both = jnp.concatenate([self.groups_a, self.groups_b])
        return both, both

    @property
    def leaves_columns_out(self) -> bool:
        """Whether there are more columns than rows, and the ones left over have no mass."""
        return self.groups_a is None and self.columns > self.rows

    def with_layout(self, layout: Layout) -> "Target":
        """Return the same target over all 2B views ("joint") or over pairs ("cross").

        In the joint layout a view's positive is the other view of its image; a pair of views of
        different images has the weight of their groups; a view paired with itself has none.

        Raises:
          ValueError: "joint" with n != m.
        """
        check.one_of("layout", layout, ("cross", "joint"))
        if layout == "joint":
            inputs.pairs("a target", self.rows, self.columns)
        return dataclasses.replace(self, layout=layout)

    @property
    def transposed(self) -> "Target":
        """The same plan with rows and columns exchanged."""
        counted = None if self.counted is None else self.counted[::-1]
        groups_a, groups_b = self.groups_b, self.groups_a
        exchanged = dataclasses.replace(self, groups_a=groups_a, groups_b=groups_b, counted=counted)
        return dataclasses.replace(exchanged, rows=self.columns, columns=self.rows)

    def excluding(self, excluded: Excluded) -> "Target | DenseTarget":
        """Return the target without mass on the pairs that do not count, in its layout."""
        positives, counted, count = self.positives, self.counted, excluded.positives
        if positives is not None and count is not None:
            count = count[: self.rows]
            positives = positives.at[: count.size].multiply(count.astype(positives.dtype))
        if excluded.rows is not None and excluded.columns is not None:
            counted = excluded.rows, excluded.columns
        masked: Target = dataclasses.replace(self, positives=positives, counted=counted)
        if self.groups is None or excluded.only_whole_rows:
            return masked
        rows, columns = jnp.arange(self.shape[0]), self.shape[1]
        weights = jnp.where(excluded.of(rows, columns), 0.0, masked.weights(rows))
        return DenseTarget(masked._scaled(weights))

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.matrix, dtype=dtype)


def positive_columns(layout: Layout, rows: int) -> Int[Array, " n"]:
    """Return each row's positive column: i itself, or the other view in the joint layout."""
    index = jnp.arange(rows)
    return index if layout == "cross" else (index + rows // 2) % rows


class TargetSums(NamedTuple):
    """Sums of a target's weights before they are scaled to mass 1."""

    shift: Float[Array, ""]  # the least ‖x_i - y_j‖²/(2σ²), at which the weight is 1
    rows: Float[Array, " n"]  # Σ_j w_ij
    columns: Float[Array, " m"]  # Σ_i w_ij
    w_log_w: Float[Array, ""]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SimilarityTarget:
    """A target whose weights w_ij = exp(-‖x_i - y_j‖²/(2σ²)) are formed a block of rows at a time.

    The largest exponent is subtracted first, so that weights far below 1 are not flushed.

    Attributes:
      x: Labels or features of the rows' samples (n, k).
      y: The columns' (m, k).
      bandwidth: σ, in the unit of x and y.
      joint: Whether both hold all 2B views, whose self-pairs have no mass.
      excluded: Pairs without mass; None: none but self-pairs.
      sums: Its sums, which `resolve` forms in one pass over the rows; None before.
    """

    x: Float[Array, "n k"]
    y: Float[Array, "m k"]
    bandwidth: Float[Array, ""]
    joint: bool = dataclasses.field(default=False, metadata={"static": True})
    excluded: Excluded | None = None
    sums: TargetSums | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(n, m), or (2n, 2n) in the joint layout."""
        return self.x.shape[0], self.y.shape[0]

    @property
    def matrix(self) -> Float[Array, "n m"]:
        """P_tgt, scaled to total mass 1."""
        log_w = self._log_weights(jnp.arange(self.shape[0]))
        weights = jnp.exp(log_w - log_w.max())
        return weights / weights.sum()

    def weights(self, rows: Int[Array, " k"]) -> Float[Array, "k m"]:
        """Return the given rows of P_tgt before it is scaled."""
        log_w = self._log_weights(rows)
        return jnp.exp(log_w if self.sums is None else log_w + self.sums.shift)

    def _log_weights(self, rows: Int[Array, " k"]) -> Float[Array, "k m"]:
        scaled_x, scaled_y = self.x[rows] / self.bandwidth, self.y / self.bandwidth
        log_w = -squared_distances(scaled_x, scaled_y) / 2
        if self.excluded is not None:
            log_w = jnp.where(self.excluded.of(rows, log_w.shape[1]), -jnp.inf, log_w)
        if not self.joint:
            return log_w
        return jnp.where(jnp.arange(self.shape[1])[None, :] == rows[:, None], -jnp.inf, log_w)

    def with_layout(self, layout: Layout) -> "SimilarityTarget":
        """Return the same target over all 2B views ("joint") or over pairs ("cross").

        Raises:
          ValueError: "joint" with n != m.
        """
        check.one_of("layout", layout, ("cross", "joint"))
        if layout == "cross" or self.joint:
            return self
        inputs.pairs("a target", *self.shape)
        both = jnp.concatenate([self.x, self.y])
        return dataclasses.replace(self, x=both, y=both, joint=True)

    @property
    def transposed(self) -> "SimilarityTarget":
        """The same plan with rows and columns exchanged."""
        excluded = None if self.excluded is None else self.excluded.transposed
        sums = self.sums
        if sums is not None:
            sums = TargetSums(sums.shift, sums.columns, sums.rows, sums.w_log_w)
        return dataclasses.replace(self, x=self.y, y=self.x, excluded=excluded, sums=sums)

    def excluding(self, excluded: Excluded) -> "SimilarityTarget":
        """Return the target without mass on the pairs that do not count, in its layout."""
        return dataclasses.replace(self, excluded=excluded)

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.matrix, dtype=dtype)

    def with_sums(self, kernel: Kernel) -> "SimilarityTarget":
        """Add the target's sums, formed in the blocks of rows of a kernel."""

        def largest(log_k: Array, rows: Array) -> tuple[tuple[()], Array]:
            return (), self._log_weights(rows).max(axis=1)

        largest_log = kernel.over_rows(largest)[1].max()
        shift = -jnp.where(largest_log == -jnp.inf, 0.0, largest_log)

        def of_rows(log_k: Array, rows: Array) -> tuple[tuple[Array, Array], Array]:
            w = jnp.exp(self._log_weights(rows) + shift)
            return (w.sum(axis=0), negative_entropy(w)), w.sum(axis=1)

        (columns, w_log_w), rows = kernel.over_rows(of_rows)
        return dataclasses.replace(self, sums=TargetSums(shift, rows, columns, w_log_w))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DenseTarget:
    """A target plan given as an array, scaled to total mass 1."""

    matrix: Float[Array, "n m"]

    @property
    def shape(self) -> tuple[int, int]:
        """(n, m)."""
        if self.matrix.ndim != 2:
            raise ValueError(f"a target array must have shape (n, m), got {self.matrix.shape}")
        return self.matrix.shape[0], self.matrix.shape[1]

    def weights(self, rows: Int[Array, " k"]) -> Float[Array, "k m"]:
        """Return the given rows."""
        return self.matrix[rows]

    @property
    def transposed(self) -> "DenseTarget":
        """The same plan with rows and columns exchanged."""
        return DenseTarget(self.matrix.T)

    def excluding(self, excluded: Excluded) -> "DenseTarget":
        """Return the target without mass on the pairs that do not count, scaled to mass 1."""
        n, m = self.shape
        matrix = jnp.where(excluded.of(jnp.arange(n), m), 0.0, self.matrix)
        return DenseTarget(ratio(matrix, matrix.sum()))

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.matrix, dtype=dtype)


AnyTarget = Target | DenseTarget | SimilarityTarget


def squared_distances(x: Float[Array, "n k"], y: Float[Array, "m k"]) -> Float[Array, "n m"]:
    """Compute ‖x_i - y_j‖² (n, m): exact differences for few coordinates, else one product."""
    if x.shape[1] <= MAX_DIFFERENCES:
        return jnp.square(x[:, None, :] - y[None, :, :]).sum(axis=-1)
    return jnp.maximum(SquaredEuclidean().all_pairs(x, y), 0.0)
