"""Kernel to plan: iterative Bregman projections (equations 3-7 and 9 of the paper)."""

import dataclasses
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from gca_jax import check
from gca_jax.ot import inputs
from gca_jax.ot.engine import Problem, both_sums, scaling, sweep
from gca_jax.ot.kernel import Kernel
from gca_jax.ot.numerics import log, logsumexp, ratio
from gca_jax.ot.plan import Plan


def project(
    kernel: Kernel,
    *,
    iterations: int | None = None,
    half_steps: int | None = None,
    until: float | None = None,
    max_iterations: int = 2000,
    tau_a: ArrayLike = 1.0,
    tau_b: ArrayLike = 1.0,
    mu: Float[ArrayLike, " n"] | None = None,
    nu: Float[ArrayLike, " m"] | None = None,
    keep_rows: bool = False,
    start: Float[ArrayLike, " m"] | None = None,
) -> Plan:
    """Project a kernel onto the plans with (soft) marginals μ and ν.

    One iteration covers every constraint set of the paper (equation 7; 9 with τ < 1), from v = 1:

        u ← (μ / (K v))^τ_a ;   v ← (ν / (Kᵀ u))^τ_b

    Args:
      kernel: K (n, m).
      iterations: Full sweeps T, that is 2T half-steps. Exactly one of `iterations`, `half_steps`
        and `until` is given. Derivatives are those of the T-sweep value ("unrolled").
      half_steps: Counts single marginals, rows first: 1 is the row projection of InfoNCE,
        2T - 1 is RINCE's P^(2T-1).
      until: Runs OTT-JAX's Sinkhorn until the error of the marginals is below this; derivatives
        are the implicit ones of the converged plan. In float32 1e-6 is about the least that can
        be reached; `Plan.converged` tells.
      max_iterations: Where `until` gives up.
      tau_a: τ = λ/(λ+ε) of the row marginal, in [0, 1]: 1 is the hard constraint, 0 none. One
        number, or one for each row (n,).
      tau_b: The same for the column marginal.
      mu: Row marginal (n,), summing to 1, but where a τ below 1 leaves the mass free; None is
        uniform over the rows that count.
      nu: Column marginal (m,), likewise.
      keep_rows: Whether the plan keeps log K v of its last v, for which its row marginal, its mass
        and row-wise readings otherwise go over the kernel once more.
      start: log v to start from (m,), such as that of a plan nearby; not with `until`. None: v = 1,
        or that of the kernel's prior.

    Returns:
      A `Plan`, in factored form.

    Raises:
      ValueError: not exactly one stopping rule, a count < 1, τ outside [0, 1], a marginal of the
        wrong shape, with a negative entry, or not summing to 1.

    >>> from gca_jax import ot
    >>> plan = project(ot.cost_kernel(jnp.array([[0.0, 1.0], [2.0, 0.0]])), iterations=10)
    >>> plan.column_marginal.round(4).tolist(), f"{plan.residual:.2f}"  # rows are still 0.01 off
    ([0.5, 0.5], '0.01')
    """
    chosen = [x is not None for x in (iterations, half_steps, until)]
    if sum(chosen) != 1:
        raise ValueError(
            "project needs exactly one of iterations, half_steps, until; got "
            f"iterations={iterations}, half_steps={half_steps}, until={until}"
        )
    mu, nu = _checked(kernel, tau_a, tau_b, mu, nu)
    log_v = jnp.zeros_like(nu) if kernel.prior is None else kernel.prior.start
    log_v = log_v if start is None else jnp.asarray(start, nu.dtype)
    if log_v.shape != nu.shape:
        raise ValueError(f"start must have shape {nu.shape}, got {log_v.shape}")
    if until is not None:
        check.positive("until", until)
        if start is not None:
            raise ValueError("until= takes no start")
        if kernel.axis_name is not None:
            raise ValueError("until= needs the whole kernel on a device: it takes no axis_name")
        check.at_least("max_iterations", max_iterations, 1)
        from gca_jax.ot.converged import solve  # ott takes longer to import than jax

        log_u, log_v, converged = solve(kernel, mu, nu, tau_a, tau_b, until, max_iterations)
        return Plan(kernel, log_u, log_v, mu, nu, converged)
    if iterations is not None:
        check.at_least("iterations", iterations, 1)
        half_steps = 2 * iterations
    assert half_steps is not None
    check.at_least("half_steps", half_steps, 1)
    if kernel.domain == "scaling":
        return _in_scaling_domain(kernel, mu, nu, tau_a, tau_b, half_steps, keep_rows, log_v)
    log_k = kernel.log_matrix
    (log_u, log_v), _ = _sweep(log_k, mu, nu, tau_a, tau_b, half_steps // 2, log_v)
    if half_steps % 2:
        log_u = _scaling(log_k, mu, jnp.asarray(tau_a, log_k.dtype), log_v, axis=1)
    exact = _exact(tau_a, tau_b, half_steps)
    columns = None if half_steps % 2 else _column_sums(nu, log_v, tau_b)
    return Plan(kernel, log_u, log_v, mu, nu, columns=columns, exact=exact)


def _column_sums(nu: Array, log_v: Array, tau: ArrayLike) -> Array:
    """Compute Pᵀ1 after v ← (ν/(Kᵀu))^τ: v Kᵀu = ν v^(1 - 1/τ); NaN for τ = 0."""
    log_sums = log(nu) - log_v * (1 / jnp.asarray(tau, nu.dtype) - 1)
    return jnp.where(log_v == -jnp.inf, 0.0, jnp.exp(log_sums))


def _exact(
    tau_a: ArrayLike, tau_b: ArrayLike, half_steps: int
) -> Literal["rows", "columns"] | None:
    """Name the marginal that the last half-step fitted, if it is known to be a hard constraint."""
    tau = tau_a if half_steps % 2 else tau_b
    if not (isinstance(tau, float | int) and tau == 1):
        return None
    return "rows" if half_steps % 2 else "columns"


def _in_scaling_domain(
    kernel: Kernel,
    mu: Array,
    nu: Array,
    tau_a: ArrayLike,
    tau_b: ArrayLike,
    half_steps: int,
    keep_rows: bool,
    start: Array,
) -> Plan:
    odd = half_steps % 2 == 1
    taus = jnp.asarray(tau_a, kernel.dtype), jnp.asarray(tau_b, kernel.dtype)
    problem = Problem(kernel.generator, mu, nu, *taus, start=start)
    rows = odd or keep_rows
    done = sweep(problem, half_steps // 2, rows)
    log_u = scaling(taus[0], log(mu), done.log_rows) if odd else done.log_u
    log_rows, exact = done.log_rows if rows else None, _exact(tau_a, tau_b, half_steps)
    columns = None if odd else _column_sums(nu, done.log_v, tau_b)
    return Plan(kernel, log_u, done.log_v, mu, nu, None, done.sweeps, log_rows, columns, exact)


def project_each(
    kernel: Kernel,
    *,
    mu: Float[ArrayLike, " n"] | None = None,
    nu: Float[ArrayLike, " m"] | None = None,
) -> tuple[Plan, Plan]:
    """Project a kernel onto its rows, and onto its columns, in one pass over it.

    Args:
      kernel: K (n, m).
      mu: Row marginal (n,), summing to 1; None is uniform.
      nu: Column marginal (m,), likewise.

    Returns:
      diag(μ / K1) K, and K diag(ν / Kᵀ1).

    Raises:
      ValueError: as `project`.
    """
    mu, nu = _checked(kernel, 1.0, 1.0, mu, nu)
    zero_n, zero_m, one = jnp.zeros_like(mu), jnp.zeros_like(nu), jnp.ones((), kernel.dtype)
    log_rows = sweeps = None
    if kernel.domain == "scaling":
        (log_rows, log_columns), sweeps = both_sums(kernel.generator), jnp.zeros((), jnp.int32)
        log_u, log_v = scaling(one, log(mu), log_rows), scaling(one, log(nu), log_columns)
    else:
        log_u = _scaling(kernel.log_matrix, mu, one, zero_m, axis=1)
        log_v = _scaling(kernel.log_matrix, nu, one, zero_n, axis=0)
    return (
        Plan(kernel, log_u, zero_m, mu, nu, sweeps=sweeps, log_rows=log_rows, exact="rows"),
        Plan(kernel, zero_n, log_v, mu, nu, exact="columns"),
    )


def trajectory(
    kernel: Kernel,
    *,
    half_steps: int,
    tau_a: ArrayLike = 1.0,
    tau_b: ArrayLike = 1.0,
    mu: Float[ArrayLike, " n"] | None = None,
    nu: Float[ArrayLike, " m"] | None = None,
) -> Plan:
    """Return the plans P^(1), ..., P^(half_steps) on the way of `project`; same arguments.

    Returns:
      A `Plan` with a leading axis of half-steps on each of its arrays, for `jax.vmap`.

    Raises:
      ValueError: as `project`.
    """
    check.at_least("half_steps", half_steps, 1)
    mu, nu = _checked(kernel, tau_a, tau_b, mu, nu)
    sweeps = (half_steps + 1) // 2
    start = jnp.zeros_like(nu)
    _, (log_u, log_v) = _sweep(kernel.log_matrix, mu, nu, tau_a, tau_b, sweeps, start)
    before = jnp.concatenate([jnp.zeros_like(log_v[:1]), log_v])
    step = jnp.arange(half_steps)
    plan = Plan(kernel, log_u[0], log_v[0], mu, nu)
    plans: Plan = jax.tree.map(lambda x: jnp.broadcast_to(x, (half_steps, *x.shape)), plan)
    return dataclasses.replace(plans, log_u=log_u[step // 2], log_v=before[(step + 1) // 2])


def _checked(
    kernel: Kernel, tau_a: ArrayLike, tau_b: ArrayLike, mu: ArrayLike | None, nu: ArrayLike | None
) -> tuple[Array, Array]:
    """Return μ and ν as arrays, uniform where none is given; refuse what `project` refuses."""
    check.between("tau_a", tau_a, 0.0, 1.0)
    check.between("tau_b", tau_b, 0.0, 1.0)
    n, m = kernel.shape
    for name, tau, size in (("tau_a", tau_a, n), ("tau_b", tau_b, m)):
        if jnp.shape(tau) not in ((), (size,)):
            raise ValueError(
                f"{name} must be a number or have shape ({size},), got {jnp.shape(tau)}"
            )
    free = _is_soft(tau_a) or _is_soft(tau_b)
    if mu is not None:
        mu = inputs.marginal("mu", mu, n, kernel.dtype, free)
    if nu is not None:
        nu = inputs.marginal("nu", nu, m, kernel.dtype, free)
    of_rows, of_columns = _uniform_marginals(kernel)
    if kernel.excluded is not None:  # those that count share the mass of the others
        mu, nu = _counted(mu, of_rows), _counted(nu, of_columns)
    return of_rows if mu is None else mu, of_columns if nu is None else nu


def _is_soft(tau: ArrayLike) -> bool:
    """Tell whether τ is below 1 everywhere, or not known."""
    return not check.is_concrete(tau) or bool((np.asarray(tau) < 1).all())


def _counted(marginal: Array | None, uniform: Array) -> Array | None:
    if marginal is None:
        return None
    counted = jnp.where(uniform > 0, marginal, 0.0)
    return counted * ratio(marginal.sum(), counted.sum())


def unprojected(kernel: Kernel) -> Plan:
    """Return the kernel itself as a plan (u = v = 1): R^{B×B}, BYOL's set (Theorem 4)."""
    n, m = kernel.shape
    zeros_n, zeros_m = jnp.zeros(n, kernel.dtype), jnp.zeros(m, kernel.dtype)
    return Plan(kernel, zeros_n, zeros_m, *_uniform_marginals(kernel))


def _uniform_marginals(kernel: Kernel) -> tuple[Array, Array]:
    """Return the uniform marginals of the rows and of the columns that count."""
    (n, m), dtype, excluded = kernel.shape, kernel.dtype, kernel.excluded
    if excluded is None or excluded.rows is None or excluded.columns is None:
        return jnp.full((n,), 1.0 / n, dtype), jnp.full((m,), 1.0 / m, dtype)
    rows, columns = excluded.rows.astype(dtype), excluded.columns.astype(dtype)
    return ratio(rows, rows.sum()), ratio(columns, columns.sum())


_Scalings = tuple[Array, Array]


@partial(jax.jit, static_argnames="sweeps")
def _sweep(
    log_k: Array,
    mu: Array,
    nu: Array,
    tau_a: ArrayLike,
    tau_b: ArrayLike,
    sweeps: int,
    start: Array,
) -> tuple[_Scalings, _Scalings]:
    """Run full sweeps in the log domain; return (log u, log v) at the end and after each."""
    step_u = partial(_scaling, log_k, mu, jnp.asarray(tau_a, log_k.dtype), axis=1)
    step_v = partial(_scaling, log_k, nu, jnp.asarray(tau_b, log_k.dtype), axis=0)

    @jax.checkpoint  # the sweep's n×m exponentials are recomputed in the reverse pass, not saved
    def sweep(carry: _Scalings, _: None) -> tuple[_Scalings, _Scalings]:
        log_u = step_u(carry[1])
        carry = log_u, step_v(log_u)
        return carry, carry

    before = jnp.zeros(mu.shape, log_k.dtype), start
    return jax.lax.scan(sweep, before, None, length=sweeps)


def _scaling(log_k: Array, marginal: Array, tau: Array, other: Array, *, axis: int) -> Array:
    """Compute one half-step in the log domain."""
    along = other[None, :] if axis == 1 else other[:, None]
    return scaling(tau, log(marginal), logsumexp(log_k + along, axis))
