"""Eq. 5-7 and the unbalanced iteration of section 3.3, half-step by half-step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gca_jax import ot
from tests import reference, toy


def problem(seed=0, n=4, m=5, epsilon=0.3):
    """A rectangular kernel with uneven marginals."""
    rng = np.random.default_rng(seed)
    C = rng.uniform(0, 2, size=(n, m))
    mu, nu = rng.uniform(0.5, 1.5, size=n), rng.uniform(0.5, 1.5, size=m)
    return C, epsilon, mu / mu.sum(), nu / nu.sum()


@pytest.mark.parametrize(
    ("half_steps", "tau_a", "tau_b"),
    [(t, 1.0, 1.0) for t in (1, 2, 3, 4, 5)]
    + [(1, 0.4, 0.8), (4, 0.4, 0.8), (5, 0.4, 0.8), (4, 1.0, 0.3), (4, 1.0, 0.0)],
)
def test_scalings_after_each_half_step(half_steps, tau_a, tau_b):
    C, epsilon, mu, nu = problem()
    u, v = reference.scalings(np.exp(-C / epsilon), mu, nu, half_steps, tau_a, tau_b)
    with jax.enable_x64(True):
        plan = ot.project(
            ot.cost_kernel(jnp.asarray(C), epsilon=epsilon),
            half_steps=half_steps, tau_a=tau_a, tau_b=tau_b, mu=jnp.asarray(mu), nu=jnp.asarray(nu),
        )  # fmt: skip
        np.testing.assert_allclose(plan.log_u, np.log(u), rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(plan.log_v, np.log(v), rtol=1e-10, atol=1e-12)
        matrix = u[:, None] * np.exp(-C / epsilon) * v
        np.testing.assert_allclose(plan.matrix, matrix, rtol=1e-10)
        np.testing.assert_allclose(plan.log_matrix, np.log(matrix), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("layout", ["cross", "joint"])
def test_iterations_are_two_half_steps_each_with_uniform_marginals(layout):
    z_a, z_b = toy.batch(1)
    K = np.exp(-reference.cost_matrix(z_a, z_b, layout=layout) / 0.4)
    uniform = np.full(len(K), 1 / len(K))
    with jax.enable_x64(True):
        kernel = ot.cosine_kernel(z_a, z_b, epsilon=0.4, layout=layout)
        plan = ot.project(kernel, iterations=3)
        np.testing.assert_allclose(
            plan.matrix, reference.plan(K, uniform, uniform, 6), rtol=1e-10, atol=1e-300
        )
        np.testing.assert_allclose(ot.project(kernel, half_steps=6).matrix, plan.matrix, rtol=1e-12)


def test_one_half_step_is_the_softmax_of_each_row():
    z_a, z_b = toy.batch(2, n=6)
    kernel = ot.cosine_kernel(z_a, z_b, epsilon=0.2)
    plan = ot.project(kernel, half_steps=1)
    np.testing.assert_allclose(
        plan.matrix, jax.nn.softmax(kernel.log_matrix, axis=1) / 6, rtol=1e-5, atol=1e-8
    )


@pytest.mark.parametrize("how", [{"domain": "log"}, {}, {"block_size": 4}])
def test_row_and_column_projection_are_softmaxes_times_their_marginals(how):
    z_a, z_b = toy.batch(2, n=6)
    mu = np.array([1, 2, 0, 3, 1, 1]) / 8
    with jax.enable_x64(True):
        kernel = ot.cosine_kernel(z_a, z_b, epsilon=0.2, **how)
        K = np.exp(-reference.cost_matrix(z_a, z_b) / 0.2)
        rows, columns = ot.project_each(kernel, mu=mu, nu=mu[::-1])
        row_softmax, column_softmax = K / K.sum(1, keepdims=True), K / K.sum(0)
        np.testing.assert_allclose(rows.matrix, mu[:, None] * row_softmax, rtol=1e-10)
        np.testing.assert_allclose(columns.matrix, mu[::-1] * column_softmax, rtol=1e-10)


def test_a_half_step_projects_it_is_the_nearest_plan_with_that_marginal():
    """Eq. 5: KL(P'||K) is smallest at P among plans with row sums mu."""
    C, epsilon, mu, _ = problem(3)
    K = np.exp(-C / epsilon)
    with jax.enable_x64(True):
        P = np.asarray(
            ot.project(ot.cost_kernel(C, epsilon=epsilon), half_steps=1, mu=jnp.asarray(mu)).matrix
        )
    for i in range(len(C)):
        for step in (1e-3, -1e-3):
            moved = P.copy()
            moved[i, 0] += step * P[i].min()
            moved[i, 1] -= step * P[i].min()
            assert reference.kl(moved, K) > reference.kl(P, K)


@pytest.mark.parametrize("epsilon", [0.01, 0.03, 0.05, 0.5, 10.0])
def test_float32_agrees_with_float64_in_either_domain(epsilon):
    """A traced epsilon runs in the log domain; a known one may run on the scalings."""
    z_a, z_b = toy.batch(4, n=8, d=6)
    K = np.exp(-reference.cost_matrix(z_a, z_b) / epsilon)
    exact = np.log(reference.plan(K, np.full(8, 1 / 8), np.full(8, 1 / 8), 20))
    z_a, z_b = jnp.asarray(z_a, jnp.float32), jnp.asarray(z_b, jnp.float32)

    def log_plan(epsilon):
        return ot.project(ot.cosine_kernel(z_a, z_b, epsilon=epsilon), iterations=10).log_matrix

    tolerance = 4e-6 + 3e-6 / epsilon  # float32's relative accuracy of scores of size 2/epsilon
    np.testing.assert_allclose(log_plan(epsilon), exact, atol=tolerance)
    np.testing.assert_allclose(jax.jit(log_plan)(epsilon), exact, atol=tolerance)


def test_a_row_or_column_without_mass_is_empty():
    C, epsilon, mu, nu = problem(5)
    mu, nu = mu * [1, 0, 1, 1], nu * [1, 1, 0, 1, 1]
    mu, nu = mu / mu.sum(), nu / nu.sum()
    with jax.enable_x64(True):
        plan = ot.project(
            ot.cost_kernel(C, epsilon=epsilon), iterations=4, mu=jnp.asarray(mu), nu=jnp.asarray(nu)
        )
        expected = reference.plan(np.exp(-C / epsilon), mu, nu, 8)
        np.testing.assert_allclose(plan.matrix, expected, rtol=1e-10, atol=1e-300)


@pytest.mark.parametrize(("tau_a", "tau_b"), [(1.0, 1.0), (0.4, 0.8)])
@pytest.mark.parametrize("traced", [False, True])
def test_gradient_of_the_plan_is_that_of_the_iteration(traced, tau_a, tau_b):
    """Unrolled: the derivative of the T-sweep plan by the cost, against finite differences."""
    C, epsilon, mu, nu = problem(6, n=3, m=4)
    W = np.random.default_rng(7).normal(size=C.shape)

    def numpy_value(C):
        return np.sum(W * reference.plan(np.exp(-C / epsilon), mu, nu, 6, tau_a, tau_b))

    with jax.enable_x64(True):

        def value(C, epsilon):
            kernel = ot.cost_kernel(C, epsilon=epsilon)
            plan = ot.project(
                kernel,
                iterations=3,
                tau_a=tau_a,
                tau_b=tau_b,
                mu=jnp.asarray(mu),
                nu=jnp.asarray(nu),
            )
            return jnp.sum(W * plan.matrix)

        if traced:
            got = jax.jit(jax.grad(value))(jnp.asarray(C), epsilon)
        else:
            got = jax.jit(jax.grad(lambda C: value(C, epsilon)))(jnp.asarray(C))
    want = toy.gradient(numpy_value, C)
    np.testing.assert_allclose(got, want, atol=1e-6 * np.abs(want).max())


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"iterations": 0}, ["iterations", "0"]),
        ({"iterations": 2.5}, ["iterations", r"2\.5"]),
        ({"half_steps": -1}, ["half_steps", "-1"]),
        ({"until": 0.0}, ["until", "0"]),
        ({"iterations": 3, "half_steps": 2}, ["iterations", "half_steps"]),
        ({"iterations": 3, "tau_a": 1.5}, ["tau_a", r"1\.5"]),
        ({"iterations": 3, "tau_b": -0.5}, ["tau_b", r"-0\.5"]),
        ({"iterations": 3, "mu": jnp.ones(4) / 4}, ["mu", r"\(4,\)", r"\(3,\)"]),
        ({"iterations": 3, "nu": jnp.ones((3, 1))}, ["nu", r"\(3, 1\)", r"\(3,\)"]),
        ({"iterations": 3, "mu": jnp.array([0.7, -0.2, 0.5])}, ["mu", r"-0\.2"]),
        ({"iterations": 3, "nu": jnp.zeros(3)}, ["nu"]),
    ],
)
def test_bad_input_is_refused_naming_the_argument_and_its_value(options, says):
    kernel = ot.cost_kernel(jnp.ones((3, 3)), epsilon=0.5)
    with pytest.raises(ValueError, match=says[0]) as error:
        ot.project(kernel, **options)
    for text in says:
        assert error.match(text)
