"""A run knows its data by what they hold: other content is refused, another place is not."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

import gca_jax
from gca_jax import commands
from gca_jax.data import arrays
from gca_jax.data.dataset import Dataset, Streamed
from gca_jax.data.identity import identify, in_words
from gca_jax.data.images import ImageData
from gca_jax.data.pairs import pair
from gca_jax.data.sources import load, reading
from gca_jax.experiment import build
from gca_jax.files import write_checksums
from gca_jax.training.train import train
from gca_jax.workdir import RunFolder, other_parts
from tests import saved

RNG = np.random.default_rng(0)
A = RNG.normal(size=(60, 4))
B = A @ RNG.normal(size=(4, 4))
SPLITS = ("test", "validation")
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


def test_words_name_the_rows_of_each_part_and_change_with_any_value():
    known = identify(pair(A, B))
    assert in_words(known).endswith(
        "(a 60, b 60, training pairs 43, validation pairs 5, test pairs 12)"
    )
    changed = B.copy()
    changed[-1, 0] += 1e-9
    assert in_words(known) == in_words(identify(pair(A.copy(), B)))
    assert in_words(known)[:8] != in_words(identify(pair(A, changed)))[:8]


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


class Records(list):
    """Encoded pictures, as TFDS and the hub have them; None cannot be read."""

    def __getitem__(self, position):
        return {"image": super().__getitem__(position)}


def test_pictures_that_are_read_from_records_are_known_by_some_of_them():
    def known(*encoded):
        streamed = Streamed(Records(encoded), np.arange(len(encoded)), 4)
        return ImageData(Dataset("x", streamed, None, streamed, None, 0), None)

    assert differing(known(b"a", b"b", None), known(b"a", b"b", None)) == {""}
    assert differing(known(b"a", b"b"), known(b"a", b"c")) == {"train_images", "test_images"}
    assert differing(known(b"a", b"b"), known(b"a", None)) == {"train_images", "test_images"}


def test_arrays_are_known_by_images_labels_and_names():
    images = RNG.integers(0, 256, (20, 4, 4, 1), dtype=np.uint8)
    labels = np.repeat([0, 1], 10)
    first = ImageData(arrays(images, labels), None)
    assert differing(first, ImageData(arrays(images.copy(), labels, name="x"), None)) == {""}
    assert "train_labels" in differing(first, ImageData(arrays(images, labels[::-1]), None))
    assert differing(first, ImageData(arrays(images, labels + 1), None)) == {"class_names"}
    assert "test_images" in differing(first, ImageData(arrays(images ^ 1, labels), None))


def images(seed=0, count=40):
    """Arrays of two classes as `experiment.build` takes them."""
    rng = np.random.default_rng(seed)
    pictures = rng.integers(0, 256, (count, 8, 8, 1), dtype=np.uint8)
    return {"images": pictures, "labels": np.arange(count) % 2}


def test_a_data_set_that_is_given_in_python_is_known(tmp_path, tiny):
    def experiment(**data):
        return build(tiny(), dataset=arrays(**images(**data)))

    first = experiment()
    saved.save(first, tmp_path, first.identity)
    for own in (first, experiment()):
        RunFolder.open(tmp_path, own.record).refuse_other_data(own.identity)
    for other in (experiment(seed=1), experiment(count=60)):
        with pytest.raises(ValueError, match="holds a run on other data and is left as it is"):
            train(other, RunFolder.open(tmp_path, other.record))
    # Cut, the file is as good as gone: a checkpoint has it too.
    (tmp_path / "identity.json").write_text("{")
    assert RunFolder(tmp_path).identity == first.identity
    assert RunFolder(tmp_path).damage is None


def test_data_are_known_whatever_the_split_that_they_are_evaluated_on(tmp_path, tiny, capsys):
    file = tmp_path / "x.npz"
    config = {
        split: tiny(**{"data.file": str(file), "evaluation.split": split}) for split in SPLITS
    }
    np.savez(file, **images())
    for own, asked in (SPLITS, SPLITS[::-1]):
        folder, run = tmp_path / own, build(config[own])
        saved.save(run, folder, run.identity)
        other = build(config[asked])
        assert other_parts(run.identity, other.identity)
        found = commands.identity_as_split(other, RunFolder(folder))
        assert found == run.identity
    assert capsys.readouterr().out.count("what is measured on them is no test") == 1
    np.savez(file, **images(seed=1))
    for own, asked in (SPLITS, SPLITS[::-1]):
        typed = commands.Command(config[asked], str(tmp_path / own), changed=("evaluation.split",))
        with pytest.raises(ValueError, match="holds a run on other data"):
            commands.evaluate(typed)


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
    (tmp_path / "w" / "identity.json").unlink()
    with pytest.raises(ValueError, match="holds a run on other data"):  # the checkpoint knows it
        align(seed=1)
    align()
    assert (tmp_path / "w" / "identity.json").exists()
    (tmp_path / "w" / "identity.json").unlink()  # as of a run of before
    for step in (tmp_path / "w" / "checkpoints").iterdir():
        shutil.rmtree(step / "identity")
        (step / "checksums.json").unlink()
        write_checksums(step.parent)
    capsys.readouterr()
    align()
    assert "has no identity.json" in capsys.readouterr().out
    with pytest.raises(ValueError, match="other data"):
        align(seed=1)
