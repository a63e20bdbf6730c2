"""Folders of pictures without labels, with a labelled one beside them, and how trees are read."""

import os

import numpy as np

from gca_jax.data.dataset import Streamed
from gca_jax.data.sources import reading, tree
from tests.data import prepared

CLASSES = {f"{split}/{name}": 4 for split in ("train", "test") for name in ("cat", "dog")}


def contents(*images):
    return sorted(image.tobytes() for part in images for image in part)


def test_pictures_in_root_itself_have_no_labels(root, load, capsys):
    written = prepared.write_folder(root, {".": 20})
    data = load()
    assert f"{root}: 20 pictures, no splits, no domains, no classes\n" in capsys.readouterr().out
    assert not data.labelled
    assert data.num_classes == 0
    assert data.class_names is data.pretrain_labels is None
    assert (len(data.train_images), len(data.test_images)) == (16, 4)
    assert data.pretrain_images is data.train_images
    assert contents(data.train_images, data.test_images) == contents(written.values())


def test_any_depth_if_the_user_says_so(root, load, refused):
    written = prepared.write_folder(root, {"a": 5, "a/b/c/d": 4, "e": 1})
    refused(f"{root}/a/b/c/d/0000.png lies 4 folders deep, {root}/a/0000.png 1: ")
    data = load(labelled=False)
    assert not data.labelled
    assert contents(data.train_images, data.test_images) == contents(written.values())


def test_folders_of_splits_are_no_classes(root, load):
    written = prepared.write_folder(root, {"train": 5, "val": 2})
    data = load()
    assert not data.labelled
    for images, part in ((data.train_images, "train/"), (data.test_images, "val/")):
        expected = [image for name, image in written.items() if name.startswith(part)]
        np.testing.assert_array_equal(images, expected)
    assert load(labelled=True, limit=1).class_names == ("train", "val")


def test_splits_and_classes_may_be_read_without_labels(root, load, capsys):
    prepared.write_folder(root, CLASSES)
    assert load().labelled
    hint = "2 classes (cat, dog); if these folders are no classes, say --config.data.labelled=False"
    assert hint in capsys.readouterr().out
    data = load(labelled=False)
    out = capsys.readouterr().out
    assert "2 splits (test, train), no domains, no classes\n" in out
    assert not data.labelled
    assert (len(data.train_images), len(data.test_images)) == (8, 8)


def test_a_folder_of_a_split_beside_others_is_ambiguous(root, load, refused):
    prepared.write_folder(root, {"train": 5, "cat": 5})
    refused("splits and others: train, cat; if all are classes, say --config.data.labelled=T")
    assert load(labelled=True).class_names == ("cat", "train")


def test_domains_of_unlabelled_pictures(root, load, refused):
    prepared.write_folder(root, {"art": 5, "photo/2021": 10, "photo/2022": 5})
    data = load(labelled=False, domains=True)
    assert data.domain_names == ("art", "photo")
    np.testing.assert_array_equal(np.bincount(data.train_domains), [4, 12])
    np.testing.assert_array_equal(np.bincount(data.test_domains), [1, 3])
    held_out = load(labelled=False, domains=True, held_out="art")
    assert (len(held_out.train_images), set(held_out.test_domains)) == (15, {0})
    prepared.write_folder(root, {".": 1})
    message = f"config.data.domains is True, but {root}/0000.png lies in no folder of a domain"
    refused(message, labelled=False, domains=True)


def test_hidden_folders_and_links_in_a_circle_are_not_read(root, load):
    prepared.write_folder(root, {"cat": 5, "dog": 5, ".ipynb_checkpoints": 2, "dog/.thumbs": 2})
    (root / "dog/all").symlink_to(root)
    data = load()
    assert data.class_names == ("cat", "dog")
    assert len(data.train_images) + len(data.test_images) == 10


def test_a_pipe_and_a_name_that_is_no_text_are_refused(root, refused):
    prepared.write_folder(root, {".": 6})
    os.mkfifo(root / "pipe.png")
    refused(f"{root}/pipe.png: is a pipe or a device, not a picture. Replace or delete the file")
    os.rename(root / "pipe.png", os.fsencode(root) + b"/\xff.png")
    (root / "0000.png").replace(os.fsdecode(os.fsencode(root) + b"/\xff.png"))
    refused(f"b'{root}/\\xff.png' is not UTF-8: rename it")


def test_a_labelled_folder_serves_the_probes(tmp_path, root, load, capsys):
    written = prepared.write_folder(root, {".": 6, "any/where": 4})
    labelled = prepared.write_folder(tmp_path / "labelled", CLASSES, seed=1)
    data = load(labelled_root=str(tmp_path / "labelled"))
    said = f"pretraining on {root}: 10 pictures, no splits, no domains, no classes; probes on "
    assert said in capsys.readouterr().out
    assert contents(data.pretrain_images) == contents(written.values())
    assert data.pretrain_labels is data.pretrain_domains is None
    assert data.class_names == ("cat", "dog")
    for images, labels, part in (
        (data.train_images, data.train_labels, "train/"),
        (data.test_images, data.test_labels, "test/"),
    ):
        names = sorted(name for name in labelled if name.startswith(part))
        np.testing.assert_array_equal(images, [labelled[name] for name in names])
        np.testing.assert_array_equal(labels, ["dog" in name for name in names])


def test_test_pictures_of_the_probes_are_not_pretrained_on(root, load):
    written = prepared.write_folder(
        root, {"more": 3, **{f"some/{k}": n for k, n in CLASSES.items()}}
    )
    data = load(labelled_root=str(root / "some"))
    test = [image for name, image in written.items() if name.startswith("some/test/")]
    assert contents(data.test_images) == contents(test)
    assert contents(data.pretrain_images, test) == contents(written.values())
    # Nor what root itself calls test pictures.
    data = load(root=str(root / "some"), labelled_root=str(root / "some"))
    np.testing.assert_array_equal(data.pretrain_images, data.train_images)


def test_domains_of_both_folders_have_one_numbering(tmp_path, root, load):
    prepared.write_folder(root, {"photo": 5, "art": 5})
    prepared.write_folder(tmp_path / "labelled", {f"{d}/cat": 5 for d in ("photo", "clipart")})
    data = load(labelled_root=str(tmp_path / "labelled"), domains=True)
    assert data.domain_names == ("art", "clipart", "photo")
    assert set(data.pretrain_domains) == {0, 2}
    assert set(data.train_domains) == set(data.test_domains) == {1, 2}


def test_both_folders_have_one_size_and_stream_together(tmp_path, root, load, monkeypatch, refused):
    prepared.write_folder(root, {".": 5}, size=(20, 20))
    prepared.write_folder(tmp_path / "labelled", CLASSES)
    labelled = str(tmp_path / "labelled")
    other = f"{root}/0000.png: is of 20 x 20 pixels, not of 24 x 24. Bring all to one size with"
    refused(other, labelled_root=labelled)
    monkeypatch.setattr(reading, "MEMORY_LIMIT", 21 * 8 * 8 * 3)
    assert isinstance(load(labelled_root=labelled, size=8).pretrain_images, np.ndarray)
    monkeypatch.setattr(reading, "MEMORY_LIMIT", 21 * 8 * 8 * 3 - 1)
    data = load(labelled_root=labelled, size=8, limit=2)
    for images in (data.pretrain_images, data.train_images, data.test_images):
        assert isinstance(images, Streamed)
        assert len(images) == 2


def test_mistakes_about_the_labelled_folder(tmp_path, root, refused):
    prepared.write_folder(root, {".": 5})
    prepared.write_folder(tmp_path / "other", {"train": 5, "test": 5})
    refused(
        "there is no folder /none; name yours with --config.data.labelled_root=DIR",
        labelled_root="/none",
    )
    refused(f"{root} is no labelled_root: its pictures are in no", labelled_root=str(root))
    other = str(tmp_path / "other")
    refused(f"{other} is no labelled_root: its pictures are in no", labelled_root=other)
    refused("labelled is True, but with labelled_root", labelled_root=other, labelled=True)
    refused(f"{root}/0000.png lies 0 folders deep: pictures with labels", labelled=True)


def test_too_few_pictures_to_hold_any_out(root, load, refused):
    prepared.write_folder(root, {"cat": 2, "dog": 2})
    refused("4 images are too few to hold out 20% of each class and domain")
    assert len(load(labelled=False).test_images) == 1


def test_a_long_list_of_classes_is_cut(root):
    prepared.write_folder(root, {f"class{k}": 1 for k in range(7)})
    assert str(tree.scan(root)).endswith("7 classes (class0, class1, class2, class3, class4, ...)")


def test_what_there_is_one_of_is_in_the_singular(root):
    prepared.write_folder(root, {"train/art/cat": 1})
    said = "1 picture, 1 split (train), 1 domain (art), 1 class (cat)"
    assert str(tree.scan(root)) == f"{root}: {said}"
