"""Data sets by the library of the Hugging Face hub: the real one where it is installed.

Elsewhere a stand-in with the few names that the reader uses; the hub itself is never asked.
"""

import importlib.util
import io
import os
import re
import ssl
import sys
import types
import urllib.error
import urllib.request

import numpy as np
import PIL.Image
import pytest

from gca_jax.data import pictures, sources
from gca_jax.data.dataset import Streamed
from gca_jax.data.sources import hub, reading

INSTALLED = importlib.util.find_spec("datasets") is not None


def png(image):
    file = io.BytesIO()
    PIL.Image.fromarray(image).save(file, "png")
    return {"bytes": file.getvalue(), "path": None}


class Image:
    """The feature of that name."""

    def __init__(self, decode=True):
        self.decode = decode


class Split(list):
    """Rows, with what the reader asks of a `Dataset`."""

    def __init__(self, rows, features):
        super().__init__(rows)
        self.features = features

    def __getitem__(self, at):
        return [row[at] for row in self] if isinstance(at, str) else super().__getitem__(at)

    def cast_column(self, column, feature):
        assert not feature.decode
        return self

    def select_columns(self, names):
        return Split([{name: row[name] for name in names} for row in self], self.features)


def stand_in(made):
    """A module that "saves" to memory."""

    def load_dataset(path, subset):
        raise ConnectionError(f"Couldn't reach '{path}' on the Hub\nmore")

    module = types.ModuleType("datasets")
    module.load_from_disk, module.load_dataset = lambda path: made, load_dataset
    return module


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (40, 6, 6, 3), dtype=np.uint8)


@pytest.fixture
def save(tmp_path, images, monkeypatch):
    """Write splits of the images to a folder, as the library does."""

    def save(named=True, broken=None, **splits):
        pictures = [*map(png, images)]
        for i, instead in (broken or {}).items():
            pictures[i] = instead
        rows = {
            split: {
                "img": [pictures[i] for i in chosen],
                "y": [i % 2 if named else "yn"[i % 2] for i in chosen],
                "where": [f"place {i % 3}" for i in chosen],
            }
            for split, chosen in splits.items()
        }
        if INSTALLED:
            import datasets

            datasets.disable_progress_bars()
            kind = datasets.ClassLabel(names=["no", "yes"]) if named else datasets.Value("string")
            features = {"img": datasets.Image(), "y": kind, "where": datasets.Value("string")}
            made = {
                split: datasets.Dataset.from_dict(columns, features=datasets.Features(features))
                for split, columns in rows.items()
            }
            datasets.DatasetDict(made).save_to_disk(str(tmp_path))
        else:
            features = {
                "img": Image(),
                "y": types.SimpleNamespace(names=["no", "yes"]) if named else "string",
                "where": "string",
            }
            made = {
                split: Split(
                    [dict(zip(c, row, strict=True)) for row in zip(*c.values(), strict=True)],
                    features,
                )
                for split, c in rows.items()
            }
            (tmp_path / "dataset_dict.json").touch()
            monkeypatch.setitem(sys.modules, "datasets", stand_in(made))
        return str(tmp_path)

    return save


def load(path, **options):
    return sources.load("hf", **{"path": path, "image": "img", **options})


def test_splits_labels_and_domains(save, images):
    path = save(train=range(30), test=range(30, 40))
    data = load(path, label="y", domain="where")
    np.testing.assert_array_equal(data.train_images, images[:30])
    np.testing.assert_array_equal(data.test_images, images[30:])
    np.testing.assert_array_equal(data.train_labels, np.arange(30) % 2)
    np.testing.assert_array_equal(data.test_domains, np.arange(30, 40) % 3)
    assert data.class_names == ("no", "yes")
    assert data.domain_names == ("place 0", "place 1", "place 2")


def test_names_are_numbered_and_a_fifth_is_held_out(save, images):
    data = load(save(named=False, train=range(40)), label="y")
    assert (len(data.train_images), len(data.test_images)) == (32, 8)
    assert data.class_names == ("n", "y")
    known = {image.tobytes(): "yn"[i % 2] for i, image in enumerate(images)}
    for image, label in zip(data.test_images, data.test_labels, strict=True):
        assert known[image.tobytes()] == data.class_names[label]


def test_sizes_channels_and_limits(save, images):
    path = save(train=range(30), validation=range(30, 40))
    data = load(path, size=4, channels=1, limit=5)
    assert data.train_images.shape == data.test_images.shape == (5, 4, 4, 1)
    assert not data.labelled
    grey = np.asarray(PIL.Image.fromarray(images[29]).convert("L"))
    expected = PIL.Image.fromarray(grey).resize((4, 4), PIL.Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(data.train_images[-1, ..., 0], expected)


def test_what_does_not_fit_in_memory_is_decoded_as_it_is_needed(save, images, monkeypatch):
    monkeypatch.setattr(reading, "MEMORY_LIMIT", 0)
    path = save(train=range(40))
    data = load(path, size=4, label="y")
    assert isinstance(data.train_images, Streamed)
    assert data.train_images.shape == (32, 4, 4, 3)
    whole = {image.tobytes() for image in images}
    assert all(data.test_images.decode(i).tobytes() in whole for i in range(8))
    with pytest.raises(ValueError, match=r"does not fit in memory: say --config\.data\.size"):
        load(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": "picture"}, "there is no column 'picture'; there are: img, y, where: choose"),
        ({"label": "class"}, "there is no column 'class'"),
        ({"image": "where"}, "column 'where' holds "),
        ({"test": "dev"}, "has no split 'dev'; it has: train, test: choose with"),
        ({"size": 0}, "size must be an integer >= 1, got 0"),
        ({"path": None}, "name a data set with --config.data.path"),
    ],
)
def test_a_mistake_is_one_line(save, options, message):
    path = save(train=range(30), test=range(30, 40))
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        load(**{"path": path, **options})
    assert "\n" not in str(caught.value)


def test_images_of_two_sizes_name_the_row(save, images, monkeypatch):
    path = save(train=range(40))
    decode = pictures.pixels

    def cut(encoded, channels, side=None):
        image = decode(encoded, channels, side)
        return image[:5] if (image == images[7]).all() else image

    monkeypatch.setattr(reading, "pixels", cut)
    with pytest.raises(ValueError, match="split train, row 7: is of 5 x 6 pixels, not of 6 x 6"):
        load(path)


BROKEN = {0: None, 7: {"bytes": b"no picture", "path": None}}


def test_a_row_that_cannot_be_read_is_named(save):
    message = r"^split train, row 0: there is no image\. .* leave such images out with --config"
    for options in ({}, {"size": 6}):
        with pytest.raises(ValueError, match=message) as caught:
            load(save(train=range(40), broken=BROKEN), **options)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("streamed", [False, True])
def test_rows_that_cannot_be_read_are_counted_and_left_out(
    save, images, streamed, monkeypatch, capsys
):
    path = save(train=range(30), test=range(30, 40), broken=BROKEN)
    options = {"label": "y", "skip_unreadable": True}
    if streamed:
        monkeypatch.setattr(reading, "MEMORY_LIMIT", 0)
        options["size"] = 6
    data = load(path, **options)
    assert capsys.readouterr().out == (
        f"{path}: split train to train with, split test to test on\n"
        "note: split train: left out 2 of 30 images (unreadable): split train, row 0 (there is no "
        "image), split train, row 7 (is no picture)\n"
    )
    good = [i for i in range(30) if i not in BROKEN]
    found = data.train_images
    assert isinstance(found, Streamed) == streamed
    found = np.stack([found.decode(i) for i in range(28)]) if streamed else found
    np.testing.assert_array_equal(found, images[good])
    np.testing.assert_array_equal(data.train_labels, np.array(good) % 2)
    assert len(data.test_images) == 10


def test_a_split_without_a_picture_is_refused(save):
    path = save(train=range(4), broken=dict.fromkeys(range(4)))
    for size in (None, 6):
        with pytest.raises(ValueError, match="split train: none of its 4 images can be read"):
            load(path, size=size, skip_unreadable=True)


def test_what_cannot_be_opened_is_one_line(save, monkeypatch):
    save(train=range(4))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ValueError, match=r"^nobody/nothing cannot be opened: ") as caught:
        load("nobody/nothing")
    assert "\n" not in str(caught.value)


def test_where_the_hub_does_not_answer_its_cache_is_read_at_once(monkeypatch):
    answered = urllib.error.HTTPError("http://a.b", 405, "", None, None)
    faults, asked = iter((OSError("no route to host"), ssl.SSLError(), answered)), []

    def answer(request, timeout):
        assert timeout <= 10
        asked.append(request.full_url)
        raise next(faults)

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    monkeypatch.setenv("HF_HUB_OFFLINE", "")
    monkeypatch.setenv("HF_ENDPOINT", "http://a.b")
    monkeypatch.delitem(sys.modules, "datasets", raising=False)
    assert hub._go_offline() == "http://a.b cannot be reached (no route to host)"
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    assert hub._go_offline() is None  # as the user may have said
    for _ in range(2):  # what is no network is left to the library
        monkeypatch.setenv("HF_HUB_OFFLINE", "")
        assert hub._go_offline() is None
        assert not os.environ["HF_HUB_OFFLINE"]
    assert asked == ["http://a.b"] * 3
    monkeypatch.setitem(sys.modules, "datasets", stand_in(None))
    monkeypatch.setattr(hub, "_go_offline", lambda: "http://a.b cannot be reached (why)")
    with pytest.raises(ValueError, match=r"^nobody/x cannot be opened: http://a.b cannot .* cache"):
        load("nobody/x")


def test_without_the_library_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match=r"not installed: pip install 'datasets>=4'$"):
        load("anything")
