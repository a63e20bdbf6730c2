"""The reverse pass of the sweeps: their derivative from the vectors that the forward pass saved."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from gca_jax.ot.engine.passes import OfPoints, Points, contract, contracting_sweep, with_epsilon
from gca_jax.ot.engine.problem import (
    Problem,
    Saved,
    SavedSums,
    Scalings,
    drift_of,
    rounding_of,
    scaling,
)
from gca_jax.ot.engine.sharding import on_first_device, varying


class _Factors(NamedTuple):
    """Vectors of the forward pass that the reverse pass multiplies with."""

    log_mu: Float[Array, " n"]
    log_nu: Float[Array, " m"]
    tau_rows: Float[Array, " n"]
    tau: Float[Array, ""]
    drift: Float[Array, "T+2"]
    u: Float[Array, "T n"]  # of each sweep
    v: Float[Array, "T m"]  # that each sweep starts from


class _Back(NamedTuple):
    """The reverse pass behind sweep t: cotangents of log u and log v there, and sums so far.

    The factors of sweep t are in slot min(t, sweeps run) - 1.
    """

    t: Int[Array, ""]
    negligible: Bool[Array, ""]
    ending: Bool[Array, ""]  # the step to come is expected to leave what is negligible
    of_u: Float[Array, " n"]
    of_v: Float[Array, " m"]
    sum_u: Float[Array, " n"]
    sum_v: Float[Array, " m"]
    of_tau_a: Float[Array, " n"]
    of_tau_b: Float[Array, " m"]
    p: Float[Array, "T n"]
    r: Float[Array, "T m"]

    @property
    def size(self) -> Float[Array, ""]:
        """How large the cotangents are that the sweeps to come start with."""
        return jnp.abs(self.of_u).sum() + jnp.abs(self.of_v).sum()


@partial(jax.jit, static_argnums=(0, 1))
def backward(iterations: int, with_rows: bool, saved: Saved, cotangent: Scalings) -> tuple[Problem]:
    """Cotangents of the problem from those of what `sweep` returns.

    On a mapped axis they are partial sums: the sum over the devices counts.
    """
    passes, problem, out = saved.passes, saved.problem, saved.out
    axis = problem.points.axis_name
    of_u, of_v, of_rows = (
        passes.all_devices(x) for x in (cotangent.log_u, cotangent.log_v, cotangent.log_rows)
    )
    of_u, of_v = jnp.where(problem.mu > 0, of_u, 0.0), jnp.where(problem.nu > 0, of_v, 0.0)
    p_rows, last_v = varying(jnp.zeros_like(of_u), axis), jnp.exp(out.log_v)
    if with_rows:
        p_rows = of_rows * inverse(out.log_rows)
        seen = passes.left_times
        if axis is None:  # in a branch of its own it does not lay K out by columns too on a TPU
            seen = partial(jax.lax.cond, jnp.any(p_rows != 0), seen, lambda _: 0 * of_v)
        of_v = of_v + last_v * seen(p_rows)
    factors = _factors(saved, iterations)
    back = _start(saved, factors, of_u, of_v, p_rows)
    if iterations:
        back, of_points = _run_back(saved, factors, back, p_rows, last_v)
    else:
        of_points = contract(passes, p_rows[None], last_v[None])
    of_mu = problem.tau_a * back.sum_u * jnp.exp(-finite(factors.log_mu))
    of_nu = problem.tau_b * back.sum_v * jnp.exp(-finite(factors.log_nu))
    of_log_k = of_rows.sum() if with_rows else jnp.zeros((), of_u.dtype)
    of_log_k -= jnp.sum(problem.tau_a * back.sum_u) + jnp.sum(problem.tau_b * back.sum_v)
    of_tau_a = back.of_tau_a if problem.tau_a.ndim else back.of_tau_a.sum()
    of_tau_b = back.of_tau_b if problem.tau_b.ndim else back.of_tau_b.sum()
    of_start = jnp.where(back.t == 0, back.of_v, 0.0)
    others = (on_first_device(x, axis) for x in (of_mu, of_nu, of_tau_a, of_tau_b, of_start))
    return (Problem(with_epsilon(passes, of_points, of_log_k), *others),)


@jax.jit
def both_sums_backward(saved: SavedSums, cotangent: tuple[Array, Array]) -> tuple[Points]:
    """Cotangents of the points from those of log K 1 and log Kᵀ1; partial sums, as above."""
    passes = saved.passes
    of_rows, of_columns = (passes.all_devices(x) for x in cotangent)
    left = jnp.stack([of_rows * inverse(saved.log_rows), jnp.ones_like(of_rows)])
    right = jnp.stack([jnp.ones_like(of_columns), of_columns * inverse(saved.log_columns)])
    of_points = contract(passes, left, right)
    return (with_epsilon(passes, of_points, of_rows.sum() + of_columns.sum()),)


def _factors(saved: Saved, iterations: int) -> _Factors:
    problem = saved.problem
    log_mu, log_nu = jnp.log(problem.mu), jnp.log(problem.nu)
    tau_rows, tau_columns = (
        jnp.broadcast_to(tau, x.shape)
        for tau, x in ((problem.tau_a, log_mu), (problem.tau_b, log_nu))
    )
    tau = problem.common_tau
    u = jnp.exp(scaling(tau_rows[None], log_mu[None], saved.log_a))
    log_v = scaling(tau_columns[None], log_nu[None], saved.log_b)
    v = jnp.exp(jnp.concatenate([problem.start[None], log_v])[:-1])
    drift = drift_of(saved.moved, tau, iterations)
    return _Factors(log_mu, log_nu, tau_rows, tau, drift, u, v)


def _start(saved: Saved, factors: _Factors, of_u: Array, of_v: Array, p_rows: Array) -> _Back:
    """Behind the last sweep, whose v the rows' products p_rows multiply too."""
    axis, dtype, ran = saved.problem.points.axis_name, of_u.dtype, saved.out.sweeps
    iterations = len(factors.u)
    zero, p = varying(jnp.zeros((), dtype), axis), jnp.zeros_like(factors.u)
    if iterations:
        # After an even sweep the last v is the one before it, scaled.
        scale = jnp.exp(factors.drift[iterations - ran + 1])
        p = p.at[ran - 1].add(jnp.where(saved.even, p_rows * scale, 0.0))
    return _Back(
        t=jnp.asarray(iterations, jnp.int32) + varying(jnp.zeros((), jnp.int32), axis),
        negligible=zero > 1,
        ending=zero > 1,
        of_u=of_u,
        of_v=of_v,
        sum_u=0 * of_u,
        sum_v=0 * of_v,
        of_tau_a=0 * of_u,
        of_tau_b=0 * of_v,
        p=p,
        r=jnp.zeros_like(factors.v),
    )


def _run_back(
    saved: Saved, factors: _Factors, start: _Back, p_rows: Array, last_v: Array
) -> tuple[_Back, OfPoints]:
    """The sweeps backwards, until none is left or what is left is below rounding.

    Also returns what their terms give the points, times ε.
    """
    tolerance = rounding_of(start.size.dtype) * start.size
    sweep_back = partial(_sweep_back, saved, factors, tolerance)
    step = lambda back: sweep_back(back)[0]  # noqa: E731
    unfinished = lambda back: (back.t > 0) & ~back.negligible  # noqa: E731

    def in_turn(back: _Back) -> tuple[_Back, OfPoints]:
        back = jax.lax.while_loop(unfinished, step, back)
        return back, _of_points(saved, factors, back, p_rows, last_v)

    x, y = saved.problem.points.x, saved.problem.points.y
    if saved.passes.whole is not None or y is None:
        return in_turn(start)
    # The last sweep's pass over K can contract the terms as well: its blocks are formed once less.
    back = jax.lax.while_loop(lambda back: unfinished(back) & ~back.ending, step, start)

    def at_once(back: _Back) -> tuple[Array, tuple[_Back, OfPoints]]:
        last, of_points = sweep_back(back, contracting=True)
        assert of_points is not None
        return (last.t == back.t - 1) & ~unfinished(last), (last, of_points)

    def not_at_once(back: _Back) -> tuple[Array, tuple[_Back, OfPoints]]:
        return unfinished(back), (back, (0 * x, 0 * y))

    done, found = jax.lax.cond(unfinished(back), at_once, not_at_once, back)
    return jax.lax.while_loop(  # at most once; unlike a branch, it needs no second memory
        lambda state: ~state[0], lambda _: (done | True, in_turn(back)), (done, found)
    )[1]


def _sweep_back(
    saved: Saved, factors: _Factors, tolerance: Array, back: _Back, contracting: bool = False
) -> tuple[_Back, OfPoints | None]:
    """One sweep backwards, and those behind it where they only shrink the cotangent by τ.

    `contracting` the terms of this sweep and those before, all in its slot, in the same pass: ε
    times what they give the points.
    """
    problem, ran, tau = saved.problem, saved.out.sweeps, factors.tau
    ahead = jnp.arange(len(factors.u))
    slot = jnp.minimum(back.t, ran) - 1
    r = -problem.tau_b * back.of_v * inverse(saved.log_b[slot])

    def rowwise(product: Array, rows: tuple[Array, ...]) -> tuple[Array, tuple[Array, Array]]:
        of_u, u, log_a, tau_a, _ = rows
        of_u = of_u + u * product
        p = -tau_a * of_u * inverse(log_a)
        return p, (p, of_u)

    def left(kept: tuple[Array, Array], rows: tuple[Array, ...]) -> Array:
        return jnp.stack([rows[-1] + kept[0], rows[1]], axis=1)

    rows = back.of_u, factors.u[slot], saved.log_a[slot], factors.tau_rows, back.p[slot]
    of_points = None
    if contracting:
        right = jnp.stack([factors.v[slot], back.r[slot] + r])
        swept = contracting_sweep(saved.passes, r, rowwise, rows, left, right)
        total, (p, of_u), of_points = swept
    else:
        total, (p, of_u) = saved.passes.sweep(r, rowwise, rows)
    before = factors.v[slot] * total
    # If this sweep only shrank the cotangent by τ, so do all earlier ones down to `ran`.
    linear = (back.t < len(factors.u)) & (jnp.abs(before - tau * back.of_v).sum() <= tolerance)
    jump = jnp.where(linear, jnp.maximum(back.t - ran, 0), 0)
    powers = jnp.where(ahead <= jump, tau**ahead, 0.0)  # of this sweep and those behind it
    count = powers.sum()
    of_tau_a, of_tau_b = _of_taus(saved, factors, back, of_u, slot, powers)
    left_over = jnp.abs(before).sum()
    few = saved.even & (back.t - 1 - jump >= ran)
    of_earlier = _Back(
        t=back.t - 1 - jump,
        negligible=left_over * tau**jump <= tolerance,
        # A sweep shrinks cotangents about as much as the one before.
        ending=few & (left_over**2 <= tolerance * back.size),
        of_u=0 * of_u,
        of_v=before * tau**jump,
        sum_u=back.sum_u + count * of_u,
        sum_v=back.sum_v + count * back.of_v,
        of_tau_a=back.of_tau_a + of_tau_a,
        of_tau_b=back.of_tau_b + of_tau_b,
        p=back.p.at[slot].add(count * p),
        r=back.r.at[slot].add(count * r),
    )
    return of_earlier, of_points


def _of_taus(
    saved: Saved, factors: _Factors, back: _Back, of_u: Array, slot: Array, powers: Array
) -> tuple[Array, Array]:
    """What the sweeps of one backward step add to the cotangents of τ_a and τ_b."""
    count, behind = powers.sum(), back.t - saved.out.sweeps - jnp.arange(len(powers))
    shift = jnp.sum(powers * factors.drift[jnp.maximum(behind, 0)])
    rows = finite(factors.log_mu - saved.log_a[slot])
    columns = finite(factors.log_nu - saved.log_b[slot])
    of_tau_a = of_u * (count * rows - shift)
    of_tau_b = back.of_v * (count * columns)
    if saved.problem.has_common_tau:  # else there is no shift
        of_tau_b += back.of_v * (shift * saved.problem.tau_a)
    return of_tau_a, of_tau_b


def _of_points(
    saved: Saved, factors: _Factors, back: _Back, p_rows: Array, last_v: Array
) -> OfPoints:
    """Pulls the rank-one terms of all sweeps, K ∘ Σ (p vᵀ + u rᵀ), back to the points."""
    passes, ran = saved.passes, saved.out.sweeps
    u, v = factors.u, factors.v
    few = saved.even & (back.t >= ran - 1)  # mostly the last sweep's terms are all there are

    def of_last() -> OfPoints:
        last = [x[ran - 1][None] for x in (back.p, u, v, back.r)]
        left, right = jnp.concatenate(last[:2]), jnp.concatenate(last[2:])
        return contract(passes, left, right, overwrite=False)

    def of_all() -> OfPoints:
        odd_p = jnp.where(saved.even, 0.0, p_rows)[None]
        left, right = [back.p, u, odd_p], [v, back.r, last_v[None]]
        return contract(passes, jnp.concatenate(left), jnp.concatenate(right))

    return jax.lax.cond(few, of_last, of_all)


def inverse(log_product: Array) -> Array:
    """Returns 1/(K v), and 1 for a row that meets no mass: its cotangent is zero."""
    return jnp.exp(-jnp.where(log_product == -jnp.inf, 0.0, log_product))


def finite(x: Array) -> Array:
    """Replaces what is not finite by 0 (marginals of zero, whose cotangents are zero)."""
    return jnp.where(jnp.isfinite(x), x, 0.0)
