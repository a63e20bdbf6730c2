"""Colour operations against NumPy transcriptions of torchvision's formulas and colorsys.

References take images [h, w, c], the project's functions [h, c, w].
"""

import colorsys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gca_jax.data.views import color

RNG = np.random.default_rng(0)
IMAGE = np.concatenate(
    [
        RNG.random((6, 8, 3)),
        np.repeat(RNG.random((1, 8, 1)), 3, axis=2),
        RNG.integers(0, 2, (2, 8, 3)),
    ]
).astype(np.float32)
"""Random colours, greys, and the corners of the colour cube (ties and black, where hue is free)."""


def planes(image):
    """From [h, w, c] to [h, c, w], or back."""
    return jnp.asarray(image).swapaxes(1, 2)


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
        out = planes(jax.jit(adjust)(planes(IMAGE), factor))
        np.testing.assert_allclose(out, value, atol=2e-6, err_msg=str(adjust))


def reference_hsv(change):
    """Each pixel of IMAGE with its (h, s, v) changed, by the standard library."""
    return np.array(
        [
            [colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*pixel))) for pixel in row]
            for row in IMAGE.astype(float)
        ]
    )


@pytest.mark.parametrize("shift", [-0.5, -0.1, 0.0, 0.07, 0.5])
def test_hue_is_colorsys(shift):
    expected = reference_hsv(lambda h, s, v: ((h + shift) % 1.0, s, v))
    out = planes(jax.jit(color.adjust_hue)(planes(IMAGE), shift))
    np.testing.assert_allclose(out, expected, atol=2e-6)


@pytest.mark.parametrize("shift", [0.0, 0.3, -0.2])
def test_value_is_colorsys(shift):
    expected = reference_hsv(lambda h, s, v: (h, s, min(max(v + shift, 0.0), 1.0)))
    out = planes(color.raise_value(jax.random.key(0), planes(IMAGE), value_shift=shift))
    np.testing.assert_allclose(out, expected, atol=2e-6)


JITTER = dict(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
NO_JITTER = dict.fromkeys(JITTER, 0.0)
ORDER = jnp.arange(4)


def test_jitter_of_zero_strength_changes_nothing():
    off = {**NO_JITTER, "jitter_probability": 1.0}
    same = color.random_jitter(jax.random.key(0), planes(IMAGE), order=ORDER, **off)
    np.testing.assert_allclose(planes(same), IMAGE, atol=2e-6)


def test_jitter_is_applied_in_the_order_asked_for():
    def jitter(order, **changes):
        strengths = {**JITTER, "jitter_probability": 1.0, **changes}
        key = jax.random.key(3)
        return np.asarray(
            color.random_jitter(key, planes(IMAGE), order=jnp.array(order), **strengths)
        )

    # A turned hue changes the luma that saturation blends with: these two do not commute.
    assert not np.allclose(jitter((0, 1, 2, 3)), jitter((0, 1, 3, 2)), atol=1e-3)
    # Brightness last is a clipped multiple of the image that the other three make.
    three, last = jitter((1, 2, 3, 0), brightness=0.0), jitter((1, 2, 3, 0))
    inside = (last > 0.01) & (last < 0.99)
    assert (last[inside] / three[inside]).std() < 1e-4


def draws(function, n=4000):
    """What a function of a key gives for many keys, as one array."""
    return np.asarray(jax.jit(jax.vmap(function))(jax.random.split(jax.random.key(0), n)))


def follows(values, low, high):
    """Uniform from low to high."""
    assert stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > 1e-3


def measured(name, out):
    """The factor or shift that made these images [n, 1, 3, 2] of `PAIR`."""
    a, b = out[:, 0, :, 0], out[:, 0, :, 1]
    if name == "brightness":
        return a[:, 0] / PAIR[0, 0]
    if name == "contrast":
        return (a[:, 0] - b[:, 0]) / (PAIR[0, 0] - PAIR[1, 0])
    if name == "saturation":
        return np.ptp(a, axis=1) / np.ptp(PAIR[0])
    turned = np.array([colorsys.rgb_to_hsv(*pixel)[0] for pixel in a.astype(float)])
    return turned - colorsys.rgb_to_hsv(*PAIR[0])[0]


PAIR = np.array([[0.35, 0.45, 0.55], [0.4, 0.5, 0.45]])
"""Two pixels that no factor of the laws below drives out of [0, 1]."""


@pytest.mark.parametrize(
    ("name", "strength", "low", "high"),
    [
        ("brightness", 0.4, 0.6, 1.4),
        ("contrast", 0.4, 0.6, 1.4),
        ("saturation", 0.4, 0.6, 1.4),
        ("saturation", 1.5, 0.0, 2.5),
        ("hue", 0.1, -0.1, 0.1),
    ],
)
def test_jitter_follows_its_law(name, strength, low, high):
    image = planes(np.float32(PAIR)[None])
    only = {**NO_JITTER, name: strength, "jitter_probability": 0.8}
    out = draws(lambda k: color.random_jitter(k, image, order=ORDER, **only))
    untouched = np.abs(out - np.asarray(image)).max((1, 2, 3)) < 1e-6
    assert abs(untouched.mean() - 0.2) < 0.026  # four standard deviations
    follows(measured(name, out[~untouched]), low, high)


def test_grey_keeps_luma_and_its_probability():
    image = planes(IMAGE[:1, :1])
    out = draws(lambda k: color.random_grey(k, image, grey_probability=0.2))
    grey = np.ptp(out, axis=2).ravel() < 1e-6
    assert abs(grey.mean() - 0.2) < 0.026
    luma = reference_grey(IMAGE[:1, :1]).item()
    np.testing.assert_allclose(out[grey][:, 0, :, 0], luma, rtol=1e-5)
    np.testing.assert_array_equal(out[~grey][0], image)


def test_solarise_inverts_what_is_bright_with_its_probability():
    image = planes(IMAGE)
    out = draws(
        lambda k: color.random_solarise(k, image, solarise_probability=0.3, solarise_threshold=0.5),
        2000,
    )
    solar = np.asarray(planes(np.where(IMAGE >= 0.5, 1.0 - IMAGE, IMAGE)))
    chosen = np.isclose(out, solar, atol=1e-6).all((1, 2, 3))
    np.testing.assert_array_equal(out[~chosen], np.broadcast_to(image, out[~chosen].shape))
    assert abs(chosen.mean() - 0.3) < 0.041


def test_intensity_follows_its_law():
    def draw(gain, gamma):
        image = jnp.full((1, 1, 1), 0.5)
        return draws(lambda k: color.random_intensity(k, image, gain=gain, gamma=gamma)).ravel()

    follows(draw(0.4, 0.0) / 0.5, 0.6, 1.4)
    follows(np.log(np.log(draw(0.0, 0.4)) / np.log(0.5)), -0.4, 0.4)
