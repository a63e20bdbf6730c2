"""Optimizers against their formulas in NumPy, the schedule against its corner points."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gca_jax.training.optimizer import make_optimizer, warmup_cosine

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
        ({"name": "lars"}, "unknown optimizer 'lars'; one of: sgd, adam, adamw"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0, got 0.0"),
        ({"final_learning_rate": 0.2}, "final_learning_rate must be from 0 to learning_rate"),
        ({"weight_decay": -1.0}, "weight_decay must be at least 0, got -1.0"),
        ({"warmup_epochs": 2.0}, "warmup_epochs must be at least 0 and shorter than the run"),
        ({"learning_rate": math.nan}, "learning_rate must be a finite number, got nan"),
        ({"learning_rate": math.inf}, "learning_rate must be a finite number, got inf"),
        ({"weight_decay": math.inf}, "weight_decay must be a finite number, got inf"),
        ({"warmup_epochs": math.nan}, "warmup_epochs must be a finite number, got nan"),
        ({"momentum": math.inf}, "momentum must be a finite number, got inf"),
    ],
)
def test_wrong_values_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        make_optimizer(10, 5, **{"name": "sgd", **DEFAULTS, **change})
