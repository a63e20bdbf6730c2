"""Colour operations against NumPy transcriptions of torchvision's formulas and colorsys."""

import colorsys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gca_jax.data import color

RNG = np.random.default_rng(0)
IMAGE = np.concatenate(
    [
        RNG.random((6, 8, 3)),
        np.repeat(RNG.random((1, 8, 1)), 3, axis=2),
        RNG.integers(0, 2, (2, 8, 3)),
    ]
).astype(np.float32)
"""Random colours, greys, and the corners of the colour cube (ties and black, where hue is free)."""


def reference_blend(a, b, ratio):
    return np.clip(ratio * a + (1.0 - ratio) * b, 0, 1)


def reference_grey(image):
    return (image @ np.array([0.2989, 0.587, 0.114]))[..., None]


@pytest.mark.parametrize("factor", [0.0, 0.6, 1.0, 1.4])
def test_blends(factor):
    expected = {
        color.adjust_brightness: reference_blend(IMAGE, np.zeros_like(IMAGE), factor),
        color.adjust_contrast: reference_blend(IMAGE, reference_grey(IMAGE).mean(), factor),
        color.adjust_saturation: reference_blend(IMAGE, reference_grey(IMAGE), factor),
    }
    for adjust, value in expected.items():
        np.testing.assert_allclose(adjust(IMAGE, factor), value, atol=2e-6, err_msg=str(adjust))


@pytest.mark.parametrize("shift", [-0.5, -0.1, 0.0, 0.07, 0.5])
def test_hue_is_colorsys(shift):
    def turn(pixel):
        h, s, v = colorsys.rgb_to_hsv(*pixel)
        return colorsys.hsv_to_rgb((h + shift) % 1.0, s, v)

    expected = np.array([[turn(pixel) for pixel in row] for row in IMAGE.astype(float)])
    np.testing.assert_allclose(color.adjust_hue(jnp.asarray(IMAGE), shift), expected, atol=2e-6)


def test_jitter_of_zero_strength_changes_nothing():
    same = color.random_jitter(
        jax.random.key(0),
        jnp.asarray(IMAGE),
        jnp.arange(4),
        brightness=0.0,
        contrast=0.0,
        saturation=0.0,
        hue=0.0,
        probability=1.0,
    )
    np.testing.assert_allclose(same, IMAGE, atol=2e-6)


JITTER = dict(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)


def test_jitter_is_applied_in_the_order_asked_for():
    key = jax.random.key(3)
    image = jnp.asarray(IMAGE)
    # A turned hue changes the luma that saturation blends with: these two do not commute.
    runs = [
        color.random_jitter(key, image, jnp.array(order), **JITTER, probability=1.0)
        for order in [(0, 1, 2, 3), (0, 1, 3, 2)]
    ]
    assert not np.allclose(*runs, atol=1e-3)
    # Brightness last is a clipped multiple of the image that the other three make.
    without = dict(JITTER, brightness=0.0)
    three = color.random_jitter(key, image, jnp.array((1, 2, 3, 0)), **without, probability=1.0)
    last = np.asarray(
        color.random_jitter(key, image, jnp.array((1, 2, 3, 0)), **JITTER, probability=1.0)
    )
    inside = (last > 0.01) & (last < 0.99)
    ratio = last[inside] / np.asarray(three)[inside]
    assert ratio.std() < 1e-4


def test_jitter_factors_follow_their_law():
    from scipy import stats

    keys = jax.random.split(jax.random.key(0), 4000)
    flat = jnp.full((2, 2, 3), 0.5)
    only = dict(brightness=0.4, contrast=0.0, saturation=0.0, hue=0.0, probability=0.8)
    jitter = jax.vmap(lambda k: color.random_jitter(k, flat, jnp.arange(4), **only))
    factors = np.asarray(jitter(keys))[:, 0, 0, 0] / 0.5
    changed = factors[np.abs(factors - 1) > 1e-5]
    assert abs(len(changed) / 4000 - 0.8) < 0.025  # four standard deviations
    assert stats.kstest(changed, stats.uniform(0.6, 0.8).cdf).pvalue > 1e-3


def test_grey_keeps_luma_and_its_probability():
    keys = jax.random.split(jax.random.key(0), 4000)
    image = jnp.asarray(IMAGE[:1, :1])
    out = np.asarray(
        jax.jit(jax.vmap(lambda k: color.random_grey(k, image, probability=0.2)))(keys)
    )
    grey = np.ptp(out, axis=-1).ravel() < 1e-6
    assert abs(grey.mean() - 0.2) < 0.026
    np.testing.assert_allclose(out[grey][..., 0], reference_grey(IMAGE[:1, :1]).item(), rtol=1e-5)


def test_intensity_follows_its_law():
    from scipy import stats

    keys = jax.random.split(jax.random.key(0), 4000)
    image = jnp.full((1, 1, 1), 0.5)

    def draw(gain, gamma):
        batch = jax.vmap(lambda k: color.random_intensity(k, image, gain=gain, gamma=gamma))
        return np.asarray(batch(keys)).ravel()

    assert stats.kstest(draw(0.4, 0.0) / 0.5, stats.uniform(0.6, 0.8).cdf).pvalue > 1e-3
    exponents = np.log(np.log(draw(0.0, 0.4)) / np.log(0.5))
    assert stats.kstest(exponents, stats.uniform(-0.4, 0.8).cdf).pvalue > 1e-3
