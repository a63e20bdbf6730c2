"""The folder of a run: names, reads and writes of its files, and whether another run may use it."""

import contextlib
import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, TypedDict

import numpy as np
from ml_collections import ConfigDict

try:
    import fcntl
except ImportError:  # Windows, where nothing is locked
    fcntl = None  # type: ignore[assignment]


CHECKSUMS = "checksums.json"
# Orbax writes these after the checksums; they hold nothing that is read here.
LATER = {"_CHECKPOINT_METADATA", "commit_success.txt"}
SPARE = 2**20  # bytes that a disk keeps for the small files of a run


class Inputs(TypedDict, total=False):
    """What the network of a run takes, and how the run was asked for."""

    input_shape: list[int]  # (h, w, c) of an image, or the widths of two sets
    shorter_side: int  # of a picture, in pixels, before its centre is cut out
    command: str  # that was typed, last


class Summary(Inputs):
    """What training leaves in `training.json`; compilation is part of the seconds only."""

    finished: bool
    steps: int
    train_seconds: float
    images_per_second: float
    device: str
    parameters: int


def write_json(path: Path, value: object) -> None:
    """Write JSON so that a reader finds the old file or the new one, never half of one."""
    text = json.dumps(value, indent=2) + "\n"
    replace(path, lambda file: file.write(text.encode()))


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


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write a compressed `.npz` likewise."""
    replace(path, lambda file: np.savez_compressed(file, **arrays))


def replace(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file under another name first, so that a mistake on the way costs nothing."""
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
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
    """Raise an OSError if the disk of a folder has no room for so many bytes and a few more."""
    free = shutil.disk_usage(folder).free
    if free < size + SPARE:
        raise OSError(
            f"the disk of {folder} has {free / 1e6:,.2f} MB left, and {(size + SPARE) / 1e6:,.2f} "
            "MB are needed: make room, then run the same command again; what is saved is kept"
        )


@contextlib.contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """Hold a folder for one training at a time; a killed process leaves no lock behind.

    Raises:
        ValueError: another process trains in it.
    """
    with (workdir / "lock").open("a") as file:
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"another process trains in {workdir}: wait for it, stop it, or choose another "
                "--workdir"
            ) from error
        yield


def read_json(path: Path) -> Any:
    """Read JSON; a ValueError names a file that is not."""
    try:
        return json.loads(path.read_text())
    except ValueError as error:  # nor is it text, perhaps
        raise ValueError(
            f"{path} is damaged ({error}): run again the program that wrote it"
        ) from error


def read_log(path: Path) -> list[tuple[dict[str, Any], int]]:
    """Read the rows of a `metrics.jsonl`, each with the byte where it ends.

    A last row that a kill cut off is left out; a ValueError names any other that is damaged.
    """
    rows, end = [], 0
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), 1):
        if not line.endswith(b"\n"):
            break
        try:
            row = json.loads(line)
            row["step"] + 0
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is damaged in line {number}: delete that line") from error
        end += len(line)
        rows.append((row, end))
    return rows


def training_summary(workdir: Path) -> Summary:
    """Read what training left; a FileNotFoundError where it has saved nothing yet."""
    path = workdir / "training.json"
    if not path.exists():
        raise FileNotFoundError(
            f"there is no run in {workdir} (no training.json): train one first with --mode=pretrain"
        )
    found = read_json(path)
    if not isinstance(found, dict) or not found.keys() >= Summary.__required_keys__:
        raise ValueError(f"{path} is damaged (it lacks entries): delete it and train again")
    return found  # type: ignore[return-value]


def as_json(config: ConfigDict) -> dict[str, object]:
    """Give the config as JSON gives it back: tuples are lists."""
    return json.loads(config.to_json())


def refuse_another_run(workdir: Path, config: Mapping[str, object]) -> None:
    """Raise a ValueError where the folder is a file, or holds checkpoints of another config."""
    if workdir.exists() and not workdir.is_dir():
        raise ValueError(f"workdir {workdir} is a file; choose a folder with --workdir=DIR")
    if not checkpoints(workdir):
        return  # Nothing of value is there: a run that was stopped before it saved anything.
    path = workdir / "config.json"
    if not path.exists():
        raise ValueError(f"{workdir} holds checkpoints without a config.json; choose another one")
    if shown := first_differences(read_json(path), config):
        raise ValueError(
            f"{workdir} holds a run of another config and is left as it is ({shown}). "
            "Choose another --workdir, or delete that one"
        )


def shorter_run(workdir: Path, config: Mapping[str, Any]) -> Summary | None:
    """Read the summary of a finished run that this config only makes longer; None: it is not."""
    path = workdir / "config.json"
    if not checkpoints(workdir) or not path.exists() or not (workdir / "training.json").exists():
        return None
    there, summary = read_json(path), training_summary(workdir)
    key = "steps" if there["train"].get("steps") else "epochs"
    length = config["train"].get(key) or 0
    as_long = {**there, "train": {**there["train"], key: length}}
    if length <= there["train"][key] or any(differences(as_long, config)):
        return None
    return summary if summary["finished"] else None


def checkpoints(workdir: str | Path) -> dict[int, Path]:
    """Find what the run in this folder has saved: folders by step, in no order."""
    folders = (Path(workdir) / "checkpoints").glob("*")
    return {int(path.name): path for path in folders if path.name.isdigit()}


def differences(there: Mapping[str, object], here: Mapping[str, object]) -> Iterator[str]:
    """Name each key whose value differs, as `group.key: 1 there, 2 here`.

    A key that is not set (null) is as good as one that is not there: a run may go on whose config
    was made before there was such a key.
    """
    a, b = ({key: json.dumps(x) for key, x in flatten(tree)} for tree in (there, here))
    for key in sorted(a.keys() | b.keys()):
        if a.get(key, "null") != b.get(key, "null"):
            yield f"{key}: {a.get(key, 'nothing')} there, {b.get(key, 'nothing')} here"


def first_differences(
    there: Mapping[str, object], here: Mapping[str, object], most: int = 4
) -> str:
    """Name the first differences of two configs on one line; nothing where there is none."""
    differing = list(differences(there, here))
    return "; ".join(differing[:most] + ["..."] * (len(differing) > most))


def flatten(tree: Mapping[str, Any] | ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Give every value of a config by the path of its key."""
    for key, value in tree.items():
        if isinstance(value, Mapping | ConfigDict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def write_checksums(checkpoints: Path) -> None:
    """Write the checksums of the newest checkpoint in a folder, which may have a temporary name."""
    newest = max(checkpoints.glob("[0-9]*"), key=lambda path: int(path.name.split(".")[0]))
    paths = sorted(path for path in newest.rglob("*") if path.is_file())
    names = [path.relative_to(newest).as_posix() for path in paths if path.name not in LATER]
    write_json(newest / CHECKSUMS, {name: _checksum(newest / name) for name in names})


def fault_of(checkpoint: Path) -> str | None:
    """Say which file of a checkpoint is not as it was written; None if all are."""
    try:
        written = dict(read_json(checkpoint / CHECKSUMS))
    except FileNotFoundError:  # by an earlier version of this package
        written = dict.fromkeys(f"{item}/_METADATA" for item in ("variables", "optimizer"))
    except (TypeError, ValueError):
        return f"{CHECKSUMS} is damaged"
    for name, checksum in written.items():
        try:
            found = _checksum(checkpoint / name)
        except OSError as error:
            return f"{name}: {error.strerror}"
        if checksum not in (None, found):
            return f"{name} has changed"
    return None


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
