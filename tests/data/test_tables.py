"""Files of arrays: what NumPy, pyarrow and we wrote is read; what cannot be is one line."""

import csv
import functools
import json
import re

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from gca_jax.data import tables
from gca_jax.files import replace

X = np.arange(12, dtype=np.float32).reshape(4, 3)


def write(path, columns):
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return str(path)


def test_what_was_written_is_read(tmp_path):
    np.save(tmp_path / "x.npy", X)
    np.savez(tmp_path / "one.npz", x=X)
    np.savez(tmp_path / "two.npz", x=X, y=X + 1)
    for name, expected in (("x.npy", X), ("one.npz", X), ("two.npz:y", X + 1)):
        np.testing.assert_array_equal(tables.read(str(tmp_path / name)).values, expected)


def test_a_table_s_columns_stand_side_by_side(tmp_path):
    file = write(tmp_path / "x.parquet", {"list": list(X), "one": [1, 2, 3, 4]})
    np.testing.assert_array_equal(tables.read(file).values, np.hstack([X, [[1], [2], [3], [4]]]))
    np.testing.assert_array_equal(tables.read(f"{file}:list").values, X)
    np.testing.assert_array_equal(tables.read(f"{file}:one").values, [1, 2, 3, 4])


def test_the_index_of_pandas_is_no_feature(tmp_path):
    columns = pyarrow.table({"x": [1.0, 2.0], "row": [4, 7]})  # as `frame.to_parquet` writes it
    about = json.dumps({"index_columns": ["row"], "columns": [], "column_indexes": []})
    pyarrow.parquet.write_table(
        columns.replace_schema_metadata({"pandas": about}), tmp_path / "x.parquet"
    )
    file = str(tmp_path / "x.parquet")
    np.testing.assert_array_equal(tables.read(file).values, [[1], [2]])
    np.testing.assert_array_equal(tables.read(f"{file}:row").values, [4, 7])


def test_what_cannot_be_read_is_one_line(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([{}, None]))
    np.savez(tmp_path / "two.npz", x=X, y=X)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "two.npz").read_bytes()[:50])
    (tmp_path / "renamed.npz").write_bytes((tmp_path / "objects.npy").read_bytes())
    (tmp_path / "renamed.npy").write_bytes((tmp_path / "two.npz").read_bytes())
    (tmp_path / "x.tsv").write_text("1\t2\n")
    (tmp_path / "ragged.csv").write_text("a,b\n1,2\n3\n")
    (tmp_path / "words.csv").write_text("a,b\n1,x\n")
    (tmp_path / "times.csv").write_text("a,b\n2024-02-29 12:00:00,1\n2024-03-01 12:00:00,2\n")
    (tmp_path / "twice.csv").write_text("a,a\n1,2\n")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "latin.csv").write_bytes(b"\xe4,b\n1,2\n")
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 no more")
    write(tmp_path / "words.parquet", {"name": ["a", "b"]})
    write(tmp_path / "ragged.parquet", {"list": [[1.0], [1.0, 2.0]]})
    np.savez(tmp_path / "names.npz", x=X, rows=["a", "b", "c"])
    messages = {
        "names.npz": r"it has 3 names of rows for \[4, 3\]",
        "no.npy": "does not exist",
        "objects.npy": "holds Python objects",
        "cut.npy": "cannot be read",
        "renamed.npz": "no archive of numpy.savez",
        "renamed.npy": "magic string is not correct",
        "two.npz": r"choose one of its arrays, x, y",
        "two.npz:z": r"choose one of its arrays, x, y",
        "x.tsv": r"must be a file \.npy, \.npz, \.parquet, \.csv",
        "ragged.csv": "Expected 2 columns, got 1",
        "times.csv": "'a' must be numbers, got times such as 2024-02-29T",
        "words.csv": "'b' must be numbers, got text such as 'x'",
        "twice.csv": "two of its columns have one name",
        "empty.csv": "cannot be read: Empty CSV file",
        "latin.csv": "can't decode byte",
        "cut.parquet": "cannot be read",
        "words.parquet": "'name' must be numbers, got text such as 'a'",
        "ragged.parquet": "rows of different lengths",
        "words.parquet:age": "no column 'age'",
    }
    for name, message in messages.items():
        with pytest.raises(ValueError, match=message) as caught:
            tables.read(str(tmp_path / name))
        assert "\n" not in str(caught.value)
        assert name.split(":")[0] in str(caught.value)


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


def test_rows_and_columns_keep_their_names(tmp_path):
    """As pandas and R write them, and as arrays of an archive."""
    numbers = np.array([[1.5, 2], [3, 4]])
    csvs = {
        "pandas": ",u,v\ncell 1,1.5,2\ncell 2,3,4\n",
        "words": "cell,u,v\n" + "cell 1,1.5,2\ncell 2,3,4\n",
    }
    for name, text in csvs.items():
        (tmp_path / f"{name}.csv").write_text(text)
    np.savez(
        tmp_path / "x.npz", values=numbers, rows=np.array(["cell 1", "cell 2"]), columns=["u", "v"]
    )
    write(tmp_path / "x.parquet", {"cell": ["cell 1", "cell 2"], "u": [1.5, 3], "v": [2, 4]})
    for file in ("pandas.csv", "words.csv", "x.npz", "x.parquet"):
        table = tables.read(str(tmp_path / file))
        np.testing.assert_array_equal(table.values, numbers)
        assert table.rows == ("cell 1", "cell 2"), file
        assert table.columns == ("u", "v"), file
    np.savetxt(tmp_path / "plain.csv", numbers, delimiter=",")
    plain = tables.read(str(tmp_path / "plain.csv"))
    np.testing.assert_array_equal(plain.values, numbers)
    assert plain.rows is plain.columns is None
    np.testing.assert_array_equal(tables.read(f"{tmp_path / 'words.csv'}:u").values, [1.5, 3])


@pytest.mark.parametrize("ending", [".parquet", ".npz", ".csv"])
def test_features_can_be_read_as_a_set_of_a_run_on_pairs(tmp_path, ending):
    file, features = tmp_path / f"features{ending}", np.eye(3, 4, dtype=np.float32)
    with file.open("wb") as opened:
        tables.WRITERS[ending](opened, {"path": np.array(["a", "b", "c"]), "features": features})
    np.testing.assert_array_equal(tables.read(f"{file}:features").values, features)


def npy(tmp_path, old, new):
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((3, 2)))
    path.write_bytes(path.read_bytes().replace(old, new))


def archive(tmp_path, flag=0, method=0):
    """An archive whose member says it is encrypted, or compressed by a method of its own."""
    path = tmp_path / "x.npz"
    np.savez(path, x=np.zeros((3, 2)))
    content = bytearray(path.read_bytes())
    for start, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        first = content.index(start) + at
        content[first] |= flag
        content[first + 2] = method
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: npy(p, b"2), }", b"2(, }"), "x.npy cannot be read: it is damaged (TokenError)"),
        (lambda p: npy(p, b"(3, 2", b"(9, 9"), "x.npy cannot be read: Failed to read all data"),
        (lambda p: archive(p, flag=1), "x.npz cannot be read: File 'x.npy' is encrypted"),
        (lambda p: archive(p, method=99), "x.npz cannot be read: That compression method is not"),
        (lambda p: archive(p, method=14), "x.npz cannot be read: "),  # LZMA
    ],
)
def test_a_damaged_file_is_one_line_whatever_its_parser_raises(make, message, tmp_path):
    make(tmp_path)
    (path,) = tmp_path.iterdir()
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        tables.read(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", [".npz", ".parquet"])
def test_a_file_that_claims_far_more_than_it_holds_is_refused(ending, tmp_path, monkeypatch):
    path, zeros = tmp_path / f"x{ending}", np.zeros(2**20)
    if ending == ".npz":
        np.savez_compressed(path, x=zeros)
    else:
        write(path, {"x": zeros})
    assert tables.read(str(path)).values.shape[0] == 2**20
    monkeypatch.setattr(tables, "CLAIMED", 2**20)
    claimed = 8 * 2**20 + (128 if ending == ".npz" else 0)  # with the header of the .npy
    said = f"its {path.stat().st_size} bytes claim to be {claimed}: save it without compression"
    with pytest.raises(ValueError, match=said):
        tables.read(str(path))


def test_a_spreadsheet_computes_nothing_from_a_name(tmp_path):
    names = np.array(["=cmd|' /C calc'!A0/1.png", "@x", "+1", "-2", "a=b"])
    numbers = -np.ones((5, 2), np.float32)
    with (tmp_path / "x.csv").open("wb") as file:
        tables.WRITERS[".csv"](file, {"path": names, "features": numbers})
    with (tmp_path / "x.csv").open(newline="") as file:
        rows = [*csv.reader(file)][1:]
    assert [row[0] for row in rows] == [*(f"'{name}" for name in names[:4]), "a=b"]
    assert [row[1:] for row in rows] == [["-1.0", "-1.0"]] * 5
