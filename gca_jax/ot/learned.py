"""Targets that learn from a plan which pairs to trust; none passes a gradient.

A loss takes one as a function of its plan: `target=self_weighted`, or with other settings
`target=jax.tree_util.Partial(self_weighted, sharpness=0.5)`. The plan is then the one of the
identity target, and no further pass over the kernel is made.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from gca_jax import check
from gca_jax.ot.numerics import ratio
from gca_jax.ot.plan import Plan
from gca_jax.ot.target import blocks, resolve, weighted
from gca_jax.ot.target_types import DenseTarget, Target

SWEEPS = 20  # of a posterior plan with two marginals
STEPS = 50  # of expectation maximisation of π
LEAST_SHARE, MOST_SHARE = 0.01, 0.995  # that π may be estimated as


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


def evidence(plan: Plan, *, share: ArrayLike | None = None) -> DenseTarget:
    """Take the posterior plan: P with the positive pairs as its prior, each right with π.

    A row belongs to its partner with the probability π, and else to any. Where rows alone are
    fitted, as in `ince`, a pair to which P gives the share p of its row gets

        q = e^β p / (1 - p + e^β p),   e^β = 1 + m π/(1 - π),

    and the others of its row (1 - q)/(1 - p) of what they had. Where columns are fitted too, as in
    Sinkhorn's plan, P with e^β at its pairs (that of `ot.prior`) is projected on its own sums
    again. π = 1 is the identity and π = 0 is P. The target is an array (n, m), formed whole.

    Args:
      plan: P (n, m), or (2n, 2n) in the joint layout, in which each view of an image is the other's
        partner, and none its own.
      share: π in [0, 1]; None: `likeliest_share` of the plan.

    Returns:
      The target, of mass 1.

    Raises:
      ValueError: π out of its range.

    >>> from gca_jax import ot
    >>> flat = ot.project(ot.cost_kernel(jnp.zeros((2, 2))), half_steps=1)
    >>> (evidence(flat, share=0.5).matrix * 8).round(2)  # half of a row is spread over all columns
    Array([[3., 1.],
           [1., 3.]], dtype=float32)
    """
    if share is not None:
        check.between("share", share, 0.0, 1.0)
    identity, of = resolve(None, plan.kernel).matrix, _plain(plan)
    pi = jnp.asarray(likeliest_share(plan) if share is None else share, of.p.dtype)
    tilted = of.p * (1.0 + jnp.where(identity > 0, of.odds(identity > 0, pi), 0.0))

    def row_scalings(v: Array) -> Array:
        return jnp.where(of.fits_rows, ratio(of.mu, (tilted * v[None, :]).sum(axis=1)), 1.0)

    def sweep(_: Array, v: Array) -> Array:
        columns = (row_scalings(v)[:, None] * tilted).sum(axis=0)
        return jnp.where(of.fits_columns, ratio(of.nu, columns), 1.0)

    v = jax.lax.fori_loop(0, SWEEPS, sweep, jnp.ones_like(of.nu))
    found = row_scalings(v)[:, None] * tilted * v[None, :]
    return DenseTarget(jnp.where(pi < 1.0, ratio(found, found.sum()), identity))


def likeliest_share(plan: Plan) -> Float[Array, ""]:
    """Estimate π, the share of right pairs, by maximum likelihood: the most of Σ log(π L + 1 - π).

    L is the mass of a pair in P over that of a pair at random: m p in a row projection. π lies in
    [0.01, 0.995]. Pairs that the network knows by heart look right.

    >>> from gca_jax import ot
    >>> z = jnp.eye(8)  # two of eight pairs are wrong, and rows know their partners
    >>> kernel = ot.cosine_kernel(z, z[jnp.array([1, 0, 2, 3, 4, 5, 6, 7])], epsilon=0.1)
    >>> likeliest_share(ot.project(kernel, half_steps=1)).round(2)
    Array(0.71, dtype=float32)
    """
    pairs, of = resolve(None, plan.kernel).matrix > 0, _plain(plan)
    ratios = ratio(of.p, of.chance).sum(axis=1, where=pairs)
    counted = pairs.any(axis=1)

    def step(_: Array, pi: Array) -> Array:
        right = ratio(pi * ratios, pi * ratios + 1.0 - pi)
        return jnp.mean(right, where=counted)

    half = jnp.mean(jnp.full_like(ratios, 0.5))  # of the devices that the plan is of
    pi = jax.lax.fori_loop(0, STEPS, step, half)
    return jnp.clip(pi, LEAST_SHARE, MOST_SHARE)


class _Plain(NamedTuple):
    """A plan that knows of no pair, and what it is fitted to.

    Attributes:
      p: P, of mass 1, without the self-pairs of the joint layout.
      mu: Its row sums, or those asked for where no row is fitted.
      nu: Its column sums, likewise.
      fits_rows: Whether P has row scalings.
      fits_columns: Whether it has column scalings.
      chance: The plan of mass 1 that knows nothing but `mu` and `nu`.
      joint: Whether the layout is joint, in which no row has its own column.
    """

    p: Float[Array, "n m"]
    mu: Float[Array, " n"]
    nu: Float[Array, " m"]
    fits_rows: Bool[Array, ""]
    fits_columns: Bool[Array, ""]
    chance: Float[Array, "n m"]
    joint: bool

    def odds(self, pairs: Bool[Array, "n m"], pi: Array) -> Float[Array, "n m"]:
        """Return e^β - 1: the mass of a pair that is right over that of the same by chance."""
        mu, nu = self.mu[:, None], self.nu[None, :]
        given = jnp.where(pairs, pi * jnp.minimum(mu, nu), 0.0)  # Π of `ot.prior`
        others = 1.0 - given.sum()
        free_mu = ratio(self.mu - given.sum(axis=1), others)
        free_nu = ratio(self.nu - given.sum(axis=0), others)
        of_both = ratio(given, others * _independent(free_mu, free_nu, self.joint))
        of_one = ratio(pi * jnp.where(self.fits_rows, mu, nu), (1.0 - pi) * self.chance)
        return jnp.where(self.fits_rows & self.fits_columns, of_both, of_one)


def _plain(plan: Plan) -> _Plain:
    plan, joint = jax.lax.stop_gradient(plan), plan.kernel.layout == "joint"
    p = plan.matrix
    if joint:  # in which self_pairs="max_cost" gives them mass
        p = jnp.where(jnp.eye(len(p), dtype=bool), 0.0, p)
    p = ratio(p, p.sum())
    # Scalings of 1 fit nothing; those of what does not count are 0.
    rows, columns = (jnp.any((s != 0) & (s > -jnp.inf)) for s in (plan.log_u, plan.log_v))
    mu, nu = jnp.where(rows, p.sum(axis=1), plan.mu), jnp.where(columns, p.sum(axis=0), plan.nu)
    return _Plain(p, mu, nu, rows, columns, _independent(mu, nu, joint), joint)


def _independent(mu: Array, nu: Array, joint: bool) -> Float[Array, "n m"]:
    """Return μ νᵀ, in the joint layout without its diagonal, of the same mass (for equal sums)."""
    both = mu[:, None] * nu[None, :]
    return ratio(both, 1.0 - jnp.sum(mu * nu)) if joint else both
