"""Sinkhorn sweeps in the scaling domain, with a reverse pass that saves only vectors.

For the cosine kernel every entry of K = exp((x yᵀ - 1)/ε) lies in [e^(-2/ε), 1], so the iteration
needs no logarithm of a sum: each half-step is a matrix-vector product. The derivative of the
T-sweep value is a sum of rank-one terms K ∘ (p vᵀ + u rᵀ), two a sweep, whose vectors come from
running the sweeps backwards; nothing of size n×m is saved for a sweep.

Sweeps whose outcome is known are not run. Once a sweep moves log v by one number δ everywhere (up
to rounding; δ = 0 where marginals are hard), the next one moves it by τδ, τ = τ_a τ_b, and so on:
they only scale u and v, which the products p vᵀ and u rᵀ do not feel. Their reverse passes are one
linear map of v's cotangent; once that only shrinks it by τ, the others follow too, and once it is
below rounding nothing is left. Value and gradient are the T-sweep ones to rounding.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gca_jax.ot.engine.passes import Points, make_passes, varying
from gca_jax.ot.engine.reverse import ROUNDING, Saved, Scalings, backward, drift_of, scaling


def sweep(
    points: Points,
    mu: Float[Array, " n"],
    nu: Float[Array, " m"],
    tau_a: Float[Array, ""],
    tau_b: Float[Array, ""],
    start: Float[Array, " m"],
    iterations: int,
    with_rows: bool,
) -> Scalings:
    """T = `iterations` sweeps of u ← (μ/(K v))^τ_a, v ← (ν/(Kᵀ u))^τ_b.

    Args:
      points: What generates K.
      mu: Row marginal (n,).
      nu: Column marginal (m,).
      tau_a: In [0, 1].
      tau_b: In [0, 1].
      start: log v to start from (m,).
      iterations: T >= 0.
      with_rows: Whether log K v of the last v is wanted too.
    """
    inputs = points, mu, nu, tau_a, tau_b, start
    return _sweep(
        *jax.tree.map(lambda x: varying(x, points.axis_name), inputs), iterations, with_rows
    )


def row_sums(points: Points, log_v: Float[Array, " m"]) -> Float[Array, " n"]:
    """log K v (n,)."""
    ones, one = jnp.ones(points.x.shape[0], log_v.dtype), jnp.ones((), log_v.dtype)
    return sweep(points, ones, jnp.ones_like(log_v), one, one, log_v, 0, True).log_rows


@partial(jax.custom_vjp, nondiff_argnums=(6, 7))
def _sweep(
    points: Points,
    mu: Array,
    nu: Array,
    tau_a: Array,
    tau_b: Array,
    start: Array,
    iterations: int,
    with_rows: bool,
) -> Scalings:
    return _forward(points, mu, nu, tau_a, tau_b, start, iterations, with_rows)[0]


def _forward(
    points: Points,
    mu: Array,
    nu: Array,
    tau_a: Array,
    tau_b: Array,
    start: Array,
    iterations: int,
    with_rows: bool,
) -> tuple[Scalings, Saved]:
    passes, axis = make_passes(points), points.axis_name
    log_mu, log_nu = jnp.log(mu), jnp.log(nu)
    rounding = ROUNDING * jnp.finfo(mu.dtype).eps

    def rowwise(product: Array, log_mu: Array) -> tuple[Array, Array]:
        log_a = jnp.log(product)
        return jnp.exp(scaling(tau_a, log_mu, log_a)), log_a

    def one(carry: Any) -> Any:
        t, log_v, _, _, log_a, log_b = carry
        total, a = passes.sweep(jnp.exp(log_v), rowwise, log_mu)
        b = jnp.log(total)
        new = scaling(tau_b, log_nu, b)
        steps = jnp.where(nu > 0, new - log_v, 0.0)
        moved = steps.sum() / (nu > 0).sum()
        even = jnp.where(nu > 0, jnp.abs(steps - moved), 0.0).max() <= rounding
        return t + 1, new, even, moved, log_a.at[t].set(a), log_b.at[t].set(b)

    zero = jnp.zeros((), mu.dtype)
    empty = [varying(jnp.zeros((iterations, x.size), x.dtype), axis) for x in (mu, nu)]
    carry: Any = (jnp.zeros((), jnp.int32), start, varying(zero, axis) > 1, varying(zero, axis))
    carry += (*empty,)
    unfinished = lambda carry: (carry[0] < iterations) & ~carry[2]  # noqa: E731
    if iterations:
        carry = jax.lax.while_loop(unfinished, one, carry)
    ran, log_v, even, moved, log_a, log_b = carry
    rest = iterations - ran
    drift = drift_of(moved, tau_a * tau_b, iterations)
    log_u = varying(jnp.zeros_like(log_mu), axis)
    if iterations:
        log_u = scaling(tau_a, log_mu, log_a[ran - 1] + drift[rest])
        log_v = log_v + jnp.where(rest > 0, drift[rest + 1] - moved, 0.0)

    def rows_by_pass() -> Array:
        return jnp.log(passes.times(jnp.exp(log_v)))

    log_rows = varying(jnp.zeros_like(log_mu), axis)
    if with_rows and iterations:
        log_rows = jax.lax.cond(even, lambda: log_a[ran - 1] + drift[rest + 1], rows_by_pass)
    elif with_rows:
        log_rows = rows_by_pass()
    out = Scalings(log_u, log_v, log_rows, ran)
    saved = Saved(passes, log_mu, log_nu, tau_a, tau_b, start, log_a, log_b, even, moved, out)
    return out, saved


_sweep.defvjp(_forward, backward)
