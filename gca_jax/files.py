"""Reading and writing the files of a run, which join its three programs."""

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np


def write_json(path: Path, value: Any) -> None:
    """Writes JSON so that a reader finds the old file or the new one, never half of one."""
    text = json.dumps(value, indent=2) + "\n"
    _replace(path, lambda file: file.write(text.encode()))


def finite(value: Any) -> Any:
    """The value with infinities (a hard constraint's penalty, say) as strings, for strict JSON."""
    if isinstance(value, Mapping):
        return {key: finite(x) for key, x in value.items()}
    if isinstance(value, list | tuple):
        return [finite(x) for x in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Writes a compressed `.npz` likewise."""
    _replace(path, lambda file: np.savez_compressed(file, **arrays))


def _replace(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        write(file)
    os.replace(partial, path)


def read_json(path: Path) -> Any:
    """Reads JSON.

    Raises:
        ValueError: The file is not JSON; the message names it.
    """
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path} is damaged ({error}): run again the program that wrote it"
        ) from error


def training_summary(workdir: Path) -> dict[str, Any]:
    """What training left in `training.json`.

    Raises:
        FileNotFoundError: No run was started in `workdir`, or it saved nothing yet.
    """
    path = workdir / "training.json"
    if not path.exists():
        raise FileNotFoundError(
            f"there is no run in {workdir} (no training.json): train one first with --mode=pretrain"
        )
    return read_json(path)
