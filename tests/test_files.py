"""Files are whole or not there, whoever writes them, and JSON of another shape is refused."""

import os
import subprocess
import sys
import time

import pytest
from matplotlib.figure import Figure

from gca_jax import check, files

WRITER = """
import pathlib, sys
from gca_jax.files import write_json
for k in range(300):
    write_json(pathlib.Path(sys.argv[1]), {"x": list(range(20_000)), "by": sys.argv[2]})
"""


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    path = tmp_path / "evaluation.json"
    files.write_json(path, {"x": list(range(20_000)), "by": "nobody"})
    command = [sys.executable, "-c", WRITER, str(path)]
    writers = [
        subprocess.Popen([*command, name], stderr=subprocess.PIPE, text=True) for name in "ab"
    ]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        found = files.read_json(path)
        assert len(found["x"]) == 20_000
        seen.add(found["by"])
    assert [writer.communicate()[1] for writer in writers] == ["", ""]
    assert seen & {"a", "b"}
    assert [each.name for each in tmp_path.iterdir()] == ["evaluation.json"]


class BrokenFigure(Figure):
    def savefig(self, file, dpi):
        file.write(b"half a picture")
        raise RuntimeError("the disk is gone")


@pytest.mark.parametrize(
    "write",
    [
        lambda path: files.write_figure(path, BrokenFigure()),
        lambda path: files.replace(path, lambda file: file.write(b"half") and 1 / 0),
        lambda path: files.write_json(path, {"x": object()}),
        lambda path: files.write_text(path, "\ud800"),
    ],
    ids=["figure", "bytes", "json", "text"],
)
def test_what_fails_on_the_way_leaves_the_old_file(tmp_path, write):
    path = tmp_path / "page"
    path.write_bytes(b"whole")
    with pytest.raises((RuntimeError, ZeroDivisionError, TypeError, UnicodeEncodeError)):
        write(path)
    assert path.read_bytes() == b"whole"
    assert [each.name for each in tmp_path.iterdir()] == ["page"]


@pytest.mark.parametrize(
    "text", ["", "{", "[1, 2", '{"x": "\\ud800"}', "[" * 100_000], ids=range(5)
)
def test_what_is_no_json_is_damaged_and_named(tmp_path, text):
    path = tmp_path / "training.json"
    path.write_text(text)
    with pytest.raises(files.DamagedError, match=r"training\.json is damaged") as caught:
        files.read_json(path)
    assert len(str(caught.value).splitlines()) == 1


SHAPE = {"name": str, "count": int, "shares": {str: float}, "rows?": [{"step": float}]}


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"name": 3}, "it.name is '3'"),
        ({"count": True}, "it.count is 'True'"),
        ({"count": 1.5}, "it.count is '1.5'"),
        ({"shares": []}, r"it.shares is '\[\]'"),
        ({"shares": {"a": None}}, "it.shares.a is 'None'"),
        ({"shares": {"a": float("inf")}}, "it.shares.a is 'inf'"),
        ({"rows": [{"step": 1}, {}]}, "an entry of it.rows has no step"),
        ({"rows": {}}, "it.rows is"),
    ],
)
def test_an_entry_of_another_shape_is_named(change, where):
    good = {"name": "a", "count": 1, "shares": {"a": 1, "b": 0.5}}
    check.shape("it", good, SHAPE)
    check.shape("it", {**good, "rows": [{"step": 1}], "more": None}, SHAPE)
    with pytest.raises(ValueError, match=where):
        check.shape("it", {**good, **change}, SHAPE)
    missing = {key: value for key, value in good.items() if key != "count"}
    with pytest.raises(ValueError, match="it has no count"):
        check.shape("it", missing, SHAPE)


@pytest.mark.parametrize("number", [10**400, -(10**400), float("nan"), True])
def test_what_no_float_holds_is_no_number(number):
    with pytest.raises(ValueError, match="which does not belong there"):
        check.shape("x", number, float)


def test_what_a_killed_writer_left_is_removed_when_it_is_old(tmp_path):
    """Of the same file alone: another one may be written at this moment."""
    names = {"[x].json.0a1b2c3d.partial": 2, "[x].json.4e5f6a7b.partial": 0, "y.json.1.partial": 2}
    for name, hours in names.items():
        (tmp_path / name).touch()
        then = time.time() - 3600 * hours
        os.utime(tmp_path / name, (then, then))
    files.write_json(tmp_path / "[x].json", {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["[x].json", *[*names][1:]]
