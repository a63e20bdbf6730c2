"""Divergences between a target and a plan (section 3 of the paper, eq. 13 for W_q)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gca_jax import ot
from tests import reference, toy

EPSILON, TAUS, SWEEPS = 0.4, (0.4, 0.7), 3


def plan_and_reference(layout="cross"):
    z_a, z_b = toy.batch(0)
    C = reference.cost_matrix(z_a, z_b, layout=layout)
    K = np.exp(-C / EPSILON)
    uniform = np.full(len(K), 1 / len(K))
    u, v = reference.scalings(K, uniform, uniform, 2 * SWEEPS, *TAUS)
    kernel = ot.cosine_kernel(z_a, z_b, epsilon=EPSILON, layout=layout)
    plan = ot.project(kernel, iterations=SWEEPS, tau_a=TAUS[0], tau_b=TAUS[1])
    return plan, K, u, v, uniform


def dense_target(layout):
    return reference.blocks([0, 0, 1, 2, 1], [0, 0, 1, 2, 2], 0.4, 0.1, layout)


@pytest.mark.parametrize("mass", ["generalized", "rows", "total"])
@pytest.mark.parametrize("layout", ["cross", "joint"])
def test_kl_in_each_reading_of_mass(layout, mass):
    T = dense_target(layout)
    with jax.enable_x64(True):
        plan, K, u, v, mu = plan_and_reference(layout)
        got = ot.divergence.kl(jnp.asarray(T), plan, mass=mass)
    P = u[:, None] * K * v
    np.testing.assert_allclose(got, reference.kl(T, reference.with_mass(P, mu, mass)), rtol=1e-10)


@pytest.mark.parametrize("q", [0.1, 0.98, 1.0])
@pytest.mark.parametrize("layout", ["cross", "joint"])
def test_w_q_of_the_scalings(layout, q):
    T = dense_target(layout)
    with jax.enable_x64(True):
        plan, K, u, v, _ = plan_and_reference(layout)
        got = ot.divergence.w_q(jnp.asarray(T), plan, q=q, lam=0.3)
    np.testing.assert_allclose(got, reference.w_q(T, K * v, 0.3 / u, q), rtol=1e-10)


def test_kl_takes_a_target_object_and_reads_generalized_mass_by_default():
    with jax.enable_x64(True):
        plan, K, u, v, _ = plan_and_reference()
        got = ot.divergence.kl(ot.target.identity(5), plan)
    P = u[:, None] * K * v
    want = np.mean(-np.log(5 * np.diag(P))) - 1 + P.sum()
    np.testing.assert_allclose(got, want, rtol=1e-10)


def test_kl_is_zero_only_at_the_target():
    """Of a balanced plan and itself 0; of another target with the same mass, positive."""
    with jax.enable_x64(True):
        z_a, z_b = toy.batch(1)
        plan = ot.project(ot.cosine_kernel(z_a, z_b, epsilon=EPSILON), iterations=2)
        np.testing.assert_allclose(ot.divergence.kl(plan.matrix, plan), 0.0, atol=1e-12)
        assert ot.divergence.kl(jnp.asarray(dense_target("cross")), plan) > 1e-3


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda T, P: ot.divergence.kl(T, P, mass="row"), ["mass", "row", "generalized", "total"]),
        (lambda T, P: ot.divergence.kl(T[:, :3], P), ["target", r"\(5, 3\)", r"\(5, 5\)"]),
        (lambda T, P: ot.divergence.w_q(T, P, q=0.0, lam=0.1), ["q", "0"]),
        (lambda T, P: ot.divergence.w_q(T, P, q=1.2, lam=0.1), ["q", r"1\.2"]),
        (lambda T, P: ot.divergence.w_q(T, P, q=0.5, lam=-0.1), ["lam", r"-0\.1"]),
    ],
)
def test_bad_input_is_refused_naming_the_argument_and_its_value(call, says):
    plan, *_ = plan_and_reference()
    with pytest.raises(ValueError, match=says[0]) as error:
        call(jnp.asarray(dense_target("cross")), plan)
    for text in says:
        assert error.match(text)
