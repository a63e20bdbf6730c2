"""Does the runs of a study that are not done yet: those that choose settings, then the final ones.

What a run's folder holds is all that is known of it, so that the same command goes on after a stop,
and several commands work on one study.
"""

import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gca_jax.check import counted
from gca_jax.files import write_json
from gca_jax.signals import Stopped
from gca_jax.studies import launch
from gca_jax.studies.grid import Cell, Run, refuse_other_runs
from gca_jax.studies.results import choose, fault, read_failed
from gca_jax.studies.study import Study

EVERY = 30.0  # seconds between two lines of progress where standard error is no terminal


def execute(
    study: Study,
    grid: list[Cell],
    workdir: Path,
    *,
    jobs: int = 1,
    limit_minutes: float | None = None,
    launcher: str = "",
    program: launch.Program = launch.program,
) -> int:
    """Do what is left of a study, and give the number of runs that failed.

    A run that fails is named, written to `failed.json` and tried again by the next call; the others
    go on.

    Args:
        study: What is to be found out.
        grid: Its runs, from `grid.cells`.
        workdir: The study's folder.
        jobs: How many processes run at a time.
        limit_minutes: After which a run is killed and has failed; None: never.
        launcher: What starts a process elsewhere, such as `srun -n1 --gpus=1`; empty: here.
        program: Gives the command of a run.

    Raises:
        ValueError: a folder holds a run of another config.
        Stopped: Ctrl-C or SIGTERM; the same call goes on.
    """
    if workdir.exists() and not workdir.is_dir():
        raise ValueError(f"workdir {workdir} is a file; choose a folder with --workdir=DIR")
    refuse_other_runs(workdir, grid)
    workdir.mkdir(parents=True, exist_ok=True)
    with launch.stop_on_signals():
        launch.compile_once(workdir / "compiled")
        session = Session(study, grid, workdir)
        try:
            if runs := session.start():
                launch.execute(
                    runs,
                    workdir,
                    session.done,
                    jobs=min(jobs, len(runs) + session.later),
                    limit_minutes=limit_minutes,
                    launcher=launcher,
                    program=program,
                )
        except KeyboardInterrupt as error:
            left = f"{session.left} of {counted(session.total, 'run')} left"
            raise Stopped(
                f"stopped, {left}; run the same command again to go on from there",
                getattr(error, "status", 1),
            ) from error
        finally:
            session.progress.end()
        return len(session.failures)


class Session:
    """One sitting of a study: what is done, what failed, and what becomes possible by it."""

    def __init__(self, study: Study, grid: list[Cell], workdir: Path):
        self.study, self.workdir = study, workdir
        self.cells = {(cell.condition, cell.method): cell for cell in grid}
        self.failures: dict[str, Mapping[str, Any]] = {}
        self.total = sum(
            sum(map(len, cell.trials)) * cell.chooses + len(study.seeds) for cell in grid
        )
        self.left = self.total
        self.later = sum(len(study.seeds) for cell in grid if cell.chooses)
        self.begun: set[tuple[str, str]] = set()
        self.progress = Progress()

    def start(self) -> list[Run]:
        """Give the runs that can be done now; those of which nothing is left to do count as done.

        Runs that failed before are tried again.
        """
        write_json(self.workdir / "failed.json", [])
        runs: list[Run] = []
        for cell in self.cells.values():
            runs += self._left(run for group in cell.trials for run in group)
        for cell in self.cells.values():
            runs += self._finals(cell)
        self.progress.show(self, 0)
        return runs

    def done(self, run: Run, error: str | None) -> list[Run]:
        """Note that a run has ended, and give the runs that it makes possible."""
        self.left -= 1
        if error is None and not run.is_finished(self.workdir):
            error = "it ended without a report"
        self._note(run, error or fault(self.study, self.workdir, run))
        found = self._finals(self.cells[run.condition, run.method])
        self.progress.show(self, 1)
        return found

    def _left(self, runs: Iterable[Run]) -> list[Run]:
        """Leave out runs that are finished; one that lacks what the study reads has failed."""
        waiting = []
        for run in runs:
            if run.is_finished(self.workdir):
                self.left -= 1
                self._note(run, fault(self.study, self.workdir, run))
            else:
                waiting.append(run)
        return waiting

    def _finals(self, cell: Cell) -> list[Run]:
        """Give the final runs of a cell, once, as soon as its settings are chosen."""
        key = cell.condition, cell.method
        if key in self.begun:
            return []
        errors = {folder: one["error"] for folder, one in self.failures.items()}
        choice = choose(self.study, cell, self.workdir, errors)
        if not choice.complete:
            return []
        self.begun.add(key)
        if choice.best is None:  # no candidate finished
            self.left -= len(self.study.seeds)
            return []
        return self._left(cell.finals[choice.best])

    def _note(self, run: Run, error: str | None) -> None:
        """Write a failure down, and say it; other commands may have written theirs."""
        there = {one["folder"]: one for one in read_failed(self.workdir)}
        if error is None:
            if there.pop(run.folder, None) is not None:
                write_json(self.workdir / "failed.json", list(there.values()))
            return
        self.failures[run.folder] = {
            "folder": run.folder,
            "condition": run.condition,
            "method": run.method,
            "settings": dict(run.settings),
            "seed": run.seed,
            "error": error,
        }
        write_json(self.workdir / "failed.json", list({**there, **self.failures}.values()))
        self.progress.say(f"failed: {run.folder}: {error}")


class Progress:
    """One line on standard error: what is done, what failed, what is left and how long it takes."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.ended = 0
        self.shown = -EVERY
        self.terminal = sys.stderr.isatty()

    def show(self, session: Session, ended: int) -> None:
        """Show where the session stands, after so many more runs."""
        self.ended += ended
        seconds = time.monotonic() - self.began
        done = session.total - session.left - len(session.failures)
        words = f"{counted(done, 'run')} done"
        words += f", {len(session.failures)} failed, {session.left} left"
        if self.ended and session.left:
            words += f", {_duration(seconds / self.ended * session.left)}"
        if self.terminal:
            print(f"\r\x1b[K{words}", end="", file=sys.stderr, flush=True)
        elif time.monotonic() - self.shown >= EVERY or not session.left:
            self.shown = time.monotonic()
            print(words, file=sys.stderr, flush=True)

    def say(self, words: str) -> None:
        """Print a line of its own."""
        print("\r\x1b[K" * self.terminal + words, file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave the line."""
        if self.terminal:
            print(file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    """Say how long it will take."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute"
    return f"about {minutes} min" if minutes < 100 else f"about {minutes / 60:.1f} h"
