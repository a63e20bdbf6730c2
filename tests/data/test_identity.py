"""A run knows its data by what they hold: other content is refused, another place is not."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

import gca_jax
from gca_jax.data import arrays
from gca_jax.data.identity import identify
from gca_jax.data.images import ImageData
from gca_jax.data.pairs import pair
from gca_jax.data.sources import load, reading
from gca_jax.workdir import other_parts

RNG = np.random.default_rng(0)
A = RNG.normal(size=(60, 4))
B = A @ RNG.normal(size=(4, 4))
QUICK = {"train.steps": 3, "train.stop_by": "steps"}


def differing(one, other):
    """Names of the parts that differ."""
    return {part.split(":")[0] for part in other_parts(identify(one), identify(other)).split("; ")}


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({}, {""}),
        ({"name": "another"}, {""}),
        ({"seed": 1}, {"training_pairs", "validation_pairs", "test_pairs", "scaling"}),
        ({"test_fraction": 0.3}, {"training_pairs", "validation_pairs", "test_pairs", "scaling"}),
        ({"scaling": "whole"}, {"scaling"}),
        ({"labels": np.arange(60) % 2}, {"labels"}),
        ({"confidence": 0.5}, {"confidence"}),
    ],
)
def test_pairs_are_known_by_values_rows_and_scaling(changes, parts):
    assert differing(pair(A, B), pair(A.copy(), np.asfortranarray(B), **changes)) == parts


def test_one_changed_value_of_a_table_is_other_data():
    changed = B.copy()
    changed[-1, 0] += 1e-9
    assert "b" in differing(pair(A, B), pair(A, changed))


def folder(root, colour=0):
    """Eight pictures of two classes, all of one size in bytes."""
    for k in range(8):
        path = root / "ab"[k % 2] / f"{k}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (20 * k, colour, 0)).save(path)


@pytest.mark.parametrize("limit", [reading.MEMORY_LIMIT, 0])
def test_folders_are_known_by_content_not_by_place_or_time(tmp_path, monkeypatch, limit):
    """In memory and streamed."""
    monkeypatch.setattr(reading, "MEMORY_LIMIT", limit)
    monkeypatch.setattr("gca_jax.data.splits.TEST_SHARE", 0.5)
    folder(tmp_path / "d")

    def known(root):
        options = dict(root=str(root), size=4, data_dir=str(tmp_path / "index"))
        return ImageData(load("folder", **options), None)

    first = known(tmp_path / "d")
    (tmp_path / "d").rename(tmp_path / "e")
    os.utime(tmp_path / "e" / "a" / "0.bmp")
    assert differing(first, known(f"{tmp_path}/e/")) == {""}
    folder(tmp_path / "e", colour=255)  # as many bytes in every file
    assert {"train_images", "test_images"} == differing(first, known(tmp_path / "e"))
    shutil.copy(tmp_path / "e" / "a" / "0.bmp", tmp_path / "e" / "a" / "new.bmp")
    assert "train_images" in differing(first, known(tmp_path / "e"))


def test_arrays_are_known_by_images_labels_and_names():
    images = RNG.integers(0, 256, (20, 4, 4, 1), dtype=np.uint8)
    labels = np.repeat([0, 1], 10)
    first = ImageData(arrays(images, labels), None)
    assert differing(first, ImageData(arrays(images.copy(), labels, name="x"), None)) == {""}
    assert "train_labels" in differing(first, ImageData(arrays(images, labels[::-1]), None))
    assert differing(first, ImageData(arrays(images, labels + 1), None)) == {"class_names"}
    assert "test_images" in differing(first, ImageData(arrays(images ^ 1, labels), None))


def test_rows_of_tables_in_training_and_in_test_are_counted(capsys):
    pair(A, B)
    assert capsys.readouterr().out == ""
    pair(A, B, test=(A[:7], B[:7]), validation_fraction=0)
    assert "in 7 of 7 pairs that are evaluated" in capsys.readouterr().out
    pair(A, A.copy())
    assert "a and b are the same rows" in capsys.readouterr().out


@pytest.mark.slow
def test_align_never_returns_towers_of_other_data(tmp_path, capsys):
    def align(b=B, **data):
        return gca_jax.align(A, b, settings=QUICK, workdir=tmp_path / "w", **data)

    first = align()
    assert align().report["retrieval"] == first.report["retrieval"]
    for data in ({"seed": 1}, {"test_fraction": 0.4}, {"scaling": "whole"}, {"b": B + A}):
        with pytest.raises(ValueError, match=r"holds a run on other data .*(pairs|scaling|b): "):
            align(**data)
    (tmp_path / "w" / "identity.json").unlink()  # as of a run of before
    capsys.readouterr()
    align()
    assert "has no identity.json" in capsys.readouterr().out
    with pytest.raises(ValueError, match="other data"):
        align(seed=1)
