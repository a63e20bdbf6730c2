"""The reverse pass of the sweeps: their derivative from the vectors that the forward pass saved."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from gca_jax.ot.engine.passes import Passes, contract, on_first_device, varying, with_epsilon

ROUNDING = 16
"""Movements of log v below so many units of the dtype's precision are noise: sweeps of n = 1,024 to
4,096 rows in float32 settle at 4 to 14 of them."""


class Scalings(NamedTuple):
    """What the sweeps leave.

    Attributes:
      log_u: log u after T sweeps (n,).
      log_v: log v after T sweeps (m,).
      log_rows: log K v of that v (n,); zeros if it was not asked for.
      sweeps: How many sweeps had to be run.
    """

    log_u: Float[Array, " n"]
    log_v: Float[Array, " m"]
    log_rows: Float[Array, " n"]
    sweeps: Int[Array, ""]


class Saved(NamedTuple):
    """What the reverse pass needs; sweeps that were not run have no a and b."""

    passes: Passes
    log_mu: Array
    log_nu: Array
    tau_a: Array
    tau_b: Array
    start: Array
    log_a: Float[Array, "T n"]  # log K v that each sweep starts with
    log_b: Float[Array, "T m"]  # log Kᵀu of each sweep
    even: Bool[Array, ""]  # whether the last sweep that was run moved log v by one number,
    moved: Float[Array, ""]  # and by which
    out: Scalings


def drift_of(moved: Array, tau: Array, iterations: int) -> Float[Array, "T+2"]:
    """How far log v is after j sweeps, the first of which moves it by `moved`."""
    powers = tau ** jnp.arange(iterations + 1)
    return moved * jnp.concatenate([0 * powers[:1], jnp.cumsum(powers)])


def scaling(tau: Array, log_marginal: Array, log_product: Array) -> Array:
    """log (marginal/product)^τ, with (0/x)^τ = 0 for τ > 0 and 1 for τ = 0."""
    has_mass = log_marginal > -jnp.inf
    ratio = tau * (jnp.where(has_mass, log_marginal, 0.0) - log_product)
    return jnp.where(has_mass, ratio, jnp.where(tau > 0, -jnp.inf, 0.0))


class _Back(NamedTuple):
    """The reverse pass behind sweep t: cotangents of log u and log v there, and sums so far.

    The factors of sweep t are in slot min(t, sweeps run) - 1.
    """

    t: Int[Array, ""]
    negligible: Bool[Array, ""]
    of_u: Float[Array, " n"]
    of_v: Float[Array, " m"]
    sum_u: Float[Array, " n"]
    sum_v: Float[Array, " m"]
    of_tau: Float[Array, "2"]
    p: Float[Array, "T n"]
    r: Float[Array, "T m"]


def backward(iterations: int, with_rows: bool, saved: Saved, cotangent: Scalings) -> Any:
    """Cotangents of the points, μ, ν, τ_a, τ_b and the start from those of what `sweep` gives.

    On a mapped axis: parts of them, whose sum over the devices counts.
    """
    passes, out, axis = saved.passes, saved.out, saved.passes.points.axis_name
    of_u, of_v, of_rows = (
        passes.all_devices(x) for x in (cotangent.log_u, cotangent.log_v, cotangent.log_rows)
    )
    of_u = jnp.where(saved.log_mu > -jnp.inf, of_u, 0.0)
    of_v = jnp.where(saved.log_nu > -jnp.inf, of_v, 0.0)
    p_rows, last_v = varying(jnp.zeros_like(of_u), axis), jnp.exp(out.log_v)
    if with_rows:
        p_rows = of_rows * jnp.exp(-out.log_rows)
        of_v = of_v + last_v * passes.left_times(p_rows)
    if iterations:
        back, of_points = _run_back(iterations, saved, of_u, of_v, p_rows, last_v)
    else:
        zero = varying(jnp.zeros((), of_u.dtype), axis)
        back = _Back(zero, zero, of_u, of_v, 0 * of_u, 0 * of_v, zero + jnp.zeros(2), of_u, of_v)
        of_points = contract(passes, p_rows[None], last_v[None])
    of_mu = saved.tau_a * back.sum_u * jnp.exp(-finite(saved.log_mu))
    of_nu = saved.tau_b * back.sum_v * jnp.exp(-finite(saved.log_nu))
    of_log_k = of_rows.sum() if with_rows else jnp.zeros((), of_u.dtype)
    of_log_k -= saved.tau_a * back.sum_u.sum() + saved.tau_b * back.sum_v.sum()
    of_start = jnp.where(back.t == 0, back.of_v, 0.0)
    others = of_mu, of_nu, back.of_tau[0], back.of_tau[1], of_start
    return with_epsilon(passes, of_points, of_log_k), *(on_first_device(x, axis) for x in others)


def _run_back(
    iterations: int, saved: Saved, of_u: Array, of_v: Array, p_rows: Array, last_v: Array
) -> tuple[_Back, Any]:
    """The sweeps backwards, and what they come to for the points."""
    passes, out, axis = saved.passes, saved.out, saved.passes.points.axis_name
    tau, dtype, ran = saved.tau_a * saved.tau_b, of_u.dtype, out.sweeps
    drift = drift_of(saved.moved, tau, iterations)
    u = jnp.exp(scaling(saved.tau_a, saved.log_mu[None], saved.log_a))
    log_v = scaling(saved.tau_b, saved.log_nu[None], saved.log_b)
    v = jnp.exp(jnp.concatenate([saved.start[None], log_v])[:-1])  # that each sweep starts from
    tolerance = ROUNDING * jnp.finfo(dtype).eps * (jnp.abs(of_u).sum() + jnp.abs(of_v).sum())
    ahead = jnp.arange(iterations)

    def one(back: _Back) -> _Back:
        slot = jnp.minimum(back.t, ran) - 1
        r = -saved.tau_b * back.of_v * jnp.exp(-saved.log_b[slot])

        def rowwise(product: Array, rows: Any) -> tuple[Array, Any]:
            of_u, u, log_a = rows
            of_u = of_u + u * product
            p = -saved.tau_a * of_u * jnp.exp(-log_a)
            return p, (p, of_u)

        total, (p, of_u) = passes.sweep(r, rowwise, (back.of_u, u[slot], saved.log_a[slot]))
        before = v[slot] * total
        # If this sweep only shrank the cotangent by τ, so do all earlier ones down to `ran`.
        linear = (back.t < iterations) & (jnp.abs(before - tau * back.of_v).sum() <= tolerance)
        jump = jnp.where(linear, jnp.maximum(back.t - ran, 0), 0)
        powers = jnp.where(ahead <= jump, tau**ahead, 0.0)  # of this sweep and those behind it
        count = powers.sum()
        shift = jnp.sum(powers * drift[jnp.maximum(back.t - ran - ahead, 0)])
        rows, columns = finite(saved.log_mu - saved.log_a[slot]), saved.log_nu - saved.log_b[slot]
        tau_a = count * jnp.sum(of_u * rows) - shift * of_u.sum()
        tau_b = count * jnp.sum(back.of_v * finite(columns))
        tau_b += shift * saved.tau_a * back.of_v.sum()
        return _Back(
            t=back.t - 1 - jump,
            negligible=jnp.abs(before).sum() * tau**jump <= tolerance,
            of_u=0 * of_u,
            of_v=before * tau**jump,
            sum_u=back.sum_u + count * of_u,
            sum_v=back.sum_v + count * back.of_v,
            of_tau=back.of_tau + jnp.stack([tau_a, tau_b]),
            p=back.p.at[slot].add(count * p),
            r=back.r.at[slot].add(count * r),
        )

    zero = varying(jnp.zeros((), dtype), axis)
    back = _Back(
        t=jnp.asarray(iterations, jnp.int32) + varying(jnp.zeros((), jnp.int32), axis),
        negligible=zero > 1,
        of_u=of_u,
        of_v=of_v,
        sum_u=0 * of_u,
        sum_v=0 * of_v,
        of_tau=zero + jnp.zeros(2, dtype),
        # After an even sweep the last v is the one before it, scaled.
        p=jnp.zeros_like(u)
        .at[ran - 1]
        .add(jnp.where(saved.even, p_rows * jnp.exp(drift[iterations - ran + 1]), 0.0)),
        r=jnp.zeros_like(v),
    )
    back = jax.lax.while_loop(lambda b: (b.t > 0) & ~b.negligible, one, back)
    few = saved.even & (back.t >= ran - 1)  # mostly the last sweep says it all
    last = [x[ran - 1][None] for x in (back.p, u, v, back.r)]
    odd_p = jnp.where(saved.even, 0.0, p_rows)[None]

    def of_last() -> Any:
        return contract(passes, jnp.concatenate(last[:2]), jnp.concatenate(last[2:]))

    def of_terms(p: Array, r: Array) -> Any:
        left, right = [p, u, odd_p], [v, r, last_v[None]]
        return contract(passes, jnp.concatenate(left), jnp.concatenate(right))

    if passes.whole is None:
        return back, jax.lax.cond(few, of_last, lambda: of_terms(back.p, back.r))
    # The two terms of the last sweep fuse with K, and may take its memory once the rest is there.
    x, y = passes.points.x, passes.points.y
    zeros = varying(jnp.zeros_like(x), axis), y if y is None else varying(jnp.zeros_like(y), axis)

    def of_all_but_last() -> Any:
        return of_terms(back.p.at[ran - 1].set(0.0), back.r.at[ran - 1].set(0.0))

    of_others = jax.lax.cond(few, lambda: zeros, of_all_but_last)
    passes, of_others = jax.lax.optimization_barrier((passes, of_others))
    return back, jax.tree.map(jnp.add, of_last(), of_others)


def finite(x: Array) -> Array:
    """x, with 0 for what is not finite (a marginal of zero, whose cotangents are zero)."""
    return jnp.where(jnp.isfinite(x), x, 0.0)
