"""Divergences between a target plan and a plan: KL and the RINCE family W_q."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from gca_jax.ot import check, sums
from gca_jax.ot.engine.passes import make_passes
from gca_jax.ot.kernel import Kernel
from gca_jax.ot.plan import Plan, log
from gca_jax.ot.target import AnyTarget, Target, resolve

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
    """-Σ P_tgt log P: KL without the terms of mass, as in Theorem 4 (BYOL)."""
    return _cross_entropy(resolve(target, plan.kernel), plan, plan.log_u)


def _cross_entropy(target: AnyTarget, plan: Plan, log_u: Array) -> Array:
    """-Σ P_tgt (log u + log K + log v), sums over pairs with target mass."""
    rows, columns = sums.row_sums(target), sums.column_sums(target)
    scalings = _weighted(rows, log_u) + _weighted(columns, plan.log_v)
    return -scalings - sums.inner(target, plan.kernel)


def _weighted(weights: Array, values: Array) -> Array:
    """Σ weights · values, where a weight of 0 silences what is not finite."""
    return jnp.sum(jnp.where(weights > 0, weights * jnp.where(weights > 0, values, 0.0), 0.0))


def marginal_kl(marginal: Float[Array, " n"], wanted: Float[Array, " n"]) -> Float[Array, ""]:
    """KL(p‖μ) = Σ p log(p/μ) - Σ p + Σ μ, the soft constraint of equation 9."""
    return _generalized_kl(marginal, log(wanted))


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
    target, kernel = resolve(target, plan.kernel), plan.kernel
    shift = 1.0 / kernel.epsilon if scores else 0.0  # s = log K + 1/ε
    weights, log_pairs = _pairs(target, plan)
    present = weights > 0
    powers = jnp.exp(q * (jnp.where(present, log_pairs, 0.0) + shift))
    positive = jnp.where(present, weights * powers, 0.0).sum()
    log_rows = plan.log_row_sums + shift if scores else -plan.log_u
    rows = sums.row_sums(target)
    log_sums = jnp.log(lam) + jnp.where(rows > 0, log_rows, 0.0)
    negative = jnp.where(rows > 0, rows * jnp.exp(q * log_sums), 0.0).sum()
    return (negative - positive) / q


def _pairs(target: AnyTarget, plan: Plan) -> tuple[Array, Array]:
    """The target's weights and log(K v) of its pairs: all n×m of them, or the positive ones."""
    kernel = plan.kernel
    if not isinstance(target, Target) or target.groups is not None:
        return target.matrix, kernel.log_matrix + plan.log_v[None, :]
    pairs = kernel.log_positives.size
    log_v = jnp.roll(plan.log_v, pairs // 2) if kernel.layout == "joint" else plan.log_v[:pairs]
    return sums.row_sums(target)[:pairs], kernel.log_positives + log_v


def uniform_kl(target: AnyTarget | ArrayLike, plan: Plan) -> Float[Array, ""]:
    """KL(Q‖P) of IOT-uni: Q is P with the pairs without target mass replaced by their mean.

    A view's pair with itself is not among them. Q passes no gradient (Shi et al., ICML 2023).
    """
    target = resolve(target, plan.kernel)
    joint = plan.kernel.layout == "joint"

    def parts(log_k: Array, t: Array, rows: Array) -> tuple[Array, Array]:
        log_p = plan.log_u[rows][:, None] + log_k + plan.log_v[None, :]
        off = (t == 0) & (log_p > -jnp.inf)
        return log_p, off & (rows[:, None] != jnp.arange(t.shape[1])[None, :]) if joint else off

    def count(log_k: Array, t: Array, rows: Array) -> Array:
        log_p, off = parts(log_k, t, rows)
        return jnp.stack([jnp.sum(jnp.where(off, jnp.exp(log_p), 0.0)), off.sum()])

    def measure(log_k: Array, t: Array, rows: Array) -> Array:
        log_p, off = parts(log_k, t, rows)
        p = jax.lax.stop_gradient(jnp.exp(log_p))
        return _generalized_kl(jnp.where(off, mean, p), log_p)

    mass, entries = jax.lax.stop_gradient(sum_over_rows(count, target, plan.kernel))
    mean = mass / jnp.maximum(entries, 1)
    value: Array = sum_over_rows(measure, target, plan.kernel)
    return value


def sum_over_rows(
    fn: Callable[[Array, Array, Array], Any], target: AnyTarget, kernel: Kernel
) -> Any:
    """Σ fn(log K, P_tgt, row indices) over the blocks of rows that the kernel is formed in."""
    rows, mass = jnp.arange(kernel.shape[0]), sums.total(target)
    if kernel.domain == "log":
        return fn(kernel.log_matrix, target.weights(rows) / mass, rows)

    def piece(k: Array, rows: Array) -> tuple[Any, tuple[()]]:
        return fn(log(k), target.weights(rows) / mass, rows), ()

    return make_passes(kernel.generator).over_rows(piece, rows)[0]


def _generalized_kl(t: Array, log_p: Array) -> Array:
    present = t > 0
    ratio = jnp.log(jnp.where(present, t, 1.0)) - jnp.where(present, log_p, 0.0)
    return jnp.sum(jnp.where(present, t * ratio, 0.0)) - t.sum() + jnp.exp(log_p).sum()
