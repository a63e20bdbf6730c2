"""The reverse pass of the sweeps: their derivative from the vectors that the forward pass saved."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from gca_jax.ot.engine.passes import (
    Points,
    PointsCotangent,
    Rowwise,
    contract,
    contracting_sweep,
    with_epsilon,
)
from gca_jax.ot.engine.problem import (
    Problem,
    Residuals,
    Scalings,
    SumResiduals,
    cumulative_shifts,
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
    shifts: Float[Array, "T+2"]
    u: Float[Array, "T n"]  # of each sweep
    v: Float[Array, "T m"]  # that each sweep starts from


class _Back(NamedTuple):
    """The reverse pass behind sweep t: cotangents of log u and log v there, and sums so far.

    The factors of sweep t are in slot min(t, sweeps run) - 1.
    """

    t: Int[Array, ""]
    negligible: Bool[Array, ""]
    ending: Bool[Array, ""]  # the step to come is expected to leave what is negligible
    contracted: Bool[Array, ""]  # whether the last step contracted all terms too
    ct_u: Float[Array, " n"]
    ct_v: Float[Array, " m"]
    sum_u: Float[Array, " n"]
    sum_v: Float[Array, " m"]
    ct_tau_a: Float[Array, " n"]
    ct_tau_b: Float[Array, " m"]
    p: Float[Array, "T n"]
    r: Float[Array, "T m"]

    @property
    def size(self) -> Float[Array, ""]:
        """How large the cotangents are that the sweeps to come start with."""
        return jnp.abs(self.ct_u).sum() + jnp.abs(self.ct_v).sum()


@partial(jax.jit, static_argnums=(0, 1))
def backward(
    iterations: int, with_rows: bool, residuals: Residuals, cotangent: Scalings
) -> tuple[Problem]:
    """Compute the cotangents of the problem from those of what `sweep` returns.

    On a mapped axis they are partial sums: the sum over the devices counts.
    """
    axis = residuals.problem.points.axis_name
    # Under `vmap`, hence `jacrev`, what a branch of a `cond` reads becomes varying, and JAX retypes
    # nothing inside the branch: all of it is varying from the start.
    residuals = jax.tree.map(partial(varying, axis_name=axis), residuals)
    passes, problem, out = residuals.passes, residuals.problem, residuals.out
    ct_u, ct_v, ct_rows = (
        passes.all_devices(x) for x in (cotangent.log_u, cotangent.log_v, cotangent.log_rows)
    )
    ct_u, ct_v = jnp.where(problem.mu > 0, ct_u, 0.0), jnp.where(problem.nu > 0, ct_v, 0.0)
    p_rows, last_v = varying(jnp.zeros_like(ct_u), axis), jnp.exp(out.log_v)
    if with_rows:
        p_rows = ct_rows * inverse(out.log_rows)
        seen = passes.left_times
        if axis is None:  # in a branch of its own it does not lay K out by columns too on a TPU
            seen = partial(jax.lax.cond, jnp.any(p_rows != 0), seen, lambda _: 0 * ct_v)
        ct_v = ct_v + last_v * seen(p_rows)
    factors = _factors(residuals, iterations)
    back = _start(residuals, factors, ct_u, ct_v, p_rows)
    if iterations:
        back, ct_points = _run_back(residuals, factors, back, p_rows, last_v)
    else:
        ct_points = contract(passes, p_rows[None], last_v[None])
    ct_mu = problem.tau_a * back.sum_u * jnp.exp(-finite(factors.log_mu))
    ct_nu = problem.tau_b * back.sum_v * jnp.exp(-finite(factors.log_nu))
    ct_log_k = ct_rows.sum() if with_rows else jnp.zeros((), ct_u.dtype)
    ct_log_k -= jnp.sum(problem.tau_a * back.sum_u) + jnp.sum(problem.tau_b * back.sum_v)
    ct_tau_a = back.ct_tau_a if problem.tau_a.ndim else back.ct_tau_a.sum()
    ct_tau_b = back.ct_tau_b if problem.tau_b.ndim else back.ct_tau_b.sum()
    ct_start = jnp.where(back.t == 0, back.ct_v, 0.0)
    others = (on_first_device(x, axis) for x in (ct_mu, ct_nu, ct_tau_a, ct_tau_b, ct_start))
    return (Problem(with_epsilon(passes, ct_points, ct_log_k), *others),)


@jax.jit
def both_sums_backward(residuals: SumResiduals, cotangent: tuple[Array, Array]) -> tuple[Points]:
    """Compute the cotangents of the points from those of log K 1 and log Kᵀ1; partial sums."""
    passes = residuals.passes
    ct_rows, ct_columns = (passes.all_devices(x) for x in cotangent)
    left = jnp.stack([ct_rows * inverse(residuals.log_rows), jnp.ones_like(ct_rows)])
    right = jnp.stack([jnp.ones_like(ct_columns), ct_columns * inverse(residuals.log_columns)])
    ct_points = contract(passes, left, right)
    return (with_epsilon(passes, ct_points, ct_rows.sum() + ct_columns.sum()),)


def _factors(residuals: Residuals, iterations: int) -> _Factors:
    problem = residuals.problem
    log_mu, log_nu = jnp.log(problem.mu), jnp.log(problem.nu)
    tau_rows, tau_columns = (
        jnp.broadcast_to(tau, x.shape)
        for tau, x in ((problem.tau_a, log_mu), (problem.tau_b, log_nu))
    )
    tau = problem.common_tau
    u = jnp.exp(scaling(tau_rows[None], log_mu[None], residuals.log_a))
    log_v = scaling(tau_columns[None], log_nu[None], residuals.log_b)
    v = jnp.exp(jnp.concatenate([problem.start[None], log_v])[:-1])
    shifts = cumulative_shifts(residuals.delta, tau, iterations)
    return _Factors(log_mu, log_nu, tau_rows, tau, shifts, u, v)


def _start(
    residuals: Residuals, factors: _Factors, ct_u: Array, ct_v: Array, p_rows: Array
) -> _Back:
    """Begin behind the last sweep, whose v the rows' products p_rows multiply too."""
    axis, dtype, ran = residuals.problem.points.axis_name, ct_u.dtype, residuals.out.sweeps
    iterations = len(factors.u)
    zero, p = varying(jnp.zeros((), dtype), axis), jnp.zeros_like(factors.u)
    if iterations:
        # After a converged sweep the last v is the one before it, scaled.
        scale = jnp.exp(factors.shifts[iterations - ran + 1])
        p = p.at[ran - 1].add(jnp.where(residuals.converged, p_rows * scale, 0.0))
    return _Back(
        t=jnp.asarray(iterations, jnp.int32) + varying(jnp.zeros((), jnp.int32), axis),
        negligible=zero > 1,
        ending=zero > 1,
        contracted=zero > 1,
        ct_u=ct_u,
        ct_v=ct_v,
        sum_u=0 * ct_u,
        sum_v=0 * ct_v,
        ct_tau_a=0 * ct_u,
        ct_tau_b=0 * ct_v,
        p=p,
        r=jnp.zeros_like(factors.v),
    )


def _run_back(
    residuals: Residuals, factors: _Factors, start: _Back, p_rows: Array, last_v: Array
) -> tuple[_Back, PointsCotangent]:
    """Run the sweeps backwards, until none is left or what is left is below rounding.

    Also returns what their terms give the points, times ε.
    """
    points = residuals.problem.points
    tolerance = rounding_of(start.size.dtype) * start.size
    sweep_back = partial(_sweep_back, residuals, factors, tolerance)
    contract_all = partial(_ct_points, residuals, factors, p_rows=p_rows, last_v=last_v)
    unfinished = lambda back: (back.t > 0) & ~back.negligible  # noqa: E731
    if residuals.passes.whole is not None or points.y is None:
        back = jax.lax.while_loop(unfinished, sweep_back, start)
        return back, contract_all(back)

    # The last sweep's pass over K can contract the terms as well: its blocks are formed once less.
    def step(state: tuple[_Back, PointsCotangent]) -> tuple[_Back, PointsCotangent]:
        back, before = state
        both = partial(_contracting_sweep_back, residuals, factors, tolerance)
        return jax.lax.cond(back.ending, both, lambda back: (sweep_back(back), before), back)

    none: PointsCotangent = (0 * points.x, 0 * points.y)  # counts only where `contracted` is set
    back, ct_points = jax.lax.while_loop(lambda s: unfinished(s[0]), step, (start, none))
    return back, jax.lax.cond(back.contracted, lambda _: ct_points, contract_all, back)


def _sweep_back(residuals: Residuals, factors: _Factors, tolerance: Array, back: _Back) -> _Back:
    """Run one sweep backwards, and those behind it where they only shrink the cotangent by τ."""
    r, rowwise, rows = _rows_back(residuals, factors, back)
    total, (p, ct_u) = residuals.passes.sweep(r, rowwise, rows)
    return _earlier(residuals, factors, tolerance, back, (r, total, p, ct_u))


def _contracting_sweep_back(
    residuals: Residuals, factors: _Factors, tolerance: Array, back: _Back
) -> tuple[_Back, PointsCotangent]:
    """Do as `_sweep_back`, and contracts the terms of this sweep and those behind it in one pass.

    They are all in its slot: ε times what they give the points.
    """
    slot = jnp.minimum(back.t, residuals.out.sweeps) - 1
    r, rowwise, rows = _rows_back(residuals, factors, back)

    def left(kept: tuple[Array, Array], rows: tuple[Array, ...]) -> Array:
        return jnp.stack([rows[-1] + kept[0], rows[1]], axis=1)

    right = jnp.stack([factors.v[slot], back.r[slot] + r])
    rows = *rows, back.p[slot]
    swept = contracting_sweep(residuals.passes, r, rowwise, rows, left, right)
    total, (p, ct_u), ct_points = swept
    earlier = _earlier(residuals, factors, tolerance, back, (r, total, p, ct_u))
    return earlier._replace(contracted=earlier.t == back.t - 1), ct_points


def _rows_back(
    residuals: Residuals, factors: _Factors, back: _Back
) -> tuple[Array, Rowwise, tuple[Array, ...]]:
    """Return the right vector of a sweep backwards, its row callback and that one's inputs."""
    slot = jnp.minimum(back.t, residuals.out.sweeps) - 1
    r = -residuals.problem.tau_b * back.ct_v * inverse(residuals.log_b[slot])

    def rowwise(product: Array, rows: tuple[Array, ...]) -> tuple[Array, tuple[Array, Array]]:
        ct_u, u, log_a, tau_a = rows[:4]
        ct_u = ct_u + u * product
        p = -tau_a * ct_u * inverse(log_a)
        return p, (p, ct_u)

    return r, rowwise, (back.ct_u, factors.u[slot], residuals.log_a[slot], factors.tau_rows)


def _earlier(
    residuals: Residuals,
    factors: _Factors,
    tolerance: Array,
    back: _Back,
    swept: tuple[Array, Array, Array, Array],
) -> _Back:
    """Move behind the sweep whose right vector, column sums, left vector and ct_u are given."""
    (r, total, p, ct_u), tau = swept, factors.tau
    ran, ahead = residuals.out.sweeps, jnp.arange(len(factors.u))
    slot = jnp.minimum(back.t, ran) - 1
    before = factors.v[slot] * total
    # If this sweep only shrank the cotangent by τ, so do all earlier ones down to `ran`.
    linear = (back.t < len(factors.u)) & (jnp.abs(before - tau * back.ct_v).sum() <= tolerance)
    jump = jnp.where(linear, jnp.maximum(back.t - ran, 0), 0)
    powers = jnp.where(ahead <= jump, tau**ahead, 0.0)  # of this sweep and those behind it
    count = powers.sum()
    ct_tau_a, ct_tau_b = _ct_taus(residuals, factors, back, ct_u, slot, powers)
    left_over = jnp.abs(before).sum()
    few = residuals.converged & (back.t - 1 - jump >= ran)
    return _Back(
        t=back.t - 1 - jump,
        negligible=left_over * tau**jump <= tolerance,
        # A sweep shrinks cotangents about as much as the one before.
        ending=few & (left_over**2 <= tolerance * back.size),
        contracted=back.contracted & False,  # of the same type on a mapped axis
        ct_u=0 * ct_u,
        ct_v=before * tau**jump,
        sum_u=back.sum_u + count * ct_u,
        sum_v=back.sum_v + count * back.ct_v,
        ct_tau_a=back.ct_tau_a + ct_tau_a,
        ct_tau_b=back.ct_tau_b + ct_tau_b,
        p=back.p.at[slot].add(count * p),
        r=back.r.at[slot].add(count * r),
    )


def _ct_taus(
    residuals: Residuals, factors: _Factors, back: _Back, ct_u: Array, slot: Array, powers: Array
) -> tuple[Array, Array]:
    """Compute what the sweeps of one backward step add to the cotangents of τ_a and τ_b."""
    count, behind = powers.sum(), back.t - residuals.out.sweeps - jnp.arange(len(powers))
    shift = jnp.sum(powers * factors.shifts[jnp.maximum(behind, 0)])
    rows = finite(factors.log_mu - residuals.log_a[slot])
    columns = finite(factors.log_nu - residuals.log_b[slot])
    ct_tau_a = ct_u * (count * rows - shift)
    ct_tau_b = back.ct_v * (count * columns)
    if residuals.problem.has_common_tau:  # else there is no shift
        ct_tau_b += back.ct_v * (shift * residuals.problem.tau_a)
    return ct_tau_a, ct_tau_b


def _ct_points(
    residuals: Residuals, factors: _Factors, back: _Back, p_rows: Array, last_v: Array
) -> PointsCotangent:
    """Pull the rank-one terms of all sweeps, K ∘ Σ (p vᵀ + u rᵀ), back to the points."""
    passes, ran = residuals.passes, residuals.out.sweeps
    u, v = factors.u, factors.v
    few = residuals.converged & (back.t >= ran - 1)  # mostly the last sweep has all the terms

    def of_last() -> PointsCotangent:
        last = [x[ran - 1][None] for x in (back.p, u, v, back.r)]
        left, right = jnp.concatenate(last[:2]), jnp.concatenate(last[2:])
        return contract(passes, left, right, overwrite=False)

    def of_all_sweeps() -> PointsCotangent:
        odd_p = jnp.where(residuals.converged, 0.0, p_rows)[None]
        left, right = [back.p, u, odd_p], [v, back.r, last_v[None]]
        return contract(passes, jnp.concatenate(left), jnp.concatenate(right))

    return jax.lax.cond(few, of_last, of_all_sweeps)


def inverse(log_product: Array) -> Array:
    """Return 1/(K v), and 1 for a row that meets no mass: its cotangent is zero."""
    return jnp.exp(-jnp.where(log_product == -jnp.inf, 0.0, log_product))


def finite(x: Array) -> Array:
    """Replace what is not finite by 0 (marginals of zero, whose cotangents are zero)."""
    return jnp.where(jnp.isfinite(x), x, 0.0)
