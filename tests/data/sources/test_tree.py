"""What of a folder is read: suffixes, links, spellings of splits, and what is said of the rest."""

import os
import re

import numpy as np
import PIL.Image
import pytest

from gca_jax.data.sources import reading, tree
from gca_jax.data.sources.in_place import Files
from gca_jax.experiment import build
from tests.data import prepared

GREY = np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8)


def save(path, picture=GREY, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(picture).save(path, **options)


def names(root, **options):
    return [*tree.scan(root, **options).files]


def test_a_class_of_other_suffixes_is_a_class(root, load):
    """And one and the same list is that of training and of what `embed` scans."""
    for suffix in ("webp", "bmp", "gif", "jfif", "ppm", "avif", "jp2", "tga", "PNG"):
        save(root / f"train/{suffix}/0.{suffix}")
        save(root / f"test/{suffix}/0.{suffix}")
    data = load()
    assert data.class_names == tuple(sorted(os.listdir(root / "train")))
    assert (len(data.train_images), len(data.test_images)) == (9, 9)
    assert tree.scan_any(root, "--images").files == tree.scan(root).files


def test_what_is_no_picture_is_counted_by_suffix(root, load, capsys):
    prepared.write_folder(root, {"a": 6, "b": 6})
    (root / "c").mkdir()
    for name in ("c/0.heic", "c/1.HEIC", "b/notes.txt", "a/0", ".DS_Store"):
        (root / name).touch()
    load()
    said = capsys.readouterr().out
    assert f"note: left out of {root}: 2 .heic, " in said
    assert {"1 .txt", "1 without a suffix"} <= set(re.split(", |\n|: ", said))
    assert f"note: {root} has folders without a picture: c\n" in said
    assert f"{root}: 12 pictures, no splits, no domains, 2 classes" in said
    tree.scan_any(root, "--images")
    assert f"note: left out of {root}: 2 .heic, " in capsys.readouterr().out


@pytest.mark.parametrize("count", [2, 3])
def test_folders_that_link_to_each_other_are_read_once(count, root, capsys):
    folders = [root / "abc"[k] for k in range(count)]
    for folder in folders:
        save(folder / "x.png")
        for other in folders:
            if other != folder:
                (folder / f"to_{other.name}").symlink_to(f"../{other.name}")
    (root / "a/up").symlink_to("../..")
    assert names(root, labelled=False) == [f"{folder.name}/x.png" for folder in folders]
    links = count * (count - 1) + 1
    assert f"{links} links to folders that are read elsewhere, or to one above: a/to_b" in (
        capsys.readouterr().out
    )


def test_a_real_folder_goes_before_its_links_and_of_links_the_first(tmp_path, root):
    save(root / "z/real/x.png")
    (root / "a").symlink_to("z/real")  # before z in the order of names
    save(tmp_path / "outside/inner/y.png")
    (root / "b").symlink_to(tmp_path / "outside")
    (root / "c").symlink_to(tmp_path / "outside")
    (root / "d").symlink_to(tmp_path / "outside/inner")
    assert names(root, labelled=False) == ["d/y.png", "z/real/x.png"]


@pytest.mark.parametrize("skip", [False, True])
def test_a_folder_that_cannot_be_listed(skip, root, load, monkeypatch, capsys):
    prepared.write_folder(root, {"a": 6, "b": 6, "c": 6})
    scandir = os.scandir

    def closed(folder):
        if str(folder) == str(root / "c"):
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", closed)
    message = f"{root}/c cannot be listed (Permission denied)"
    if skip:
        assert load(skip_unreadable=True).class_names == ("a", "b")
        assert f"note: left out of {root}: {message}" in capsys.readouterr().out
        assert len(tree.scan_any(root, "--images").files) == 12
    else:
        with pytest.raises(ValueError, match=re.escape(message)):
            load()


def spoil(path, how, monkeypatch):
    """Make a picture one that cannot be opened."""
    content = path.read_bytes()
    path.unlink()
    if how == "link to nothing":
        path.symlink_to("/nowhere/x.png")
    elif how == "pipe":
        os.mkfifo(path)
    else:
        path.write_bytes(content)
        opened = type(path).open

        def refused(file, *args, **options):
            if file == path:
                code = {"no permission": 13, "disk": 5}[how]
                raise OSError(code, os.strerror(code), str(file))
            return opened(file, *args, **options)

        monkeypatch.setattr(type(path), "open", refused)


@pytest.mark.parametrize("how", ["link to nothing", "pipe", "no permission", "disk"])
def test_a_file_that_cannot_be_opened_is_an_unreadable_picture(
    how, root, load, refused, monkeypatch, capsys
):
    prepared.write_folder(root, {"a": 10, "b": 10})
    broken = root / "a/0001.jpg"
    spoil(broken, how, monkeypatch)
    reason = {
        "link to nothing": "No such file or directory",
        "pipe": "is a pipe or a device, not a picture",
        "no permission": "Permission denied",
        "disk": "Input/output error",
    }[how]
    refused(f"{broken}: {reason}. Replace or delete the file; or leave such images out with")
    for _ in range(2):  # the second time with an index
        data = load(skip_unreadable=True)
        assert len(data.train_images) + len(data.test_images) == 19
        said = f"left out 1 of 20 images (unreadable): {broken} ({reason})\n"
        assert said in capsys.readouterr().out
    found, faults = tree.scan_any(root, "--images"), reading.Faults("pictures", skip=True)
    files = Files(found, fixed=False)
    good, _ = reading.read(files, np.arange(20), (24, 24, 3), faults)
    assert len(good) == 19
    assert [*faults.reasons.values()] == [f"{broken} ({reason})"]


def test_a_picture_that_is_gone_since_the_scan_is_left_out_where_nothing_is_trained(root):
    prepared.write_folder(root, {"a": 4})
    found, faults = tree.scan_any(root, "--images"), reading.Faults("pictures", skip=True)
    (root / "a/0001.jpg").unlink()
    os.utime(root / "a/0000.png", ns=(0, 0))  # another time is no fault there
    good, _ = reading.read(Files(found, fixed=False), np.arange(4), (24, 24, 3), faults)
    assert good.tolist() == [0, 2, 3]


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Train", "Test"),
        ("TRAIN", "Val"),
        ("training", "testing"),
        ("train", "valid"),
        ("trainset", "dev"),
        ("train2017", "val2017"),
        ("Training_Set", "eval-data"),
        ("trainval", "test"),
    ],
)
@pytest.mark.parametrize("labelled", [False, True])
def test_splits_in_any_spelling(train, test, labelled, root, load, capsys):
    parts = {"a": 4, "b": 4} if labelled else {".": 8}
    written = prepared.write_folder(
        root, {f"{split}/{name}": n for split in (train, test) for name, n in parts.items()}
    )
    data = load()
    assert data.labelled == labelled
    assert data.domain_names is None
    for split, images in ((train, data.train_images), (test, data.test_images)):
        own = sorted(name for name in written if name.startswith(f"{split}/"))
        np.testing.assert_array_equal(images, [written[name] for name in own])
    name = tree.split_of(test)
    assert (
        f"pictures: 8 of train to train with, 8 of {name} to test on\n" in capsys.readouterr().out
    )


@pytest.mark.parametrize("name", ["trains", "tests", "contest", "test1", "validity", "art", "tr"])
def test_a_name_that_only_begins_like_a_split_is_none(name):
    assert tree.split_of(name) is None


def test_a_split_that_serves_for_nothing_is_said(root, load, capsys):
    prepared.write_folder(root, {"train/a": 5, "val/a": 3, "test/a": 2})
    load()
    said = (
        f"pictures: 5 of train to train with, 2 of test to test on, 3 of val in {root} for nothing"
    )
    assert f"{said}\n" in capsys.readouterr().out
    load(labelled_root=str(root), root=str(root / "train"))
    said = "pictures: 5 of train to fit probes to, 2 of test to test on, 5 to pretrain on, 3 of val"
    assert f"{said} in {root} for nothing\n" in capsys.readouterr().out


def test_no_remedy_trains_on_test_pictures(root, refused, load):
    prepared.write_folder(root, {"train/a": 5, "test/a": 3, "more/a": 2})
    said = f"{root} has folders of splits and others: test, train, more; rename them all to train"
    refused(said)
    with pytest.raises(ValueError, match="others") as caught:
        load()
    assert "domains" not in str(caught.value)
    assert "labelled" not in str(caught.value)
    prepared.write_folder(root / "flat", {"train": 5, "test": 3, "more": 2})
    with pytest.raises(ValueError, match="rename them all") as caught:
        load(root=str(root / "flat"))
    assert "labelled" not in str(caught.value)


def test_splits_below_classes_are_neither_classes_nor_trained_on(root, refused):
    prepared.write_folder(root, {f"{c}/{s}": 5 for c in ("cat", "dog") for s in ("Train", "Test")})
    refused(f"{root} has folders of splits below cat, dog: splits must be its first level")


def test_splits_below_other_folders_of_unlabelled_pictures_are_said(root, load, capsys):
    prepared.write_folder(root, {"some/train": 5, "some/test": 3, "more": 2})
    load(labelled=False)
    said = (
        f"note: {root} has folders that are named as splits, but not at its first level, and all "
    )
    assert f"{said}are read alike: some/test, some/train\n" in capsys.readouterr().out
    load(labelled=False, root=str(root / "some"))
    assert "alike" not in capsys.readouterr().out


def test_further_pages_and_few_levels_are_said(root, load, capsys):
    mask = np.zeros((8, 8), np.uint8)
    mask[2:5] = 1
    for k in range(10):
        save(root / f"a/{k}.png", mask)
    save(root / "a/x.tif", mask, save_all=True, append_images=[PIL.Image.fromarray(mask)] * 2)
    said = (
        f"note: the pictures of {root} span 2 of 256 levels, 0 to 1: ",
        f"note: of 1 picture of {root}, only the first page or frame is read: a/x.tif\n",
    )
    for _ in range(2):  # the second time from the index
        load()
        out = capsys.readouterr().out
        assert all(line in out for line in said)
    save(root / "a/y.png")  # which spans all levels
    (root / "a/x.tif").unlink()
    load()
    assert "levels" not in capsys.readouterr().out


def test_they_are_said_where_nothing_is_trained_too(root, capsys):
    save(root / "x.gif", GREY // 16, save_all=True, append_images=[PIL.Image.fromarray(GREY)])
    found, faults = tree.scan_any(root, "--images"), reading.Faults("p", skip=True, looks={})
    reading.read(Files(found, fixed=False), np.arange(1), (8, 8, 3), faults)
    faults.report(np.arange(1))
    out = capsys.readouterr().out
    assert "note: the pictures of p span 16 of 256 levels, 0 to 15: " in out
    assert f"only the first page or frame is read: {root}/x.gif\n" in out


@pytest.mark.parametrize("streamed", [False, True])
def test_test_pictures_that_are_trained_with_are_counted(
    streamed, root, load, tiny, monkeypatch, capsys
):
    prepared.write_folder(root, {"train/a": 8, "train/b": 8, "test/a": 4, "test/b": 4})
    said = "test images equal images that are trained with"
    if streamed:
        monkeypatch.setattr(reading, "MEMORY_LIMIT", 0)

    def out():
        build(tiny("ince"), dataset=load(size=8))
        return capsys.readouterr().out

    assert said not in out()
    for name in ("a/0001.jpg", "b/0002.png"):
        (root / "test" / name).write_bytes((root / "train/a" / name[2:]).read_bytes())
    assert out().count(f"note: folder: 2 of 8 {said}: ") == 1
