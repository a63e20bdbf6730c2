"""`--mode=embed`: the pictures of any folder, decoded as in training, in a table."""

import csv
import dataclasses
import functools
import shutil

import numpy as np
import PIL.Image
import pyarrow.parquet
import pytest
from gca_jax.programs import PROGRAMS, Command
from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

import gca_jax
from gca_jax.data import tables
from gca_jax.data.sources import in_place
from gca_jax.experiment import build
from gca_jax.files import replace
from tests import saved
from tests.data import prepared


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    saved.save(build(tiny("ince")), folder)
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Grey pictures as they are and larger ones of two sizes, and one that cannot be read."""
    folder, rng = tmp_path_factory.mktemp("root"), np.random.default_rng(0)
    for name, shape in {"x/a": (8, 8), "x/b": (16, 24), "y/c": (12, 8)}.items():
        path = folder / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(prepared.encode(prepared.picture(rng, *shape)))
    (folder / "y" / "bad.png").write_text("no picture")
    return folder


def pixels(path):
    """The picture in grey, its shorter side brought to 8 pixels, the centre of 8 x 8 cut out."""
    picture = PIL.Image.open(path).convert("L")
    width, height = picture.size
    scale = 8 / min(width, height)
    picture = picture.resize((round(width * scale), round(height * scale)), PIL.Image.BILINEAR)
    left, top = (picture.size[0] - 8) // 2, (picture.size[1] - 8) // 2
    return np.asarray(picture)[top : top + 8, left : left + 8]


def test_pictures_of_all_sizes_are_embedded_and_the_unreadable_named(run, root, tmp_path, capsys):
    out = tmp_path / "features.npz"
    out.write_text("an older file")
    PROGRAMS["embed"](Command(None, str(run), images=str(root), out=str(out)))
    said = capsys.readouterr().out
    assert "note: left out 1 of 4 pictures (unreadable): y/bad.png (is no picture)" in said
    assert f"{out}: path, class, features [3, 4]" in said
    with np.load(out) as found:
        assert found["path"].tolist() == ["x/a.png", "x/b.png", "y/c.png"]
        assert found["class"].tolist() == ["x", "x", "y"]
        images = np.stack([pixels(root / name) for name in found["path"]])
        expected = gca_jax.load(run)(images)
        np.testing.assert_allclose(found["features"], expected, rtol=1e-5, atol=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == ["features.npz"]


@pytest.mark.parametrize(("mode", "ending"), [("embed", ".csv"), ("neighbours", ".html")])
def test_arrays_beside_the_pictures_are_counted(run, root, tmp_path, capsys, mode, ending):
    folder = shutil.copytree(root, tmp_path / "root")
    for name in ("x/a.npy", "y/.hidden.npy", "stray.NPY"):
        (folder / name).touch()
    out = str(tmp_path / f"out{ending}")
    PROGRAMS[mode](Command(None, str(run), images=str(folder), out=out))
    said = capsys.readouterr().out
    assert (
        "note: left out 2 .npy files: the run was not trained with --config.data.channels" in said
    )


def test_a_run_that_was_told_its_channels_reads_arrays(run):
    def reads(**data):
        return dataclasses.replace(encoder, config=ConfigDict({"data": data})).reads_arrays

    encoder = gca_jax.load(run)
    assert not encoder.reads_arrays
    assert not reads(channels=placeholder(int))
    assert reads(channels=3)


def test_every_format_holds_the_same_numbers(tmp_path):
    rng = np.random.default_rng(0)
    columns = {"path": np.array(["ä,.png", "b"]), "features": rng.normal(size=(2, 3))}
    columns["features"] = columns["features"].astype(np.float32)
    files = {ending: tmp_path / f"x{ending}" for ending in tables.WRITERS}
    for ending, path in files.items():
        replace(path, functools.partial(tables.WRITERS[ending], columns=columns))
    table = pyarrow.parquet.read_table(files[".parquet"])
    assert table["path"].to_pylist() == ["ä,.png", "b"]
    np.testing.assert_array_equal(table["features"].to_pylist(), columns["features"])
    np.testing.assert_array_equal(np.load(files[".npz"])["features"], columns["features"])
    head, *rows = csv.reader(files[".csv"].read_text(encoding="utf-8").splitlines())
    assert head == ["path", "features_0", "features_1", "features_2"]
    assert [row[0] for row in rows] == ["ä,.png", "b"]
    numbers = np.array([row[1:] for row in rows], np.float32)
    np.testing.assert_array_equal(numbers, columns["features"])


@pytest.mark.parametrize("ending", [".parquet", ".npz"])
def test_features_can_be_read_as_a_set_of_a_run_on_pairs(tmp_path, ending):
    file, features = tmp_path / f"features{ending}", np.eye(3, 4, dtype=np.float32)
    with file.open("wb") as opened:
        tables.WRITERS[ending](opened, {"path": np.array(["a", "b", "c"]), "features": features})
    np.testing.assert_array_equal(tables.read(f"{file}:features"), features)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"out": None},
            "--out must have a value: a file that ends in one of: .parquet, .npz, .csv",
        ),
        ({"out": "x.txt"}, "--out=x.txt must be a file that ends in one of: .parquet, .npz, .csv"),
        ({"out": "none/x.npz"}, "--out=none/x.npz is in no folder: make none first"),
        ({"images": None}, "--images must have a value: a folder of pictures"),
        ({"images": "none"}, r"there is no folder .*none; name yours with --images=DIR"),
        ({"images": "gca_jax"}, r"no \*.png, \*.jpg, \*.jpeg, .* in .*gca_jax or below"),
        ({"out": "x.txt", "format": "jax"}, "--out=x.txt must be a file that ends in one of"),
        ({"workdir": "none"}, "there is no run in none"),
    ],
)
def test_a_mistake_is_one_line(run, root, changes, message):
    given = {"workdir": str(run), "images": str(root), "out": "x.npz", **changes}
    with pytest.raises((ValueError, OSError), match=message) as caught:
        PROGRAMS["embed"](Command(None, **given))
    assert "\n" not in str(caught.value)
