"""Pictures of every kind and number of channels, decoded to eight bits and brought to a size."""

import io
import re

import numpy as np
import PIL.Image
import pytest

from gca_jax.data import pictures
from tests.data.prepared import npy, tiff


def png(array, mode=None, **options):
    buffer = io.BytesIO()
    picture = PIL.Image.fromarray(array)
    (picture if mode is None else picture.convert(mode)).save(buffer, "png", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_are_scaled(channels):
    grey = np.linspace(0, 2**16 - 1, 12).astype(np.uint16).reshape(3, 4)
    found = pictures.pixels(png(grey), channels)
    assert found.shape == (3, 4, channels)
    np.testing.assert_allclose(found, np.repeat(grey[..., None] / 257, channels, 2), atol=0.51)


def test_what_is_transparent_is_laid_on_white():
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[..., 0], rgba[..., 3] = 200, [[0, 51], [255, 255]]
    opacity = rgba[..., 3:] / 255
    want = rgba[..., :3] * opacity + 255 * (1 - opacity)
    np.testing.assert_allclose(pictures.pixels(png(rgba), 3), want, atol=1)
    grey = np.array([[[90, 0], [90, 255]]], np.uint8)
    np.testing.assert_array_equal(pictures.pixels(png(grey), 1)[..., 0], [[255, 90]])
    # One colour of a picture without an alpha channel may be transparent too.
    rgb = np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)
    found = pictures.pixels(png(rgb, transparency=(1, 2, 3)), 3)
    np.testing.assert_array_equal(found, [[[255, 255, 255], [4, 5, 6]]])


@pytest.fixture
def five():
    return np.random.default_rng(0).integers(0, 256, (6, 8, 5), dtype=np.uint8)


def test_one_picture_in_every_form(five):
    pages = np.moveaxis(five, 2, 0)
    wide = five.astype(np.uint16) * 257
    forms = [npy(five), npy(pages), npy(five / 255), npy(wide), tiff(*pages)]
    forms.append(tiff(*np.moveaxis(wide, 2, 0)))
    for encoded in forms:
        np.testing.assert_array_equal(pictures.pixels(encoded, 5), five)


def test_four_bands_are_taken_as_they_are():
    """And not laid on white, as a picture with transparency is."""
    rgba = np.random.default_rng(0).integers(0, 256, (6, 8, 4), dtype=np.uint8)
    np.testing.assert_array_equal(pictures.pixels(tiff(rgba), 4), rgba)
    np.testing.assert_array_equal(pictures.pixels(npy(rgba[..., :3]), 3), rgba[..., :3])


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        (npy(np.zeros((6, 8, 4), np.uint8)), "is [6, 8, 4], not [h, w, 5] as data.channels has it"),
        (npy(np.zeros((6, 8, 5), np.int64)), "is of int64, not of uint8, uint16 or floats"),
        (npy(np.full((6, 8, 5), 2.0)), "has floats from 2 to 2, they must lie in [0, 1]"),
        (npy(np.full((6, 8, 5), np.nan)), "they must lie in [0, 1]"),
        (npy(np.array([{}], object)), "pickle"),
        (npy(np.zeros((6, 8, 5), np.uint8))[:-9], "expected 240 bytes got 231"),
        (pictures.ARRAY, "EOF"),
        (b"no picture", "is no picture that Pillow reads: save it as .npy [h, w, c]"),
        (tiff(*[np.zeros((4, 4), np.uint8)] * 2), "has 2 pages, not 5 as data.channels has it"),
        (tiff(*(np.zeros((4, 4 + k // 4), np.uint8) for k in range(5))), "5 pages, which are not"),
        (npy(np.zeros((6, 6, 5), np.uint8)).replace(b"5), }", b"5(, }"), "is no picture"),
        (npy(np.zeros((6, 6, 5), np.uint8)).replace(b"(6, 6", b"((((" * 90), "is no picture"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(encoded, message):
    with pytest.raises(OSError, match=re.escape(message)) as caught:
        pictures.pixels(encoded, 5)
    assert "\n" not in str(caught.value).strip()


def test_each_channel_is_resized_as_a_grey_picture(five):
    found = pictures.resize(five, 3, 4)
    for k in range(5):
        plane = PIL.Image.fromarray(five[..., k]).resize((3, 4), PIL.Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(found[..., k], plane)
