"""Targets with one weight a positive pair, one inside a group and one across groups."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from gca_jax.ot import check
from gca_jax.ot.kernel import Layout


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
      layout: "cross", (n, m); or "joint", (2n, 2n) with no mass on self-pairs.
    """

    positives: Float[Array, " n"] | None
    groups_a: Int[Array, " n"] | None
    groups_b: Int[Array, " m"] | None
    same: Float[Array, ""]
    different: Float[Array, ""]
    rows: int = dataclasses.field(metadata={"static": True})
    columns: int = dataclasses.field(metadata={"static": True})
    layout: Layout = dataclasses.field(default="cross", metadata={"static": True})

    @property
    def shape(self) -> tuple[int, int]:
        """(n, m), or (2n, 2n) in the joint layout."""
        scale = 2 if self.layout == "joint" else 1
        return scale * self.rows, scale * self.columns

    @property
    def matrix(self) -> Float[Array, "n m"]:
        """P_tgt, scaled to total mass 1."""
        weights = self.weights(jnp.arange(self.shape[0]))
        return weights / weights.sum()

    def weights(self, rows: Int[Array, " k"]) -> Float[Array, "k m"]:
        """The given rows of P_tgt before it is scaled."""
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
        """The same target over all 2B views ("joint") or over pairs ("cross").

        In the joint layout a view's positive is the other view of its image; a pair of views of
        different images has the weight of their groups; a view paired with itself has none.

        Raises:
          ValueError: "joint" with n != m.
        """
        check.one_of("layout", layout, ("cross", "joint"))
        if layout == "joint":
            check.pairs("a target", self.rows, self.columns)
        return dataclasses.replace(self, layout=layout)

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.matrix, dtype=dtype)


def positive_columns(layout: Layout, rows: int) -> Int[Array, " n"]:
    """The column of each row's positive pair: i itself, or the other view in the joint layout."""
    index = jnp.arange(rows)
    return index if layout == "cross" else (index + rows // 2) % rows
