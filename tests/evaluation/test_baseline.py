import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gca_jax import models
from gca_jax.evaluation import baseline
from gca_jax.training import state

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


@pytest.fixture(scope="module")
def network():
    return models.create(
        stage_sizes=(1, 1),
        block="basic",
        width=4,
        stem="cifar",
        projector_hidden=8,
        projector_dim=4,
        predictor_hidden=8,
    )


@pytest.fixture(scope="module")
def untrained(network):
    return baseline.untrained(network, 0, IMAGES, prepare, (8, 8, 1))


def test_calibrated_statistics_are_those_of_the_activations_on_the_training_images(
    network, untrained
):
    seen = batch_norms(network, untrained, prepare(jnp.asarray(IMAGES)))
    assert len(seen) == 1 + 2 + 3  # stem, a block, a block whose shortcut is projected
    for path, (mean, var) in seen.items():
        statistics = untrained["batch_stats"]
        for name in path:
            statistics = statistics[name]
        np.testing.assert_allclose(statistics["mean"], mean, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(statistics["var"], var, rtol=1e-4, atol=1e-6)


def test_calibration_depends_on_no_earlier_statistics_and_leaves_the_predictor(network, untrained):
    moved = {**untrained, "batch_stats": jax.tree.map(lambda s: s + 3, untrained["batch_stats"])}
    again = baseline.calibrate(network, prepare, moved, IMAGES)["batch_stats"]
    same = np.testing.assert_array_equal
    jax.tree.map(same, again["encoder"], untrained["batch_stats"]["encoder"])
    jax.tree.map(same, again["predictor"], moved["batch_stats"]["predictor"])


def test_the_weights_are_those_the_run_started_from(network, untrained):
    started = state.init_variables(network, jax.random.key(0), (8, 8, 1))
    jax.tree.map(np.testing.assert_array_equal, untrained["params"], started["params"])
    other = baseline.untrained(network, 1, IMAGES, prepare, (8, 8, 1))
    kernels = (v["params"]["encoder"]["conv_stem"]["kernel"] for v in (untrained, other))
    assert not np.allclose(*kernels)


def test_only_scales_are_set_to_one():
    params = {
        "norm": {"scale": jnp.zeros(3), "bias": jnp.zeros(3)},
        "conv": {"kernel": jnp.ones(2)},
    }
    unit = baseline.unit_scales(params)
    np.testing.assert_array_equal(unit["norm"]["scale"], np.ones(3))
    np.testing.assert_array_equal(unit["norm"]["bias"], np.zeros(3))
    np.testing.assert_array_equal(unit["conv"]["kernel"], np.ones(2))
