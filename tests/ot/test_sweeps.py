"""The sweeps with their rows split over devices against one device: value and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from gca_jax import ot
from gca_jax.ot.passes import Points
from gca_jax.ot.sweeps import sweep
from tests import toy

N, DEVICES = 16, 4
WEIGHTS = np.random.default_rng(0).normal(size=(3, N))
ROWS, WHOLE = PartitionSpec("data"), PartitionSpec()


def value(x, y, epsilon, of_u, of_v, of_rows, *, symmetric, block_size=None, axis=None):
    """A function of all that the sweeps give; x, y, of_u, of_rows are a device's rows."""
    points = Points(x, None if symmetric else y, epsilon, symmetric, block_size, axis)
    mu, nu, one = jnp.full(len(x), 1 / N) + 0 * x[:, 0], jnp.full(N, 1 / N), jnp.ones(())
    out = sweep(points, mu, nu, one, 0.8 * one, jnp.zeros(N), 5, True)
    rows = of_u @ out.log_u + of_rows @ out.log_rows
    return (rows if axis is None else jax.lax.psum(rows, axis)) + of_v @ out.log_v


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("block_size", [None, 3])
def test_split_rows_give_what_one_device_gives(symmetric, block_size):
    mesh = jax.make_mesh(
        (DEVICES,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:DEVICES]
    )
    specs = (ROWS, ROWS, WHOLE, ROWS, WHOLE, ROWS)
    with jax.enable_x64(True):
        x, y = (ot.normalize(jnp.asarray(z)) for z in toy.batch(0, n=N, d=5))
        arguments = (x, y, jnp.asarray(0.4))

        def split(*arguments):
            words = {"symmetric": symmetric, "block_size": block_size, "axis": "data"}
            return jax.shard_map(
                lambda *a: value(*a, **words), mesh=mesh, in_specs=specs, out_specs=WHOLE
            )(*arguments, *WEIGHTS)

        def whole(*arguments):
            return value(*arguments, *WEIGHTS, symmetric=symmetric)

        step = lambda f: jax.jit(jax.value_and_grad(f, argnums=(0, 1, 2)))(*arguments)  # noqa: E731
        for got, want in zip(
            jax.tree.leaves(step(split)), jax.tree.leaves(step(whole)), strict=True
        ):
            np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12)
