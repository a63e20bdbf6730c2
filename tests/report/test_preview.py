"""The sheet shows the set's own images, and the views that training would see."""

import types

import numpy as np
import PIL.Image

from gca_jax.data import corruptions, sources
from gca_jax.data.dataset import Dataset, Streamed
from gca_jax.data.images import ImageData
from gca_jax.data.views import augment
from gca_jax.experiment import build
from gca_jax.report import preview


def test_sheet_is_written_for_an_experiment(tiny, tmp_path):
    path = preview.preview(build(tiny()), tmp_path / "new")
    assert path == tmp_path / "new" / "preview_digits.png"
    with PIL.Image.open(path) as picture:
        assert picture.size == (820, 300)
        assert np.asarray(picture.convert("L")).std() > 30


def test_without_a_folder_the_sheet_is_written_here(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert preview.preview(build(tiny())).resolve() == tmp_path / "preview_digits.png"


def test_a_sheet_shows_an_image_in_all_corruptions(tiny, tmp_path):
    experiment = build(tiny())
    path = preview.preview_corruptions(experiment, tmp_path / "new")
    assert path == tmp_path / "new" / "corruptions.png"
    panels = preview.corruption_sheet(experiment.data.dataset.test_images[:1], 5).axes
    rows = np.array(panels).reshape(11, 6)
    names = [line[0].get_ylabel().replace("\n", "_") for line in rows]
    assert names == list(corruptions.names(1))
    clean = experiment.data.dataset.test_images[:1]
    shown = rows[names.index("contrast"), 5].images[0].get_array()[..., 0]
    expected = corruptions.corrupt(clean, "contrast", 5, 5)[0, ..., 0]
    np.testing.assert_allclose(shown, expected / 255)


def test_examples_are_images_of_the_set_and_its_views_with_values_as_stored():
    data = sources.load("digits")
    # No distortion at all: views are the images, and normalising has been undone.
    off = dict(rotation=0.0, shift=0.0, scale=0.0, shear=0.0, gain=0.0, gamma=0.0)
    policy = augment.make("digits", mean=(0.3,), std=(0.4,), erase_probability=0.0, **off)
    shown, a, b = preview.examples(ImageData(data, policy), 0)
    assert len(shown) == preview.SHOWN
    stored = {image.tobytes() for image in data.train_images}
    assert all(np.uint8(np.round(image * 255)).tobytes() in stored for image in shown)
    np.testing.assert_allclose(a, shown, atol=1e-5)
    np.testing.assert_allclose(b, shown, atol=1e-5)


def test_views_of_streamed_images_are_crops_of_the_whole_images():
    """Two crops of each image are made from its whole, of which the centre shows only a part."""
    whole = np.zeros((40, 40, 3), np.uint8)
    whole[:, 30:] = 255  # to the right of the centre

    class Whole(Streamed):
        def decode(self, i, side=None):
            return whole

        def __getitem__(self, rows):
            return np.zeros((len(rows), 16, 16, 3), np.uint8)

    images = Whole(records=types.SimpleNamespace(), positions=np.arange(4), size=16)
    policy = augment.make("cifar", mean=(0.0,) * 3, std=(1.0,) * 3, crop_scale=(1.0, 1.0))
    data = Dataset("whole", images, None, images, None, 0)
    shown, a, b = preview.examples(ImageData(data, policy), 0)
    assert len(shown) == 4
    assert not shown.any()
    for view in (a, b):
        assert view.shape == (4, 16, 16, 3)
        assert np.all(view.max((1, 2, 3)) > 0.3)
