"""Converged plans by OTT-JAX, with implicit differentiation. The one file that imports ott."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from gca_jax.ot.kernel import Kernel

with warnings.catch_warnings():  # ott imports jaxopt, which announces its retirement
    warnings.filterwarnings("ignore", message="JAXopt is no longer maintained")
    from ott import utils
    from ott.geometry.geometry import Geometry
    from ott.problems.linear.linear_problem import LinearProblem
    from ott.solvers.linear.implicit_differentiation import ImplicitDiff
    from ott.solvers.linear.sinkhorn import Sinkhorn


@utils.register_pytree_node
class _ImplicitDiff(ImplicitDiff):
    """OTT-JAX's implicit differentiation, which promotes ranks, where a session forbids that."""

    def gradient(self, *args: Any) -> Any:
        with jax.numpy_rank_promotion("allow"), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="`NormalCG", category=DeprecationWarning)
            return super().gradient(*args)


def solve(
    kernel: Kernel,
    mu: Array,
    nu: Array,
    tau_a: Any,
    tau_b: Any,
    tolerance: float,
    max_iterations: int,
) -> tuple[Array, Array, Array]:
    """log u, log v of the converged plan, and whether the tolerance was reached.

    OTT-JAX updates the column potential first; the transposed problem is posed, so that u is
    updated first from v = 1 and a balanced plan comes in the gauge of `project`.
    """
    with jax.numpy_rank_promotion("allow"):
        geometry = Geometry(cost_matrix=-kernel.log_matrix.T, epsilon=1.0)
        problem = LinearProblem(geometry, a=nu, b=mu, tau_a=tau_b, tau_b=tau_a)
        solver = Sinkhorn(
            threshold=tolerance, max_iterations=max_iterations, implicit_diff=_ImplicitDiff()
        )
        solution = solver(problem)
    return solution.g, solution.f, jnp.asarray(solution.converged)
