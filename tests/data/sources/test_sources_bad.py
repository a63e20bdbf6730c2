"""Broken data sets: what is said, and what can be left out."""

import re

import numpy as np
import pytest

from gca_jax.data import sources
from tests.data import prepared

COMMAND = "python main.py --mode=prepare --config=configs/cifar10.py --config.data.data_dir="


def refused(message, name="cifar10", **options):
    """The message of the error that loading a set gives, which must hold some words."""
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        sources.load(name, **options)
    return str(caught.value)


def test_a_missing_set_says_where_it_looked_and_how_to_get_it(tmp_path):
    message = refused(f"it is not in {tmp_path}/cifar10/", data_dir=str(tmp_path))
    assert f"{COMMAND}{tmp_path}\n" in message
    assert "--config.data.data_dir=DIR" in message


def test_a_missing_corruption_is_prepared_by_its_own_name(tmp_path):
    prepared.write_tfds("cifar10", tmp_path)
    message = refused(
        f"it is not in {tmp_path}/cifar10_corrupted/fog_2/",
        "cifar10_corrupted",
        corruption="fog",
        severity=2,
        data_dir=str(tmp_path),
    )
    assert "--config=configs/cifar10_corrupted.py" in message


def test_half_of_a_set(tmp_path):
    _, where = prepared.write_tfds("cifar10", tmp_path)
    shard = next(where.glob("*-test.*"))
    shard.rename(tmp_path / "away")
    assert COMMAND in refused(f"half-prepared, {shard} is missing", data_dir=str(tmp_path))
    (where / "dataset_info.json").unlink()
    refused(f"half-prepared, {where}/dataset_info.json is missing", data_dir=str(tmp_path))
    # What TFDS leaves behind when its process is killed.
    where.rename(where.parent / f"incomplete.A1B2C3_{where.name}")
    refused("half-prepared, its preparation was cut off in", data_dir=str(tmp_path))


def test_a_format_that_needs_tensorflow(tmp_path):
    _, where = prepared.write_tfds("cifar10", tmp_path)
    info = where / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    refused("it is not array_record but tfrecord in", data_dir=str(tmp_path))


def test_a_corrupted_record(tmp_path, capsys):
    written, where = prepared.write_tfds("cifar10", tmp_path)
    shard = next(where.glob("*-train.*"))
    content = bytearray(shard.read_bytes())
    content[100:120] = bytes(20)  # inside the first record
    shard.write_bytes(content)
    message = refused(f"{shard}, record 0: ", data_dir=str(tmp_path))
    assert f"Delete {where} and prepare it again: {COMMAND}" in message
    assert "--config.data.skip_unreadable" in message
    data = sources.load("cifar10", data_dir=str(tmp_path), skip_unreadable=True)
    assert len(data.train_images) == len(data.train_labels) == 29
    assert "cifar10 (train): left out 1 of 30 images" in capsys.readouterr().out
    # Those that are left keep their labels.
    labels = {i.tobytes(): k for i, k in zip(*written["train"], strict=True)}
    found = [labels[image.tobytes()] for image in data.train_images]
    np.testing.assert_array_equal(found, data.train_labels)


def test_a_file_that_cannot_be_read_at_all(tmp_path):
    _, where = prepared.write_tfds("cifar10", tmp_path)
    next(where.glob("*-train.*")).write_bytes(b"nothing")
    options = dict(data_dir=str(tmp_path), skip_unreadable=True)
    refused("cifar10 (train): none of its 30 images can be read", **options)


SMALL = prepared.encode(np.zeros((28, 32, 3), np.uint8))
WHOLE = prepared.encode(prepared.picture(np.random.default_rng(0), 32, 32))


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (b"no picture", "is no picture"),
        (WHOLE[: len(WHOLE) // 2], "truncated"),
        (SMALL, "is of 28 x 32 pixels, not of 32 x 32"),
    ],
)
def test_a_wrong_image(stored, message, tmp_path, capsys):
    prepared.write_tfds("cifar10", tmp_path, spoil={("test", 7): stored, ("test", 3): stored})
    said = refused(message, data_dir=str(tmp_path))
    assert re.search(r"cifar10-test.array_record-00000-of-00001, record \d+: ", said)
    data = sources.load("cifar10", data_dir=str(tmp_path), skip_unreadable=True)
    assert len(data.test_images) == 10
    assert "cifar10 (test): left out 2 of 12 images" in capsys.readouterr().out


def test_a_label_outside_the_range(tmp_path):
    prepared.write_tfds("cifar10", tmp_path, labels=lambda i: -1 if i == 5 else i % 10)
    refused("has label -1, outside 0..9", data_dir=str(tmp_path))
    data = sources.load("cifar10", data_dir=str(tmp_path), skip_unreadable=True)
    assert len(data.train_images) == 29
    assert data.train_labels.min() == 0


def test_a_split_is_missing(tmp_path):
    prepared.write_tfds("stl10", tmp_path, {"train": 4, "test": 4})
    refused("has no split 'unlabelled'", "stl10", data_dir=str(tmp_path))


def test_a_broken_picture_of_imagenet(tmp_path, capsys):
    names = prepared.tfds.builder("imagenet2012").info.features["label"].names
    label = names.index("n02869837")
    sizes = {"train": 6, "validation": 4}
    broken = {("train", 2): b"no picture"}
    prepared.write_tfds("imagenet2012", tmp_path, sizes, lambda i: label, spoil=broken)
    for _ in range(2):  # the second time from the index
        refused("record", "imagenet100", data_dir=str(tmp_path))
        data = sources.load("imagenet100", data_dir=str(tmp_path), skip_unreadable=True)
        assert len(data.train_images) == len(data.train_labels) == 5
        assert "imagenet100 (train): left out 1 of 6 images" in capsys.readouterr().out


def test_a_label_of_imagenet_outside_the_range(tmp_path):
    names = prepared.tfds.builder("imagenet2012").info.features["label"].names
    label, sizes = names.index("n02869837"), {"train": 6, "validation": 4}
    prepared.write_tfds("imagenet2012", tmp_path, sizes, lambda i: -1 if i == 2 else label)
    refused("has label -1, outside 0..999", "imagenet100", data_dir=str(tmp_path))


@pytest.mark.usefixtures("unchecked")
def test_a_record_that_breaks_after_it_was_searched(tmp_path):
    names = prepared.tfds.builder("imagenet2012").info.features["label"].names
    label, sizes = names.index("n02869837"), {"train": 6, "validation": 4}
    _, where = prepared.write_tfds("imagenet2012", tmp_path, sizes, lambda i: label)
    data = sources.load("imagenet100", data_dir=str(tmp_path))
    shard = next(where.glob("*-train.*"))
    shard.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=re.escape(f"{shard}, record 3: ")):
        data.train_images.decode(3)
