"""Plans to tolerance, and sweeps counted out, with OTT-JAX called here as the oracle.

OTT updates the column scaling first; on the transposed problem that is our row scaling.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ott.geometry import geometry
from ott.problems.linear import linear_problem
from ott.solvers.linear import sinkhorn

from gca_jax import ot
from tests import reference, toy

EPSILON = 0.3
TAUS = [(1.0, 1.0), (0.4, 0.8), (1.0, 0.5)]


def problem(seed=0, n=4, m=5):
    rng = np.random.default_rng(seed)
    C = rng.uniform(0, 2, size=(n, m))
    mu, nu = rng.uniform(0.5, 1.5, size=n), rng.uniform(0.5, 1.5, size=m)
    return C, mu / mu.sum(), nu / nu.sum()


def ott_plan(C, mu, nu, tau_a, tau_b, **solver):
    with jax.numpy_rank_promotion("allow"):
        geom = geometry.Geometry(cost_matrix=jnp.asarray(C).T, epsilon=EPSILON)
        transposed = linear_problem.LinearProblem(
            geom, a=jnp.asarray(nu), b=jnp.asarray(mu), tau_a=tau_b, tau_b=tau_a
        )
        return sinkhorn.Sinkhorn(**solver)(transposed).matrix.T


def project(C, mu, nu, tau_a, tau_b, **how):
    kernel = ot.cost_kernel(jnp.asarray(C), epsilon=EPSILON)
    return ot.project(
        kernel, tau_a=tau_a, tau_b=tau_b, mu=jnp.asarray(mu), nu=jnp.asarray(nu), **how
    )


@pytest.mark.parametrize(
    ("sweeps", "taus"), [(1, TAUS[0]), (5, TAUS[0]), (12, TAUS[0]), (5, TAUS[1]), (12, TAUS[2])]
)
@pytest.mark.slow
def test_counted_sweeps_are_otts(sweeps, taus):
    C, mu, nu = problem()
    with jax.enable_x64(True):
        oracle = ott_plan(
            C, mu, nu, *taus, threshold=-1.0, implicit_diff=None,
            inner_iterations=sweeps, min_iterations=sweeps, max_iterations=sweeps,
        )  # fmt: skip
        plan = project(C, mu, nu, *taus, iterations=sweeps)
        np.testing.assert_allclose(plan.matrix, oracle, rtol=1e-10)


@pytest.mark.parametrize("taus", TAUS)
@pytest.mark.slow
def test_the_converged_plan_is_otts_and_the_iterations_limit(taus):
    C, mu, nu = problem(1)
    with jax.enable_x64(True):
        plan = project(C, mu, nu, *taus, until=1e-10)
        oracle = ott_plan(C, mu, nu, *taus, threshold=1e-12, max_iterations=5000)
        np.testing.assert_allclose(plan.matrix, oracle, rtol=1e-7)
        limit = reference.plan(np.exp(-C / EPSILON), mu, nu, 4000, *taus)
        np.testing.assert_allclose(plan.matrix, limit, rtol=1e-7)


@pytest.mark.slow
def test_a_converged_balanced_plan_has_both_marginals():
    C, mu, nu = problem(2)
    with jax.enable_x64(True):
        plan = project(C, mu, nu, 1.0, 1.0, until=1e-8)
        np.testing.assert_allclose(plan.matrix.sum(1), mu, atol=1e-8)
        np.testing.assert_allclose(plan.matrix.sum(0), nu, atol=1e-8)
        assert plan.residual <= 1e-8


@pytest.mark.slow
def test_a_converged_unbalanced_plan_solves_eq_9():
    """Stationary in <C,P> + eps KL(P||1) + l1 KL(P1||mu) + l2 KL(P'1||nu)."""
    C, mu, nu = problem(3)
    penalty_a, penalty_b = 0.2, 0.7
    taus = [reference.tau(penalty, EPSILON) for penalty in (penalty_a, penalty_b)]
    with jax.enable_x64(True):
        P = np.asarray(project(C, mu, nu, *taus, until=1e-12).matrix)
    slope = (
        C
        + EPSILON * np.log(P)
        + penalty_a * np.log(P.sum(1) / mu)[:, None]
        + penalty_b * np.log(P.sum(0) / nu)
    )
    np.testing.assert_allclose(slope, 0.0, atol=1e-8)


@pytest.mark.slow
def test_joint_layout_converges_without_its_excluded_pairs():
    z_a, z_b = toy.batch(4, n=4)
    K = np.exp(-reference.cost_matrix(z_a, z_b, layout="joint") / EPSILON)
    with jax.enable_x64(True):
        kernel = ot.cosine_kernel(z_a, z_b, epsilon=EPSILON, layout="joint")
        plan = ot.project(kernel, until=1e-10)
        limit = reference.plan(K, np.full(8, 1 / 8), np.full(8, 1 / 8), 4000)
        np.testing.assert_allclose(plan.matrix, limit, rtol=1e-7, atol=1e-12)


# The next two are not slow, so that they run on the newest JAX too, for which OTT-JAX was not made.
@pytest.mark.parametrize("taus", TAUS)
def test_implicit_gradient_is_that_of_the_limit(taus):
    C, mu, nu = problem(5, n=3, m=4)
    W = np.random.default_rng(6).normal(size=C.shape)

    def limit(C):
        return np.sum(W * reference.plan(np.exp(-C / EPSILON), mu, nu, 600, *taus))

    with jax.enable_x64(True):

        def value(C):
            return jnp.sum(W * project(C, mu, nu, *taus, until=1e-12).matrix)

        got = jax.jit(jax.grad(value))(jnp.asarray(C))
    want = toy.gradient(limit, C)
    np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max())


def test_until_reaches_its_tolerance_in_float32():
    C, mu, nu = problem(7)
    plan = project(np.float32(C), np.float32(mu), np.float32(nu), 1.0, 1.0, until=1e-5)
    assert plan.residual <= 2e-5
    limit = reference.plan(np.exp(-C / EPSILON), mu, nu, 4000)
    np.testing.assert_allclose(plan.matrix, limit, atol=1e-5)
