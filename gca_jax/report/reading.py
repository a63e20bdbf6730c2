"""What a run left in its folder, together, before anything is drawn."""

import dataclasses
import sys
from pathlib import Path

import numpy as np

from gca_jax.workdir import Json, RunFolder, Summary


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
        return self.evaluation["dataset"].get(f"{kind}_names", [])


def title(method: str, dataset: str, config: Json) -> str:
    """Name a run by its method and its data: of one's own with the folder or the file."""
    data = config["data"] if "dataset" not in config.get("given", {}) else {}
    where = next((data[key] for key in ("root", "file", "path") if data.get(key)), None)
    words = dataset if where is None else f"{dataset} {Path(where).name}"
    held_out = f", domain {data['held_out']} held out" if data.get("held_out") else ""
    return f"{method} on {words}{held_out}"


def read(folder: RunFolder) -> Files:
    """Read the files of a run; refuse one whose files are of two steps."""
    evaluation, rows = folder.evaluation, folder.log
    if not folder.has("metrics.jsonl"):
        raise FileNotFoundError(
            f"{folder.path / 'metrics.jsonl'} is missing: the run's log belongs to its report"
        )
    if not rows:
        raise ValueError(
            f"{folder.path / 'metrics.jsonl'} is empty: nothing was logged, so there is nothing to "
            "draw"
        )
    found = _corruptions(folder, evaluation["step"]) or evaluation.get("corruptions")
    return Files(folder.config, folder.summary, rows, evaluation, folder.arrays, found)


def _corruptions(folder: RunFolder, step: int) -> Json | None:
    found = folder.corruptions
    if found is not None and found["step"] != step:
        print(
            f"left out: {folder.path / 'corruptions.json'} is of step {found['step']}, the run is "
            f"at step {step}; judge it again with --mode=corruptions",
            file=sys.stderr,
        )
        return None
    return found
