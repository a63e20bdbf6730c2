"""Checksums of a checkpoint: written before it gets its name, compared before it is read."""

import hashlib
from pathlib import Path

from gca_jax.workdir import read_json, write_json

NAME = "checksums.json"
# Orbax writes these after the checksums; they hold nothing that is read here.
LATER = {"_CHECKPOINT_METADATA", "commit_success.txt"}


def write(checkpoints: Path) -> None:
    """Write the checksums of the newest checkpoint in a folder, which may have a temporary name."""
    newest = max(checkpoints.glob("[0-9]*"), key=lambda path: int(path.name.split(".")[0]))
    paths = sorted(path for path in newest.rglob("*") if path.is_file())
    names = [path.relative_to(newest).as_posix() for path in paths if path.name not in LATER]
    write_json(newest / NAME, {name: _checksum(newest / name) for name in names})


def fault(checkpoint: Path) -> str | None:
    """Say which file of a checkpoint is not as it was written; None if all are."""
    try:
        written = dict(read_json(checkpoint / NAME))
    except FileNotFoundError:  # by an earlier version of this package
        written = dict.fromkeys(f"{item}/_METADATA" for item in ("variables", "optimizer"))
    except (TypeError, ValueError):
        return f"{NAME} is damaged"
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
