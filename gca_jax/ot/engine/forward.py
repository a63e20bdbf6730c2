"""Sinkhorn sweeps in the scaling domain, with a reverse pass that saves only vectors.

For the cosine kernel every entry of K = exp((x yᵀ - 1)/ε) lies in [e^(-2/ε), 1], so the iteration
needs no logarithm of a sum: each half-step is a matrix-vector product. The derivative of the
T-sweep value is a sum of rank-one terms K ∘ (p vᵀ + u rᵀ), two a sweep, whose vectors come from
running the sweeps backwards (`engine.reverse`); nothing of size n×m is saved for a sweep.

Sweeps whose outcome is known are not run (docs/engine.md): those behind a sweep that moves log v by
one number δ everywhere, up to rounding. δ = 0 where marginals are hard; with a τ for each row or
column only δ = 0 ends the sweeps early.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from gca_jax.ot.engine.passes import Passes, Points, make_passes
from gca_jax.ot.engine.problem import (
    Problem,
    Residuals,
    Scalings,
    SumResiduals,
    cumulative_shifts,
    rounding_of,
    scaling,
)
from gca_jax.ot.engine.reverse import backward, both_sums_backward
from gca_jax.ot.engine.sharding import varying


def sweep(problem: Problem, iterations: int, with_rows: bool) -> Scalings:
    """Run T = `iterations` >= 0 sweeps of u ← (μ/(K v))^τ_a, v ← (ν/(Kᵀ u))^τ_b.

    `with_rows` wants log K v of the last v too.
    """
    axis = problem.points.axis_name
    return _sweep(jax.tree.map(lambda x: varying(x, axis), problem), iterations, with_rows)


def row_sums(points: Points, log_v: Float[Array, " m"]) -> Float[Array, " n"]:
    """Return log K v (n,)."""
    ones, one = jnp.ones(points.x.shape[0], log_v.dtype), jnp.ones((), log_v.dtype)
    problem = Problem(points, ones, jnp.ones_like(log_v), one, one, log_v)
    return sweep(problem, 0, True).log_rows


def both_sums(points: Points) -> tuple[Float[Array, " n"], Float[Array, " m"]]:
    """Return log K 1 (n,) and log Kᵀ1 (m,), in one pass."""
    return _both_sums(jax.tree.map(lambda x: varying(x, points.axis_name), points))


@jax.custom_vjp
def _both_sums(points: Points) -> tuple[Array, Array]:
    return _both_sums_forward(points)[0]


@jax.jit
def _both_sums_forward(points: Points) -> tuple[tuple[Array, Array], SumResiduals]:
    passes = make_passes(points)
    ones = varying(jnp.ones(passes.columns.shape[0], points.x.dtype), points.axis_name)
    columns, rows = passes.sweep(ones, lambda product, _: (jnp.ones_like(product), product), ())
    residuals = SumResiduals(passes, jnp.log(rows), jnp.log(columns))
    return residuals[1:], residuals


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _sweep(problem: Problem, iterations: int, with_rows: bool) -> Scalings:
    return _forward(problem, iterations, with_rows)[0]


class _Progress(NamedTuple):
    """The loop's carry after t sweeps."""

    t: Int[Array, ""]
    log_v: Float[Array, " m"]
    converged: Bool[Array, ""]  # whether the last sweep moved log v by one number,
    delta: Float[Array, ""]  # and by which
    log_a: Float[Array, "T n"]  # log K v that each sweep starts with
    log_b: Float[Array, "T m"]  # log Kᵀu of each sweep


@partial(jax.jit, static_argnums=(1, 2))  # traced once for all losses of these shapes
def _forward(problem: Problem, iterations: int, with_rows: bool) -> tuple[Scalings, Residuals]:
    passes, axis = make_passes(problem.points), problem.points.axis_name
    log_mu = jnp.log(problem.mu)
    done = _run(passes, problem, iterations)
    rest = iterations - done.t
    shifts = cumulative_shifts(done.delta, problem.common_tau, iterations)
    log_u, log_v = varying(jnp.zeros_like(log_mu), axis), done.log_v
    if iterations:
        log_u = scaling(problem.tau_a, log_mu, done.log_a[done.t - 1] + shifts[rest])
        log_v = log_v + jnp.where(rest > 0, shifts[rest + 1] - done.delta, 0.0)

    def rows_by_pass() -> Array:
        return jnp.log(passes.times(jnp.exp(log_v)))

    log_rows = varying(jnp.zeros_like(log_mu), axis)
    if with_rows and iterations:
        known = lambda: done.log_a[done.t - 1] + shifts[rest + 1]  # noqa: E731
        log_rows = jax.lax.cond(done.converged, known, rows_by_pass)
    elif with_rows:
        log_rows = rows_by_pass()
    out = Scalings(log_u, log_v, log_rows, done.t)
    return out, Residuals(passes, problem, done.log_a, done.log_b, done.converged, done.delta, out)


def _run(passes: Passes, problem: Problem, iterations: int) -> _Progress:
    """Run sweeps until T are done, or those to come only scale u and v."""
    axis, dtype = problem.points.axis_name, problem.mu.dtype
    log_mu, log_nu, has_mass = jnp.log(problem.mu), jnp.log(problem.nu), problem.nu > 0
    tau_rows = jnp.broadcast_to(problem.tau_a, log_mu.shape)
    shared = problem.has_common_tau

    def rowwise(product: Array, rows: tuple[Array, Array]) -> tuple[Array, Array]:
        log_mu, tau = rows
        log_a = jnp.log(product)
        return jnp.exp(scaling(tau, log_mu, log_a)), log_a

    def one(now: _Progress) -> _Progress:
        total, a = passes.sweep(jnp.exp(now.log_v), rowwise, (log_mu, tau_rows))
        b = jnp.log(total)
        log_v = scaling(problem.tau_b, log_nu, b)
        steps = jnp.where(has_mass, log_v - now.log_v, 0.0)
        delta = steps.sum() / has_mass.sum(dtype=dtype) if shared else 0 * now.delta
        emptied = (log_v == -jnp.inf) & (now.log_v > -jnp.inf)  # v was 1 there, and enters K v
        spread = jnp.where(has_mass, jnp.abs(steps - delta), jnp.where(emptied, jnp.inf, 0.0)).max()
        log_a, log_b = now.log_a.at[now.t].set(a), now.log_b.at[now.t].set(b)
        return _Progress(now.t + 1, log_v, spread <= rounding_of(dtype), delta, log_a, log_b)

    zero = varying(jnp.zeros((), dtype), axis)
    empty = [varying(jnp.zeros((iterations, x.size), dtype), axis) for x in (log_mu, log_nu)]
    start = _Progress(jnp.zeros((), jnp.int32), problem.start, zero > 1, zero, *empty)
    if not iterations:
        return start
    return jax.lax.while_loop(lambda now: (now.t < iterations) & ~now.converged, one, start)


_sweep.defvjp(_forward, backward)
_both_sums.defvjp(_both_sums_forward, both_sums_backward)
