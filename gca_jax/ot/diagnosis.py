"""What a training log wants to know of a plan, in one pass over its rows."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from gca_jax.ot import sums
from gca_jax.ot.numerics import log, logsumexp, negative_entropy, ratio
from gca_jax.ot.plan import Plan, marginal_error
from gca_jax.ot.structured import positive_columns
from gca_jax.ot.target import AnyTarget


def diagnose(plan: Plan, target: AnyTarget) -> dict[str, Float[Array, ""]]:
    """Scalars of a plan beside its target.

    Args:
      plan: P (n, m).
      target: P_tgt (n, m), in the plan's layout.

    Returns:
      residual, ‖P1 - μ‖₁ + ‖Pᵀ1 - ν‖₁; relative_residual, that over ‖P - P_tgt‖₁; plan_entropy, in
      nats; mass; positive_mass, the mass on the positive pairs; contrastive_accuracy, the share of
      rows whose positive pair has the largest kernel entry; ince_cosine, the cosine of P - P_tgt
      with what it is after the row projection alone: the directions of the gradients of KL, at
      convergence, and of INCE with respect to log K.
    """
    partner = positive_columns(plan.kernel.layout, plan.mu.size)
    log_mu, target_mass = log(plan.mu), sums.total(target)

    def of_rows(log_k: Array, rows: Array) -> tuple[dict[str, Array], Array]:
        p = jnp.exp(plan.log_u[rows][:, None] + log_k + plan.log_v[None, :])
        one_step = jnp.exp(log_k + (log_mu[rows] - logsumexp(log_k, axis=1))[:, None])
        t = target.weights(rows) / target_mass
        a, b = p - t, one_step - t
        summed = {
            "columns": p.sum(axis=0),
            "distance": jnp.abs(a).sum(),
            "entropy": -negative_entropy(p),
            "hits": jnp.sum(log_k.argmax(axis=1) == partner[rows], dtype=p.dtype),
            "products": jnp.stack([jnp.sum(a * b), jnp.sum(a * a), jnp.sum(b * b)]),
        }
        return summed, p.sum(axis=1)

    s, rows = plan.kernel.over_rows(of_rows)
    residual = marginal_error(plan, rows, s["columns"])
    return {
        "contrastive_accuracy": s["hits"] / plan.mu.size,
        "residual": residual,
        "relative_residual": ratio(residual, s["distance"]),
        "plan_entropy": s["entropy"],
        "mass": s["columns"].sum(),
        "positive_mass": plan.positive_mass,
        "ince_cosine": ratio(s["products"][0], jnp.sqrt(s["products"][1] * s["products"][2])),
    }
