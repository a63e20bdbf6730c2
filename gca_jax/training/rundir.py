"""What a run's folder holds, and whether another run may go on in it."""

import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict


def as_json(config: ConfigDict) -> dict[str, Any]:
    """The config as JSON gives it back: tuples are lists."""
    return json.loads(config.to_json())


def refuse_another_run(workdir: pathlib.Path, config: Mapping[str, Any]) -> None:
    """Check that a run of this config may write into the folder.

    Args:
        workdir: the folder; it need not exist.
        config: the run's, from `as_json`.

    Raises:
        ValueError: the folder is a file, or holds checkpoints of a run with another config; the
            message names the first keys that differ.
    """
    if workdir.exists() and not workdir.is_dir():
        raise ValueError(f"workdir {workdir} is a file; choose a folder with --workdir=DIR")
    if not any(path.name.isdigit() for path in (workdir / "checkpoints").glob("*")):
        return  # Nothing of value is there: a run that was stopped before it saved anything.
    path = workdir / "config.json"
    if not path.exists():
        raise ValueError(f"{workdir} holds checkpoints without a config.json; choose another one")
    differing = list(differences(json.loads(path.read_text()), config))
    if differing:
        shown = "; ".join(differing[:4]) + ("; ..." if len(differing) > 4 else "")
        raise ValueError(
            f"{workdir} holds a run of another config and is left as it is ({shown}). "
            "Choose another --workdir, or delete that one"
        )


def finished(workdir: pathlib.Path) -> dict[str, Any] | None:
    """The summary of the run in this folder if it has come to its end."""
    path = workdir / "training.json"
    summary = json.loads(path.read_text()) if path.exists() else None
    return summary if summary is not None and summary["finished"] else None


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[str]:
    """Each key whose value differs, as `group.key: 1 there, 2 here`."""
    flat_there, flat_here = dict(_flatten(there)), dict(_flatten(here))
    for key in sorted(flat_there.keys() | flat_here.keys()):
        a, b = (
            json.dumps(flat[key]) if key in flat else "nothing" for flat in (flat_there, flat_here)
        )
        if a != b:
            yield f"{key}: {a} there, {b} here"


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
