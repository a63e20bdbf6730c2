"""A prior of given pairs: on a flat kernel the plan is Q itself, written out in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gca_jax import ot
from tests import toy

RNG = np.random.default_rng(0)
CASES = {  # n, m, pairs, probabilities
    "one to one, all": (4, 4, [(i, i) for i in range(4)], 0.9),
    "few": (6, 6, [(0, 3), (2, 1)], [0.9, 0.2]),
    "two sizes": (3, 7, [(0, 0), (1, 5)], 0.6),
    "several partners": (5, 5, [(0, 0), (0, 1), (2, 1), (4, 4)], [0.5, 0.7, 0.9, 0.3]),
}


def q_matrix(mu, nu, pairs, probability):
    """gca.md's Q: Π + (μ - Π1)(ν - Πᵀ1)ᵀ / (1 - |Π|)."""
    n, m = len(mu), len(nu)
    rows, columns = np.transpose(pairs)
    partners = np.bincount(rows, minlength=n), np.bincount(columns, minlength=m)
    given = np.zeros((n, m))
    for (i, j), p in zip(pairs, np.broadcast_to(probability, len(pairs)), strict=True):
        given[i, j] = p * min(mu[i] / partners[0][i], nu[j] / partners[1][j])
    return given + np.outer(mu - given.sum(1), nu - given.sum(0)) / (1 - given.sum()), given


@pytest.mark.parametrize("uniform", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_a_flat_kernel_has_the_prior_as_its_plan(case, uniform):
    n, m, pairs, probability = CASES[case]
    mu, nu = (np.full(k, 1 / k) if uniform else RNG.dirichlet(np.full(k, 9.0)) for k in (n, m))
    want, given = q_matrix(mu, nu, pairs, probability)
    with jax.enable_x64(True):
        log_odds = np.log(probability) - np.log1p(-np.asarray(probability))
        kernel = ot.prior(ot.cost_kernel(np.zeros((n, m))), np.array(pairs), log_odds, mu=mu, nu=nu)
        plan = ot.project(kernel, iterations=1, mu=mu, nu=nu)
        np.testing.assert_allclose(plan.matrix, want, rtol=1e-9)
        share = ot.posterior(plan)
    rows, columns = np.transpose(pairs)
    np.testing.assert_allclose(
        share, want[rows, columns] / (given[rows, columns] / probability), rtol=1e-9
    )


@pytest.mark.parametrize("how", [{"domain": "scaling"}, {"block_size": 4}, {"domain": "log"}])
def test_every_way_of_running_it_is_the_tilted_kernel(how):
    """log K + β as a matrix of costs, and P Y without P."""
    with jax.enable_x64(True):
        z_a, z_b = toy.batch(0, n=9, d=3)
        pairs = np.array([[0, 1], [0, 2], [5, 5], [8, 0]])
        log_odds = np.array([0.0, 1.0, 2.0, -1.0])
        kernel = ot.cosine_kernel(z_a, z_b, epsilon=0.4, **how)
        tilted = ot.prior(kernel, pairs, log_odds)
        beta = np.zeros((9, 9))
        beta[tuple(pairs.T)] = tilted.prior.beta
        assert (beta[tuple(pairs.T)] > 0).all()
        plain = ot.cost_kernel(-0.4 * (np.asarray(kernel.log_matrix) + beta), epsilon=0.4)
        start = tilted.prior.start
        got, want = (ot.project(k, iterations=7, start=start) for k in (tilted, plain))
        np.testing.assert_allclose(got.matrix, want.matrix, rtol=1e-9)
        np.testing.assert_allclose(got.log_positives, want.log_positives, rtol=1e-9)
        np.testing.assert_allclose(got.times(z_b), want.matrix @ z_b, rtol=1e-9)
        on = ot.project(tilted, iterations=3, start=got.log_v)
        ten = ot.project(tilted, iterations=10)
        np.testing.assert_allclose(on.log_v, ten.log_v, rtol=1e-9)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (np.zeros((2, 3), int), r"pairs must be integers of shape \(k, 2\)"),
        (np.array([[0, 9]]), "pairs must be rows below 3 and columns below 3"),
        (np.array([[0, 1], [0, 1]]), "pairs has a pair twice"),
    ],
)
def test_what_is_refused(pairs, message):
    with pytest.raises(ValueError, match=message):
        ot.prior(ot.cosine_kernel(jnp.eye(3), jnp.eye(3)), pairs, 0.0)
