"""Policies: identity at zero strength, independence of views and images, normalisation, errors."""

import inspect

import jax
import numpy as np
import pytest

from gca_jax.data import augment, sources

OFF = {
    "digits": dict(
        rotation=0.0,
        shift=0.0,
        scale=0.0,
        shear=0.0,
        gain=0.0,
        gamma=0.0,
        erase_probability=0.0,
    ),
    "cifar": dict(
        crop_scale=(1.0, 1.0),
        crop_ratio=(1.0, 1.0),
        flip_probability=0.0,
        jitter_probability=0.0,
        grey_probability=0.0,
    ),
}
SHAPE = {"digits": (6, 8, 8, 1), "cifar": (6, 32, 32, 3)}


def images(policy):
    return np.random.default_rng(0).integers(0, 256, SHAPE[policy], dtype=np.uint8)


@pytest.mark.parametrize("policy", augment.POLICIES)
def test_zero_strength_is_plain(policy):
    chosen = augment.make(policy, **OFF[policy])
    a, b = chosen.views(jax.random.key(0), images(policy))
    np.testing.assert_allclose(a, chosen.plain(images(policy)), atol=1e-5)
    np.testing.assert_allclose(b, chosen.plain(images(policy)), atol=1e-5)


@pytest.mark.parametrize("policy", augment.POLICIES)
def test_views_are_a_function_of_the_key_and_differ_from_each_other(policy):
    views = jax.jit(augment.make(policy).views)
    same = np.repeat(images(policy)[:1], 6, axis=0)
    a, b = views(jax.random.key(0), same)
    a_again, _ = views(jax.random.key(0), same)
    other, _ = views(jax.random.key(1), same)
    np.testing.assert_array_equal(a, a_again)
    assert a.shape == SHAPE[policy]
    assert a.dtype == np.float32
    # Equal images must all be seen differently: within a view, between views, between keys.
    seen = np.concatenate([a, b, other]).reshape(18, -1)
    distance = np.abs(seen[:, None] - seen[None]).max(-1)
    assert distance[~np.eye(18, dtype=bool)].min() > 1e-3


@pytest.mark.parametrize("policy", augment.POLICIES)
def test_views_do_not_depend_on_sharding(policy):
    batch = images(policy)
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    views = jax.jit(augment.make(policy).views)
    single = views(jax.random.key(0), batch)
    sharded = views(jax.random.key(0), jax.device_put(batch, rows))
    for one, many in zip(single, sharded, strict=True):
        np.testing.assert_allclose(one, many, atol=1e-5)


@pytest.mark.parametrize("policy", augment.POLICIES)
def test_every_strength_changes_the_views(policy):
    distort = augment.POLICIES[policy][0]
    strengths = {
        name: parameter.default
        for name, parameter in inspect.signature(distort).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    batch = np.tile(images(policy), (4, 1, 1, 1)) / np.float32(255)
    # Strengths are traced, so that all share one compilation.
    view = jax.jit(lambda strengths: distort(jax.random.key(0), batch, **strengths))
    base = view(strengths)
    for name, value in strengths.items():
        less = tuple(0.9 * x for x in value) if isinstance(value, tuple) else 0.0
        changed = np.abs(view({**strengths, name: less}) - base).max()
        assert changed > 1e-4, name


def test_normalisation_is_that_of_the_training_images():
    data = sources.load("digits")
    plain = np.asarray(augment.make("digits").plain(data.train_images))
    assert abs(plain.mean()) < 1e-3
    assert abs(plain.std() - 1) < 1e-3


def test_colour_policy_refuses_grey_images():
    with pytest.raises(ValueError, match=r"needs RGB images, got shape \(6, 8, 8, 1\)"):
        augment.make("cifar").views(jax.random.key(0), images("digits"))


def test_unknown_policy_is_named():
    with pytest.raises(ValueError, match="unknown policy 'imagenet'; one of: digits, cifar"):
        augment.make("imagenet")
