"""Pictures of every kind that folders hold, decoded to eight bits."""

import io

import numpy as np
import PIL.Image
import pytest

from gca_jax.data import pictures, sources
from tests.data import prepared


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


def test_a_folder_that_is_hidden_is_no_class(tmp_path):
    tree = {f"{split}/{name}": 3 for split in ("train", "test") for name in ("cat", "dog")}
    hidden = ".ipynb_checkpoints"
    prepared.write_folder(tmp_path / "p", tree | {f"train/{hidden}": 2, f"train/cat/{hidden}": 1})
    data = sources.load("folder", root=str(tmp_path / "p"), data_dir=str(tmp_path / "d"))
    assert data.class_names == ("cat", "dog")
    assert len(data.train_images) == 6
