"""Executes a study: each run in a process, several at a time, here or by a cluster's launcher.

All state is in the runs' folders, so the same command resumes a stopped study, and several commands
can work on one study.
"""

import contextlib
import dataclasses
import math
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from gca_jax.check import counted
from gca_jax.signals import Stopped, handled, hurries, of_schedulers
from gca_jax.studies.grid import Cell, Part, Run, refuse_other_runs
from gca_jax.studies.results import Session
from gca_jax.studies.study import Study
from gca_jax.workdir import RunFolder

PATIENCE = 60.0  # seconds for runs to save when the study is stopped
INTERVAL = 0.1  # seconds between polls of the processes
ELSEWHERE = 2.0  # seconds between polls of runs of other commands, perhaps over a network
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
PACKAGE = Path(__file__).resolve().parents[2]

Program = Callable[[Path], list[str]]
"""The folder of a run -> the command that executes it."""


def program(path: Path) -> list[str]:
    """Return the command that executes the run whose config is in a folder."""
    config = f"--config={path / 'config.json'}"
    return [sys.executable, "-m", "gca_jax", config, f"--workdir={path}"]


def execute(
    study: Study,
    grid: list[Cell],
    workdir: Path,
    *,
    jobs: int = 1,
    limit_minutes: float | None = None,
    launcher: str = "",
    part: Part | None = None,
    program: Program = program,
) -> int:
    """Execute the remaining runs of a study on `jobs` workers.

    A run that fails is printed, written to `failed.json`, and tried again by the next call; the
    others continue. A run that another command has claimed is waited for, and executed here if that
    command ends without finishing it; of a part of the runs nothing is waited for.

    Args:
        study: The study.
        grid: Its runs, from `grid.cells`.
        workdir: The study's folder.
        jobs: Number of processes at a time.
        limit_minutes: Time limit of a run, which is killed and counts as failed; None: no limit.
        launcher: Command that starts a process elsewhere, such as `srun -n1 --gpus=1`; empty: here.
        part: The part of the runs to do; None: all.
        program: Returns the command of a run.

    Returns:
        The number of failed runs.

    Raises:
        ValueError: A folder holds a run of another config; or runs of this part wait for a choice
            among runs of others.
        Stopped: Ctrl-C or a scheduler's signal; the runs have saved, and the same call resumes
            them.
    """
    if workdir.exists() and not workdir.is_dir():
        raise ValueError(f"workdir {workdir} is a file; choose a folder with --workdir=DIR")
    refuse_other_runs(workdir, grid)
    workdir.mkdir(parents=True, exist_ok=True)
    # All runs share one compilation cache, unless the user has named another.
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str((workdir / "compiled").resolve()))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
    with _stop_on_signals():
        session = Session(study, grid, workdir, part)
        try:
            Workers(
                session,
                min(jobs, session.left),  # idle workers would take a share of the cores
                math.inf if limit_minutes is None else limit_minutes,
                [os.path.expanduser(word) for word in shlex.split(launcher)],
                program,
            ).work()
        except KeyboardInterrupt as error:
            left = f"{session.left} of {counted(session.total, 'run')} left"
            raise Stopped(
                f"stopped, {left}; run the same command again to go on from there",
                getattr(error, "status", 1),
            ) from error
        finally:
            if sys.stderr.isatty():
                print(file=sys.stderr, flush=True)  # ends the line of the progress
    if session.left:
        raise ValueError(
            f"{session.left} of {counted(session.total, 'run')} left, whose settings runs of other "
            "parts choose: run the same command again when those are done"
        )
    return len(session.failed)


@contextlib.contextmanager
def _stop_on_signals() -> Iterator[None]:
    """Let a scheduler's signal stop a study as Ctrl-C does."""
    seen: list[int] = []

    def handler(number: int, frame: object) -> None:
        seen.append(number)
        if len(seen) == 1 or hurries(number, seen[0]):
            raise Stopped("", 0)

    with handled(dict.fromkeys(of_schedulers(), handler)):
        yield


class Job:
    """The process of a run, whose output is appended to `log.txt`."""

    claim: contextlib.ExitStack

    def __init__(self, run: Run, path: Path, command: list[str], cores: list[int], parts: int):
        self.run, self._log = run, path / "log.txt"
        self.begun = time.monotonic()
        self._late: str | None = None
        self._logged = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(len(cores), parts),
                start_new_session=True,  # Ctrl-C reaches only the study, which asks runs to save
            )
        if cores:  # in time: XLA counts its cores when its backend starts, seconds from now
            with contextlib.suppress(OSError):
                os.sched_setaffinity(self.process.pid, cores)

    def minutes(self) -> float:
        """Return the minutes since it began."""
        return (time.monotonic() - self.begun) / 60

    def has_ended(self, limit_minutes: float) -> bool:
        """Tell whether its process has ended; kill it after the limit."""
        if self.process.poll() is None and self.minutes() >= limit_minutes:
            self.kill()
            self._late = f"no end after {limit_minutes:g} minutes"
        return self.process.returncode is not None

    def error(self) -> str | None:
        """Describe why its process failed; None if it succeeded."""
        if self._late is not None:
            return self._late
        code = self.process.returncode
        if code == 0:
            return None
        if code < 0:
            return f"its process ended by signal {signal.Signals(-code).name}"
        with self._log.open("rb") as log:
            log.seek(self._logged)
            text = log.read().decode(errors="replace").rstrip()
        # An error may have several lines; without one, the last line is that of an exception.
        _, found, message = f"\n{text}".rpartition("\nerror: ")
        message = message if found else text.rpartition("\n")[2]
        return " ".join(message.split()) or f"its process ended with status {code}"

    def kill(self) -> None:
        """Kill it and the processes that it has started."""
        with contextlib.suppress(OSError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()


def share(place: int, parts: int) -> list[int]:
    """Assign a worker its share of this process's cores; empty: all of them."""
    if parts == 1 or not hasattr(os, "sched_getaffinity"):
        return []
    cores = sorted(os.sched_getaffinity(0))
    each = max(1, len(cores) // parts)
    first = place * each % len(cores)
    return cores[first : first + each]


def _environment(threads: int, parts: int) -> dict[str, str]:
    """Limit a process to its share of threads and GPU memory, unless the user has set them."""
    wanted = dict.fromkeys(THREADS, str(threads)) if threads else {}
    if parts > 1:
        wanted["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{0.9 / parts:.3f}"
    path = os.pathsep.join(filter(None, (str(PACKAGE), os.environ.get("PYTHONPATH"))))
    return {**wanted, **os.environ, "PYTHONPATH": path}


@dataclasses.dataclass
class Workers:
    """Processes that execute the runs of a session, each on its share of the cores."""

    session: Session
    places: int  # processes at a time
    limit_minutes: float
    launcher: list[str]
    program: Program
    at_work: dict[int, Job] = dataclasses.field(default_factory=dict)  # by place
    polled: dict[str, float] = dataclasses.field(default_factory=dict)  # when a claim failed

    def work(self) -> None:
        """Execute all waiting runs, and those that they make possible."""
        waiting = self.session.waiting
        try:
            while True:
                self._begin_some()
                for place, job in [*self.at_work.items()]:
                    if job.has_ended(self.limit_minutes):
                        del self.at_work[place]
                        job.claim.close()
                        self.session.done(job.run, job.error())
                if not waiting and not self.at_work:
                    self.session.decide()
                    if not waiting:
                        return
                time.sleep(INTERVAL)
        except BaseException:
            self._stop()
            raise

    def _begin_some(self) -> None:
        """Begin runs at free places."""
        for run in [*self.session.waiting]:
            if len(self.at_work) == self.places:
                break
            if time.monotonic() - self.polled.get(run.folder, -math.inf) >= ELSEWHERE:
                with contextlib.ExitStack() as claim:
                    self._begin(run, claim)

    def _begin(self, run: Run, claim: contextlib.ExitStack) -> None:
        """Begin a run, unless another command is executing it or has finished it meanwhile."""
        folder, job, error = RunFolder(self.session.workdir / run.folder), None, None
        place = min({*range(self.places)} - self.at_work.keys())
        try:
            if not folder.claim(claim):
                if self.session.part is not None:
                    self.session.skip(run)
                    return
                self.polled[run.folder] = time.monotonic()
                return  # it keeps waiting, and is executed here if the other command does not
            if not run.is_finished(self.session.workdir):
                folder.plan(run.record)
                command = [*self.launcher, *self.program(folder.path)]
                parts = 1 if self.launcher else self.places  # a launcher assigns cores itself
                job = Job(run, folder.path, command, share(place, parts), parts)
        except OSError as failure:
            error = f"{failure.filename or folder.path}: {failure.strerror}"
        self.session.waiting.remove(run)
        if job is None:
            self.session.done(run, error)
        else:
            self.at_work[place], job.claim = job, claim.pop_all()

    def _stop(self) -> None:
        """Ask runs to save and end, by one SIGTERM each."""
        print("\nstopping, when all have saved ...", file=sys.stderr, flush=True)
        jobs = [*self.at_work.values()]
        with contextlib.suppress(KeyboardInterrupt):  # a second Ctrl-C ends the waiting
            for job in jobs:
                job.process.terminate()
            end = time.monotonic() + PATIENCE
            for job in jobs:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    job.process.wait(max(0.0, end - time.monotonic()))
        for job in jobs:
            if job.process.poll() is None:
                job.kill()
            job.claim.close()
