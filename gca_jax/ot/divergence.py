"""Divergences between a target plan and a plan: KL and the RINCE family W_q."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from gca_jax.ot import check
from gca_jax.ot.plan import Plan, logsumexp
from gca_jax.ot.target import AnyTarget, resolve

Mass = Literal["generalized", "rows", "total"]


def kl(
    target: AnyTarget | ArrayLike, plan: Plan, *, mass: Mass = "generalized"
) -> Float[Array, ""]:
    """KL(P_tgt‖P) = Σ P_tgt log(P_tgt/P) - Σ P_tgt + Σ P, in nats.

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
    """
    check.one_of("mass", mass, ("generalized", "rows", "total"))
    t, log_p = resolve(target, plan.kernel).matrix, plan.log_matrix
    if mass == "rows":
        log_rows = logsumexp(log_p, axis=1)  # -inf where μ_i = 0: such a row stays empty
        log_rows = jnp.where(log_rows > -jnp.inf, log_rows, 0.0)
        log_p = log_p + (_log(plan.mu) - log_rows)[:, None]
    elif mass == "total":
        log_p = log_p - logsumexp(log_p.ravel(), axis=0)
    return _generalized_kl(t, log_p)


def cross_entropy(target: AnyTarget | ArrayLike, plan: Plan) -> Float[Array, ""]:
    """-Σ P_tgt log P: KL without the terms of mass, as in Theorem 4 (BYOL)."""
    t = resolve(target, plan.kernel).matrix
    return -jnp.sum(jnp.where(t > 0, t * jnp.where(t > 0, plan.log_matrix, 0.0), 0.0))


def marginal_kl(marginal: Float[Array, " n"], wanted: Float[Array, " n"]) -> Float[Array, ""]:
    """KL(p‖μ) = Σ p log(p/μ) - Σ p + Σ μ, the soft constraint of equation 9."""
    return _generalized_kl(marginal, _log(wanted))


def w_q(
    target: AnyTarget | ArrayLike, plan: Plan, *, q: ArrayLike, lam: ArrayLike, scores: bool = False
) -> Float[Array, ""]:
    """The RINCE family (equations 2, 11-13), generalised to any target.

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
      A scalar; inf where it exceeds the range of the dtype, about q/ε > 88 in float32.

    Raises:
      ValueError: q outside (0, 1], λ <= 0.
    """
    check.between("q", q, 0.0, 1.0, open_low=True)
    check.positive("lam", lam)
    t, log_k = resolve(target, plan.kernel).matrix, plan.kernel.log_matrix
    log_pairs = log_k + plan.log_v[None, :]
    if scores:
        log_pairs = log_pairs + 1.0 / plan.kernel.epsilon
        log_rows = logsumexp(log_pairs, axis=1)
    else:
        log_rows = -plan.log_u
    rows = t.sum(axis=1)
    positive = jnp.where(t > 0, t * jnp.exp(q * jnp.where(t > 0, log_pairs, 0.0)), 0.0).sum()
    log_sums = jnp.log(lam) + jnp.where(rows > 0, log_rows, 0.0)
    negative = jnp.where(rows > 0, rows * jnp.exp(q * log_sums), 0.0).sum()
    return (negative - positive) / q


def uniform_kl(target: AnyTarget | ArrayLike, plan: Plan) -> Float[Array, ""]:
    """KL(Q‖P) of IOT-uni: Q is P with the pairs without target mass replaced by their mean.

    A view's pair with itself is not among them. Q passes no gradient (Shi et al., ICML 2023).
    """
    log_p = plan.log_matrix
    p = jax.lax.stop_gradient(jnp.exp(log_p))
    off = (resolve(target, plan.kernel).matrix == 0) & (log_p > -jnp.inf)
    if plan.kernel.layout == "joint":
        off &= ~jnp.eye(log_p.shape[0], dtype=bool)
    mean = jnp.sum(jnp.where(off, p, 0.0)) / jnp.maximum(off.sum(), 1)
    return _generalized_kl(jnp.where(off, mean, p), log_p)


def _generalized_kl(t: Array, log_p: Array) -> Array:
    present = t > 0
    ratio = jnp.log(jnp.where(present, t, 1.0)) - jnp.where(present, log_p, 0.0)
    return jnp.sum(jnp.where(present, t * ratio, 0.0)) - t.sum() + jnp.exp(log_p).sum()


def _log(x: Array) -> Array:
    return jnp.where(x > 0, jnp.log(jnp.where(x > 0, x, 1.0)), -jnp.inf)
