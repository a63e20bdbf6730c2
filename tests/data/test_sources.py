"""Data sets: what is in them, and what is said where one is missing."""

import io
import pathlib

import numpy as np
import pytest
from sklearn.datasets import load_digits

from gca_jax.data import sources


def test_digits_are_all_there_once():
    data = sources.load("digits")
    assert data.train_images.shape == (1437, 8, 8, 1)
    assert data.test_images.shape == (360, 8, 8, 1)
    assert data.train_images.dtype == np.uint8
    assert data.train_labels.dtype == np.int32
    assert data.num_classes == 10
    raw = load_digits()
    ours = np.concatenate([data.train_images, data.test_images]).reshape(1797, 64)
    labels = np.concatenate([data.train_labels, data.test_labels])
    ours = np.concatenate([np.round(ours * (16 / 255)), labels[:, None]], axis=1)
    theirs = np.concatenate([raw.data, raw.target[:, None]], axis=1)
    np.testing.assert_array_equal(ours[np.lexsort(ours.T)], theirs[np.lexsort(theirs.T)])


def test_digits_split_is_stratified_and_fixed():
    data, again = sources.load("digits"), sources.load("digits")
    np.testing.assert_array_equal(data.test_images, again.test_images)
    share = np.bincount(data.test_labels) / np.bincount(
        np.concatenate([data.train_labels, data.test_labels])
    )
    assert np.abs(share - 360 / 1797).max() < 0.005


def test_unknown_name_lists_the_right_ones():
    with pytest.raises(ValueError, match="unknown data set 'mnist'; one of: digits, cifar10"):
        sources.load("mnist")


def test_missing_cifar10_says_where_it_looked_and_how_to_get_it(tmp_path):
    with pytest.raises(ValueError, match="cannot be read") as caught:
        sources.load("cifar10", data_dir=str(tmp_path))
    message = str(caught.value)
    assert f"not in {tmp_path}/cifar10/" in message
    command = "python main.py --mode=prepare --config=configs/cifar10.py"
    assert f"{command} --config.data.data_dir={tmp_path}" in message


def prepare(folder: pathlib.Path, train: int, test: int):
    """A data set of random images, laid out on disk as TFDS prepares CIFAR-10."""
    import PIL.Image
    import tensorflow_datasets as tfds

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (train + test, 32, 32, 3), dtype=np.uint8)

    def rows(first, count):
        for i in range(first, first + count):
            png = io.BytesIO()
            PIL.Image.fromarray(images[i]).save(png, "png")
            yield f"{i:05d}", {"id": str(i), "image": png.getvalue(), "label": i % 10}

    features = tfds.features.FeaturesDict(
        {
            "id": tfds.features.Text(),
            "image": tfds.features.Image(shape=(32, 32, 3)),
            "label": tfds.features.ClassLabel(num_classes=10),
        }
    )

    class Cifar10(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.builder_cls("cifar10").VERSION

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):
            return {"train": rows(0, train), "test": rows(train, test)}

        def _generate_examples(self):
            raise NotImplementedError

    builder = Cifar10(data_dir=str(folder))
    builder.download_and_prepare(file_format="array_record")
    return images, pathlib.Path(builder.data_path)


def test_cifar10_is_read_without_tensorflow(tmp_path, capsys):
    import sys

    images, where = prepare(tmp_path, train=30, test=12)
    data = sources.load("cifar10", data_dir=str(tmp_path))
    assert "tensorflow" not in sys.modules
    assert data.train_images.shape == (30, 32, 32, 3)
    assert data.test_labels.shape == (12,)
    assert data.num_classes == 10
    # The reader keeps TFDS's own order, which is shuffled: compare as sets, with the labels.
    at = {image.tobytes(): i for i, image in enumerate(images)}
    found = [at[image.tobytes()] for image in data.train_images]
    assert sorted(found) == list(range(30))
    np.testing.assert_array_equal(np.array(found) % 10, data.train_labels)

    info = where / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    with pytest.raises(ValueError, match="it is not array_record but tfrecord in"):
        sources.load("cifar10", data_dir=str(tmp_path))
