"""Optimizers against their formulas in NumPy, the schedule against its corner points."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gca_jax import models
from gca_jax.training.optimizer import (
    OPTIMIZERS,
    make_optimizer,
    neither_bias_nor_norm,
    warmup_cosine,
)
from gca_jax.training.state import init_variables

DEFAULTS = dict(
    learning_rate=0.1, final_learning_rate=0.1, warmup_epochs=0.0, weight_decay=0.01
)  # a constant rate
GRADIENTS = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
START = np.array([1.0, -2.0, 0.5], np.float32)


def descend(name, **options):
    optimizer, _ = make_optimizer(10, 5, name=name, **{**DEFAULTS, **options})
    weights, state = jnp.asarray(START), optimizer.init(jnp.asarray(START))
    for gradient in GRADIENTS:
        updates, state = jax.jit(optimizer.update)(jnp.asarray(gradient), state, weights)
        weights = weights + updates
    return weights


def test_sgd_is_pytorch_nesterov_with_decay():
    weights, velocity = START.astype(float), 0.0
    for gradient in GRADIENTS:
        g = gradient + 0.01 * weights
        velocity = 0.8 * velocity + g
        weights = weights - 0.1 * (g + 0.8 * velocity)
    np.testing.assert_allclose(descend("sgd", momentum=0.8), weights, rtol=1e-5)


@pytest.mark.parametrize(("name", "coupled"), [("adam", True), ("adamw", False)])
def test_adam_decays_within_the_gradient_and_adamw_apart(name, coupled):
    weights, m, v = START.astype(float), 0.0, 0.0
    for t, gradient in enumerate(GRADIENTS, 1):
        g = gradient + 0.01 * weights * coupled
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        adam = (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        weights = weights - 0.1 * (adam + 0.01 * weights * (not coupled))
    np.testing.assert_allclose(descend(name), weights, rtol=1e-4)


def test_lars_scales_each_gradient_by_the_norm_of_its_weights():
    weights, velocity = START.astype(float), 0.0
    for gradient in GRADIENTS:
        g = gradient + 0.01 * weights
        ratio = 0.001 * np.linalg.norm(weights) / np.linalg.norm(g)
        velocity = 0.8 * velocity + 0.1 * ratio * g
        weights = weights - velocity
    np.testing.assert_allclose(descend("lars", momentum=0.8), weights, rtol=1e-6)


def test_weights_are_told_from_biases_and_norms():
    network = models.create(
        **dict(encoder="vit", width=8, depth=1, heads=2, patch=4, positions="learned"),
        **dict(projector_hidden=4, projector_dim=4, projector_batch_norm=True),
    )
    shapes = init_variables.eval_shape(network, jax.random.key(0), (8, 8, 1))["params"]
    params = jax.tree.map(lambda x: jnp.zeros(x.shape), shapes)
    for path, weight in jax.tree_util.tree_leaves_with_path(neither_bias_nor_norm(params)):
        assert weight == (path[-1].key in ("kernel", "positions"))
        assert weight or path[-1].key in ("bias", "scale")


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_biases_and_norms_may_be_spared_decay(name):
    """At a gradient of zero nothing but decay moves a parameter."""
    optimizer, _ = make_optimizer(
        10, 5, name=name, exclude_bias_and_norm=True, **{**DEFAULTS, "weight_decay": 0.5}
    )
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones((2, 2)), "scale": jnp.ones(2)}
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, _ = jax.jit(optimizer.update)(zeros, optimizer.init(params), params)
    moved = {key: bool(np.any(update != 0)) for key, update in updates.items()}
    assert moved == {"kernel": True, "bias": False, "scale": False}


def test_a_long_gradient_is_clipped_to_its_norm_and_a_short_one_is_not():
    for length, expected in ((5.0, 2.0), (1.0, 1.0)):
        optimizer, _ = make_optimizer(
            10, 5, name="sgd", clip_norm=2.0, momentum=0.0, **{**DEFAULTS, "weight_decay": 0.0}
        )
        gradient = {"a": jnp.array([0.6 * length]), "b": jnp.array([0.8 * length])}
        updates, _ = optimizer.update(gradient, optimizer.init(gradient), gradient)
        norm = 0.1 * expected
        np.testing.assert_allclose([updates["a"][0], updates["b"][0]], [-0.6 * norm, -0.8 * norm])


def test_a_warm_up_in_steps_is_that_in_epochs():
    settings = {**DEFAULTS, "name": "sgd"}
    _, steps = make_optimizer(20, 4, **settings, warmup_steps=8)
    _, epochs = make_optimizer(20, 4, **{**settings, "warmup_epochs": 2.0})
    np.testing.assert_array_equal([steps(k) for k in range(10)], [epochs(k) for k in range(10)])


def test_schedule_corner_points():
    rate = warmup_cosine(0.12, 2e-4, warmup_steps=10, total_steps=110)
    np.testing.assert_allclose(rate(0), 0.012, rtol=1e-6)
    np.testing.assert_allclose(rate(9), 0.12, rtol=1e-6)
    np.testing.assert_allclose(rate(10), 0.12, rtol=1e-6)
    np.testing.assert_allclose(rate(60), (0.12 + 2e-4) / 2, rtol=1e-5)
    np.testing.assert_allclose(rate(110), 2e-4, rtol=1e-3)
    values = [float(rate(k)) for k in range(10, 111)]
    assert all(a >= b for a, b in itertools.pairwise(values))


def test_equal_rates_are_a_constant():
    rate = warmup_cosine(3e-4, 3e-4, warmup_steps=0, total_steps=50)
    np.testing.assert_allclose([rate(k) for k in (0, 13, 50)], 3e-4, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "lamb"}, "name must be one of adam, adamw, lars, sgd; got 'lamb'"),
        ({"learning_rate": 0.0}, "learning_rate must be a finite number > 0, got 0.0"),
        ({"final_learning_rate": 0.2}, r"final_learning_rate must lie in \[0.0, 0.1\], got 0.2"),
        ({"weight_decay": -1.0}, "weight_decay must be finite and >= 0 everywhere, found -1.0"),
        ({"warmup_epochs": 2.0}, "warmup_epochs must be at least 0 and shorter than the run"),
        ({"learning_rate": math.nan}, "learning_rate must be a finite number > 0, got nan"),
        ({"learning_rate": math.inf}, "learning_rate must be a finite number > 0, got inf"),
        ({"weight_decay": math.inf}, "weight_decay must be finite and >= 0 everywhere, found inf"),
        ({"warmup_steps": 10}, "warmup_steps must be at least 0 and shorter than the run, got 10"),
        ({"warmup_steps": 1, "warmup_epochs": 1.0}, "warmup_steps=1 stands in place of warmup_ep"),
        ({"clip_norm": 0.0}, "clip_norm must be a finite number > 0, got 0.0"),
        ({"clip_norm": math.nan}, "clip_norm must be a finite number > 0, got nan"),
        (
            {"warmup_epochs": math.nan},
            "warmup_epochs must be finite and >= 0 everywhere, found nan",
        ),
        ({"momentum": math.inf}, "momentum must be finite and >= 0 everywhere, found inf"),
    ],
)
def test_wrong_values_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        make_optimizer(10, 5, **{"name": "sgd", **DEFAULTS, **change})
