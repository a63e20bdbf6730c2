"""Target plans (section 3.4 of the paper): identity, blocks, classes, weighted, similar, any array.

A structured target holds a weight for each positive pair (row i with column i) and, for the other
pairs, group labels with one weight inside a group and one across groups; a similarity target forms
its weights from labels or features. Their n×m matrix is formed on request. They are made for the
cross layout and re-laid for all 2B views by `with_layout("joint")`.
"""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Integer

from gca_jax import check
from gca_jax.ot import inputs
from gca_jax.ot.cost import normalize
from gca_jax.ot.kernel import Kernel
from gca_jax.ot.numerics import ratio
from gca_jax.ot.target_types import AnyTarget, DenseTarget, SimilarityTarget, Target


def identity(n: int, m: int | None = None) -> Target:
    """P_tgt = I/n: each row's positive is the column of the same index.

    Args:
      n: Rows, >= 1.
      m: Columns, >= n; those past n are negatives only. None is n.

    Raises:
      ValueError: n < 1, or m < n, which leaves rows without a positive.

    >>> identity(2, 3).matrix.tolist()
    [[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]]
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

    >>> weighted(jnp.array([1.0, 0.0])).matrix.tolist()
    [[1.0, 0.0], [0.0, 0.0]]
    """
    weights = inputs.array("quality", quality)
    if weights.ndim != 1 or weights.size == 0:
        raise ValueError(f"quality must have shape (n,), got {weights.shape}")
    weights = inputs.cast_up(weights)
    check.between("quality", weights, 0.0, 1.0)
    check.some_mass("quality", weights)
    n = weights.shape[0]
    m = n if m is None else m
    if m < n:
        raise ValueError(f"an identity target needs a column for each row, got n={n}, m={m}")
    zero = jnp.zeros((), weights.dtype)
    return Target(weights, None, None, zero, zero, rows=n, columns=m)


def blocks(
    domains_a: Integer[ArrayLike, " n"],
    domains_b: Integer[ArrayLike, " m"] | None = None,
    *,
    alpha: ArrayLike,
    beta: ArrayLike = 0.0,
) -> Target:
    """P_tgt[i, j] ∝ 1 if i = j; α if D_i = D_j, i ≠ j; β if D_i ≠ D_j (section 3.4).

    Args:
      domains_a: Domain of each row's sample (n,), any integers; -1 where it is not known, which is
        a domain of its own.
      domains_b: Domain of each column's sample (m,); None is `domains_a`.
      alpha: α >= 0, weight inside a domain.
      beta: β >= 0, weight across domains.

    Raises:
      ValueError: labels that are no integers, α < 0, β < 0.

    >>> target = blocks(jnp.array([0, 0, 1]), alpha=0.5)
    >>> (target.matrix * 4).round(4).tolist()
    [[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    groups_a, groups_b = inputs.ids("domains", domains_a, domains_b)
    n, m = groups_a.shape[0], groups_b.shape[0]
    alpha, beta = jnp.asarray(alpha, float), jnp.asarray(beta, float)
    check.non_negative("alpha", alpha)
    check.non_negative("beta", beta)
    return Target(jnp.ones(n), groups_a, groups_b, alpha, beta, rows=n, columns=m)


def classes(
    labels_a: Integer[ArrayLike, " n"],
    labels_b: Integer[ArrayLike, " m"] | None = None,
    *,
    per: Literal["pair", "anchor"] = "pair",
) -> Target:
    """All pairs of one class weigh the same, or all rows do; others nothing (supervised contrast).

    With `per="anchor"` each row has the same mass, however many are of its class: SupCon's L_out
    (Khosla et al., NeurIPS 2020) is `simclr` with it. With "pair" a class of k has k² shares.
    The label -1 is of no class: such a sample has its positive pair alone.

    Args:
      labels_a: Class of each row's sample (n,), any integers; -1 where it is not known.
      labels_b: Class of each column's sample (m,); None is `labels_a`.
      per: "pair" or "anchor", whose target is formed whole (n, m).

    Raises:
      ValueError: labels that are no integers, or no two of one class.

    >>> (classes(jnp.array([0, 0, 1])).matrix * 5).round(4).tolist()
    [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    check.one_of("per", per, ("pair", "anchor"))
    rows, columns = inputs.ids("labels", labels_a, labels_b)
    known = check.is_concrete(rows) and check.is_concrete(columns)
    if known and not np.intersect1d(rows, columns).size:
        raise ValueError("labels_a and labels_b must have a class in common, got none")
    one = jnp.ones(())
    size: Any = {"rows": rows.size, "columns": columns.size, "per": per}
    return Target(None, rows, columns, one, 0 * one, **size)


def continuous(
    labels_a: ArrayLike, labels_b: ArrayLike | None = None, *, bandwidth: ArrayLike
) -> SimilarityTarget:
    """P_tgt[i, j] ∝ exp(-‖y_i - y_j‖²/(2σ²)) for continuous labels y, such as an age or a position.

    y-aware InfoNCE (Dufumier et al., MICCAI 2021) weighs pairs this way. σ → 0 tends to the
    identity where labels differ, σ → ∞ to the uniform plan.

    Args:
      labels_a: Label of each row's sample (n,), or (n, k) for several.
      labels_b: Label of each column's sample (m,) or (m, k); None is `labels_a`.
      bandwidth: σ > 0, in the labels' unit.

    Raises:
      ValueError: A shape that is neither (n,) nor (n, k), a label that is not finite, σ <= 0.

    >>> target = continuous(jnp.array([20.0, 21.0, 60.0]), bandwidth=2.0)
    >>> f"{target.matrix[0, 1] / target.matrix[0, 0]:.4f}"  # one year apart: e^(-1/8)
    '0.8825'
    """
    check.positive("bandwidth", bandwidth)
    x, y = inputs.positions("labels", labels_a, labels_b, bandwidth)
    return SimilarityTarget(x, y, jnp.ones((), x.dtype))


def similar(
    features_a: Float[ArrayLike, "n k"],
    features_b: Float[ArrayLike, "m k"] | None = None,
    *,
    epsilon: ArrayLike,
) -> SimilarityTarget:
    """P_tgt[i, j] ∝ exp((cos(f_i, f_j) - 1)/ε) for features f of another model, a teacher.

    The similarities are formed by rows, so no (n, m) array is needed in blocks or shards.

    Args:
      features_a: Features of each row's sample (n, k).
      features_b: Features of each column's sample (m, k); None is `features_a`.
      epsilon: ε > 0 of the target; a small one keeps only the most similar pairs.

    Raises:
      ValueError: A shape that is not (n, k), a feature that is not finite, ε <= 0.

    >>> target = similar(jnp.eye(2), epsilon=0.5)
    >>> f"{target.matrix[0, 1] / target.matrix[0, 0]:.4f}"  # e^-2
    '0.1353'
    """
    check.positive("epsilon", epsilon)
    a = inputs.directions("features_a", features_a)
    b = a if features_b is None else inputs.directions("features_b", features_b)
    # ‖x - y‖² = 2 - 2 cos of unit vectors: a Gaussian of bandwidth √ε.
    return continuous(normalize(a), normalize(b), bandwidth=jnp.sqrt(jnp.asarray(epsilon, a.dtype)))


def resolve(target: "AnyTarget | ArrayLike | None", kernel: Kernel) -> AnyTarget:
    """Resolve a caller's `target=` in the kernel's layout and dtype; None is the identity.

    Raises:
      ValueError: a shape that is not the kernel's, a negative entry, no mass.
    """
    n, m = kernel.shape
    if target is None:
        target = identity(n // 2) if kernel.layout == "joint" else identity(n, m)
    if isinstance(target, Target | SimilarityTarget):
        resolved: AnyTarget = target.with_layout(kernel.layout)
    else:
        resolved = (
            target
            if isinstance(target, DenseTarget)
            else DenseTarget(inputs.array("target", target))
        )
    if resolved.shape != (n, m):
        raise ValueError(
            f"target must have the kernel's shape {(n, m)} (layout {kernel.layout!r}), "
            f"got {resolved.shape}"
        )
    if isinstance(resolved, DenseTarget) and not isinstance(target, DenseTarget):
        check.non_negative("target", resolved.matrix)
        check.some_mass("target", resolved.matrix)
        _check_self_pairs(resolved.matrix, kernel)
        resolved = DenseTarget(ratio(resolved.matrix, resolved.matrix.sum()))
    if kernel.excluded is not None:
        resolved = resolved.excluding(kernel.excluded)
    if isinstance(resolved, Target) and resolved.per == "anchor":
        resolved = DenseTarget(resolved.matrix)
    resolved = jax.tree.map(
        lambda x: x.astype(kernel.dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, resolved
    )
    return resolved.with_sums(kernel) if isinstance(resolved, SimilarityTarget) else resolved


def uniform_unless(
    some: Bool[Array, ""], target: "AnyTarget | ArrayLike | None", kernel: Kernel
) -> "AnyTarget | ArrayLike | None":
    """Return a caller's target or, unless `some`, one with mass on many pairs."""
    if target is None or isinstance(target, SimilarityTarget):
        return target
    if not isinstance(target, Target):
        matrix = target.matrix if isinstance(target, DenseTarget) else jnp.asarray(target)
        n, m = kernel.shape
        joint = kernel.layout == "joint"  # in which self-pairs have no mass
        spare = (1.0 - jnp.eye(n)) / (n * (n - 1)) if joint else 1.0 / (n * m)
        return DenseTarget(jnp.where(some, matrix, jnp.asarray(spare, matrix.dtype)))
    if target.positives is not None:
        return dataclasses.replace(target, positives=jnp.where(some, target.positives, 1.0))
    return dataclasses.replace(target, different=jnp.where(some, target.different, 1.0))


def _check_self_pairs(matrix: Array, kernel: Kernel) -> None:
    """Refuse mass on excluded pairs, where no plan has any: the divergence would be infinite."""
    excluded = kernel.layout == "joint" and kernel.self_pairs == "exclude"
    if excluded and check.is_concrete(matrix):
        worst = np.asarray(matrix).diagonal().max()
        if worst > 0:
            raise ValueError(
                f"target must be 0 on the self-pairs of the joint layout, found {worst} on its "
                "diagonal; the positive of a view is the other view of its image"
            )
