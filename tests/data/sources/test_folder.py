"""Folders of pictures: splits, classes, domains, sizes, and what can be wrong with them."""

import json
import os
import pickle

import numpy as np
import PIL.Image
import pytest

from gca_jax import distributed
from gca_jax.data import pictures, sources
from gca_jax.data.dataset import Streamed
from gca_jax.data.sources import in_place, reading, tree
from tests.data import prepared

SPLITS = {"train/cat": 5, "train/dog": 4, "test/cat": 2, "test/dog": 3}
DOMAINS = {f"{d}/{c}": 10 for d in ("art", "photo", "sketch") for c in ("cat", "dog")}


def test_splits_and_classes(root, load):
    written = prepared.write_folder(root, SPLITS)
    data = load()
    assert data.class_names == ("cat", "dog")
    assert data.num_classes == 2
    assert data.domain_names is data.train_domains is data.test_domains is None
    for split, images, labels in (
        ("train", data.train_images, data.train_labels),
        ("test", data.test_images, data.test_labels),
    ):
        names = sorted(name for name in written if name.startswith(split))
        np.testing.assert_array_equal(images, np.stack([written[name] for name in names]))
        assert labels.dtype == np.int32
        np.testing.assert_array_equal(labels, ["dog" in name for name in names])


def test_arrays_beside_rgb_pictures_are_counted(root, load, capsys):
    prepared.write_folder(root, SPLITS)
    for name in ("train/cat/extra.npy", ".hidden.npy"):
        (root / name).touch()
    os.mkfifo(root / "more.NPY")  # nor is it opened
    assert len(load().train_images) == 9
    said = f"note: left out of {root}: 2 .npy (.npy is read with --config.data.channels=C)\n"
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("held_out", ["art", "photo", "sketch"])
def test_one_domain_is_left_out(held_out, root, load):
    written = prepared.write_folder(root, DOMAINS)
    data = load(held_out=held_out)
    assert data.domain_names == ("art", "photo", "sketch")
    number = data.domain_names.index(held_out)
    assert set(data.train_domains) == {0, 1, 2} - {number}
    assert set(data.test_domains) == {number}
    names = sorted(name for name in written if not name.startswith(held_out))
    np.testing.assert_array_equal(data.train_images, np.stack([written[n] for n in names]))
    np.testing.assert_array_equal(
        data.train_domains, [data.domain_names.index(name.split("/")[0]) for name in names]
    )
    np.testing.assert_array_equal(data.train_labels, ["dog" in name for name in names])


def test_domains_without_a_split_are_split_alike_each_time(root, load):
    prepared.write_folder(root, DOMAINS)
    data, again = load(), load()
    np.testing.assert_array_equal(data.test_images, again.test_images)
    # A fifth of each of the six groups.
    groups, counts = np.unique(2 * data.test_domains + data.test_labels, return_counts=True)
    assert groups.tolist() == list(range(6))
    assert set(counts) == {2}
    both = np.concatenate([data.train_images, data.test_images])
    assert len({image.tobytes() for image in both}) == 60


def test_classes_alone(root, load):
    prepared.write_folder(root, {"cat": 10, "dog": 5})
    data = load()
    assert len(data.train_images) == 12
    np.testing.assert_array_equal(np.bincount(data.test_labels), [2, 1])
    assert data.domain_names is None


def test_splits_of_domains(root, load):
    both = {f"{split}/{name}": 3 for split in ("train", "val") for name in DOMAINS}
    prepared.write_folder(root, both)
    data = load()
    assert len(data.train_images) == len(data.test_images) == 18
    data = load(held_out="photo")
    assert (len(data.train_images), len(data.test_images)) == (12, 6)
    assert set(data.test_domains) == {1}


def test_folders_named_as_splits_can_be_domains(root, load):
    prepared.write_folder(root, SPLITS)
    data = load(domains=True, held_out="train")
    assert data.domain_names == ("test", "train")
    assert (len(data.train_images), len(data.test_images)) == (5, 9)


def test_pictures_of_one_size_keep_it(root, load, refused):
    written = prepared.write_folder(root, SPLITS, size=(20, 28))
    assert load().train_images.shape == (9, 20, 28, 3)
    refused("size must be an integer >= 1", size=0)
    resized = load(size=10).train_images
    assert resized.shape == (9, 10, 10, 3)
    # The shorter side becomes 10 pixels; of the longer one the centre stays.
    picture = PIL.Image.fromarray(written["train/cat/0000.png"])
    small = np.asarray(picture.resize((14, 10), PIL.Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(resized[0], small[:, 2:12])


def test_pictures_of_several_sizes_need_one(root, load, refused):
    prepared.write_folder(root, SPLITS, size=[(20, 28), (20, 28), (30, 24)])
    other = root / "train/cat/0002.png"  # the first picture is that of test/cat
    refused(f"{other}: is of 30 x 24 pixels, not of 20 x 28. Bring all to one size with")
    data = load(size=16)
    assert isinstance(data.train_images, np.ndarray)
    assert data.train_images.shape == (9, 16, 16, 3)


def test_what_does_not_fit_in_memory_streams(root, load, monkeypatch, refused):
    written = prepared.write_folder(root, SPLITS, size=(20, 28))
    monkeypatch.setattr(reading, "MEMORY_LIMIT", 14 * 16 * 16 * 3 - 1)
    refused("does not fit in memory: say --config.data.size=PIXELS")
    data = load(size=16, limit=7)
    assert isinstance(data.train_images, Streamed)
    assert data.train_images.shape == (7, 16, 16, 3)
    np.testing.assert_array_equal(data.train_images.decode(0), written["train/cat/0000.png"])
    assert data.train_images[:].shape == (7, 16, 16, 3)
    copy = pickle.loads(pickle.dumps(data.train_images))
    np.testing.assert_array_equal(copy.decode(6), data.train_images.decode(6))
    monkeypatch.setattr(reading, "MEMORY_LIMIT", 14 * 16 * 16 * 3)
    assert isinstance(load(size=16).train_images, np.ndarray)


def index(tmp_path):
    (path,) = tmp_path.glob("prepared/folder/*.json")
    return path


def test_a_changed_folder_is_read_anew(root, load, tmp_path):
    prepared.write_folder(root, SPLITS)
    before = load().train_images
    image = prepared.picture(np.random.default_rng(9), 24, 24)
    (root / "train/cat/0000.png").write_bytes(prepared.encode(image))
    after = load().train_images
    np.testing.assert_array_equal(after[0], image)
    np.testing.assert_array_equal(after[1:], before[1:])
    (root / "train/cat/0000.png").rename(root / "train/dog/9999.png")
    assert load().train_labels.sum() == 5
    assert set(json.loads(index(tmp_path).read_text())) == {*tree.scan(root).files}


def test_what_the_index_knows_is_not_decoded_again(root, load, monkeypatch):
    prepared.write_folder(root, SPLITS)
    decoded, pixels = [], pictures.pixels

    def counted(encoded, *args, **options):
        decoded.append(encoded)
        return pixels(encoded, *args, **options)

    monkeypatch.setattr(reading, "pixels", counted)
    monkeypatch.setattr(pictures, "pixels", counted)
    load(limit=1, size=24)
    assert len(decoded) == 14 + 2  # all once, then two to keep
    decoded.clear()
    changed = root / "train/cat/0000.png"
    os.utime(changed, ns=(0, 0))  # the same name and size: the content may be another
    load(limit=1, size=24)
    assert len(decoded) == 1 + 2
    assert decoded[0] == changed.read_bytes()


@pytest.mark.parametrize("content", ["", "[1]", '{"train/cat/0000.png": 1}', '{"x": [1, 2]}'])
def test_a_damaged_index_and_copies_of_older_versions_are_no_obstacle(
    content, root, load, tmp_path, capsys
):
    prepared.write_folder(root, SPLITS)
    old = tmp_path / "prepared/folder/pictures-0123456789abcdef/1.0.0"
    old.mkdir(parents=True)
    images = load().train_images
    said = f"note: {old.parent} is a copy of pictures that nothing needs: delete it\n"
    assert said in capsys.readouterr().out
    index(tmp_path).write_text(content)
    np.testing.assert_array_equal(load().train_images, images)
    assert len(json.loads(index(tmp_path).read_text())) == 14
    assert "copy of" not in capsys.readouterr().out


def test_an_index_that_cannot_be_written_is_said(root, load, tmp_path, capsys):
    prepared.write_folder(root, SPLITS)
    (tmp_path / "prepared").write_text("no folder")
    assert len(load().train_images) == 9
    assert "name another folder with --config.data.data_dir=DIR" in capsys.readouterr().out


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("change", ["content", "time", "gone"])
def test_a_picture_that_changes_after_the_scan_stops_the_run(
    change, streamed, root, load, monkeypatch
):
    prepared.write_folder(root, SPLITS)
    path = root / "train/cat/0000.png"

    def spoil():
        if change == "content":
            path.write_bytes(path.read_bytes() + b" ")
        elif change == "time":
            os.utime(path, ns=(0, 0))
        else:
            path.unlink()

    message = rf"{path} was changed or removed after its folder was scanned: .* start again"
    if streamed:
        monkeypatch.setattr(reading, "MEMORY_LIMIT", 0)
        images = load(size=16).train_images
        spoil()
        with pytest.raises(ValueError, match=message) as caught:
            images.decode(0)
    else:  # between the check and the reading; it is none of the pictures that can be skipped
        check = in_place.check
        monkeypatch.setattr(in_place, "check", lambda *given: (check(*given), spoil())[0])
        with pytest.raises(ValueError, match=message) as caught:
            load(skip_unreadable=True)
    assert "\n" not in str(caught.value)


def test_processes_that_see_different_folders_are_stopped(root, load, monkeypatch, refused):
    prepared.write_folder(root, SPLITS)
    monkeypatch.setattr(distributed, "gather", lambda part: np.concatenate([part, part]))
    load()
    monkeypatch.setattr(distributed, "gather", lambda part: np.concatenate([part, part ^ 1]))
    refused(f"{root} is not the same in all 2 processes")


def test_an_unreadable_picture(root, load, capsys, refused):
    written = prepared.write_folder(root, SPLITS)
    broken = root / "train/dog/0001.jpg"
    broken.write_bytes(broken.read_bytes()[:200])
    refused(f"{broken}: ")
    for _ in range(2):  # the second time from the index
        data = load(skip_unreadable=True)
        assert f"left out 1 of 14 images (unreadable): {broken} (" in capsys.readouterr().out
        names = sorted(n for n in written if n.startswith("train") and n != "train/dog/0001.jpg")
        np.testing.assert_array_equal(data.train_images, np.stack([written[n] for n in names]))
        np.testing.assert_array_equal(data.train_labels, ["dog" in name for name in names])
        refused(f"{broken}: ")
    for path in root.rglob("*.*"):
        path.write_bytes(b"no picture")
    refused("none of its 14 images can be read", skip_unreadable=True)


def test_grey_and_transparent_pictures_become_rgb(root, load):
    prepared.write_folder(root, SPLITS)
    grey = np.arange(576, dtype=np.uint8).reshape(24, 24)
    PIL.Image.fromarray(grey).save(root / "train/cat/0000.png")
    PIL.Image.new("RGBA", (24, 24), (1, 2, 3, 0)).save(root / "train/cat/0002.png")
    images = load().train_images
    np.testing.assert_array_equal(images[0], np.stack([grey] * 3, axis=-1))
    assert (images[2] == 255).all()


def test_other_files_are_no_pictures(root, load):
    prepared.write_folder(root, SPLITS)
    (root / "train/cat/notes.txt").write_text("x")
    (root / "README.md").write_text("x")
    (root / "train/cat/._0000.png").write_bytes(b"of a Macintosh")
    assert len(load().train_images) == 9


def test_a_folder_that_is_hidden_is_no_class(root, load):
    hidden = ".ipynb_checkpoints"
    prepared.write_folder(root, SPLITS | {f"train/{hidden}": 2, f"train/cat/{hidden}": 1})
    data = load()
    assert data.class_names == ("cat", "dog")
    assert len(data.train_images) == 9


def test_folders_of_the_wrong_shape(root, load, refused):
    refused(f"there is no folder {root}")
    with pytest.raises(ValueError, match=r"name it with --config.data.root=DIR"):
        sources.load("folder")
    root.mkdir()
    (root / "train").mkdir()
    refused(f"no pictures in {root} or below: put pictures there")
    (root / "a.heic").touch()
    refused(f"no pictures in {root} or below, but 1 .heic: put pictures there")
    prepared.write_folder(root, {"train/cat": 2})
    refused("has only ['train']: it needs a folder train and one of test, val")
    prepared.write_folder(root, {"sketch/cat": 2})
    refused("folders of splits and others: train, sketch; rename them all to train, test or val")
    assert load(domains=True, held_out="sketch").domain_names == ("sketch", "train")
    refused("config.data.domains is False", domains=False)
    prepared.write_folder(root, {"cat": 2})
    refused(f"{root}/sketch/cat/0000.png lies 2 folders deep, {root}/cat/0000.png 1: ")
    refused("those without are read with --config.data.labelled=False")


def test_domains_that_are_not_there(root, refused):
    prepared.write_folder(root, DOMAINS)
    refused("no domain 'cartoon' to hold out", held_out="cartoon")
    refused("has art, photo, sketch", held_out="cartoon")
    refused("config.data.domains is False", domains=False)


def test_no_domains_to_hold_out(root, refused):
    prepared.write_folder(root, SPLITS)
    refused("no domain 'sketch' to hold out", held_out="sketch")
    prepared.write_folder(root / "flat", {"cat": 2})
    with pytest.raises(ValueError, match=r"config.data.domains is True, but .* no folders of dom"):
        tree.scan(root / "flat", domains=True)


def test_pacs(root, load):
    classes = ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")
    domains = ("art_painting", "cartoon", "photo", "sketch")
    prepared.write_folder(root, {f"{d}/{c}": 2 for d in domains for c in classes}, (227, 227))
    data = load("pacs", held_out="sketch")
    assert data.num_classes == 7
    assert data.domain_names == domains
    assert data.train_images.shape == (42, 227, 227, 3)
    assert set(data.test_domains) == {3}
    prepared.write_folder(root / "x", DOMAINS)
    with pytest.raises(ValueError, match="has 2 classes, pacs has 7: root must be"):
        load("pacs", root=str(root / "x"))
