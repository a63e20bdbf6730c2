"""What the runs of a study found: a function of the files in its folder."""

import itertools
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from gca_jax.files import read_json
from gca_jax.studies.grid import Cell, Run
from gca_jax.studies.study import Changes, Study
from gca_jax.workdir import Json, RunFolder

GROUPS = ("accuracy", "retrieval")  # of evaluation.json, whose numbers are measures of one config

Failed = Mapping[str, str]
"""One-line errors by the folders of runs."""


class Choice(NamedTuple):
    """What was chosen for a method under a condition.

    Attributes:
        best: Index of the candidate; None where none is known yet, or all failed.
        scores: Mean over the seeds for each candidate; None where a run of it is missing.
        complete: Whether no trial is left to be done.
    """

    best: int | None
    scores: tuple[float | None, ...]
    complete: bool


class Row(NamedTuple):
    """A final run that is finished; a measure that it lacks is NaN."""

    condition: str
    method: str
    seed: int
    settings: Changes
    values: Mapping[str, float]
    folder: str


class Results(NamedTuple):
    """All that a report is made of."""

    rows: list[Row]
    choices: dict[tuple[str, str], Choice]
    measures: dict[str, str]
    failed: list[Mapping[str, Any]]
    missing: list[str]
    """Folders of runs that are neither finished nor failed; a cell without a choice counts once."""


def number(folder: Path, where: str) -> float:
    """Read a number at a dotted path of a run's `evaluation.json`; a ValueError if there is none.

    NaN where it is null: nothing was there to be measured. `training.json:train_seconds` is a path
    in another file.
    """
    file, _, where = where.rpartition(":")
    file = file or "evaluation.json"
    found = RunFolder(folder).content(file)
    for key in where.split("."):
        if not isinstance(found, dict) or key not in found:
            there = ", ".join(map(str, found)) if isinstance(found, dict) else "one value"
            raise ValueError(f"{file} has no {where}: there is {there}")
        found = found[key]
    if found is None:
        return math.nan
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        raise ValueError(f"{where} in {file} is no finite number: {found}")
    return float(found)


def choose(study: Study, cell: Cell, workdir: Path, failed: Failed) -> Choice:
    """Choose among a cell's candidates: the best mean over seeds, the earlier of equal ones.

    A candidate of which a run failed or is not done yet cannot be chosen.
    """
    if not cell.chooses:
        return Choice(0, (None,), True)
    scores: list[float | None] = []
    complete = True
    for runs in cell.trials:
        done = [run for run in runs if run.is_finished(workdir) and run.folder not in failed]
        complete &= all(run in done or run.folder in failed for run in runs)
        whole = len(done) == len(runs)
        values = [_number(workdir, run, str(study.choose_by)) for run in done]
        mean = sum(values) / len(values) if whole else math.nan
        scores.append(None if math.isnan(mean) else mean)
    known = [score for score in scores if score is not None]
    best = scores.index(max(known)) if known and complete else None
    return Choice(best, tuple(scores), complete)


def _number(workdir: Path, run: Run, where: str) -> float:
    """Read a number of a finished run; NaN where it has none."""
    try:
        return number(workdir / run.folder, where)
    except (ValueError, OSError):
        return math.nan


def fault(study: Study, workdir: Path, run: Run) -> str | None:
    """Say what a finished run lacks of what the study reads; None if nothing."""
    paths = [*study.measures.values()] if run.final else [str(study.choose_by)]
    try:
        for path in paths:
            found = number(workdir / run.folder, path)
            if math.isnan(found) and not run.final:
                return f"{path} in evaluation.json is null: it cannot choose"
    except (ValueError, OSError) as error:
        return str(error)
    return None


def collect(study: Study, grid: list[Cell], workdir: Path) -> Results:
    """Read all that is there, also of a study that was stopped or whose runs failed."""
    failures = read_failed(workdir)
    failed = {one["folder"]: one["error"] for one in failures}
    rows, missing, choices = [], [], {}
    measures = dict(study.measures)
    for cell in grid:
        chosen = choose(study, cell, workdir, failed)
        choices[cell.condition, cell.method] = chosen
        if not chosen.complete:
            missing += [
                run.folder
                for run in itertools.chain.from_iterable(cell.trials)
                if run.folder not in failed and not run.is_finished(workdir)
            ]
        if chosen.best is None:
            missing.append(f"{cell.condition}, {cell.method}: {len(study.seeds)} final runs")
            continue
        for run in cell.finals[chosen.best]:
            if run.is_finished(workdir) and run.folder not in failed:
                measures = measures or _found(RunFolder(workdir / run.folder).evaluation)
                values = {label: _number(workdir, run, path) for label, path in measures.items()}
                own = run.condition, run.method, run.seed, run.settings
                rows.append(Row(*own, values, run.folder))
            elif run.folder not in failed:
                missing.append(run.folder)
    return Results(rows, choices, measures, failures, missing)


def _found(evaluation: Json) -> dict[str, str]:
    """Find the numbers of an evaluation where no measures are named."""

    def leaves(value: object, where: str) -> Iterable[str]:
        if isinstance(value, dict):
            for key, entry in value.items():
                yield from leaves(entry, f"{where}.{key}")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield where

    paths = [path for group in GROUPS for path in leaves(evaluation.get(group, {}), group)]
    return {path.split(".", 1)[1].replace("_", " "): path for path in paths}


def read_failed(workdir: Path) -> list[Mapping[str, Any]]:
    """Read `failed.json`; empty where there is none."""
    path = workdir / "failed.json"
    return read_json(path) if path.exists() else []
