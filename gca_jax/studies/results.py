"""Results, failures and remaining runs of a study, all read from the runs' folders."""

import itertools
import math
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from gca_jax.check import counted, duration
from gca_jax.files import lock, read_json, write_json
from gca_jax.studies.grid import ALL, Cell, Part, Run, Slot
from gca_jax.studies.study import Changes, Study
from gca_jax.workdir import RunFolder, flatten

EVERY = 30.0  # seconds between lines of progress where standard error is no terminal
GROUPS = ("accuracy", "retrieval")  # of evaluation.json: the measures of `--seeds`


class Choice(NamedTuple):
    """The candidate chosen for a method under a condition."""

    best: int | None  # index of the candidate; None if trials are missing, or all failed
    scores: tuple[float | None, ...]  # mean of each over seeds; None where a run is missing
    complete: bool  # whether no trial is left


class Row(NamedTuple):
    """A finished final run; a measure that it lacks is NaN."""

    condition: str
    method: str
    seed: int
    settings: Changes
    values: Mapping[str, float]
    folder: str


class Results(NamedTuple):
    """The contents of a report."""

    rows: list[Row]
    choices: dict[tuple[str, str], Choice]
    measures: dict[str, str]
    failed: list[Mapping[str, Any]]
    missing: list[str]
    """Folders of runs that are neither finished nor failed; one entry for a cell without choice."""


def number(folder: Path, where: str) -> float:
    """Read a number at a dotted path of a run's `evaluation.json`; raise ValueError if it is none.

    Null, for nothing to measure, is NaN. `training.json:train_seconds` is a path in another file.
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


def _number(workdir: Path, run: Run, where: str) -> float:
    """Read a number of a finished run; NaN if it has none."""
    try:
        return number(workdir / run.folder, where)
    except (ValueError, OSError):
        return math.nan


def fault(study: Study, workdir: Path, run: Run) -> str | None:
    """Describe what a finished run lacks that the study reads; None if nothing."""
    try:
        for path in study.measures.values() if run.final else [str(study.choose_by)]:
            if math.isnan(number(workdir / run.folder, path)) and not run.final:
                return f"{path} in evaluation.json is null: it cannot choose"
    except (ValueError, OSError) as error:
        return str(error)
    return None


def choose(study: Study, cell: Cell, workdir: Path, failed: Collection[str]) -> Choice:
    """Choose the candidate with the best mean over seeds, the earlier one of a tie.

    A candidate with a missing run, or one in a folder of `failed`, cannot be chosen.
    """
    if not cell.chooses:
        return Choice(0, (None,), True)
    scores: list[float | None] = []
    complete = True
    for runs in cell.trials:
        done = [run for run in runs if run.folder not in failed and run.is_finished(workdir)]
        complete &= all(run in done or run.folder in failed for run in runs)
        values = [_number(workdir, run, str(study.choose_by)) for run in done]
        mean = sum(values) / len(values) if len(done) == len(runs) else math.nan
        scores.append(None if math.isnan(mean) else mean)
    known = [score for score in scores if score is not None]
    best = scores.index(max(known)) if known and complete else None
    return Choice(best, tuple(scores), complete)


def resolve(
    study: Study, grid: list[Cell], workdir: Path, part: Part = ALL
) -> Iterator[tuple[int, Slot, Run | None]]:
    """Yield number, place and run of a part of a study; None for a run whose choice is not made."""
    failed = {one["folder"] for one in read_failed(workdir)}
    best = {id(cell): choose(study, cell, workdir, failed).best for cell in grid}
    for number, slot in part.numbered(grid):
        yield number, slot, slot.run(best[id(slot.cell)])


def collect(study: Study, grid: list[Cell], workdir: Path) -> Results:
    """Collect the results of a study, which may be unfinished or have failed runs."""
    failures = read_failed(workdir)
    failed = {one["folder"] for one in failures}
    rows, missing, choices = [], [], {}
    measures = dict(study.measures)
    for cell in grid:
        chosen = choices[cell.condition, cell.method] = choose(study, cell, workdir, failed)
        finals = () if chosen.best is None else cell.finals[chosen.best]
        trials = () if chosen.complete else itertools.chain.from_iterable(cell.trials)
        for run in (*trials, *finals):
            if run.folder in failed:
                continue
            if not run.is_finished(workdir):
                missing.append(run.folder)
            elif run.final:
                measures = measures or _accuracies(workdir / run.folder)
                values = {label: _number(workdir, run, path) for label, path in measures.items()}
                own = run.condition, run.method, run.seed, run.settings
                rows.append(Row(*own, values, run.folder))
        if chosen.best is None:
            missing.append(f"{cell.condition}, {cell.method}: {len(study.seeds)} final runs")
    return Results(rows, choices, measures, failures, missing)


def _accuracies(folder: Path) -> dict[str, str]:
    """Find all accuracies of a run, {label: path}, for a study that names no measures."""
    evaluation = RunFolder(folder).evaluation
    return {
        path.replace("_", " "): f"{group}.{path}"
        for group in GROUPS
        for path, value in flatten(evaluation.get(group, {}))
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def read_failed(workdir: Path) -> list[Mapping[str, Any]]:
    """Read `failed.json`; [] if there is none."""
    path = workdir / "failed.json"
    return read_json(path) if path.exists() else []


class Session:
    """The queue of one call of `execute`, and its progress.

    Attributes:
        waiting: Runs that can begin; trials come first.
        failed: Entries of `failed.json` by folder, of this call's runs.
        total: Number of runs to do, without cells whose candidates all failed.
        left: Number of runs that are neither finished nor failed nor at work elsewhere.
        part: The part of the study's runs that this call does; None: all.
    """

    def __init__(self, study: Study, grid: list[Cell], workdir: Path, part: Part | None = None):
        self.study, self.workdir, self.part = study, workdir, part
        self.waiting: list[Run] = []
        self.failed: dict[str, dict[str, Any]] = {}
        own = [slot for _, slot in (part or ALL).numbered(grid)]
        self.total = self.left = len(own)
        self._own = {run.folder for slot in own for run in slot.runs}
        self._undecided = {(cell.condition, cell.method): cell for cell in grid}
        self._began, self._ended, self._shown = time.monotonic(), 0, -math.inf
        self._write_failed()  # runs that failed before are tried again
        for cell in grid:
            for runs in cell.trials:
                self._enqueue(runs)
        for cell in grid:
            self._decide(cell.condition, cell.method)
        self._show()

    def done(self, run: Run, error: str | None) -> None:
        """Record that a run has ended, and enqueue the runs that it makes possible."""
        self._ended += 1
        if error is None and not run.is_finished(self.workdir):
            error = "it ended without evaluation"
        self._note(run, error or fault(self.study, self.workdir, run))
        self._decide(run.condition, run.method)
        # Seed by seed, so that a stopped study has the same seeds of all methods.
        self.waiting.sort(key=lambda run: (run.final, run.final and run.seed))
        self._show()

    def skip(self, run: Run) -> None:
        """Leave a run to the command that is executing it."""
        self.waiting.remove(run)
        self.total, self.left = self.total - 1, self.left - 1
        self._say(f"at work elsewhere: {run.folder}")

    def decide(self) -> None:
        """Enqueue final runs whose settings can be chosen since other commands did trials."""
        for condition, method in [*self._undecided]:
            self._decide(condition, method)

    def _enqueue(self, runs: Iterable[Run]) -> None:
        """Enqueue own unfinished runs; a finished run fails if it lacks what the study reads."""
        for run in runs:
            if run.folder not in self._own:
                continue
            if run.is_finished(self.workdir):
                self._note(run, fault(self.study, self.workdir, run))
            else:
                self.waiting.append(run)

    def _decide(self, condition: str, method: str) -> None:
        """Enqueue the final runs of a cell, once, as soon as its settings can be chosen."""
        cell = self._undecided.get((condition, method))
        if cell is None:
            return
        # What failed elsewhere is tried again elsewhere, if this command does a part alone.
        elsewhere = [] if self.part is None else read_failed(self.workdir)
        failed = {*self.failed, *(one["folder"] for one in elsewhere)}
        choice = choose(self.study, cell, self.workdir, failed)
        if choice.complete:
            del self._undecided[condition, method]
            if choice.best is not None:
                self._enqueue(cell.finals[choice.best])
            else:  # no candidate finished
                lost = sum(run.folder in self._own for run in cell.finals[0])
                self.left -= lost
                self.total -= lost

    def _note(self, run: Run, error: str | None) -> None:
        """Count a run as done or failed."""
        self.left -= 1
        if error is not None:
            names = ("folder", "condition", "method", "settings", "seed")
            self.failed[run.folder] = {n: getattr(run, n) for n in names} | {"error": error}
            self._say(f"failed: {run.folder}: {error}")
        self._write_failed(run.folder)

    def _write_failed(self, folder: str | None = None) -> None:
        """Bring `failed.json` up to date with a run; None: forget all runs of this call.

        What other commands have written is kept, but by a call that does the whole study.
        """
        forgotten = self._own if folder is None else {folder}
        with (self.workdir / "failed.lock").open("a") as file:
            while not lock(file):  # another command reads and writes it
                time.sleep(0.05)
            there = read_failed(self.workdir)
            others = [] if folder is None and self.part is None else there
            kept = {one["folder"]: one for one in others if one["folder"] not in forgotten}
            known = [*(kept | self.failed).values()]
            if known != there or folder is None:
                write_json(self.workdir / "failed.json", known)

    def _show(self) -> None:
        """Show the progress: on one line in a terminal, else every 30 s and at the end."""
        done = self.total - self.left - len(self.failed)
        text = f"{counted(done, 'run')} done, {len(self.failed)} failed, {self.left} left"
        now = time.monotonic()
        if self._ended and self.left:
            text += f", about {_coarse((now - self._began) / self._ended * self.left)}"
        if sys.stderr.isatty():
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
        elif now - self._shown >= EVERY or not self.left:
            self._shown = now
            self._say(text)

    def _say(self, text: str) -> None:
        """Print a line, in place of the progress."""
        print("\r\x1b[K" * sys.stderr.isatty() + text, file=sys.stderr, flush=True)


def _coarse(seconds: float) -> str:
    """Write an estimated time in minutes, hours or days."""
    minutes = math.ceil(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes / 60:.1f} h" if minutes < 24 * 60 else duration(60 * minutes)
