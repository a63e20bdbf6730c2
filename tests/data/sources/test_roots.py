"""What a typed path names: several folders, patterns, one picture."""

import re

import numpy as np
import pytest

from gca_jax.data.sources import tree
from tests.data import prepared


def test_several_folders_are_read_as_if_their_content_lay_in_one(tmp_path, load):
    both = {"one": {"cat": 6, "dog": 6}, "far/two": {"dog": 5, "owl": 5}}
    for folder, counts in both.items():
        prepared.write_folder(tmp_path / folder, counts)
    data = load(root=f"{tmp_path}/one, {tmp_path}/far/two")
    assert data.class_names == ("cat", "dog", "owl")
    assert data.train_domains is None
    labels = np.concatenate([data.train_labels, data.test_labels])
    assert np.bincount(labels).tolist() == [6, 11, 5]


def test_splits_of_several_folders(tmp_path, load, refused):
    for folder in ("one", "far/two"):
        prepared.write_folder(tmp_path / folder, {"train/cat": 4, "test/cat": 2})
    one, two = tmp_path / "one", tmp_path / "far/two"
    data = load(root=f"{one},{two}")
    assert (len(data.train_images), len(data.test_images)) == (8, 4)
    # Test pictures are none to train with, however they are named.
    for root in (f"{one}/train,{two}/test", f"{one}/t*"):
        data = load(root=root)
        assert (len(data.train_images), len(data.test_images)) == (4, 2)
        assert data.class_names == ("cat",)
    refused("has folders of splits and others", root=f"{one}/train,{one}/test,{two}/test/cat")
    refused("has only ['train']", root=f"{one}/trai?")


@pytest.mark.parametrize("pattern", ["*/*.*g", "*", "**/*.*g", "[cd]*", "**"])
def test_folders_that_a_pattern_matches_mean_what_they_mean(root, pattern):
    """And each picture is read once, whatever links to it."""
    prepared.write_folder(root, {"cat": 3, "dog": 2})
    (root / "cat/loop").symlink_to("../dog")
    (root / "dog/loop").symlink_to("../cat")
    found, whole = tree.scan(root / pattern), tree.scan(root)
    assert (found.files, found.classes) == (whole.files, whole.classes)
    assert len(found.files) == 5


def test_a_pattern_leaves_out_what_does_not_match(root):
    prepared.write_folder(root, {"cat": 3, "dog": 2})
    assert tree.scan(f"{root}/*/0000.*").files == ("cat/0000.png", "dog/0000.png")
    assert tree.scan(f"{root}/dog/*,{root}/cat/0001.jpg", labelled=False).files == (
        "cat/0001.jpg",
        "dog/0000.png",
        "dog/0001.jpg",
    )


def test_one_picture(root):
    prepared.write_folder(root, {"cat": 3})
    found = tree.scan_any(root / "cat/0001.jpg", "--images")
    assert (found.files, found.root) == (("0001.jpg",), root / "cat")
    assert str(found).startswith(f"{root}/cat/0001.jpg: 1 picture, ")


@pytest.mark.parametrize("name", ["a,b", "[x]*", "a?"])
def test_a_folder_that_exists_is_no_pattern(tmp_path, name):
    prepared.write_folder(tmp_path / name, {"cat": 2})
    assert tree.scan(tmp_path / name).root == tmp_path / name


def test_mistakes_are_one_line(root, refused):
    prepared.write_folder(root, {"cat": 3})
    (root / "notes.txt").touch()
    refused(f"there is no folder {root}/none; name yours with", root=f"{root},{root}/none")
    refused("there is no folder ''; name yours with", root=f"{root},")
    refused(f"nothing in {root} matches *.gif; name yours with", root=f"{root}/*.gif")
    refused(f"{root}/cat lies in {root}, which is named too", root=f"{root},{root}/cat")
    refused("1 images are too few to hold out", root=f"{root}/cat/0000.png")
    with pytest.raises(ValueError, match=re.escape(f"no pictures in {root}/notes.txt or below")):
        tree.scan_any(root / "notes.txt", "--images")
