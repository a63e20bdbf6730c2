"""Targets that learn from a plan which pairs to trust; none passes a gradient.

A loss takes one as a function of its plan: `target=self_weighted`, or with other settings
`target=jax.tree_util.Partial(self_weighted, sharpness=0.5)`. The plan is then the one of the
identity target, and no further pass over the kernel is made.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool

from gca_jax import check
from gca_jax.ot.plan import Plan
from gca_jax.ot.target import blocks, resolve, weighted
from gca_jax.ot.target_types import DenseTarget, Target


def self_weighted(
    plan: Plan, *, sharpness: ArrayLike = 1.0, floor: ArrayLike = 0.0, keep: ArrayLike = 1.0
) -> Target:
    """Weight each pair of the identity by the share of its row's mass that the plan gives it.

    w_i ∝ (P_ii/μ_i)^s: a pair that the plan takes to be wrong counts less. For the row projection
    the share is the softmax probability, so w_i = e^(-s loss_i) with the pair's own InfoNCE: the
    weights of self-paced learning (Kumar et al., NeurIPS 2010), by which methods for noisy
    correspondence choose pairs (Huang et al., NeurIPS 2021). `keep` leaves pairs out, as
    Co-teaching does (Han et al., NeurIPS 2018).

    Args:
      plan: P (n, m), or (2n, 2n) in the joint layout, where a pair has the mean of both shares.
      sharpness: s >= 0; 0 is the identity.
      floor: In [0, 1], the least weight, relative to the largest.
      keep: In (0, 1], the share of the pairs that have weight, those with the largest.

    Returns:
      The target, of mass 1. Where the plan has no mass on any positive pair, all weigh the same.

    Raises:
      ValueError: A number out of its range.

    >>> from gca_jax import ot
    >>> z = jnp.eye(3)  # the last pair is wrong: rows give 0.47, 0.79 and 0.33 to their pairs
    >>> plan = ot.project(ot.cosine_kernel(z, z[jnp.array([0, 1, 0])], epsilon=0.5), half_steps=1)
    >>> self_weighted(plan).matrix.diagonal().round(2)
    Array([0.29, 0.5 , 0.21], dtype=float32)
    """
    check_settings(sharpness, floor, keep)
    shares = jax.lax.stop_gradient(plan.log_positive_shares)
    n = shares.size
    # Of the largest share, so that small ε cannot make all weights 0.
    relative = shares - jnp.where(jnp.isfinite(shares.max()), shares.max(), 0.0)
    some = (jnp.asarray(sharpness) > 0) & (shares.max() > -jnp.inf)
    powers = jnp.exp(jnp.where(some, sharpness * jnp.where(some, relative, 0.0), 0.0))
    weights = floor + (1.0 - jnp.asarray(floor)) * powers
    counted = _counted(plan, n)
    skipped = jnp.floor(counted.sum() * (1.0 - jnp.asarray(keep)) + 1e-4) + jnp.sum(~counted)
    # By ranks: a compiler may round a weight in one way here and in another where it is compared.
    ranks = jnp.argsort(jnp.argsort(jnp.where(counted, weights, -1.0)))
    weights = jnp.where(ranks >= skipped.astype(int), weights, 0.0)
    columns = n if plan.kernel.layout == "joint" else plan.kernel.shape[1]
    return weighted(jnp.minimum(weights, 1.0), columns)


def _counted(plan: Plan, n: int) -> Bool[Array, " n"]:
    """Tell which of n positive pairs count."""
    counted = plan.kernel.counted_positives
    return jnp.ones(n, bool) if counted is None else counted[:n]


def check_settings(sharpness: ArrayLike, floor: ArrayLike, keep: ArrayLike) -> None:
    """Refuse settings of `self_weighted` that are out of their range."""
    check.between("sharpness", sharpness, 0.0, math.inf)
    check.between("floor", floor, 0.0, 1.0)
    check.between("keep", keep, 0.0, 1.0, open_low=True)


def smoothed(plan: Plan, *, share: ArrayLike) -> Target:
    """Mix (1 - β) identity + β uniform: label smoothing (Szegedy et al., CVPR 2016).

    It is `target.blocks` with one domain, and learns nothing of the plan but its size.

    Args:
      plan: P (n, n), or (2n, 2n) in the joint layout, whose uniform part is over all pairs of views
        but those of a view with itself.
      share: β in [0, 1), the uniform target's.

    Raises:
      ValueError: β out of its range, or m > n: columns that belong to no row.

    >>> from gca_jax import ot
    >>> plan = ot.project(ot.cosine_kernel(jnp.eye(2), jnp.eye(2)), half_steps=1)
    >>> smoothed(plan, share=0.2).matrix.round(2)
    Array([[0.45, 0.05],
           [0.05, 0.45]], dtype=float32)
    """
    check.between("share", share, 0.0, 1.0)
    n, m = plan.kernel.shape
    if n != m:
        raise ValueError(f"a smoothed target needs as many rows as columns, got {(n, m)}")
    joint = plan.kernel.layout == "joint"
    other = jnp.asarray(share) / (_counted(plan, n).sum() - joint)
    n = n // 2 if joint else n
    return blocks(jnp.zeros(n, int), alpha=other / (1.0 - jnp.asarray(share) + other))


def bootstrapped(plan: Plan, *, share: ArrayLike) -> DenseTarget:
    """Mix (1 - β) identity + β P: labels of Reed et al. (ICLR workshop 2015), the plan's own.

    The plan is scaled to mass 1. The target is an array (n, m), formed whole.

    Args:
      plan: P (n, m).
      share: β in [0, 1], the plan's.

    Raises:
      ValueError: β out of its range.

    >>> from gca_jax import ot
    >>> plan = ot.project(ot.cosine_kernel(jnp.eye(2), jnp.eye(2)), half_steps=1)
    >>> bootstrapped(plan, share=0.5).matrix.round(2)
    Array([[0.47, 0.03],
           [0.03, 0.47]], dtype=float32)
    """
    check.between("share", share, 0.0, 1.0)
    p = jax.lax.stop_gradient(plan.matrix)
    plain = resolve(None, plan.kernel)
    return DenseTarget((1.0 - jnp.asarray(share)) * plain.matrix + share * p / p.sum())
