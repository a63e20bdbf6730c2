"""Divergences between a target plan and a plan: KL and the RINCE family W_q."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from gca_jax import check
from gca_jax.ot import sums
from gca_jax.ot.numerics import (
    difference_of_exponentials,
    log,
    logsumexp,
    ratio,
    weighted_sum,
)
from gca_jax.ot.plan import Plan
from gca_jax.ot.target import Target, resolve
from gca_jax.ot.target_types import AnyTarget, SimilarityTarget

Mass = Literal["generalized", "rows", "total"]
Phi = Literal["log", "tan"]


def kl(
    target: AnyTarget | ArrayLike, plan: Plan, *, mass: Mass = "generalized"
) -> Float[Array, ""]:
    """Compute KL(P_tgt‖P) = Σ P_tgt log(P_tgt/P) - Σ P_tgt + Σ P, in nats.

    For the identity target and a plan with uniform row sums it is mean_i -log(n P_ii).

    Args:
      target: P_tgt: a target of `ot.target`, or an array (n, m); scaled to mass 1.
      plan: P (n, m).
      mass: How a plan whose mass is free is read: "generalized", as above; "rows", each row of P
        scaled to sum to μ_i first; "total", P scaled to mass 1 first.

    Returns:
      A scalar; inf where the target has mass and the plan has none.

    Raises:
      ValueError: an unknown `mass`.

    >>> from gca_jax import ot
    >>> rows = ot.project(ot.cosine_kernel(jnp.eye(2), jnp.eye(2)), half_steps=1)
    >>> f"{kl(ot.target.identity(2), rows):.4f}"  # log(1 + e^-2)
    '0.1269'
    """
    check.one_of("mass", mass, ("generalized", "rows", "total"))
    target = resolve(target, plan.kernel)
    log_u = plan.log_u
    if mass == "rows":
        log_u = log(plan.mu) - plan.log_row_sums  # -inf where μ_i = 0: such a row stays empty
    cross = _cross_entropy(target, plan, log_u)
    if mass == "generalized":
        total = plan.mass
    else:
        total = plan.mu.sum()
        if mass == "total":
            cross, total = cross + jnp.log(plan.mass), jnp.ones_like(total)
    return sums.negative_entropy(target) + cross - 1.0 + total


def cross_entropy(target: AnyTarget | ArrayLike, plan: Plan) -> Float[Array, ""]:
    """Compute -Σ P_tgt log P in nats: KL without the terms of mass, as in Theorem 4 (BYOL).

    Args:
      target: P_tgt: a target of `ot.target`, or an array (n, m); scaled to mass 1.
      plan: P (n, m).
    """
    return _cross_entropy(resolve(target, plan.kernel), plan, plan.log_u)


def _cross_entropy(target: AnyTarget, plan: Plan, log_u: Array) -> Array:
    """Compute -Σ P_tgt (log u + log K + log v), sums over pairs with target mass."""
    rows, columns = sums.row_sums(target), sums.column_sums(target)
    scalings = weighted_sum(rows, log_u) + weighted_sum(columns, plan.log_v)
    return -scalings - sums.inner(target, plan.kernel)


def marginal_kl(
    marginal: Float[Array, " n"], wanted: Float[Array, " n"], weights: ArrayLike = 1.0
) -> Float[Array, ""]:
    """Compute KL(p‖μ) = Σ p log(p/μ) - Σ p + Σ μ, the soft constraint of equation 9.

    Args:
      marginal: p (n,).
      wanted: μ (n,).
      weights: λ, a number or one for each sample (n,): λ_i weighs the i-th term of all three sums,
        and 0 drops it, also where it is infinite (p_i > 0 = μ_i).
    """
    weights = jnp.asarray(weights)
    return jnp.sum(weights * _kl_terms(marginal, jnp.where(weights == 0, 0.0, log(wanted))))


def w_q(
    target: AnyTarget | ArrayLike, plan: Plan, *, q: ArrayLike, lam: ArrayLike, scores: bool = False
) -> Float[Array, ""]:
    """Compute W_q of the RINCE family (equations 2, 11-13), generalised to any target.

        -(1/q) Σ_ij P_tgt,ij (K_ij v_j)^q + (1/q) Σ_i (Σ_j P_tgt,ij) (λ/u_i)^q

    of the plan's scalings (P_ij/u_i = K_ij v_j), as GCA-UOT has it; or, with `scores`, with the
    kernel e^s, s = (1 - C)/ε = cos/ε, and Σ_j e^{s_ij} v_j for 1/u_i: v = 1 is then RINCE
    (equation 2), and v^(t-1) GCA-RINCE (equation 13, whose scalings have marginals of all ones).

    Args:
      target: P_tgt: a target of `ot.target`, or an array (n, m); scaled to mass 1.
      plan: The plan; with `scores` only its column scalings count.
      q: In (0, 1]: 1 is the Wasserstein end, q → 0 tends to INCE + log λ.
      lam: λ > 0, weight of the negatives, inside the power.
      scores: Whether to read the kernel as e^s and the rows as their sums.

    Returns:
      A scalar; infinite where a power comes within a factor 3,000 of the dtype's range, about
      q/ε > 80 in float32: gradients are larger than the value.

    Raises:
      ValueError: q outside (0, 1], λ <= 0.

    >>> from gca_jax import ot
    >>> rows = ot.project(ot.cosine_kernel(jnp.eye(2), jnp.eye(2)), half_steps=1)
    >>> f"{w_q(ot.target.identity(2), rows, q=1.0, lam=1.0, scores=True):.4f}"  # the negative, e^0
    '1.0000'
    """
    check.between("q", q, 0.0, 1.0, open_low=True)
    check.positive("lam", lam)
    target, kernel = resolve(target, plan.kernel), plan.kernel
    shift = 1.0 / kernel.epsilon if scores else 0.0  # s = log K + 1/ε

    rows = sums.row_sums(target)
    log_rows = plan.log_row_sums + shift if scores else -plan.log_u
    negative = rows, jnp.multiply(q, jnp.log(lam) + jnp.where(rows > 0, log_rows, 0.0))
    positive = _positive_powers(target, plan, q, shift)
    return difference_of_exponentials(negative, positive) / q


def repelled(target: AnyTarget, plan: Plan, *, q: ArrayLike, lam: ArrayLike) -> Float[Array, ""]:
    """Compute the share of pairs that `w_q`, with `scores`, pushes apart at a cosine below 0.

    If all scores of row i rise by c, its part of W_q has the slope B_i - A_i at c = 0, with
    A_i = (e^{s_ii} v_i)^q, or its mean over the row's positive pairs, and B_i = (λ Σ_j e^{s_ij}
    v_j)^q: where the pair has less than the share λ of its row's sum, B_i > A_i, and descent lowers
    the scores. Both terms shrink by e^{qc} on the way, and no term holds them back.

    Args:
      target: P_tgt.
      plan: The plan, of which the column scalings count.
      q: As in `w_q`.
      lam: As in `w_q`.

    Returns:
      A scalar without a gradient, in [0, 1]: at 1 and below s = 0 for long, RINCE has collapsed.
    """
    target, plan = jax.lax.stop_gradient((target, plan))
    shift, scores = 1.0 / plan.kernel.epsilon, plan.kernel.log_positives
    rows, pairs = sums.row_sums(target), plan.kernel.log_positives.size
    weights, x = _positive_powers(target, plan, q, shift)
    pull = (x + log(ratio(weights, rows[: x.size])))[:pairs]
    push = jnp.multiply(q, jnp.log(lam) + plan.log_row_sums + shift)[:pairs]
    counted = rows[:pairs] > 0
    apart = counted & (push > pull) & (scores + shift < 0)
    return jnp.sum(apart, dtype=x.dtype) / jnp.maximum(jnp.sum(counted, dtype=x.dtype), 1.0)


def _positive_powers(
    target: AnyTarget, plan: Plan, q: ArrayLike, shift: ArrayLike
) -> tuple[Array, Array]:
    """Return w and x whose Σ w e^x is the sum of `w_q` over pairs with target mass.

    One entry a positive pair, or a row of the kernel for a target with other pairs: there x is the
    row's largest logarithm and w its sum of powers relative to that one.
    """
    if isinstance(target, Target) and target.groups is None:
        pairs = plan.log_positives
        weights = sums.row_sums(target)[: pairs.size]
        return weights, jnp.multiply(q, jnp.where(weights > 0, pairs, 0.0) + shift)
    mass = sums.total(target)

    def of_rows(log_k: Array, rows: Array) -> tuple[tuple[()], tuple[Array, Array]]:
        weights = target.weights(rows) / mass
        present = weights > 0
        x = q * (jnp.where(present, log_k + plan.log_v[None, :], 0.0) + shift)
        largest = jax.lax.stop_gradient(jnp.where(present, x, -jnp.inf).max(axis=1))
        largest = jnp.where(largest == -jnp.inf, 0.0, largest)  # no positive has mass, or v = 0
        powers = jnp.exp(jnp.where(present, x - largest[:, None], 0.0))
        return (), (jnp.where(present, weights * powers, 0.0).sum(axis=1), largest)

    _, found = plan.kernel.over_rows(of_rows)
    return found


def gce(target: AnyTarget | ArrayLike, plan: Plan, *, q: ArrayLike) -> Float[Array, ""]:
    """Compute generalised cross entropy Σ_i r_i (1 - (Σ_{j ∈ pos(i)} p_ij)^q)/q, p_ij = P_ij/μ_i.

    Zhang & Sabuncu, NeurIPS 2018. r are the target's row sums, pos(i) the pairs of row i that have
    target mass: one event, however many. No pair costs more than 1/q, or adds more than p^q to the
    gradient. Its limit at q → 0 is Σ_i r_i (-log Σ_{j ∈ pos(i)} p_ij), and q = 1 is the mean
    absolute error.

    Args:
      target: P_tgt: a target of `ot.target`, or an array (n, m); scaled to mass 1.
      plan: P (n, m), whose shares p lie in [0, 1], as a row projection's do.
      q: In (0, 1].

    Returns:
      A scalar in [0, 1/q].

    Raises:
      ValueError: q outside (0, 1].

    >>> from gca_jax import ot
    >>> rows = ot.project(ot.cosine_kernel(jnp.eye(2), jnp.eye(2)), half_steps=1)
    >>> f"{gce(ot.target.identity(2), rows, q=1.0):.4f}"  # 1 - 1/(1 + e^-2)
    '0.1192'
    """
    check.between("q", q, 0.0, 1.0, open_low=True)
    weights, log_shares = _log_shares_of_positives(resolve(target, plan.kernel), plan)
    exponents = jnp.multiply(q, jnp.where(weights > 0, log_shares, 0.0))
    return weighted_sum(weights, -jnp.expm1(exponents)) / q


def _log_shares_of_positives(target: AnyTarget, plan: Plan) -> tuple[Array, Array]:
    """Return r_i and log Σ_{j ∈ pos(i)} P_ij/μ_i of each row that may have a positive pair."""
    weights, log_mu = sums.row_sums(target), log(plan.mu)
    log_u = plan.log_u - jnp.where(plan.mu > 0, log_mu, 0.0)
    if isinstance(target, Target) and target.groups is None:
        pairs = plan.log_positives
        return weights[: pairs.size], log_u[: pairs.size] + pairs

    def of_rows(log_k: Array, rows: Array) -> tuple[tuple[()], Array]:
        positive = jnp.where(target.weights(rows) > 0, log_k + plan.log_v[None, :], -jnp.inf)
        return (), logsumexp(positive, axis=1)

    return weights, log_u + plan.kernel.over_rows(of_rows)[1]


def rcl(target: AnyTarget | ArrayLike, plan: Plan, *, phi: Phi = "log") -> Float[Array, ""]:
    """Compute the complementary loss Σ_i r_i Σ_j (1 - T_ij/max_k T_ik) φ(p_ij), p_ij = P_ij/μ_i.

    Hu et al., TPAMI 2023: pairs that are no positives lose their share, and no positive pair is
    asked to have one. r are the target's row sums; a row without target counts nothing.

    Args:
      target: P_tgt: a target of `ot.target`, or an array (n, m).
      plan: P (n, m), a row projection.
      phi: φ(x): "log", -log(1 - x); or "tan", tan x.

    Returns:
      A scalar >= 0.

    Raises:
      ValueError: An unknown φ.

    >>> from gca_jax import ot
    >>> rows = ot.project(ot.cosine_kernel(jnp.eye(2), jnp.eye(2)), half_steps=1)
    >>> f"{rcl(ot.target.identity(2), rows):.4f}"  # -log(1 - 1/(1 + e^2))
    '0.1269'
    """
    check.one_of("phi", phi, ("log", "tan"))
    target = resolve(target, plan.kernel)
    r = sums.row_sums(target)
    penalty = _log_of_others if phi == "log" else _tan

    def of_rows(log_k: Array, rows: Array) -> tuple[tuple[()], Array]:
        weights = target.weights(rows)
        complement = 1.0 - ratio(weights, weights.max(axis=1, keepdims=True))
        logits = log_k + plan.log_v[None, :]
        has_pairs = (logits > -jnp.inf).any(axis=1, keepdims=True)
        terms = penalty(jnp.where(has_pairs, logits, 0.0))
        counted = complement > 0
        return (), jnp.where(counted, complement * jnp.where(counted, terms, 0.0), 0.0).sum(axis=1)

    return weighted_sum(r, plan.kernel.over_rows(of_rows)[1])


def _log_of_others(logits: Float[Array, "k m"]) -> Float[Array, "k m"]:
    """Compute -log(1 - p) of p = softmax(logits), as log Σ e^logits less that of all others.

    Only a row's largest share may be near 1, where 1 - p has no digits left.
    """
    largest = jnp.arange(logits.shape[1])[None, :] == jnp.argmax(logits, axis=1)[:, None]
    others = logsumexp(jnp.where(largest, -jnp.inf, logits), axis=1)
    total = logsumexp(logits, axis=1)
    p = jnp.exp(jnp.where(largest, -jnp.inf, logits - total[:, None]))
    return jnp.where(largest, (total - others)[:, None], -jnp.log1p(-p))


def _tan(logits: Float[Array, "k m"]) -> Float[Array, "k m"]:
    """Compute tan p of p = softmax(logits)."""
    return jnp.tan(jnp.exp(logits - logsumexp(logits, axis=1)[:, None]))


def uniform_kl(target: AnyTarget | ArrayLike, plan: Plan) -> Float[Array, ""]:
    """Compute KL(Q‖P) of IOT-uni: Q is P with pairs without target mass replaced by their mean.

    A view's pair with itself is not among them. Q passes no gradient (Shi et al., ICML 2023).

    Args:
      target: P_tgt: a target of `ot.target`, or an array (n, m).
      plan: P (n, m).
    """
    target, kernel = resolve(target, plan.kernel), plan.kernel

    def parts(log_k: Array, rows: Array) -> tuple[Array, Array]:
        log_p = plan.log_u[rows][:, None] + log_k + plan.log_v[None, :]
        off = log_p > -jnp.inf
        if isinstance(target, SimilarityTarget):  # in which every pair has mass, however little
            off = jnp.zeros_like(off)
        else:
            off &= target.weights(rows) == 0
        if kernel.layout == "joint":
            off &= rows[:, None] != jnp.arange(log_k.shape[1])[None, :]
        return log_p, off

    def count(log_k: Array, rows: Array) -> Array:
        log_p, off = parts(log_k, rows)
        return jnp.stack([jnp.sum(jnp.where(off, jnp.exp(log_p), 0.0)), off.sum(dtype=log_p.dtype)])

    mass, entries = jax.lax.stop_gradient(kernel.sum_over_rows(count))
    mean = mass / jnp.maximum(entries, 1)

    def measure(log_k: Array, rows: Array) -> Array:
        log_p, off = parts(log_k, rows)
        p = jax.lax.stop_gradient(jnp.exp(log_p))
        return _kl_terms(jnp.where(off, mean, p), log_p).sum()

    value: Array = kernel.sum_over_rows(measure)
    return value


def _kl_terms(t: Array, log_p: Array) -> Array:
    """Return the entries t log(t/p) - t + p of a generalised KL, p where t = 0."""
    present = t > 0
    ratio = jnp.log(jnp.where(present, t, 1.0)) - jnp.where(present, log_p, 0.0)
    return jnp.where(present, t * ratio, 0.0) - t + jnp.exp(log_p)
