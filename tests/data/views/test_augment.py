"""Policies: identity at zero strength, independence of views and images, normalisation, errors."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gca_jax.data import sources
from gca_jax.data.views import augment, color, geometry, policies

pytestmark = pytest.mark.slow

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
# The distortions of the others are among those of these two, or are tried by themselves.
POLICIES = ("digits", "byol")


def shape(policy):
    return (6, 8, 8, 1) if CHANNELS.get(policy) == 1 else (6, 32, 32, 3)


def images(policy):
    return np.random.default_rng(0).integers(0, 256, shape(policy), dtype=np.uint8)


def make(policy, **strengths):
    """With the normalisation that leaves values as they are."""
    channels = shape(policy)[-1]
    return augment.make(policy, mean=(0.0,) * channels, std=(1.0,) * channels, **strengths)


def strengths(policy, view=0):
    return policies.strengths(policies.views(policy)[view])


@functools.cache
def views_of(policy):
    """The policy's views as it is, compiled once."""
    return jax.jit(make(policy).views)


@pytest.mark.parametrize("policy", POLICIES)
def test_zero_strength_is_plain(policy):
    off = {name: value for name, value in OFF.items() if name in strengths(policy)}
    channels = shape(policy)[-1]
    chosen = augment.make(policy, mean=(0.3,) * channels, std=(0.5,) * channels, **off)
    a, b = jax.jit(chosen.views)(jax.random.key(0), images(policy))
    np.testing.assert_allclose(a, chosen.plain(images(policy)), atol=2e-5)
    np.testing.assert_allclose(b, chosen.plain(images(policy)), atol=2e-5)


@pytest.mark.parametrize(
    "distortion",
    [
        one
        for policy in ("large_erase", "brightness", "strong_crop")
        for one in policies.views(policy)[0]
        if one.func not in {shared.func for shared in policies.views("byol")[0]}
    ],
    ids=lambda one: one.func.__name__,
)
def test_zero_strength_of_an_extreme_distortion_changes_nothing(distortion):
    image = jnp.asarray(np.random.default_rng(0).random((9, 3, 9)), jnp.float32)
    off = {name: OFF.get(name, value) for name, value in distortion.keywords.items()}
    same = jax.jit(functools.partial(distortion.func, **off))(jax.random.key(0), image)
    np.testing.assert_allclose(same, image, atol=2e-5)


@pytest.mark.parametrize("policy", POLICIES)
def test_views_are_a_function_of_the_key_and_differ_from_each_other(policy):
    views = views_of(policy)
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


def test_digits_keep_the_random_numbers_of_the_published_results():
    """A view, an image and a distortion each have a key of their own, split off in this order."""

    def one(key, image):
        affine, intensity, erasing = jax.random.split(key, 3)
        image = geometry.random_affine(
            affine, image, rotation=20.0, shift=1.5, scale=0.25, shear=0.2
        )
        image = color.random_intensity(intensity, image, gain=0.4, gamma=0.4)
        return geometry.random_erasing(
            erasing, image, erase_probability=0.5, erase_area=(0.03, 0.15)
        )

    batch = images("digits")
    planes = (batch / np.float32(255)).swapaxes(2, 3)
    for key, view in zip(
        jax.random.split(jax.random.key(5)),
        views_of("digits")(jax.random.key(5), batch),
        strict=True,
    ):
        expected = jax.jit(jax.vmap(one))(jax.random.split(key, len(batch)), planes)
        np.testing.assert_allclose(view, expected.swapaxes(2, 3), atol=1e-6)


@pytest.mark.parametrize("policy", POLICIES)
def test_views_do_not_depend_on_sharding(policy):
    batch = images(policy)
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    views = views_of(policy)
    single = views(jax.random.key(0), batch)
    split = jax.device_put(batch, rows)
    sharded = views.lower(jax.random.key(0), split).compile()
    for one, many in zip(single, sharded(jax.random.key(0), split), strict=True):
        np.testing.assert_allclose(one, many, atol=1e-5)
    # Each device makes the views of its own images: no pixel moves.
    moves = ("all-gather", "all-reduce", "all-to-all", "collective-permute")
    assert not any(f"{move}(" in sharded.as_text() for move in moves)


def test_crops_made_before_are_the_views_crops():
    """Both are mirrored, and nothing else is done to them."""
    off = {name: value for name, value in OFF.items() if name in strengths("byol")}
    del off["crop_scale"], off["crop_ratio"]
    pairs = np.random.default_rng(0).integers(0, 256, (5, 2, 16, 16, 3), dtype=np.uint8)
    views = make("byol", **off | {"flip_probability": 1.0}).views
    for k, view in enumerate(jax.jit(views)(jax.random.key(0), pairs)):
        np.testing.assert_allclose(view, pairs[:, k, :, ::-1] / 255, atol=1e-5)


def test_crop_of_a_policy_is_told_to_those_who_crop_before():
    assert make("cifar").crop == ((0.08, 1.0), (3 / 4, 4 / 3))
    assert make("cifar", crop_scale=[0.5, 0.9]).crop == ((0.5, 0.9), (3 / 4, 4 / 3))
    assert make("digits").crop is None


def test_byols_views_have_strengths_of_their_own():
    off = {name: OFF[name] for name in ("flip_probability", "jitter_probability")}
    off |= dict(grey_probability=0.0, crop_scale=(1.0, 1.0), crop_ratio=(1.0, 1.0))
    # Stripes on the left show blurring; the bright right half, which no blur changes, solarising.
    image = np.full((12, 12, 3), 204, np.uint8)
    image[:, :8:2] = 0
    image[:, 1:8:2] = 102
    views = jax.jit(make("byol", blur_size=3, blur_sigma=(1.0, 2.0), **off).views)
    shares = []
    for view in views(jax.random.key(0), np.repeat(image[None], 1000, axis=0)):
        solarised = np.isclose(view[:, 2, 10, 0], 0.2, atol=1e-4)
        np.testing.assert_allclose(view[~solarised, 2, 10, 0], 0.8, atol=1e-4)
        shares += [np.mean(view[:, 2, 2, 0] > 1e-3), np.mean(solarised)]
    np.testing.assert_array_equal(shares[:2], [1.0, 0.0])
    assert abs(shares[2] - 0.1) < 0.038  # four standard deviations
    assert abs(shares[3] - 0.2) < 0.051


def test_strengths_are_keywords_of_the_distortions_and_the_same_in_both_views():
    for policy, views in policies.POLICIES.items():
        for one, other in zip(*views, strict=True):
            assert one.func is other.func
            inspect.signature(one.func).bind_partial(None, None, **one.keywords)
        assert set(strengths(policy)) == set(strengths(policy, 1))


def changed(policy, name):
    own, others = strengths(policy, 1)[name], {"blur_size": 5, "strong_crop_side": 0.75}
    return others.get(name, (0.7 * own[0], 0.8 * own[1]) if isinstance(own, tuple) else 0.5 * own)


def program(function, keywords):
    """What is traced of a distortion of one small image."""
    order = {"order": jnp.arange(4)} if function is color.random_jitter else {}
    image = jnp.zeros((8, 1 if function is geometry.random_affine else 3, 8))
    run = functools.partial(function, **dict(keywords), **order)
    return jax.make_jaxpr(run)(jax.random.key(0), image)


def same(one, other):
    return str(one) == str(other) and all(map(np.array_equal, one.consts, other.consts))


def test_every_strength_changes_the_views():
    """Each changes its distortion, in the first policy that has it, and all are in the chain."""
    left = set(policies.STRENGTHS)
    for policy in ("byol", "digits", "large_erase", "brightness", "strong_crop"):
        chain = augment._chain(make(policy).distort.args[1][1])
        assert {name for _, keywords in chain for name, _ in keywords} == set(strengths(policy))
        for function, keywords in chain:
            for name in left & {name for name, _ in keywords}:
                other = dict(keywords) | {name: changed(policy, name)}
                assert not same(program(function, keywords), program(function, other)), name
                left.remove(name)
    assert not left
    for own, kept in zip(
        policies.views("byol"), policies.with_changes("byol", {"hue": None}), strict=True
    ):
        assert policies.strengths(own) == policies.strengths(kept)


@pytest.mark.parametrize("policy", policies.POLICIES)
def test_every_strength_of_every_policy_can_be_set_in_both_views(policy):
    for name in strengths(policy):
        other = changed(policy, name)
        for view, own in zip(
            policies.with_changes(policy, {name: other}), policies.views(policy), strict=True
        ):
            assert policies.strengths(view) == policies.strengths(own) | {name: other}


def test_settings_name_every_strength_with_its_type():
    group = policies.settings("cifar", mean=(0.5,), std=(0.5,))
    assert group["policy"] == "cifar"
    assert group["crop_scale"] is tuple
    assert group["blur_size"] is int
    assert group["rotation"] is float
    with pytest.raises(ValueError, match=r"policy must be one of .*digits.*; got 'moco'"):
        policies.settings("moco", mean=(0.5,), std=(0.5,))


def test_normalisation_is_that_of_the_training_images():
    data = sources.load("digits")
    chosen = augment.make("digits", mean=(0.3054,), std=(0.3760,))
    plain = np.asarray(chosen.plain(data.train_images))
    assert abs(plain.mean()) < 1e-3
    assert abs(plain.std() - 1) < 1e-3


def test_one_mean_serves_all_channels():
    one, three = (augment.make("cifar", mean=(0.2,) * n, std=(0.4,) * n) for n in (1, 3))
    np.testing.assert_array_equal(one.plain(images("cifar")), three.plain(images("cifar")))


def test_colour_policy_refuses_grey_images():
    with pytest.raises(ValueError, match="cifar needs RGB images, got grey ones"):
        augment.make("cifar", mean=(0.5,), std=(1.0,)).views(jax.random.key(0), images("digits"))


@pytest.mark.parametrize(
    ("policy", "changes", "message"),
    [
        ("moco", {}, "policy must be one of brightness, byol, cifar"),
        ("digits", {"hue": 0.1}, "policy digits has no hue; it has: rotation, shift"),
        ("cifar", {"hue": -0.1}, "hue must be from 0 up; got -0.1"),
        ("cifar", {"grey_probability": 1.5}, "grey_probability must be from 0 to 1; got 1.5"),
        ("cifar", {"crop_scale": (1.0, 0.5)}, "crop_scale must be two numbers, 0 < low <= high"),
        ("cifar", {"crop_scale": (0.5, 2.0)}, r"crop_scale must be at most 1; got \(0.5, 2.0\)"),
        ("strong", {"blur_size": 4}, "blur_size must be odd, or 0 for a tenth of the side; got 4"),
        ("strong", {"blur_sigma": (0.0, 1.0)}, "blur_sigma must be two numbers, 0 < low <= high"),
        ("strong_crop", {"strong_crop_side": 1.5}, "strong_crop_side must be from 0 to 1; got 1.5"),
        ("cifar", {"std": (1.0,)}, "mean and std need a value for each channel"),
    ],
)
def test_mistakes_are_named(policy, changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        augment.make(policy, **{"mean": (0.0,) * 3, "std": (1.0,) * 3, **changes})
    assert len(str(caught.value).splitlines()) == 1


def test_normalisation_of_other_images_is_refused():
    policy = augment.make("digits", mean=(0.4, 0.5, 0.6), std=(1.0,) * 3)
    for use in (policy.plain, lambda x: policy.views(jax.random.key(0), x)):
        with pytest.raises(ValueError, match=r"mean and std have 3 values, the images 1 channel"):
            jax.eval_shape(use, images("digits"))
