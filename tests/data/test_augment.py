"""Policies: identity at zero strength, independence of views and images, normalisation, errors."""

import jax
import numpy as np
import pytest

from gca_jax.data import augment, policies, sources

OFF = {
    "rotation": 0.0,
    "shift": 0.0,
    "scale": 0.0,
    "shear": 0.0,
    "gain": 0.0,
    "gamma": 0.0,
    "erase_probability": 0.0,
    "crop_scale": (1.0, 1.0),
    "crop_ratio": (1.0, 1.0),
    "flip_probability": 0.0,
    "jitter_probability": 0.0,
    "grey_probability": 0.0,
    "blur_probability": 0.0,
    "solarise_probability": 0.0,
    "recrop_probability": 0.0,
    "value_shift": 0.0,
    "strong_crop_side": 1.0,
}
CHANNELS = {"digits": 1, "fashion_mnist": 1}


def shape(policy):
    return (6, 8, 8, 1) if CHANNELS.get(policy) == 1 else (6, 32, 32, 3)


def images(policy):
    return np.random.default_rng(0).integers(0, 256, shape(policy), dtype=np.uint8)


def make(policy, **strengths):
    """With the normalisation that leaves values as they are."""
    channels = shape(policy)[-1]
    return augment.make(policy, mean=(0.0,) * channels, std=(1.0,) * channels, **strengths)


@pytest.mark.parametrize("policy", policies.POLICIES)
def test_zero_strength_is_plain(policy):
    off = {name: value for name, value in OFF.items() if name in policies.views(policy)[0]}
    chosen = make(policy, **off)
    a, b = chosen.views(jax.random.key(0), images(policy))
    np.testing.assert_allclose(a, chosen.plain(images(policy)), atol=1e-5)
    np.testing.assert_allclose(b, chosen.plain(images(policy)), atol=1e-5)


@pytest.mark.parametrize("policy", policies.POLICIES)
def test_views_are_a_function_of_the_key_and_differ_from_each_other(policy):
    views = jax.jit(make(policy).views)
    same = np.repeat(images(policy)[:1], 6, axis=0)
    a, b = views(jax.random.key(0), same)
    a_again, _ = views(jax.random.key(0), same)
    other, _ = views(jax.random.key(1), same)
    np.testing.assert_array_equal(a, a_again)
    assert a.shape == shape(policy)
    assert a.dtype == np.float32
    # Equal images must all be seen differently: within a view, between views, between keys.
    seen = np.concatenate([a, b, other]).reshape(18, -1)
    distance = np.abs(seen[:, None] - seen[None]).max(-1)
    assert distance[~np.eye(18, dtype=bool)].min() > 1e-3


@pytest.mark.parametrize("policy", policies.POLICIES)
def test_views_do_not_depend_on_sharding(policy):
    batch = images(policy)
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    views = jax.jit(make(policy).views)
    single = views(jax.random.key(0), batch)
    sharded = views(jax.random.key(0), jax.device_put(batch, rows))
    for one, many in zip(single, sharded, strict=True):
        np.testing.assert_allclose(one, many, atol=1e-5)


def test_normalisation_is_that_of_the_training_images():
    data = sources.load("digits")
    chosen = augment.make("digits", mean=(0.3054,), std=(0.3760,))
    plain = np.asarray(chosen.plain(data.train_images))
    assert abs(plain.mean()) < 1e-3
    assert abs(plain.std() - 1) < 1e-3


def test_colour_policy_refuses_grey_images():
    with pytest.raises(ValueError, match=r"cifar needs RGB images, got 1 channel\(s\)"):
        make("cifar").views(jax.random.key(0), images("digits"))


@pytest.mark.parametrize(
    ("policy", "changes", "message"),
    [
        ("moco", {}, "unknown policy 'moco'; one of: digits, fashion_mnist, cifar"),
        ("digits", {"hue": 0.1}, "policy digits has no hue; it has: rotation, shift"),
        ("cifar", {"hue": -0.1}, "hue must be from 0 up; got -0.1"),
        ("cifar", {"grey_probability": 1.5}, "grey_probability must be from 0 to 1; got 1.5"),
        ("cifar", {"crop_scale": (1.0, 0.5)}, "crop_scale must be two numbers, 0 < low <= high"),
        ("cifar", {"std": (1.0,)}, "mean and std need a value for each channel"),
    ],
)
def test_mistakes_are_named(policy, changes, message):
    with pytest.raises(ValueError, match=message):
        augment.make(policy, **{"mean": (0.0,) * 3, "std": (1.0,) * 3, **changes})
