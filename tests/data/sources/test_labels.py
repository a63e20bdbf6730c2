"""Pictures whose classes a table names, in place of folders; and folders that hold one folder."""

import csv

import numpy as np
import pytest

from tests.data import prepared


@pytest.fixture
def table(tmp_path):
    """Write rows to a .csv file, and return its path."""

    def write(*rows, name="labels.csv", delimiter=","):
        with (tmp_path / name).open("w", newline="") as file:
            csv.writer(file, delimiter=delimiter).writerows(rows)
        return str(tmp_path / name)

    return write


def of(data):
    """Class of each image, by its bytes."""
    parts = ((data.train_images, data.train_labels), (data.test_images, data.test_labels))
    return {
        image.tobytes(): data.class_names[label]
        for images, labels in parts
        for image, label in zip(images, labels, strict=True)
    }


@pytest.mark.parametrize(
    ("head", "column"),
    [
        (("path", "label"), ""),
        (("id", "file", "race", "Class"), ""),  # pandas' index, too
        (("", "x", "race"), ""),
        (("race", "file", "id"), ":race"),
        ((), ""),
    ],
)
def test_pictures_of_one_folder_have_the_classes_of_a_table(root, load, table, head, column):
    written = prepared.write_folder(root, {".": 20, "more": 5})
    names = {name: "dog" if k % 3 else "cat" for k, name in enumerate(sorted(written))}
    rows = [
        [{"file": name, "path": f"./{name}", "x": str(root / name)}.get(key, k) for key in head]
        if head
        else [name, label]
        for k, (name, label) in enumerate(names.items())
    ]
    for row, label in zip(rows, names.values(), strict=True):
        for k, key in enumerate(head):
            if key in ("label", "Class") or (key == "race" and "Class" not in head):
                row[k] = label
    data = load(labels=table(*[head] * bool(head), *rows) + column)
    assert of(data) == {written[name].tobytes(): label for name, label in names.items()}
    # A fifth of each class, as of folders of classes.
    assert np.bincount(data.test_labels).tolist() == [2, 3]


def test_splits_and_domains_have_columns(root, load, table):
    prepared.write_folder(root, {".": 12})
    files = sorted(path.name for path in root.iterdir())
    rows = [
        (f"pictures\\{name}", k % 2, "Train" if k < 8 else "valid", "ab"[k % 4 // 2])
        for k, name in enumerate(files)
    ]
    file = table(("image", "label", "split", "domain"), *rows, delimiter=";")
    data = load(labels=file)
    assert (len(data.train_images), len(data.test_images)) == (8, 4)
    assert data.train_labels.tolist() == [0, 1] * 4
    assert data.train_domains.tolist() == [0, 0, 1, 1] * 2
    assert load(labels=file, domains=False).train_domains is None
    assert len(load(labels=file, held_out="a").test_images) == 2


def test_pictures_without_a_label_are_counted_and_can_be_pretrained_on(root, load, table, capsys):
    prepared.write_folder(root, {".": 24})
    files = sorted(path.name for path in root.iterdir())
    rows = [(name, "ab"[k % 2]) for k, name in enumerate(files[:20])]
    file = table(("path", "label"), *rows, (files[20], ""), (files[21], "-1"))
    assert sum(map(len, (load(labels=file).train_images, load(labels=file).test_images))) == 20
    said = f"note: 4 of the 24 pictures in {root} have no label in {file} and are left out\n"
    assert said in capsys.readouterr().out
    data = load(labels=file, labelled_root=str(root))
    assert (len(data.train_images), len(data.pretrain_images)) == (16, 20)


def test_mistakes_in_a_table_are_one_line(root, refused, load, table, capsys):
    prepared.write_folder(root, {".": 20})
    files = sorted(path.name for path in root.iterdir())
    good = [(name, "ab"[k % 2]) for k, name in enumerate(files)]
    lost = table(("path", "label"), *good, ("lost.png", "a"), ("gone.png", "b"))
    refused(f"2 rows of a picture that is not in {root}: lost.png, gone.png; put", labels=lost)
    load(labels=lost, skip_unreadable=True)
    assert "note: left out of" in capsys.readouterr().out
    file = table(("path", "label"), *good)
    refused(f"{file} has no column 'race', but path, label: name one of", labels=f"{file}:race")
    refused("labelled is True, but labels names a table", labels=file, labelled=True)
    refused("none.csv does not exist", labels=f"{root}/none.csv")
    refused("is no .csv file", labels=str(root / files[0]))
    refused(
        "has the columns age, race: name that of labels with --config.data.labels=",
        labels=table(("path", "age", "race"), *[(name, 1, 2) for name in files]),
    )
    refused("no column beside path", labels=table(("path",), *[(name,) for name in files]))
    refused("names no picture in", labels=table(("path", "label"), ("x", "a")))
    refused("names no picture in", labels=table())
    refused("line 22 of", labels=table(("path", "label"), *good, (files[0], "b")))
    refused("line 22 of", labels=table(("path", "label"), *good, (files[0],)))
    splits = ("path", "label", "split")
    refused("has only train", labels=table(splits, *[(*row, "train") for row in good]))
    refused(
        "line 3 of",
        labels=table(splits, *[(*row, x) for row, x in zip(good, ("test", "b"), strict=False)]),
    )
    (root.parent / "bytes.csv").write_bytes(b"path,label\n\xff,a\n")
    refused("bytes.csv cannot be read: 'utf-8' codec", labels=str(root.parent / "bytes.csv"))


def test_splits_of_folders_and_of_the_table_agree(root, load, refused, table):
    prepared.write_folder(root, {"train": 6, "val": 3})  # as ImageNet's are unpacked
    names = [f"{s}/{path.name}" for s in ("train", "val") for path in sorted((root / s).iterdir())]
    rows = [(name, "ab"[k % 2]) for k, name in enumerate(names)]
    data = load(labels=table(("path", "label"), *rows))
    assert (len(data.train_images), len(data.test_images)) == (6, 3)
    others = [(*row, ("train", "test")[k % 2]) for k, row in enumerate(rows)]
    refused("name other splits", labels=table(("path", "label", "split"), *others))


def test_a_flat_split_beside_one_of_classes_says_what_to_do(root, refused):
    prepared.write_folder(root, {"train/cat": 4, "train/dog": 4, "val": 3})
    refused(
        f"the pictures of {root}/val lie in no folder of a class, those of {root}/train do: sort "
        f"them into {root}/val/CLASS, name the classes of all in a table with "
        f"--config.data.labels=FILE.csv, or leave them out with --config.data.root={root}/train"
    )


@pytest.mark.parametrize(
    "below", [{"train/a": 4, "test/a": 2}, {"train": 4, "val": 2}, {"x/a": 5, "y/a": 5}]
)
def test_a_folder_that_holds_one_folder_is_read_as_that_one(root, load, capsys, below):
    prepared.write_folder(root / "set" / "more", below)
    whole, inner = load(), load(root=str(root / "set" / "more"))
    assert "lie in its folder set, which is read in its place\n" in capsys.readouterr().out
    for name in ("train_images", "test_images", "train_labels", "train_domains"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(inner, name))
    assert (whole.class_names, whole.domain_names) == (inner.class_names, inner.domain_names)


def test_a_folder_in_a_folder_that_lacks_a_split(root, refused):
    prepared.write_folder(root / "set", {"train/a": 4})
    refused("has only ['train']: it needs a folder train and one of test, val")
