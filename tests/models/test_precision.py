"""Training in bfloat16: every product of the network is, and nothing else."""

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest

from gca_jax import models
from gca_jax.models import towers

VIT = dict(encoder="vit", width=16, depth=1, heads=2, patch=4)
RESNET = dict(encoder="resnet", stage_sizes=(1, 1), block="basic", width=4, stem="cifar")
HEADS = dict(projector_hidden=8, projector_dim=4, projector_batch_norm=True, predictor_hidden=8)
VIEWS = tuple(jax.random.normal(jax.random.key(0), (2, 6, 8, 8, 1)))


def products(jaxpr):
    """Dtypes of the factors of all matrix products and convolutions."""
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("dot_general", "conv_general_dilated"):
            yield from (str(x.aval.dtype) for x in equation.invars)
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            yield from products(inner)


@pytest.mark.slow
@pytest.mark.parametrize(
    "encoder", [RESNET, {**VIT, "positions": "sincos"}, {**VIT, "positions": "learned"}]
)
def test_networks_multiply_in_bfloat16_and_keep_float32(encoder):
    full, half = (models.create(**encoder, **HEADS, dtype=dtype) for dtype in (None, "bfloat16"))
    variables = half.init(jax.random.key(1), *half.blank((8, 8, 1)), method="touch")
    variables = {"batch_stats": {}, **variables}

    def value(params, network):
        own = {**variables, "params": params}
        z, stats, _ = network.embed(own, VIEWS)
        p, stats, _ = network.embed({**own, "batch_stats": stats}, z, "predict")
        return jnp.sum(jnp.square(p[0] - z[1])), (z, stats)

    gradient = jax.grad(value, has_aux=True)
    traced = jax.jit(gradient, static_argnums=1).trace(variables["params"], half)
    assert set(products(traced.jaxpr.jaxpr)) == {"bfloat16"}
    grads, (z, stats) = traced.lower().compile()(variables["params"])
    assert {str(x.dtype) for x in jax.tree.leaves((variables, grads, z, stats))} == {"float32"}
    exact = jax.jit(full.embed)(variables, VIEWS).pair
    for ours, theirs in zip(z, exact, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=0.05 * np.abs(theirs).max())
        assert np.any(ours != theirs)


def test_towers_multiply_in_bfloat16_and_keep_the_temperature():
    settings = dict(tower_a="mlp", tower_b="linear", hidden_a=(6,), hidden_b=(), dim=4)
    network = towers.create(**settings, epsilon=0.2, dtype="bfloat16")
    variables = network.init(jax.random.key(0), *network.blank((5, 3)), method="touch")
    views = jnp.ones((2, 5)), jnp.ones((2, 3))
    jaxpr = jax.make_jaxpr(lambda v: network.embed(v, views).pair)(variables)
    assert set(products(jaxpr.jaxpr)) == {"bfloat16"}
    assert {str(x.dtype) for x in jaxpr.out_avals} == {"float32"}
    assert network.learned(variables)["epsilon"].dtype == jnp.float32


@pytest.mark.parametrize(
    "make",
    [
        lambda d: models.create(**RESNET, **HEADS, dtype=d),
        lambda d: towers.create(
            tower_a="mlp", tower_b="mlp", hidden_a=(6,), hidden_b=(6,), dim=4, dtype=d
        ),
    ],
)
def test_another_dtype_is_refused(make):
    with pytest.raises(ValueError, match="dtype must be one of bfloat16, float32; got 'float16'"):
        make("float16")
