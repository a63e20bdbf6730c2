"""What a training log wants to know of a plan, in one pass over its rows."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from gca_jax.ot.divergence import sum_over_rows
from gca_jax.ot.plan import Plan, log, logsumexp
from gca_jax.ot.target import AnyTarget, positive_columns


def diagnose(plan: Plan, target: AnyTarget) -> dict[str, Float[Array, ""]]:
    """Scalars of a plan beside its target.

    Args:
      plan: P (n, m).
      target: P_tgt (n, m), in the plan's layout.

    Returns:
      residual, ‖P1 - μ‖₁ + ‖Pᵀ1 - ν‖₁; relative_residual, that over ‖P - P_tgt‖₁; plan_entropy, in
      nats; mass; contrastive_accuracy, the share of rows whose positive pair has the largest kernel
      entry; ince_cosine, the cosine of P - P_tgt with what it is after the row projection alone:
      the directions of the gradients of KL, at convergence, and of INCE with respect to log K.
    """
    partner = positive_columns(plan.kernel.layout, plan.mu.size)
    log_mu = log(plan.mu)

    def of_rows(log_k: Array, t: Array, rows: Array) -> dict[str, Array]:
        log_p = plan.log_u[rows][:, None] + log_k + plan.log_v[None, :]
        p = jnp.exp(log_p)
        one_step = jnp.exp(log_k + (log_mu[rows] - logsumexp(log_k, axis=1))[:, None])
        a, b = p - t, one_step - t
        return {
            "columns": p.sum(axis=0),
            "rows": jnp.abs(p.sum(axis=1) - plan.mu[rows]).sum(),
            "distance": jnp.abs(a).sum(),
            "entropy": -jnp.sum(jnp.where(p > 0, p * jnp.where(p > 0, log_p, 0.0), 0.0)),
            "hits": jnp.sum(log_k.argmax(axis=1) == partner[rows], dtype=p.dtype),
            "products": jnp.stack([jnp.sum(a * b), jnp.sum(a * a), jnp.sum(b * b)]),
        }

    s = sum_over_rows(of_rows, target, plan.kernel)
    residual = s["rows"] + jnp.abs(s["columns"] - plan.nu).sum()
    both = jnp.sqrt(s["products"][1] * s["products"][2])
    return {
        "contrastive_accuracy": s["hits"] / plan.mu.size,
        "residual": residual,
        "relative_residual": ratio(residual, s["distance"]),
        "plan_entropy": s["entropy"],
        "mass": s["columns"].sum(),
        "ince_cosine": ratio(s["products"][0], both),
    }


def ratio(x: Array, y: Array) -> Array:
    """x/y, and 0 where y is 0."""
    return jnp.where(y > 0, x / jnp.where(y > 0, y, 1.0), 0.0)
