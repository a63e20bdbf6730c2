"""Converged plans by OTT-JAX, with implicit differentiation. The one file that imports ott."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike

from gca_jax import check
from gca_jax.ot.engine import scaling
from gca_jax.ot.kernel import Kernel
from gca_jax.ot.numerics import log, logsumexp

with warnings.catch_warnings():  # ott imports jaxopt, which announces its retirement
    warnings.filterwarnings("ignore", message="JAXopt is no longer maintained")
    import lineax
    from ott import utils
    from ott.geometry.geometry import Geometry
    from ott.problems.linear.linear_problem import LinearProblem
    from ott.solvers.linear.implicit_differentiation import ImplicitDiff
    from ott.solvers.linear.sinkhorn import Sinkhorn


LOST = -60.0  # log K of a pair that does not count, in a row or column without mass


class _CGThenPseudoInverse(lineax.AbstractLinearSolver):
    """Solves by conjugate gradients, and by the pseudo-inverse where rounding breaks them off.

    On aligned views at a small ε the plan is nearly the identity and the system nearly singular.
    """

    rtol: float
    atol: float

    def init(self, operator: Any, options: dict[str, Any]) -> Any:
        return operator

    def compute(self, state: Any, vector: Array, options: dict[str, Any]) -> Any:
        by_steps = lineax.Normal(lineax.CG(rtol=self.rtol, atol=self.atol))
        first = lineax.linear_solve(state, vector, by_steps, throw=False)
        done = (first.result == lineax.RESULTS.successful) & jnp.isfinite(first.value).all()

        def by_svd() -> Array:
            return jnp.linalg.pinv(state.as_matrix()) @ vector

        return jax.lax.cond(done, lambda: first.value, by_svd), lineax.RESULTS.successful, {}

    def transpose(self, state: Any, options: dict[str, Any]) -> Any:
        return state.transpose(), options

    def conj(self, state: Any, options: dict[str, Any]) -> Any:
        return state, options

    def assume_full_rank(self) -> bool:
        return False


@utils.register_pytree_node
class _ImplicitDiff(ImplicitDiff):
    """OTT-JAX's implicit differentiation, which promotes ranks, where a session forbids that."""

    def gradient(self, *args: Any) -> Any:
        with jax.numpy_rank_promotion("allow"):
            return super().gradient(*args)


def solve(
    kernel: Kernel,
    mu: Array,
    nu: Array,
    tau_a: ArrayLike,
    tau_b: ArrayLike,
    tolerance: float,
    max_iterations: int,
) -> tuple[Array, Array, Array]:
    """Solve for log u, log v of the converged plan; tell whether the tolerance was reached.

    OTT-JAX updates the column potential first; the transposed problem is posed, so that u is
    updated first from v = 1 and a balanced plan comes in the gauge of `project`.
    """
    for name, tau in (("tau_a", tau_a), ("tau_b", tau_b)):
        if not check.is_concrete(tau):
            raise ValueError(
                f"until= needs a {name} that is known when tracing: pass epsilon and the penalties "
                "as Python numbers, or a number of iterations"
            )
        if jnp.ndim(tau):
            raise ValueError(
                f"until= takes one penalty for all samples, got {name} {jnp.shape(tau)}"
            )
    tau_a, tau_b = float(np.asarray(tau_a)), float(np.asarray(tau_b))
    if tau_a == 0:  # u = 1, and v of one half-step; OTT-JAX's implicit derivative would be NaN
        columns = logsumexp(kernel.log_matrix, axis=0)
        log_v = scaling(jnp.asarray(tau_b, nu.dtype), log(nu), columns)
        return jnp.zeros_like(mu), log_v, jnp.asarray(True)
    with jax.numpy_rank_promotion("allow"):
        log_k = kernel.log_matrix
        if kernel.excluded is not None:  # ott needs a finite entry in each row: next to none
            empty = ((mu == 0)[:, None] | (nu == 0)[None, :]) & (log_k == -jnp.inf)
            log_k = jnp.where(empty, LOST, log_k)
        geometry = Geometry(cost_matrix=-log_k.T, epsilon=1.0)
        # Lost in every sum, but with it in place of 0 ott's linear systems keep their diagonal.
        little = float(np.sqrt(jnp.finfo(kernel.dtype).tiny))
        a, b = (jnp.where(x > 0, x, little) for x in (nu, mu))
        problem = LinearProblem(geometry, a=a, b=b, tau_a=tau_b, tau_b=tau_a)
        words: Any = {"solver_kwargs": {"nonsym_solver": _CGThenPseudoInverse}}
        implicit = _ImplicitDiff(**words)
        solver = Sinkhorn(
            threshold=tolerance, max_iterations=max_iterations, implicit_diff=implicit
        )
        solution = solver(problem)
    log_u = jnp.where((mu > 0) | (tau_a == 0), solution.g, -jnp.inf)
    log_v = jnp.where((nu > 0) | (tau_b == 0), solution.f, -jnp.inf)
    return log_u, log_v, jnp.asarray(solution.converged)
