"""Images as a classifier is trained on them and judged by them."""

import jax
import numpy as np
import pytest

from gca_jax.data.views import augment, policies

IMAGES = np.random.default_rng(0).integers(30, 256, (6, 12, 12, 3)).astype(np.uint8)
PLAIN = set(policies.POLICIES) - {"large_erase", "brightness", "strong_crop"}


def make(policy):
    return augment.make(policy, mean=(0.5,), std=(0.25,))


def names(distortions):
    return [one.func.__name__ for one in distortions]


@pytest.mark.parametrize("policy", sorted(PLAIN))
def test_a_classifier_is_trained_on_crops_and_judged_by_the_images(policy):
    made = make(policy)
    moves = ["random_affine"] if policy == "digits" else ["random_resized_crop", "random_flip"]
    train, test = made.supervised
    assert (names(train), names(test)) == (moves, [])
    if policy not in ("digits", "cifar"):  # which are cropped, or moved, alike
        return
    images = IMAGES[..., :1] if policy in ("digits", "fashion_mnist") else IMAGES
    np.testing.assert_array_equal(made.evaluation(jax.random.key(0), images), made.plain(images))
    trained = made.training(jax.random.key(0), images)
    assert trained.shape == images.shape
    assert not np.allclose(trained, made.plain(images))


def test_large_erase_erases_a_tenth_to_a_third_of_every_image():
    made = make("large_erase")
    names_of_training = names(made.supervised[0])
    assert names_of_training == ["random_resized_crop", "random_flip", "random_erasing"]
    judged = made.evaluation(jax.random.key(0), IMAGES)
    black = np.isclose(judged, -2).all(axis=-1)  # (0 - 0.5) / 0.25; no pixel is black
    share = black.mean(axis=(1, 2))
    assert (share > 0.05).all()  # a tenth, and what rounding to whole pixels takes
    assert (share < 0.4).all()
    np.testing.assert_array_equal(judged[~black], made.plain(IMAGES)[~black])
    assert not np.array_equal(black[0], black[1])


def test_the_other_extremes_are_those_of_the_views():
    assert names(make("brightness").supervised[1]) == ["raise_value"]
    judged = make("brightness").evaluation(jax.random.key(0), IMAGES)
    value = np.minimum(IMAGES.max(axis=-1) / 255 + 0.3, 1)
    np.testing.assert_allclose(0.25 * judged.max(axis=-1) + 0.5, value, atol=1e-5)
    assert names(make("strong_crop").supervised[1]) == ["random_crop"]


def test_strengths_of_the_config_are_those_of_the_classifier_s_images():
    made = augment.make(
        "cifar", mean=(0.5,), std=(0.25,), crop_scale=(1.0, 1.0), flip_probability=0
    )
    trained = made.training(jax.random.key(0), IMAGES)
    assert made.supervised[0][0].keywords["crop_scale"] == (1.0, 1.0)
    same = np.isclose(trained, made.plain(IMAGES), atol=1e-5).all(axis=(1, 2, 3))
    assert same.any()  # the crops of ratio one; others are stretched
