"""Towers: against NumPy, and a temperature that is learned."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gca_jax.models import towers

SETTINGS = dict(tower_a="mlp", tower_b="linear", hidden_a=(6, 5), hidden_b=(9,), dim=3)


def test_an_mlp_and_a_linear_tower_are_what_they_say():
    network = towers.create(**SETTINGS)
    variables = network.init(jax.random.key(0), *network.blank((4, 7)), method="touch")
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 4)), rng.normal(size=(2, 7))
    z_a, z_b = network.apply(variables, jnp.asarray(x), jnp.asarray(y))
    a, b = (
        jax.tree.map(lambda v: np.asarray(v, np.float64), variables["params"][side])
        for side in "ab"
    )
    for k in (0, 1):
        h = x @ a[f"hidden_{k}"]["kernel"] + a[f"hidden_{k}"]["bias"]
        h = (h - h.mean(1, keepdims=True)) / np.sqrt(h.var(1, keepdims=True) + 1e-6)
        x = np.maximum(h * a[f"norm_{k}"]["scale"] + a[f"norm_{k}"]["bias"], 0)
    np.testing.assert_allclose(z_a, x @ a["out"]["kernel"] + a["out"]["bias"], rtol=1e-4, atol=1e-5)
    assert set(b) == {"out"}
    np.testing.assert_allclose(z_b, y @ b["out"]["kernel"] + b["out"]["bias"], rtol=1e-4, atol=1e-5)


def test_a_residual_tower_is_a_linear_one_plus_a_perceptron():
    settings = dict(tower_a="residual", tower_b="residual", hidden_a=(6,), hidden_b=(), dim=3)
    network = towers.create(**settings)
    params = network.init(jax.random.key(0), *network.blank((4, 7)), method="touch")["params"]
    assert not np.any(params["a"]["branch"]["kernel"])
    rng = np.random.default_rng(1)
    branch = {"kernel": jnp.asarray(rng.normal(size=(6, 3)), jnp.float32)}
    params["a"]["branch"] = branch
    x = rng.normal(size=(2, 4))
    z_a, _ = network.apply({"params": params}, jnp.asarray(x), jnp.zeros((2, 7)))
    a = jax.tree.map(lambda v: np.asarray(v, np.float64), params["a"])
    h = x @ a["hidden_0"]["kernel"] + a["hidden_0"]["bias"]
    h = (h - h.mean(1, keepdims=True)) / np.sqrt(h.var(1, keepdims=True) + 1e-6)
    h = np.maximum(h * a["norm_0"]["scale"] + a["norm_0"]["bias"], 0)
    expected = x @ a["out"]["kernel"] + a["out"]["bias"] + h @ a["branch"]["kernel"]
    np.testing.assert_allclose(z_a, expected, rtol=1e-4, atol=1e-5)


def test_the_temperature_starts_where_it_was_set_and_stays_above_its_bound():
    network = towers.create(**SETTINGS, epsilon=0.2, epsilon_min=0.1)
    variables = network.init(jax.random.key(0), *network.blank((4, 7)), method="touch")
    np.testing.assert_allclose(network.learned(variables)["epsilon"], 0.2, rtol=1e-6)
    variables["params"]["log_epsilon"] = jnp.log(0.01)
    np.testing.assert_allclose(network.learned(variables)["epsilon"], 0.1, rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tower_a": "cnn"}, "tower_a must be one of linear, mlp, residual; got 'cnn'"),
        ({"hidden_a": (0,)}, "a width of hidden_a must be an integer >= 1, got 0"),
        ({"epsilon": 0.05, "epsilon_min": 0.1}, "epsilon_min must be above 0 and at most 0.05"),
    ],
)
def test_a_mistake_is_one_line(changes, message):
    with pytest.raises(ValueError, match=message):
        towers.create(**{**SETTINGS, **changes})
