"""Atomic file writes by renaming, and JSON that is checked when it is read."""

import contextlib
import glob
import hashlib
import json
import math
import os
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from gca_jax import check

try:
    import fcntl
except ImportError:  # Windows, where nothing is locked
    fcntl = None  # type: ignore[assignment]

TRIES = 5  # at a lock
STALE = 3600  # seconds after which a file with a temporary name is of a writer that was killed
SPARE = 2**20  # bytes that a disk keeps for small files
CHECKSUMS = "checksums.json"
# Orbax writes these after the checksums; they hold nothing that is read here.
LATER = {"_CHECKPOINT_METADATA", "commit_success.txt"}


class DamagedError(ValueError):
    """A file of a run is cut, or is JSON of another shape; the message names it, in one line."""

    @classmethod
    def of(cls, path: Path, fault: object) -> "DamagedError":
        """Describe what is wrong with a file that this package wrote."""
        return cls(f"{path} is damaged ({fault}): run again the program that wrote it")


def lock(file: IO[str]) -> bool:
    """Lock an open file for this process; return False if another one holds it."""
    for _ in range(TRIES if fcntl is not None else 0):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:  # perhaps by who only looks whether it is locked
            time.sleep(0.01)
    return fcntl is None


def read_json(path: Path) -> Any:
    """Read JSON; raise `DamagedError` for a file that is none or of another shape."""
    try:
        found = json.loads(path.read_text())
        json.dumps(found, ensure_ascii=False).encode()  # Half a character could not be printed.
    except (ValueError, RecursionError) as error:  # nor is it text, perhaps
        raise DamagedError.of(path, str(error).splitlines()[0]) from error
    return found


def read_log(path: Path) -> list[tuple[dict[str, Any], int]]:
    """Read the rows of a `metrics.jsonl`, each with the byte where it ends.

    A last row that a kill cut off is left out; a `DamagedError` names any other that is damaged.
    """
    rows, end = [], 0
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), 1):
        if not line.endswith(b"\n"):
            break
        try:
            # NaN is no JSON: we write null.
            row = json.loads(line, parse_constant=lambda word: None)
            check.shape("the row", row, {"step": int})
            for name, value in row.items():
                if value is not None:
                    check.shape(name, value, float)
        except (ValueError, RecursionError) as error:
            raise DamagedError(f"{path} is damaged in line {number}: delete that line") from error
        end += len(line)
        rows.append((row, end))
    return rows


def write_json(path: Path, value: object) -> None:
    """Write JSON atomically: a reader finds the old file or the new one."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_text(path: Path, text: str) -> Path:
    """Write a text file atomically."""
    replace(path, lambda file: file.write(text.encode()))
    return path


def write_figure(path: Path, figure: Any, dpi: int = 150) -> None:
    """Write a matplotlib figure as a PNG, atomically."""
    replace(path, lambda file: figure.savefig(file, dpi=dpi))


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write a compressed `.npz` atomically."""
    replace(path, lambda file: np.savez_compressed(file, **arrays))


def replace(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file under a temporary name, then rename it: a failure leaves the old one.

    Two writers do not meet: the file is the one of whoever ends last. What one that was killed left
    is removed an hour later.
    """
    sweep(path.parent, f"{glob.escape(path.name)}.*.partial")
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with partial.open("xb") as file:
            write(file)
            file.flush()
            # Without this, a crash of the machine may leave the new name without its content.
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error  # of the disk: no name
    finally:
        partial.unlink(missing_ok=True)


def need_space(folder: Path, size: int = 0) -> None:
    """Raise OSError unless `size` + 1 MiB are free on a folder's disk."""
    free = shutil.disk_usage(folder).free
    if free < size + SPARE:
        raise OSError(
            f"the disk of {folder} has {free / 1e6:,.2f} MB left, and "
            f"{(size + SPARE) / 1e6:,.2f} MB are needed: make room, then run the same command "
            "again; what is saved is kept"
        )


def sweep(folder: Path, pattern: str = "*.partial") -> None:
    """Remove files with temporary names whose writers were killed."""
    for left in folder.glob(pattern):
        with contextlib.suppress(OSError):  # another process has done so, or may not
            if time.time() - left.stat().st_mtime > STALE:
                left.unlink()


def finite(value: object, nan: str | None = "nan") -> object:
    """Turn infinities (a hard constraint's penalty, say) into strings and NaN into `nan`.

    Strict JSON has neither.
    """
    if isinstance(value, Mapping):
        return {key: finite(x, nan) for key, x in value.items()}
    if isinstance(value, list | tuple):
        return [finite(x, nan) for x in value]
    if not isinstance(value, float) or math.isfinite(value):
        return value
    return nan if math.isnan(value) else str(value)


def write_checksums(checkpoints: Path) -> None:
    """Write the checksums of the newest checkpoint in a folder, which may have a temporary name."""
    newest = max(checkpoints.glob("[0-9]*"), key=lambda path: int(path.name.split(".")[0]))
    paths = sorted(path for path in newest.rglob("*") if path.is_file())
    names = [path.relative_to(newest).as_posix() for path in paths if path.name not in LATER]
    write_json(newest / CHECKSUMS, {name: _checksum(newest / name) for name in names})


def fault_of(checkpoint: Path) -> str | None:
    """Return which file of a checkpoint differs from what was written; None if none does."""
    try:
        written = read_json(checkpoint / CHECKSUMS)
        check.shape(CHECKSUMS, written, {str: str, "variables/_METADATA": str})
    except (OSError, ValueError) as error:
        return f"{CHECKSUMS} is {'missing' if isinstance(error, OSError) else 'damaged'}"
    for name, checksum in written.items():
        try:
            found = _checksum(checkpoint / name)
        except OSError as error:
            return f"{name}: {error.strerror}"
        if checksum != found:
            return f"{name} has changed"
    return None


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
