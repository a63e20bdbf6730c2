"""Each corruption against its formula, written out; and what all of them share."""

import colorsys
import io

import numpy as np
import PIL.Image
import pytest
from sklearn.datasets import load_digits, load_sample_images

from gca_jax.data import corruptions
from gca_jax.data.corruptions import CORRUPTIONS, SEVERITIES, corrupt

FLAT = np.full((40, 16, 16, 3), 128, np.uint8)
BLURS = {
    "gaussian_blur": (0.4, 0.6, 0.7, 0.8, 1.0),
    "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
}


def photographs(side, channels):
    """Eight crops of a photograph."""
    picture = PIL.Image.fromarray(load_sample_images().images[1])
    crops = [picture.crop((40 * k, 20 * k, 40 * k + 240, 20 * k + 240)) for k in range(8)]
    small = [crop.resize((side, side), PIL.Image.Resampling.BOX) for crop in crops]
    if channels == 1:
        return np.stack([np.asarray(image.convert("L"))[..., None] for image in small])
    return np.stack([np.asarray(image) for image in small])


def digits():
    return np.round(load_digits().images[:200, :, :, None] * (255 / 16)).astype(np.uint8)


IMAGES = {"digits": digits(), "grey": photographs(28, 1), "colour": photographs(32, 3)}


@pytest.mark.parametrize("severity", SEVERITIES)
def test_noise_has_the_published_strength(severity):
    """Standard deviations on the value 128/255, whose noise is not clipped but by impulses."""
    k, x = severity - 1, 128 / 255
    expected = {
        "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10)[k],
        "shot_noise": np.sqrt(x / (500, 250, 100, 75, 50)[k]),
        "speckle_noise": x * (0.06, 0.1, 0.12, 0.16, 0.2)[k],
    }
    for name, sd in expected.items():
        noisy = corrupt(FLAT, name, severity, 0) / 255
        assert noisy.mean() == pytest.approx(x, abs=0.003), name
        assert noisy.std() == pytest.approx(sd, rel=0.02), name
    impulses = corrupt(FLAT, "impulse_noise", severity, 0)
    share = (0.01, 0.02, 0.03, 0.05, 0.07)[k]
    for value in (0, 255):
        assert np.mean(impulses == value) == pytest.approx(share / 2, rel=0.15)
    assert set(np.unique(impulses)) == {0, 128, 255}


def kernel_of(name, severity):
    """The kernel at 32 pixels, on a grid of 9 x 9."""
    constant = BLURS[name][severity - 1]
    y, x = np.mgrid[-4:5, -4:5]
    if name == "gaussian_blur":
        kernel = np.exp(-(x**2 + y**2) / (2 * constant**2))
        reach = int(4 * constant + 0.5)
        kernel[(np.abs(x) > reach) | (np.abs(y) > reach)] = 0
        return kernel / kernel.sum()
    radius, smoothing = constant
    disk = (x**2 + y**2 <= radius**2) / np.sum(x**2 + y**2 <= radius**2)
    weights = {
        (i, j): np.exp(-(i**2 + j**2) / (2 * smoothing**2)) for i in (-1, 0, 1) for j in (-1, 0, 1)
    }
    shifted = sum(w * np.roll(disk, shift, (0, 1)) for shift, w in weights.items())
    return shifted / sum(weights.values())


def blurred(image, name, severity):
    """An image of [32, 32, c] in [0, 1], convolved by a loop."""
    kernel = kernel_of(name, severity)
    edge = "edge" if name == "gaussian_blur" else "reflect"
    padded = np.pad(image, ((4, 4), (4, 4), (0, 0)), mode=edge)
    moved = (kernel[i, j] * padded[i : i + 32, j : j + 32] for i in range(9) for j in range(9))
    return sum(moved)


@pytest.mark.parametrize("name", BLURS)
@pytest.mark.parametrize("severity", SEVERITIES)
def test_blurs_are_convolutions_at_32_pixels(name, severity):
    image = IMAGES["colour"][0]
    found = corrupt(image[None], name, severity, 0)[0]
    np.testing.assert_allclose(found, 255 * blurred(image / 255, name, severity), atol=0.501)


@pytest.mark.parametrize("name", BLURS)
def test_small_images_are_blurred_as_mosaics_of_32_pixels(name):
    image = IMAGES["digits"][3]
    mosaic = blurred(np.kron(image / 255, np.ones((4, 4, 1))), name, 5)
    expected = mosaic.reshape(8, 4, 8, 4, 1).mean(axis=(1, 3))
    found = corrupt(image[None], name, 5, 0)[0]
    np.testing.assert_allclose(found, 255 * expected, atol=0.501)


def test_lengths_grow_with_the_side():
    """A point of 3 x 3 pixels at 96 looks like one pixel at 32, but for the grid."""
    small = np.zeros((1, 32, 32, 1), np.uint8)
    small[0, 16, 16] = 255
    large = small.repeat(3, 1).repeat(3, 2)
    y, x = np.mgrid[:96, :96]
    for name in BLURS:
        seen = corrupt(large, name, 5, 0)[0, ..., 0].astype(float)
        spread = np.sum(seen * ((y - 49) ** 2 + (x - 49) ** 2)) / seen.sum()
        seen = corrupt(small, name, 5, 0)[0, ..., 0].astype(float)
        once = np.sum(seen * ((y[:32, :32] - 16) ** 2 + (x[:32, :32] - 16) ** 2)) / seen.sum()
        assert spread == pytest.approx(9 * once, rel=0.15), name
    boxes = corrupt(photographs(96, 1), "pixelate", 5, 0)
    assert max(len(np.unique(image)) for image in boxes) <= 20**2  # int(96 · 0.65 / 3) = 20
    assert len(np.unique(boxes[0], axis=0)) == 20


@pytest.mark.parametrize("severity", SEVERITIES)
def test_colours_are_those_of_hsv(severity):
    k = severity - 1
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
    image[0], image[1, 0] = image[0, :, :1], 0  # grey pixels, a black one
    lighter, richer = np.empty_like(image, float), np.empty_like(image, float)
    a, b = ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2))[k]
    for where in np.ndindex(5, 5):
        h, s, v = colorsys.rgb_to_hsv(*(image[where] / 255))
        lighter[where] = colorsys.hsv_to_rgb(h, s, min(1, v + (0.05, 0.1, 0.15, 0.2, 0.3)[k]))
        richer[where] = colorsys.hsv_to_rgb(h, np.clip(a * s + b, 0, 1), v)
    found = corrupt(image[None], "brightness", severity, 0)[0]
    np.testing.assert_allclose(found, 255 * lighter, atol=0.501)
    found = corrupt(image[None], "saturate", severity, 0)[0]
    np.testing.assert_allclose(found, 255 * richer, atol=0.501)


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("kind", ["digits", "grey", "colour"])
def test_contrast_pixelate_and_jpeg_of_one_image(kind, severity):
    k, image = severity - 1, IMAGES[kind][1]
    c, mean = (0.75, 0.5, 0.4, 0.3, 0.15)[k], image.mean(axis=(0, 1))
    found = corrupt(image[None], "contrast", severity, 0)[0]
    np.testing.assert_allclose(found, (image - mean) * c + mean, atol=0.501)
    pillow = PIL.Image.fromarray(image.squeeze())
    side = image.shape[0]
    size = [int(side * (0.95, 0.9, 0.85, 0.75, 0.65)[k])] * 2
    small = pillow.resize(size, PIL.Image.Resampling.BOX)
    expected = np.asarray(small.resize((side, side), PIL.Image.Resampling.BOX))
    found = corrupt(image[None], "pixelate", severity, 0)[0]
    np.testing.assert_array_equal(found.squeeze(), expected)
    file = io.BytesIO()
    pillow.save(file, "JPEG", quality=(80, 65, 58, 50, 40)[k])
    found = corrupt(image[None], "jpeg_compression", severity, 0)[0]
    np.testing.assert_array_equal(found.squeeze(), np.asarray(PIL.Image.open(file)))


def test_occlusion_hides_a_square_anywhere_and_leaves_the_rest():
    images = np.random.default_rng(0).integers(0, 100, (300, 20, 20, 1), dtype=np.uint8)
    for severity in SEVERITIES:
        hidden = corrupt(images, "occlusion", severity, 0)
        mask = hidden[..., 0] == 128
        side = round(np.sqrt(severity / 10) * 20)
        rows, columns = mask.any(axis=2), mask.any(axis=1)
        assert (rows.sum(axis=1) == side).all()
        assert (columns.sum(axis=1) == side).all()
        np.testing.assert_array_equal(mask, rows[:, :, None] & columns[:, None, :])
        np.testing.assert_array_equal(hidden[~mask], images[~mask])
        for first in (rows.argmax(axis=1), columns.argmax(axis=1)):
            assert set(first) == set(range(20 - side + 1))
    oblong = corrupt(np.zeros((1, 28, 14, 1), np.uint8), "occlusion", 5, 0)
    assert np.sum(oblong == 128) == 20 * 10  # of 392 pixels


@pytest.mark.parametrize("kind", IMAGES)
def test_error_grows_with_severity_and_shape_and_dtype_stay(kind):
    images = IMAGES[kind]
    before = images.copy()
    for name in corruptions.names(images.shape[-1]):
        errors = []
        for severity in SEVERITIES:
            found = corrupt(images, name, severity, 3)
            assert (found.dtype, found.shape) == (np.uint8, images.shape)
            errors.append(np.mean((found / 255.0 - images / 255.0) ** 2))
        assert min(errors) > 0, (name, errors)
        if name == "saturate" or (name, kind) == ("pixelate", "digits"):
            continue  # colour is taken away, then added; boxes of 8 x 8 lie now so, now so
        assert (np.diff(errors) >= -1e-6).all(), (name, errors)
        assert errors[-1] > errors[0], (name, errors)
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_same_seed_gives_the_same_pixels(name):
    images = IMAGES["colour"]
    first = corrupt(images, name, 3, 7)
    np.testing.assert_array_equal(corrupt(images, name, 3, 7), first)
    random = "noise" in name or name == "occlusion"
    for other in (corrupt(images, name, 3, 8), corrupt(images, name, 3, 7, part=1)):
        assert (other != first).any() == random


def test_grey_images_have_no_colour_to_saturate():
    assert set(CORRUPTIONS) - set(corruptions.names(1)) == {"saturate"}
    assert corruptions.names(3) == tuple(CORRUPTIONS)


@pytest.mark.parametrize(
    ("name", "severity", "channels", "message"),
    [
        ("rain", 1, 3, "unknown corruption 'rain'; one of: gaussian_noise, shot_noise"),
        ("contrast", 0, 3, "severity must be from 1 to 5, got 0"),
        ("contrast", 6, 3, "severity must be from 1 to 5, got 6"),
        ("saturate", 1, 1, "saturate cannot be applied to images of 1 channels"),
        ("contrast", 1, 2, "grey or RGB images, these have 2 channels"),
    ],
)
def test_what_cannot_be_corrupted_is_refused(name, severity, channels, message):
    with pytest.raises(ValueError, match=message):
        corrupt(np.zeros((2, 8, 8, channels), np.uint8), name, severity, 0)
