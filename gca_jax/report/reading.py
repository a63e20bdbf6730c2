"""What a run left in its workdir, read and checked before anything is drawn."""

import dataclasses
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from gca_jax.workdir import Summary, read_json, read_log, training_summary

Json = dict[str, Any]
"""What a JSON file holds; its keys are those that its program writes."""


@dataclasses.dataclass(frozen=True)
class Files:
    """The files of an evaluated run, by name; `arrays` are those of `evaluation.npz`.

    There are `corruptions` where the run was judged on corrupted images too.
    """

    config: Json
    training: Summary
    metrics: list[Json]
    evaluation: Json
    arrays: dict[str, np.ndarray]
    corruptions: Json | None

    @property
    def title(self) -> str:
        """Name the run by its method and its data."""
        return title(self.evaluation["method"], self.evaluation["dataset"]["name"], self.config)

    def name(self, kind: str, number: int) -> str:
        """Name a "class" or a "domain"; by its number where it has no name."""
        names = self._names(kind)
        return names[number] if names else str(number)

    def named(self, kind: str) -> bool:
        """Tell whether classes or domains have names other than numbers."""
        return not all(name.isdigit() for name in self._names(kind))

    def _names(self, kind: str) -> list[str]:
        return self.evaluation["dataset"].get(f"{kind}_names", [])  # 0.1.0 wrote none


def title(method: str, dataset: str, config: Json) -> str:
    """Name a run by its method and its data: of one's own with the folder or the file."""
    data = config["data"] if "dataset" not in config.get("given", {}) else {}
    where = next((data[key] for key in ("root", "file", "path") if data.get(key)), None)
    words = dataset if where is None else f"{dataset} {Path(where).name}"
    held_out = f", domain {data['held_out']} held out" if data.get("held_out") else ""
    return f"{method} on {words}{held_out}"


def read(workdir: Path) -> Files:
    """Read the files of a run; refuse one whose files are of two steps."""
    if (fault := fault_of_evaluation(workdir)) is not None:
        raise fault
    training, evaluation = training_summary(workdir), read_json(workdir / "evaluation.json")
    try:
        with np.load(workdir / "evaluation.npz") as stored:
            arrays = dict(stored)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        path = workdir / "evaluation.npz"
        raise ValueError(f"{path} is damaged ({error}): evaluate again, --mode=evaluate") from error
    config, rows = read_json(workdir / "config.json"), _rows(workdir / "metrics.jsonl")
    found = _corruptions(workdir, evaluation["step"]) or evaluation.get("corruptions")
    return Files(config, training, rows, evaluation, arrays, found)


def fault_of_evaluation(workdir: Path) -> FileNotFoundError | ValueError | None:
    """Give what keeps a run's evaluation from being reported: there is none, or it is an old one.

    Raises:
        FileNotFoundError: There is no run.
    """
    step = training_summary(workdir)["steps"]
    if not (workdir / "evaluation.json").exists() or not (workdir / "evaluation.npz").exists():
        return FileNotFoundError(
            f"the run in {workdir} has not been evaluated: do so first with --mode=evaluate"
        )
    evaluation = read_json(workdir / "evaluation.json")
    if evaluation["step"] != step:
        return ValueError(
            f"the evaluation in {workdir} is of step {evaluation['step']}, the run is at step "
            f"{step}: evaluate again with --mode=evaluate"
        )
    if "results" not in evaluation:
        return ValueError(
            f"the evaluation in {workdir} is of an earlier version of this package: "
            "evaluate again with --mode=evaluate"
        )
    return None


def _corruptions(workdir: Path, step: int) -> Json | None:
    path = workdir / "corruptions.json"
    if not path.exists():
        return None
    found = read_json(path)
    if found["step"] != step:
        print(
            f"left out: {path} is of step {found['step']}, the run is at step {step}; judge it "
            "again with --mode=corruptions",
            file=sys.stderr,
        )
        return None
    return found


def _rows(path: Path) -> list[Json]:
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: the run's log belongs to its report")
    rows = [row for row, _ in read_log(path)]
    if not rows:
        raise ValueError(f"{path} is empty: nothing was logged, so there is nothing to draw")
    return rows
