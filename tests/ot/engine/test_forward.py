"""Sweeps that are known without being run, and sweeps whose rows are split over devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from gca_jax import ot
from gca_jax.ot.engine import Points, Problem, sweep
from tests import toy

pytestmark = pytest.mark.slow

N, DEVICES = 16, 4
WEIGHTS = np.random.default_rng(0).normal(size=(3, N))
WHOLE = PartitionSpec()


def value(x, y, epsilon, taus, mu, nu, *, symmetric, block_size=None, axis=None, iterations=5):
    """A function of all that the sweeps give; x, y, mu, nu are whole."""
    points = Points(x, None if symmetric else y, epsilon, symmetric, block_size, axis)
    out = sweep(Problem(points, mu, nu, *taus, jnp.zeros(N)), iterations, True)
    return WEIGHTS[0] @ out.log_u + WEIGHTS[1] @ out.log_v + WEIGHTS[2] @ out.log_rows


def plain(x, y, epsilon, taus, mu, nu, *, symmetric, iterations):
    """The same by the equations, differentiated by JAX."""
    k = jnp.exp((x @ (x if symmetric else y).T - 1) / epsilon)
    k = k * (1 - jnp.eye(N)) if symmetric else k
    v = jnp.ones(N)
    for _ in range(iterations):
        u = (mu / (k @ v)) ** taus[0]
        v = (nu / (k.T @ u)) ** taus[1]
    return WEIGHTS[0] @ jnp.log(u) + WEIGHTS[1] @ jnp.log(v) + WEIGHTS[2] @ jnp.log(k @ v)


@functools.cache
def compiled(function, **how):
    """Value and gradient by all six arguments: the settings of a sweep are arrays, too."""
    return jax.jit(jax.value_and_grad(functools.partial(function, **how), argnums=range(6)))


def inputs(epsilon, taus, total=1.0):
    x, y = (ot.normalize(jnp.asarray(z)) for z in toy.batch(0, n=N, d=5))
    rng = np.random.default_rng(1)
    mu, nu = (rng.dirichlet(np.full(N, 5.0)) for _ in range(2))
    return x, y, jnp.asarray(epsilon), jnp.asarray(taus), jnp.asarray(mu), jnp.asarray(total * nu)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(
    ("epsilon", "taus", "total"),
    [
        (2.0, (1.0, 1.0), 1.0),  # few sweeps settle it
        (2.0, (0.4, 0.7), 1.0),  # log v drifts evenly long after its shape has settled
        (2.0, (1.0, 1.0), 1.5),  # and here it drifts for ever: the marginals' masses differ
        (2.0, (0.999, 1.0), 1.0),
        (2.0, (0.0, 0.5), 1.0),
        (0.1, (1.0, 1.0), 1.0),  # not settled when the sweeps end
        (0.1, (0.4, 0.7), 1.0),
    ],
)
def test_what_is_not_run_is_as_if_it_were(symmetric, epsilon, taus, total):
    with jax.enable_x64(True):
        arguments = inputs(epsilon, taus, total)
        how = {"symmetric": symmetric, "iterations": 25}
        got, want = (compiled(function, **how)(*arguments) for function in (value, plain))
        for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
            np.testing.assert_allclose(g, w, rtol=1e-8, atol=1e-9 * (1 + np.abs(w).max()))


@pytest.mark.parametrize(("taus", "most"), [((1.0, 1.0), 12), ((0.4, 0.7), 12), ((0.999, 1.0), 12)])
def test_known_sweeps_are_not_run(taus, most):
    with jax.enable_x64(True):
        x, y, epsilon, taus, mu, nu = inputs(2.0, taus)
        problem = Problem(Points(x, y, epsilon, False), mu, nu, *taus, jnp.zeros(N))
        out = sweep(problem, 1000, False)
    assert out.sweeps <= most


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("block_size", [None, 3])
def test_split_rows_give_what_one_device_gives(symmetric, block_size):
    mesh = jax.make_mesh(
        (DEVICES,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:DEVICES]
    )
    with jax.enable_x64(True):
        arguments = inputs(0.4, (1.0, 0.8))

        def split(*arguments):
            words = {"symmetric": symmetric, "block_size": block_size, "axis": "data"}
            each = lambda *a: jax.lax.pmean(value(*a, **words), "data")  # noqa: E731
            return jax.shard_map(each, mesh=mesh, in_specs=WHOLE, out_specs=WHOLE)(*arguments)

        got = jax.jit(jax.value_and_grad(split, argnums=range(6)))(*arguments)
        want = compiled(value, symmetric=symmetric)(*arguments)
        for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
            np.testing.assert_allclose(g, w, rtol=1e-10, atol=1e-12)
