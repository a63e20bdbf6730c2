"""What is derived from a factored plan, against the matrix itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gca_jax import ot
from tests import reference, toy


@pytest.mark.parametrize("taus", [(1.0, 1.0), (0.3, 0.6)])
@pytest.mark.parametrize("layout", ["cross", "joint"])
def test_derived_quantities(layout, taus):
    z_a, z_b = toy.batch(0)
    C = reference.cost_matrix(z_a, z_b, layout=layout)
    n = len(C)
    rng = np.random.default_rng(1)
    mu, nu = (w / w.sum() for w in rng.uniform(0.5, 1.5, size=(2, n)))
    P = reference.plan(np.exp(-C / 0.25), mu, nu, 3, *taus)
    with jax.enable_x64(True):
        plan = ot.project(
            ot.cosine_kernel(z_a, z_b, epsilon=0.25, layout=layout),
            half_steps=3, tau_a=taus[0], tau_b=taus[1], mu=jnp.asarray(mu), nu=jnp.asarray(nu),
        )  # fmt: skip
        np.testing.assert_allclose(plan.matrix, P, rtol=1e-10, atol=1e-300)
        np.testing.assert_allclose(np.exp(plan.log_matrix), P, rtol=1e-10, atol=1e-300)
        np.testing.assert_allclose(plan.mu, mu)
        np.testing.assert_allclose(plan.nu, nu)
        np.testing.assert_allclose(plan.row_marginal, P.sum(1), rtol=1e-10)
        np.testing.assert_allclose(plan.column_marginal, P.sum(0), rtol=1e-10)
        np.testing.assert_allclose(plan.mass, P.sum(), rtol=1e-10)
        np.testing.assert_allclose(plan.entropy, reference.entropy(P), rtol=1e-10)
        residual = np.abs(P.sum(1) - mu).sum() + np.abs(P.sum(0) - nu).sum()
        np.testing.assert_allclose(plan.residual, residual, rtol=1e-8, atol=1e-14)


def test_a_plan_tells_its_numbers():
    plan = ot.project(ot.cosine_kernel(*toy.batch(0), epsilon=0.25), iterations=3)
    n, m = plan.kernel.shape
    assert repr(plan).startswith(f"Plan({n} x {m}, epsilon=0.25, mass={plan.mass:.4g}, residual=")
    assert jax.jit(lambda p: repr(p) and p.mass)(plan) == plan.mass


def test_a_plan_passes_through_jit_and_vmap():
    z_a, z_b = (np.stack([toy.batch(seed)[view] for seed in range(3)]) for view in (0, 1))

    def make(a, b):
        return ot.project(ot.cosine_kernel(a, b, epsilon=0.5), iterations=2)

    plans = jax.jit(jax.vmap(make))(jnp.float32(z_a), jnp.float32(z_b))
    for k in range(3):
        one = make(jnp.float32(z_a[k]), jnp.float32(z_b[k]))
        np.testing.assert_allclose(plans.log_u[k], one.log_u, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(plans.log_v[k], one.log_v, rtol=1e-4, atol=1e-5)
