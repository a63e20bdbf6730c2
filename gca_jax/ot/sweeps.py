"""Sinkhorn sweeps in the scaling domain, with a reverse pass that saves only vectors.

For the cosine kernel every entry of K = exp((x yᵀ - 1)/ε) lies in [e^(-2/ε), 1], so the iteration
needs no logarithm of a sum: each half-step is a matrix-vector product. The derivative of the
T-sweep value is a sum of rank-one terms K ∘ (p vᵀ + u rᵀ), two a sweep, whose vectors come from
running the sweeps backwards; nothing of size n×m is saved for a sweep.

Sweeps that would change no digit are not run. Once a sweep moves log v by no more than rounding,
the later ones repeat it, and the scalings are those of T sweeps; likewise the reverse pass ends
once its cotangent is below rounding. Value and gradient are the T-sweep ones to rounding.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gca_jax.ot.passes import Passes, Points, contract, make_passes, with_epsilon


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


@partial(jax.custom_vjp, nondiff_argnums=(6, 7))
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
      mu: Row marginal (n,); on a mapped axis this device's part.
      nu: Column marginal (m,), whole on every device.
      tau_a: In [0, 1].
      tau_b: In [0, 1].
      start: log v to start from (m,).
      iterations: T >= 0.
      with_rows: Whether log K v of the last v is wanted too.
    """
    return _forward(points, mu, nu, tau_a, tau_b, start, iterations, with_rows)[0]


def row_sums(points: Points, log_v: Float[Array, " m"]) -> Float[Array, " n"]:
    """log K v (n,)."""
    ones, taus = jnp.ones(points.x.shape[0], log_v.dtype), jnp.ones(2, log_v.dtype)
    return sweep(points, ones, jnp.ones_like(log_v), taus[0], taus[1], log_v, 0, True).log_rows


class _Saved(NamedTuple):
    passes: Passes
    log_mu: Array
    log_nu: Array
    tau_a: Array
    tau_b: Array
    start: Array
    log_a: Float[Array, "T n"]  # log K v of each sweep
    log_b: Float[Array, "T m"]  # log Kᵀu of each sweep
    out: Scalings


def _forward(
    points: Points,
    mu: Array,
    nu: Array,
    tau_a: Array,
    tau_b: Array,
    start: Array,
    iterations: int,
    with_rows: bool,
) -> tuple[Scalings, _Saved]:
    passes = make_passes(points)
    log_mu, log_nu = jnp.log(mu), jnp.log(nu)
    tolerance = 8 * jnp.finfo(mu.dtype).eps
    zero_rows = 0 * points.x[:, 0]  # varies over a mapped axis, as what takes its place does

    def rowwise(product: Array, log_mu: Array) -> tuple[Array, Array]:
        log_a = jnp.log(product)
        return jnp.exp(scaling(tau_a, log_mu, log_a)), log_a

    def one(carry: Any) -> Any:
        t, log_v, _, log_a, log_b = carry
        total, a = passes.sweep(jnp.exp(log_v), rowwise, log_mu)
        b = jnp.log(total)
        new = scaling(tau_b, log_nu, b)
        still = jnp.where(nu > 0, jnp.abs(new - log_v), 0.0).max() <= tolerance
        return t + 1, new, still, log_a.at[t].set(a), log_b.at[t].set(b)

    carry = (
        jnp.zeros((), jnp.int32),
        start,
        jnp.zeros((), bool),
        jnp.zeros((iterations, 1), mu.dtype) * zero_rows[None],
        jnp.zeros((iterations, nu.shape[0]), nu.dtype),
    )
    unfinished = lambda carry: (carry[0] < iterations) & ~carry[2]  # noqa: E731
    if iterations:
        ran, log_v, _, log_a, log_b = jax.lax.while_loop(unfinished, one, carry)
        log_u = scaling(tau_a, log_mu, log_a[ran - 1])
    else:
        ran, log_v, _, log_a, log_b = carry
        log_u = zero_rows
    log_rows = zero_rows
    if with_rows:
        log_rows = jnp.log(passes.times(jnp.exp(log_v)))
    out = Scalings(log_u, log_v, log_rows, ran)
    return out, _Saved(passes, log_mu, log_nu, tau_a, tau_b, start, log_a, log_b, out)


def scaling(tau: Array, log_marginal: Array, log_product: Array) -> Array:
    """log (marginal/product)^τ, with (0/x)^τ = 0 for τ > 0 and 1 for τ = 0."""
    has_mass = log_marginal > -jnp.inf
    ratio = tau * (jnp.where(has_mass, log_marginal, 0.0) - log_product)
    return jnp.where(has_mass, ratio, jnp.where(tau > 0, -jnp.inf, 0.0))


class _Back(NamedTuple):
    """The reverse pass behind sweep t: cotangents of log u and log v there, and sums so far.

    The factors of a sweep t that was run are in slot t - 1; the others have u and v of the last
    that was, and their factors are summed in slot T.
    """

    t: Array
    negligible: Array
    of_u: Float[Array, " n"]
    of_v: Float[Array, " m"]
    sum_u: Float[Array, " n"]
    sum_v: Float[Array, " m"]
    of_tau: Float[Array, "2"]
    p: Float[Array, "T+1 n"]
    r: Float[Array, "T+1 m"]


def _backward(iterations: int, with_rows: bool, saved: _Saved, cotangent: Scalings) -> Any:
    passes, out, last = saved.passes, saved.out, iterations
    log_u = scaling(saved.tau_a, saved.log_mu[None], saved.log_a)
    u = jnp.exp(jnp.concatenate([log_u, out.log_u[None]]))
    log_v = scaling(saved.tau_b, saved.log_nu[None], saved.log_b)
    v = jnp.exp(jnp.concatenate([saved.start[None], log_v])[:last])
    v = jnp.concatenate([v, jnp.exp(out.log_v)[None]])  # v[i] is what sweep i + 1 starts from
    of_u = jnp.where(saved.log_mu > -jnp.inf, cotangent.log_u, 0.0)
    of_v = jnp.where(saved.log_nu > -jnp.inf, cotangent.log_v, 0.0)
    p_rows = 0 * of_u
    if with_rows:
        p_rows = cotangent.log_rows * jnp.exp(-out.log_rows)
        of_v = of_v + v[last] * passes.left_times(p_rows)
    scale = passes.all_devices(jnp.abs(of_u).sum()) + jnp.abs(of_v).sum()
    tolerance = jnp.finfo(of_u.dtype).eps * scale

    def one(back: _Back) -> _Back:
        i = jnp.minimum(back.t, out.sweeps) - 1  # where log a and log b of sweep t are
        slot = jnp.where(back.t <= out.sweeps, back.t - 1, last)
        r = -saved.tau_b * back.of_v * jnp.exp(-saved.log_b[i])

        def rowwise(product: Array, rows: Any) -> tuple[Array, Any]:
            of_u, u, log_a = rows
            of_u = of_u + u * product
            p = -saved.tau_a * of_u * jnp.exp(-log_a)
            return p, (p, of_u)

        total, (p, of_u) = passes.sweep(r, rowwise, (back.of_u, u[slot], saved.log_a[i]))
        before = v[slot] * total
        tau_a = jnp.sum(of_u * finite(saved.log_mu - saved.log_a[i]))
        tau_b = jnp.sum(back.of_v * finite(saved.log_nu - saved.log_b[i]))
        return _Back(
            t=back.t - 1,
            negligible=jnp.abs(before).sum() <= tolerance,
            of_u=0 * of_u,
            of_v=before,
            sum_u=back.sum_u + of_u,
            sum_v=back.sum_v + back.of_v,
            of_tau=back.of_tau + jnp.stack([passes.all_devices(tau_a), tau_b]),
            p=back.p.at[slot].add(p),
            r=back.r.at[slot].add(r),
        )

    back = _Back(
        t=jnp.asarray(iterations, jnp.int32),
        negligible=jnp.zeros((), bool),
        of_u=of_u,
        of_v=of_v,
        sum_u=0 * of_u,
        sum_v=0 * of_v,
        of_tau=jnp.zeros(2, of_u.dtype),
        p=jnp.zeros_like(u).at[last].set(p_rows),
        r=jnp.zeros_like(v),
    )
    if iterations:
        back = jax.lax.while_loop(lambda b: (b.t > 0) & ~b.negligible, one, back)
    few = [back.p[last:], u[last:]], [v[last:], back.r[last:]]
    if not iterations:
        of_points = contract(passes, back.p[last:], v[last:])
    else:
        of_points = jax.lax.cond(
            back.t >= out.sweeps,
            lambda: contract(passes, *map(jnp.concatenate, few)),
            lambda: contract(passes, jnp.concatenate([back.p, u]), jnp.concatenate([v, back.r])),
        )
    of_mu = saved.tau_a * back.sum_u * jnp.exp(-finite(saved.log_mu))
    of_nu = saved.tau_b * back.sum_v * jnp.exp(-finite(saved.log_nu))
    of_log_k = -passes.all_devices(saved.tau_a * back.sum_u.sum()) - saved.tau_b * back.sum_v.sum()
    if with_rows:
        of_log_k += passes.all_devices(cotangent.log_rows.sum())
    of_start = jnp.where(back.t == 0, back.of_v, 0.0)
    points = with_epsilon(passes, of_points, of_log_k)
    return points, of_mu, of_nu, back.of_tau[0], back.of_tau[1], of_start


sweep.defvjp(_forward, _backward)


def finite(x: Array) -> Array:
    """x, with 0 for what is not finite (a marginal of zero, whose cotangents are zero)."""
    return jnp.where(jnp.isfinite(x), x, 0.0)
