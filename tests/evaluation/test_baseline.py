import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gca_jax import models
from gca_jax.evaluation import baseline

IMAGES = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 1)).astype(np.uint8)


def prepare(images):
    return images.astype(jnp.float32) / 64 - 1


def batch_norms(network, variables, images):
    """Mean and variance of what enters each batch norm in inference mode, by its path."""
    seen = {}

    def record(call, arguments, keywords, context):
        if isinstance(context.module, nn.BatchNorm) and context.method_name == "__call__":
            x = np.asarray(arguments[0], np.float64)
            seen[context.module.path] = x.mean((0, 1, 2)), x.var((0, 1, 2))
        return call(*arguments, **keywords)

    with nn.intercept_methods(record):
        network.apply(variables, images, train=False, method="encode")
    return seen


@pytest.fixture(scope="module", params=[None, 8], ids=["plain", "with predictor"])
def network(request):
    return models.create((1, 2), "basic", 8, "cifar", 16, 4, request.param)


def test_calibrated_statistics_are_those_of_the_activations_on_the_training_images(network):
    variables = baseline.untrained(network, 0, IMAGES, prepare)
    seen = batch_norms(network, variables, prepare(jnp.asarray(IMAGES)))
    assert len(seen) == 1 + 2 + 3 + 2  # stem, block, block with a projected shortcut, block
    for path, (mean, var) in seen.items():
        statistics = variables["batch_stats"]
        for name in path:
            statistics = statistics[name]
        np.testing.assert_allclose(statistics["mean"], mean, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(statistics["var"], var, rtol=1e-4, atol=1e-6)


def test_calibration_does_not_depend_on_where_the_statistics_start(network):
    x = prepare(jnp.asarray(IMAGES))
    variables = network.init(jax.random.key(0), x, method="touch")
    moved = {**variables, "batch_stats": jax.tree.map(lambda s: s + 3, variables["batch_stats"])}
    first, second = (baseline.calibrate(network, v, x) for v in (variables, moved))
    jax.tree.map(
        np.testing.assert_array_equal,
        first["batch_stats"]["encoder"],
        second["batch_stats"]["encoder"],
    )
    if "predictor" in moved["batch_stats"]:
        jax.tree.map(
            np.testing.assert_array_equal,
            second["batch_stats"]["predictor"],
            moved["batch_stats"]["predictor"],
        )


def test_only_scales_are_set_to_one():
    params = {
        "norm": {"scale": jnp.zeros(3), "bias": jnp.zeros(3)},
        "conv": {"kernel": jnp.ones(2)},
    }
    unit = baseline.unit_scales(params)
    np.testing.assert_array_equal(unit["norm"]["scale"], np.ones(3))
    np.testing.assert_array_equal(unit["norm"]["bias"], np.zeros(3))
    np.testing.assert_array_equal(unit["conv"]["kernel"], np.ones(2))


def test_the_seed_decides_the_weights(network):
    first, again, other = (baseline.untrained(network, s, IMAGES, prepare) for s in (0, 0, 1))
    kernel = first["params"]["encoder"]["conv_stem"]["kernel"]
    np.testing.assert_array_equal(kernel, again["params"]["encoder"]["conv_stem"]["kernel"])
    assert not np.allclose(kernel, other["params"]["encoder"]["conv_stem"]["kernel"])
