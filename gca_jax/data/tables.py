"""Reads and writes files with a row for each sample: `.npy`, `.npz`, `.parquet` or `.csv`."""

import contextlib
import csv
import io
import lzma
import pathlib
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from gca_jax import check

CLAIMED = 2**28  # bytes that any file may take in memory
PER_BYTE = 512  # that larger ones may take for each byte of the file; deflate reaches 1,032

Names = tuple[str, ...]
Columns = Mapping[str, np.ndarray]
"""Names [n], numbers [n] or numbers [n, k], by the name of the column."""


class Table(NamedTuple):
    """An array read from a file.

    Attributes:
        values: Numbers [n, ...]; or text [n], of a column read by its name.
        rows: Names [n] of the samples, if the file has them.
        columns: Names [k] of the features of values [n, k], if the file has them.
    """

    values: np.ndarray
    rows: Names | None = None
    columns: Names | None = None


class Contents(NamedTuple):
    """Arrays of a file, and which of them name its rows and columns."""

    arrays: Any  # by name
    rows: str | None = None
    columns: str | None = None
    named: bool = True  # whether a table has a header

    def text(self, name: str | None) -> Names | None:
        """Return the array `name` as text."""
        return None if name is None else tuple(map(str, self.arrays[name].tolist()))


def read(file: str) -> Table:
    """Read an array [n, ...], with the names of its rows and columns.

    An archive of `numpy.savez` must hold one array beside text called `rows` and `columns`; else
    `X.npz:KEY` names the array. A table's columns, numbers [n] or lists of one length [n, k], are
    concatenated; `X.parquet:NAME` reads one, or the columns NAME_0, NAME_1, ... Rows are named by
    pandas' index, or by a first column of text or without a name.

    Raises:
        ValueError: The file is missing, damaged or of another kind; the message names it.
    """
    path, key = split_key(file)
    with opened(path) as found:
        if path.suffix in TABLES:
            return _concatenated(found, key)
        names = [name for name in found.arrays if name not in (found.rows, found.columns)]
        if key is None and len(names) == 1:
            key = names[0]
        if key not in found.arrays:
            raise ValueError(
                f"choose one of its arrays, {', '.join(names)}, as {path}:KEY"
                if path.suffix == ".npz"
                else f"a {path.suffix} file has one array and no {key!r}"
            )
        table = Table(found.arrays[key], found.text(found.rows), found.text(found.columns))
        shape = table.values.shape
        for axis, kind in enumerate(("rows", "columns")):
            if (given := getattr(table, kind)) is not None and (len(given),) != shape[axis:][:1]:
                raise ValueError(f"it has {len(given)} names of {kind} for {list(shape)}")
        return table


@contextlib.contextmanager
def opened(path: pathlib.Path) -> Iterator[Contents]:
    """Open a file; turn errors of reading, also inside the block, into a ValueError naming it."""
    if not path.is_file():  # opening a pipe would block
        raise ValueError(f"{path} {'is not a file' if path.exists() else 'does not exist'}")
    if path.suffix not in READERS:
        raise ValueError(f"{path} must be a file {', '.join(READERS)}")
    try:
        found = READERS[path.suffix](path)
        with found.arrays if path.suffix == ".npz" else contextlib.nullcontext():
            yield found
    except Exception as error:  # parsers of broken files raise what they happen to
        text = str(error).split("\n")[0]
        if not isinstance(error, EXPECTED) or not text:
            text = f"it is damaged ({type(error).__name__})"
        if "allow_pickle" in text:
            text = "it holds Python objects: save numbers with .astype(np.float32), names with str"
        raise ValueError(f"{path} cannot be read: {text}") from error


def _check_claim(path: pathlib.Path, claimed: int) -> None:
    """Refuse a file that would take far more memory than compressed data do."""
    size = path.stat().st_size
    if claimed > max(CLAIMED, PER_BYTE * size):
        raise ValueError(f"its {size} bytes claim to be {claimed}: save it without compression")


def split_key(file: str) -> tuple[pathlib.Path, str | None]:
    """Split FILE:KEY, not at the colon of a drive."""
    whole = pathlib.Path(file).expanduser()
    head, colon, key = file.rpartition(":")
    if colon and not whole.exists() and pathlib.Path(head).suffix in READERS:
        return pathlib.Path(head).expanduser(), key
    return whole, None


def _npy(path: pathlib.Path) -> Contents:
    with path.open("rb") as file:
        return Contents({"": np.lib.format.read_array(file, allow_pickle=False)})


def _npz(path: pathlib.Path) -> Contents:
    if not zipfile.is_zipfile(path):
        raise ValueError("it is no archive of numpy.savez")
    archive = np.load(path, allow_pickle=False)  # reads each array on access
    _check_claim(path, sum(member.file_size for member in archive.zip.infolist()))
    kinds = ("rows", "columns")
    text: dict[str, Any] = {
        kind: kind for kind in kinds if kind in archive and archive[kind].dtype.kind == "U"
    }
    return Contents(archive, **text)


def _parquet(path: pathlib.Path) -> Contents:
    import pyarrow.parquet  # takes half a second

    found = pyarrow.parquet.read_metadata(path)
    groups = [found.row_group(k) for k in range(found.num_row_groups)]
    counts = (g.column(k).num_values for g in groups for k in range(g.num_columns))
    _check_claim(path, 8 * sum(counts))
    table = pyarrow.parquet.read_table(path)
    index = (table.schema.pandas_metadata or {}).get("index_columns", [])
    return _contents(table, [name for name in index if isinstance(name, str)])


def _csv(path: pathlib.Path) -> Contents:
    """Read a table whose first line is a header unless it is all numbers."""
    import pyarrow.csv

    with path.open(encoding="utf-8", newline="") as file:
        head = next(csv.reader(file), [])
    try:
        headless = np.array(head, float).size > 0
    except ValueError:
        headless = False
    options = pyarrow.csv.ReadOptions(autogenerate_column_names=headless)
    found = _contents(pyarrow.csv.read_csv(path, options), [])
    return found._replace(named=not headless)


def _contents(table: Any, index: list[str]) -> Contents:
    """Convert a pyarrow table; its index, or a first column of text or unnamed, names the rows."""
    names = table.column_names
    if len(set(names)) < len(names):
        raise ValueError("two of its columns have one name")
    arrays = {name: table[name].to_numpy() for name in names}
    if not index and len(names) > 1:
        first = arrays[names[0]]
        if not names[0] or (first.dtype == object and all(isinstance(x, str) for x in first)):
            index = names[:1]
    return Contents(arrays, index[0] if len(index) == 1 else None)


def _concatenated(found: Contents, key: str | None) -> Table:
    """Concatenate columns of numbers; a column read by its name may hold text."""
    names = [name for name in found.arrays if name != found.rows]
    if key is not None:
        split = [name for name in names if re.fullmatch(rf"{re.escape(key)}_\d+", name)]
        names = [key] if key in found.arrays else split
    if not names:
        raise ValueError(f"it has no column {key!r}, but {', '.join(found.arrays)}")
    columns = [_column(name, found.arrays[name], text=key is not None) for name in names]
    heads = [
        head
        for name, column in zip(names, columns, strict=True)
        for head in ([name] if column.shape[1] == 1 else _numbered(name, column.shape[1]))
    ]
    alone = names == [key] and columns[0].shape[1] == 1
    values = columns[0].squeeze(1) if alone else np.hstack(columns)
    return Table(values, found.text(found.rows), tuple(heads) if found.named else None)


def _column(name: str, values: np.ndarray, text: bool) -> np.ndarray:
    """Return a column as [n, k]."""
    try:
        column = np.stack([*values]) if values.dtype == object else values
    except (TypeError, ValueError) as error:
        raise ValueError(f"its column {name!r} has rows of different lengths") from error
    if not (text and column.dtype.kind == "U"):
        check.numbers(f"its column {name!r}", column)
    return column.reshape(len(column), -1)


def _numbered(name: str, count: int) -> list[str]:
    return [f"{name}_{k}" for k in range(count)]


EXPECTED = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)
"""Errors whose text says what is wrong with a file."""

FORMULAS = ("=", "+", "-", "@", "\t", "\r")
TABLES = {".parquet": _parquet, ".csv": _csv}
READERS: dict[str, Callable[[pathlib.Path], Contents]] = {".npy": _npy, ".npz": _npz, **TABLES}


def _to_parquet(file: IO[bytes], columns: Columns) -> None:
    """Write a matrix as one column of lists."""
    import pyarrow.parquet

    def lists(values: np.ndarray) -> pyarrow.Array:
        return pyarrow.FixedSizeListArray.from_arrays(values.ravel(), values.shape[1])

    arrays = {name: lists(v) if v.ndim > 1 else pyarrow.array(v) for name, v in columns.items()}
    pyarrow.parquet.write_table(pyarrow.table(arrays), file)


def as_cell(name: object) -> object:
    """Return a text for a cell of a .csv, with an apostrophe where a spreadsheet would compute."""
    return f"'{name}" if isinstance(name, str) and name.startswith(FORMULAS) else name


def _to_csv(file: IO[bytes], columns: Columns) -> None:
    """Write a matrix as columns NAME_0, NAME_1, ..., numbers with the fewest exact digits."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.writer(text)
    writer.writerow(
        head
        for name, v in columns.items()
        for head in (_numbered(name, v.shape[1]) if v.ndim > 1 else [name])
    )
    texts = {
        name: [*map(as_cell, v.tolist())] for name, v in columns.items() if v.dtype.kind == "U"
    }
    for values in zip(*(texts.get(name, v) for name, v in columns.items()), strict=True):
        writer.writerow(np.concatenate([np.atleast_1d(value).astype(str) for value in values]))
    text.detach()


WRITERS: dict[str, Callable[[IO[bytes], Columns], None]] = {
    ".parquet": _to_parquet,
    ".npz": lambda file, columns: np.savez(file, **columns),  # type: ignore[arg-type]
    ".csv": _to_csv,
}


def matched(name_a: str, a: ArrayLike, name_b: str, b: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Check two sets with matching rows: finite numbers, as many rows in each."""
    x, y = checked(name_a, a), checked(name_b, b)
    if len(x) != len(y):
        raise ValueError(f"{name_a} has {len(x)} rows and {name_b} has {len(y)}: rows are pairs")
    return x, y


def checked(name: str, values: ArrayLike) -> np.ndarray:
    """Check a set [n, ...] of finite numbers, n > 0; a vector [n] becomes [n, 1].

    bfloat16, of JAX or PyTorch, becomes float32.
    """
    if str(getattr(values, "dtype", "")) == "torch.bfloat16":
        values = values.float()  # type: ignore[union-attr]
    check.numbers(name, values)
    array = np.asarray(values)
    if array.dtype.name == "bfloat16":  # of ml_dtypes, which NumPy does not take for a number
        array = array.astype(np.float32)
    if array.dtype == bool:
        array = array.astype(np.uint8)
    if array.dtype.kind not in "iuf" or array.ndim < 1 or 0 in array.shape:
        raise ValueError(
            f"{name} must be numbers [n, ...], a row for each pair; got {array.dtype} "
            f"{list(array.shape)}"
        )
    if array.dtype.kind == "f":
        bad = ~np.isfinite(array.reshape(len(array), -1)).all(axis=1)
        if bad.any():
            raise ValueError(
                f"{name} must be finite; {bad.sum()} of its {len(array)} rows are not, the first "
                f"is row {np.flatnonzero(bad)[0]}: leave those pairs out"
            )
    return array if array.ndim > 1 else array[:, None]
