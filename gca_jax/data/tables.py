"""Files with a row for each sample: one array is read, several columns are written."""

import csv
import io
import pathlib
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import IO

import numpy as np
from numpy.typing import ArrayLike

KINDS = ".npy, .npz or .parquet"


def read(file: str) -> np.ndarray:
    """Read an array [n, ...].

    An archive of `numpy.savez` must hold one array, or the file is named as `X.npz:KEY`. Of a table
    all columns are taken, numbers [n] or lists of one length [n, k], side by side, but for pandas'
    index, which would tell partners by their row; `X.parquet:NAME` takes one column.

    Raises:
        ValueError: The file is missing, damaged or of another kind; the message names it.
    """
    path, key = _path(file)
    if not path.is_file():  # a pipe would be waited for
        raise ValueError(f"{path} {'is not a file' if path.exists() else 'does not exist'}")
    if path.suffix not in READERS:
        raise ValueError(f"{path} must be a {KINDS} file")
    try:
        return READERS[path.suffix](path, key)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        text = str(error).split("\n")[0]
        if "allow_pickle" in text:
            text = "it holds Python objects: save numbers, with .astype(np.float32)"
        raise ValueError(f"{path} cannot be read: {text}") from error


def _path(file: str) -> tuple[pathlib.Path, str | None]:
    """Part FILE:KEY; a drive's colon stays with the file."""
    whole = pathlib.Path(file).expanduser()
    head, colon, key = file.rpartition(":")
    if colon and not whole.exists() and pathlib.Path(head).suffix in READERS:
        return pathlib.Path(head).expanduser(), key
    return whole, None


def _npy(path: pathlib.Path, key: str | None) -> np.ndarray:
    if key is not None:
        raise ValueError(f"a .npy file has one array and no {key!r}")
    with path.open("rb") as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _npz(path: pathlib.Path, key: str | None) -> np.ndarray:
    if not zipfile.is_zipfile(path):
        raise ValueError("it is no archive of numpy.savez")
    with np.load(path, allow_pickle=False) as archive:
        names = archive.files
        if key is None and len(names) == 1:
            key = names[0]
        if key not in names:
            raise ValueError(f"choose one of its arrays, {', '.join(names)}, as {path}:KEY")
        return archive[key]


def _parquet(path: pathlib.Path, key: str | None) -> np.ndarray:
    import pyarrow.parquet  # takes half a second, and few need it

    table = pyarrow.parquet.read_table(path)
    index = (table.schema.pandas_metadata or {}).get("index_columns", [])
    names = [name for name in table.column_names if name not in index] if key is None else [key]
    if unknown := set(names) - set(table.column_names):
        raise ValueError(f"it has no column {unknown.pop()!r}, but {', '.join(table.column_names)}")
    columns = []
    for name in names:
        values = table[name].to_numpy()
        try:
            column = np.stack(values) if values.dtype == object else values
        except (TypeError, ValueError) as error:
            raise ValueError(f"its column {name!r} has rows of different lengths") from error
        if column.dtype.kind not in "iufb" and (key is None or column.dtype.kind not in "U"):
            raise ValueError(f"its column {name!r} has no numbers but {column.dtype}")
        columns.append(column.reshape(len(column), -1))
    return columns[0].squeeze(1) if key and columns[0].shape[1] == 1 else np.hstack(columns)


READERS = {".npy": _npy, ".npz": _npz, ".parquet": _parquet}


Columns = Mapping[str, np.ndarray]
"""Names [n], numbers [n], or numbers [n, k], by the name of the column."""


def _to_parquet(file: IO[bytes], columns: Columns) -> None:
    """Write a matrix as one column of lists."""
    import pyarrow.parquet

    def lists(values: np.ndarray) -> pyarrow.Array:
        return pyarrow.FixedSizeListArray.from_arrays(values.ravel(), values.shape[1])

    arrays = {name: lists(v) if v.ndim > 1 else pyarrow.array(v) for name, v in columns.items()}
    pyarrow.parquet.write_table(pyarrow.table(arrays), file)


def _to_csv(file: IO[bytes], columns: Columns) -> None:
    """Write a matrix as columns NAME_0, NAME_1, ..., its numbers as short as they can be read."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.writer(text)
    writer.writerow(
        head
        for name, v in columns.items()
        for head in ([f"{name}_{k}" for k in range(v.shape[1])] if v.ndim > 1 else [name])
    )
    for values in zip(*columns.values(), strict=True):
        writer.writerow(np.concatenate([np.atleast_1d(value).astype(str) for value in values]))
    text.detach()


WRITERS: dict[str, Callable[[IO[bytes], Columns], None]] = {
    ".parquet": _to_parquet,
    ".npz": lambda file, columns: np.savez(file, **columns),  # type: ignore[arg-type]
    ".csv": _to_csv,
}


def matched(name_a: str, a: ArrayLike, name_b: str, b: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Check two sets whose rows belong together: finite numbers, as many rows in each."""
    x, y = checked(name_a, a), checked(name_b, b)
    if len(x) != len(y):
        raise ValueError(f"{name_a} has {len(x)} rows and {name_b} has {len(y)}: rows are pairs")
    return x, y


def checked(name: str, values: ArrayLike) -> np.ndarray:
    """Check a set: at least one row [n, ...] of finite numbers; a vector [n] becomes [n, 1]."""
    array = np.asarray(values)
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


def joined(
    first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Append the rows of other pairs, whose shapes must be the same."""
    for name, x, y in zip("ab", first, second, strict=True):
        if x.shape[1:] != y.shape[1:]:
            raise ValueError(
                f"rows of {name} have shape {list(x.shape[1:])}, those of test_{name} "
                f"{list(y.shape[1:])}"
            )
    a, b = (np.concatenate(sides) for sides in zip(first, second, strict=True))
    return a, b
