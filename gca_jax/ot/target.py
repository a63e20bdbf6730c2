"""Target plans (section 3.4 of the paper): identity, blocks, classes, weighted, or any array.

A structured target holds a weight for each positive pair (row i with column i) and, for the other
pairs, group labels with one weight inside a group and one across groups; its n×m matrix is formed
on request. It is made for the cross layout and re-laid for all 2B views by `with_layout("joint")`.
"""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from gca_jax.ot import check
from gca_jax.ot.kernel import Kernel, Layout


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Target:
    """A target plan P_tgt of total mass 1.

    Attributes:
      positives: Weight of each positive pair before scaling (n,), or None where it is as any other.
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
        if layout == "joint" and self.rows != self.columns:
            raise ValueError(
                "a target in the joint layout needs as many rows as columns, got "
                f"({self.rows}, {self.columns})"
            )
        return dataclasses.replace(self, layout=layout)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.matrix, dtype=dtype)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DenseTarget:
    """A target plan given as an array, scaled to total mass 1."""

    matrix: Float[Array, "n m"]

    @property
    def shape(self) -> tuple[int, int]:
        """(n, m)."""
        n, m = self.matrix.shape
        return n, m

    def weights(self, rows: Int[Array, " k"]) -> Float[Array, "k m"]:
        """The given rows."""
        return self.matrix[rows]


AnyTarget = Target | DenseTarget


def positive_columns(layout: Layout, rows: int) -> Int[Array, " n"]:
    """The column of each row's positive pair: i itself, or the other view in the joint layout."""
    index = jnp.arange(rows)
    return index if layout == "cross" else (index + rows // 2) % rows


def identity(n: int, m: int | None = None) -> Target:
    """P_tgt = I/n: each row's positive is the column of the same index.

    Args:
      n: Rows, >= 1.
      m: Columns, >= n; those past n are negatives only. None is n.

    Raises:
      ValueError: n < 1, or m < n, which leaves rows without a positive.
    """
    check.at_least("n", n, 1)
    return weighted(jnp.ones(n), m)


def weighted(quality: Float[ArrayLike, " n"], m: int | None = None) -> Target:
    """The identity with a weight in [0, 1] per pair, for view quality; 0 leaves a pair out.

    Args:
      quality: Weight of each pair (n,).
      m: Columns, as in `identity`.

    Raises:
      ValueError: a weight outside [0, 1], no weight > 0, m < n.
    """
    weights = _vector("quality", quality)
    check.between("quality", weights, 0.0, 1.0)
    check.some_mass("quality", weights)
    n = weights.shape[0]
    m = n if m is None else m
    if m < n:
        raise ValueError(f"an identity target needs a column for each row, got n={n}, m={m}")
    zero = jnp.zeros((), weights.dtype)
    return Target(weights, None, None, zero, zero, rows=n, columns=m)


def blocks(
    domains_a: Int[ArrayLike, " n"],
    domains_b: Int[ArrayLike, " m"] | None = None,
    *,
    alpha: ArrayLike,
    beta: ArrayLike = 0.0,
) -> Target:
    """P_tgt[i, j] ∝ 1 if i = j; α if D_i = D_j, i ≠ j; β if D_i ≠ D_j (section 3.4).

    Args:
      domains_a: Domain of each row's sample (n,), any integers.
      domains_b: Domain of each column's sample (m,); None is `domains_a`.
      alpha: α >= 0, weight inside a domain.
      beta: β >= 0, weight across domains.

    Raises:
      ValueError: labels that are no integers, α < 0, β < 0.
    """
    groups_a = _labels("domains_a", domains_a)
    groups_b = groups_a if domains_b is None else _labels("domains_b", domains_b)
    n, m = groups_a.shape[0], groups_b.shape[0]
    alpha, beta = jnp.asarray(alpha, float), jnp.asarray(beta, float)
    check.non_negative("alpha", alpha)
    check.non_negative("beta", beta)
    return Target(jnp.ones(n), groups_a, groups_b, alpha, beta, rows=n, columns=m)


def classes(labels_a: Int[ArrayLike, " n"], labels_b: Int[ArrayLike, " m"] | None = None) -> Target:
    """All pairs of one class weigh the same, others nothing (supervised contrast).

    Args:
      labels_a: Class of each row's sample (n,), any integers.
      labels_b: Class of each column's sample (m,); None is `labels_a`.

    Raises:
      ValueError: labels that are no integers, or no two of one class.
    """
    rows = _labels("labels_a", labels_a)
    columns = rows if labels_b is None else _labels("labels_b", labels_b)
    known = check.is_concrete(rows) and check.is_concrete(columns)
    if known and not np.intersect1d(rows, columns).size:
        raise ValueError("labels_a and labels_b must have a class in common, got none")
    one = jnp.ones(())
    return Target(None, rows, columns, one, 0 * one, rows=rows.size, columns=columns.size)


def resolve(target: "AnyTarget | ArrayLike | None", kernel: Kernel) -> AnyTarget:
    """What a caller gave as `target=`, in the kernel's layout and dtype; None is the identity.

    Raises:
      ValueError: a shape that is not the kernel's, a negative entry, no mass.
    """
    n, m = kernel.shape
    if target is None:
        target = identity(n // 2) if kernel.layout == "joint" else identity(n, m)
    if isinstance(target, Target):
        target = target.with_layout(kernel.layout)
    elif not isinstance(target, DenseTarget):
        target = jnp.asarray(target)
    if target.shape != (n, m):
        raise ValueError(
            f"target must have the kernel's shape {(n, m)} (layout {kernel.layout!r}), "
            f"got {target.shape}"
        )
    if not isinstance(target, Target | DenseTarget):
        check.non_negative("target", target)
        check.some_mass("target", target)
        _check_self_pairs(target, kernel)
        target = DenseTarget(target / target.sum())
    return jax.tree.map(partial(_cast, kernel.dtype), target)


def _check_self_pairs(matrix: Array, kernel: Kernel) -> None:
    """Refuses mass on excluded pairs, where no plan has any: the divergence would be infinite."""
    excluded = kernel.layout == "joint" and kernel.self_pairs == "exclude"
    if excluded and check.is_concrete(matrix):
        worst = np.asarray(matrix).diagonal().max()
        if worst > 0:
            raise ValueError(
                f"target must be 0 on the self-pairs of the joint layout, found {worst} on its "
                "diagonal; the positive of a view is the other view of its image"
            )


def _cast(dtype: jnp.dtype, x: Array) -> Array:
    return x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x


def _vector(name: str, values: ArrayLike) -> Array:
    x = jnp.asarray(values)
    if x.ndim != 1 or x.size == 0:
        raise ValueError(f"{name} must have shape (n,), got {x.shape}")
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _labels(name: str, values: ArrayLike) -> Array:
    x = jnp.asarray(values)
    if x.ndim != 1 or x.size == 0 or not jnp.issubdtype(x.dtype, jnp.integer):
        raise ValueError(f"{name} must be integers of shape (n,), got {x.dtype} {x.shape}")
    return x
