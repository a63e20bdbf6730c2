"""What `diagnose=True` adds to `aux`: sums over the whole plan, in one pass over parts of K."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from gca_jax import check, metrics
from gca_jax.ot import Kernel, Plan, sums
from gca_jax.ot.engine import Passes, in_parts, make_passes, replicated
from gca_jax.ot.numerics import log, logsumexp, ratio, weighted_sum
from gca_jax.ot.target_types import AnyTarget, positive_columns

CACHED = 2**18  # entries of K that a processor's cache keeps while all sums are formed,
PARTS = 64  # and the most parts of a K kept whole, as each starts programs anew on a GPU
Numbers = TypeVar("Numbers")  # a pytree of floating-point numbers
Rows = tuple[Array, Array, Array, Array, Array]
DIAGNOSED = (
    "uniformity",
    "contrastive_accuracy",
    "relative_residual",
    "plan_entropy",
    "ince_cosine",
)


def diagnose(
    plan: Plan, target: AnyTarget, wanted: bool | Bool[Array, ""], kl: bool
) -> dict[str, Float[Array, ""]]:
    """Compute scalars of a plan beside its target, or NaN where a traced `wanted` is false.

    A plan whose mass is free (GCA-UOT's) is scaled to the target's mass, 1.

    Args:
      plan: P (n, m).
      target: P_tgt (n, m), in the plan's layout.
      wanted: Whether to compute them.
      kl: Whether the divergence is KL, whose gradient `ince_cosine` compares.

    Returns:
      residual, ‖P1 - μ‖₁ + ‖Pᵀ1 - ν‖₁; relative_residual, that over ‖P - P_tgt‖₁; plan_entropy, in
      nats; contrastive_accuracy, the share of rows whose positive pair has the largest kernel
      entry; uniformity of the embeddings; ince_cosine, the cosine of P - P_tgt with what it is
      after the row projection alone: the directions of the gradients of KL, at convergence, and of
      INCE with respect to log K.
    """
    kernel = plan.kernel
    # Formed outside the branch: it is the K of the loss itself, whose sweeps formed it already.
    k = make_passes(kernel.generator) if kernel.domain == "scaling" else kernel.log_matrix
    formed = partial(_diagnose, *jax.lax.stop_gradient((plan, target, k)), kl=kl)
    return if_wanted(wanted, formed)


def may_be_wanted(wanted: bool | Bool[Array, ""]) -> bool:
    """Tell whether the diagnosis is asked for, or its being asked for is traced."""
    return not check.is_concrete(wanted) or bool(wanted)


def if_wanted(wanted: bool | Bool[Array, ""], form: Callable[[], Numbers]) -> Numbers:
    """Return what `form` does, or NaN in its place where a traced `wanted` is false."""
    if check.is_concrete(wanted):
        return form()
    shapes = jax.eval_shape(form)

    def unknown() -> Numbers:
        return jax.tree.map(lambda x: jnp.full(x.shape, jnp.nan, x.dtype), shapes)

    return jax.lax.cond(wanted, form, unknown)


@partial(jax.jit, static_argnames="kl")  # traced once for all losses of these shapes
def _diagnose(
    plan: Plan, target: AnyTarget, k: Passes | Array, kl: bool
) -> dict[str, Float[Array, ""]]:
    """Diagnose a plan; `k` are passes over K or, in the log domain, log K."""
    kernel, log_v, columns = plan.kernel, plan.log_v, jnp.arange(plan.nu.size)[None, :]
    free = plan.mass if plan.exact is None else jnp.ones((), plan.mu.dtype)
    target_mass, largest = sums.total(target), jnp.max(log_v)
    pairs, excluded = plan.mu.size // 2, kernel.excluded
    inside_views = isinstance(k, Passes) and kernel.layout == "joint" and excluded is None
    counted = jnp.ones(plan.mu.size, bool)
    if excluded is not None and excluded.rows is not None:
        counted = excluded.rows

    def of_rows(k: Array, rows: Rows) -> tuple[dict[str, Array], tuple[Array, Array]]:
        index, partner, mu, log_u, counted = rows
        if kernel.domain == "scaling":
            log_k = log(k)
            p = k * jnp.exp(log_u + largest)[:, None] * jnp.exp(log_v - largest)[None, :]
            one_step = k * ratio(mu, k.sum(axis=1))[:, None]
        else:
            log_k = k
            p = jnp.exp(log_u[:, None] + log_k + log_v[None, :])
            log_mu = log(mu)
            share = jnp.where(log_mu == -jnp.inf, log_mu, log_mu - logsumexp(log_k, axis=1))
            one_step = jnp.exp(log_k + share[:, None])
        t = target.weights(index) / target_mass
        a, b = p - t, one_step - t
        own = jnp.take_along_axis(k, partner[:, None], axis=1)
        is_first = (k < own) | ((k == own) & (columns >= partner[:, None]))
        summed = {
            "columns": p.sum(axis=0),
            "distance": jnp.abs(a).sum(),
            "p log p": weighted_sum(p, log_u[:, None] + log_k + log_v[None, :]),
            "hits": jnp.sum(is_first.all(axis=1) & counted, dtype=p.dtype),
        }
        if kl:
            summed["products"] = jnp.stack([jnp.sum(a * b), jnp.sum(a * a), jnp.sum(b * b)])
        near = jnp.zeros_like(mu)
        if inside_views:  # exp(-2‖z_i - z_j‖²) = exp(4 (z_i·z_j - 1)) = K^(4ε), 0 for i = j
            inside = (index < pairs)[:, None] == (columns < pairs)
            near = jnp.sum(jnp.where(inside, jnp.exp(4 * kernel.epsilon * log_k), 0.0), axis=1)
        return summed, (p.sum(axis=1), near)

    rows = (
        jnp.arange(plan.mu.size),
        positive_columns(kernel.layout, plan.mu.size),
        plan.mu,
        plan.log_u - log(free),
        counted,
    )
    if isinstance(k, Passes):
        s, (row_sums, near) = k.over_rows(of_rows, rows, CACHED, PARTS)
    else:
        s, (row_sums, near) = in_parts(k, of_rows, rows, CACHED, PARTS)
    residual = jnp.abs(row_sums - plan.mu).sum() + jnp.abs(s["columns"] - plan.nu).sum()
    aux = {
        "residual": residual,
        "relative_residual": ratio(residual, s["distance"]),
        "plan_entropy": -s["p log p"],
        "contrastive_accuracy": ratio(s["hits"], jnp.sum(counted, dtype=residual.dtype)),
        "uniformity": _of_pairs(near) if inside_views else uniformity(kernel),
    }
    if kl:
        ab, aa, bb = s["products"]
        aux["ince_cosine"] = ratio(ab, jnp.sqrt(aa * bb))
    return {key: replicated(x, kernel.axis_name) for key, x in aux.items()}


@jax.jit
def uniformity(kernel: Kernel) -> Float[Array, ""]:
    """Compute the mean uniformity of both views, by blocks of rows."""
    a, b = jax.lax.stop_gradient(kernel.views)
    size = kernel.block_size or max(1, CACHED // max(a.shape[0], b.shape[0]))
    of_view = partial(metrics.uniformity, block_size=size, axis_name=kernel.axis_name)
    valid_a, valid_b = kernel.valid
    return (of_view(a, valid=valid_a) + of_view(b, valid=valid_b)) / 2


def _of_pairs(near: Float[Array, " n"]) -> Float[Array, ""]:
    """Compute the mean uniformity of two views from the sums over each of their rows."""
    pairs = near.size // 2
    return jnp.mean(jnp.log(near.reshape(2, pairs).sum(axis=1) / (pairs * (pairs - 1))))
