"""Archives of arrays: the keys, and files that are none."""

import os
import re

import numpy as np
import pytest

from gca_jax.data import sources

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (40, 6, 5), dtype=np.uint8)
LABELS = np.arange(40) % 2


@pytest.fixture
def load(tmp_path):
    """Write the arrays to a file and load it."""

    def load(limit=None, **arrays):
        np.savez(tmp_path / "x.npz", **arrays)
        return sources.load("arrays", file=str(tmp_path / "x.npz"), limit=limit)

    return load


def test_images_alone(load):
    made = load(images=IMAGES)
    assert made.name == "arrays"
    assert not made.labelled
    assert made.train_images.shape == (32, 6, 5, 1)
    assert made.test_images.shape == (8, 6, 5, 1)


def test_every_key(load):
    parts = dict(images=IMAGES[:20], labels=LABELS[:20], domains=np.array(["a", "b"] * 10))
    test = dict(images=IMAGES[20:], labels=LABELS[20:], domains=np.array(["b", "b"] * 10))
    given = {
        f"{part}_{kind}": values[kind]
        for part, values in (("train", parts), ("test", test))
        for kind in values
    }
    made = load(**given, pretrain_images=IMAGES[:3])
    np.testing.assert_array_equal(made.train_images[..., 0], IMAGES[:20])
    np.testing.assert_array_equal(made.test_images[..., 0], IMAGES[20:])
    np.testing.assert_array_equal(made.pretrain_images[..., 0], IMAGES[:3])
    np.testing.assert_array_equal(made.train_labels, LABELS[:20])
    np.testing.assert_array_equal(made.test_labels, LABELS[20:])
    np.testing.assert_array_equal(made.train_domains, [0, 1] * 10)
    np.testing.assert_array_equal(made.test_domains, [1] * 20)
    assert made.domain_names == ("a", "b")


def test_a_limit_counts_for_each_part(load):
    made = load(images=IMAGES, labels=LABELS, limit=4)
    assert len(made.train_images) == len(made.train_labels) == len(made.test_images) == 4
    assert made.num_classes == 2


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            dict(x_train=IMAGES),
            "x.npz cannot be read: it has the keys x_train and must be an archive",
        ),
        (dict(labels=LABELS), "x.npz cannot be read: it has the keys labels and must be"),
        (
            dict(images=IMAGES, label=LABELS),
            "x.npz cannot be read: it has the keys images, label and must be",
        ),
        (
            dict(images=IMAGES, train_images=IMAGES),
            "x.npz cannot be read: it has the keys images, train_images",
        ),
        (
            dict(images=np.array([IMAGES, None], object)),
            "x.npz cannot be read: it holds Python objects: save numbers with",
        ),
        (dict(images=IMAGES, labels=LABELS[1:]), "x.npz: labels must be integers or names [40],"),
        (dict(images=IMAGES * 1.0), "x.npz: images are floats from 0 to 255"),
    ],
)
def test_an_archive_of_something_else(arrays, message, load, tmp_path):
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path}/{message}")) as caught:
        load(**arrays)
    assert len(str(caught.value).splitlines()) == 1


def test_files_that_are_no_archive(load, tmp_path):
    path = tmp_path / "y.npz"

    def refused(message):
        with pytest.raises(ValueError, match=re.escape(f"{path} {message}")):
            sources.load("arrays", file=str(path))

    refused("does not exist")
    os.mkfifo(path)
    refused("is not a file")
    path.unlink()
    path.write_text("words")
    refused("cannot be read: it is no archive of numpy.savez")
    load(images=IMAGES)
    whole = (tmp_path / "x.npz").read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused("cannot be read: it is no archive of numpy.savez")
    path.write_bytes(whole[:200] + bytes(100) + whole[300:])
    refused("cannot be read: Bad CRC-32")
    with pytest.raises(ValueError, match=r"name your file with --config.data.file=X.npz"):
        sources.load("arrays")
