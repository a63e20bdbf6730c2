"""Executes a study: each run a process of its own, some at a time, here or by a launcher.

What a run's folder holds is all that is known of it, so that the same command goes on after a stop,
and several commands work on one study.
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
from gca_jax.signals import Stopped, handled
from gca_jax.studies.grid import Cell, Run, refuse_other_runs
from gca_jax.studies.results import Session
from gca_jax.studies.study import Study
from gca_jax.workdir import RunFolder

PATIENCE = 60.0  # seconds that runs have to save when the study is stopped
INTERVAL = 0.1  # seconds between two looks at the processes
ELSEWHERE = 2.0  # seconds between two looks at the runs of other commands, perhaps over a network
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
PACKAGE = Path(__file__).resolve().parents[2]

Program = Callable[[Path], list[str]]
"""The folder of a run -> the command that does it."""


def program(path: Path) -> list[str]:
    """Give the command that does a run, whose config is in its folder."""
    config, workdir = f"--config={path / 'config.json'}", f"--workdir={path}"
    return [sys.executable, "-m", "gca_jax", config, workdir]


def execute(
    study: Study,
    grid: list[Cell],
    workdir: Path,
    *,
    jobs: int = 1,
    limit_minutes: float | None = None,
    launcher: str = "",
    program: Program = program,
) -> int:
    """Execute what is left of a study on `jobs` processes, and give the number of failed runs.

    A run that fails is named, written to `failed.json` and tried again by the next call; the others
    go on. One that another command has claimed is waited for, and done here if that ends without
    finishing it.

    Args:
        study: What is to be found out.
        grid: Its runs, from `grid.cells`.
        workdir: The study's folder.
        jobs: How many processes run at a time.
        limit_minutes: After which a run is killed and has failed; None: never.
        launcher: What starts a process elsewhere, such as `srun -n1 --gpus=1`; empty: here.
        program: Gives the command of a run.

    Raises:
        ValueError: A folder holds a run of another config.
        Stopped: Ctrl-C or SIGTERM; the runs have saved, and the same call goes on.
    """
    if workdir.exists() and not workdir.is_dir():
        raise ValueError(f"workdir {workdir} is a file; choose a folder with --workdir=DIR")
    refuse_other_runs(workdir, grid)
    workdir.mkdir(parents=True, exist_ok=True)
    # All runs keep what they compile in one folder, unless the user has named one.
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str((workdir / "compiled").resolve()))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
    with _stop_on_signals():
        session = Session(study, grid, workdir)
        try:
            Workers(
                session,
                min(jobs, session.left),  # the cores are not for more
                math.inf if limit_minutes is None else limit_minutes,
                shlex.split(launcher),
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
                print(file=sys.stderr, flush=True)  # which ends the line of the progress
    return len(session.failed)


@contextlib.contextmanager
def _stop_on_signals() -> Iterator[None]:
    """Let SIGTERM, and the end of the terminal, stop a study as Ctrl-C does."""

    def handler(number: int, frame: object) -> None:
        raise Stopped("", 0)

    kinds = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    caught = [kind for kind in kinds if signal.getsignal(kind) != signal.SIG_IGN]  # as nohup does
    with handled(dict.fromkeys(caught, handler)):
        yield


class Job:
    """A run that is executed by a process of its own; what it prints is appended to `log.txt`."""

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
                start_new_session=True,  # Ctrl-C reaches the study alone, which passes it on
            )
        if cores:  # XLA counts them when its backend starts, seconds from now.
            with contextlib.suppress(OSError):
                os.sched_setaffinity(self.process.pid, cores)

    def minutes(self) -> float:
        """Tell how long it has taken."""
        return (time.monotonic() - self.begun) / 60

    def has_ended(self, limit_minutes: float) -> bool:
        """Tell whether its process has ended; one that takes too long is killed."""
        if self.process.poll() is None and self.minutes() >= limit_minutes:
            self.kill()
            self._late = f"no end after {limit_minutes:g} minutes"
        return self.process.returncode is not None

    def error(self) -> str | None:
        """Say why a process that has ended did not do its run; None if it did."""
        if self._late is not None:
            return self._late
        code = self.process.returncode
        if code == 0:
            return None
        if code < 0:
            return f"its process ended by signal {signal.Signals(-code).name}"
        with self._log.open("rb") as log:
            log.seek(self._logged)
            words = log.read().decode(errors="replace").split("\n")
        lines = [line for line in words if line.strip()]
        begins = [place for place, line in enumerate(lines) if line.startswith("error: ")]
        said = " ".join(" ".join(lines[begins[-1] if begins else -1 :]).split())
        return said.removeprefix("error: ") or f"its process ended with status {code}"

    def kill(self) -> None:
        """Kill it with the processes that it has started."""
        with contextlib.suppress(OSError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()


def share(place: int, parts: int) -> list[int]:
    """Give a place's part of the cores that this process may use; empty: all of them."""
    if parts == 1 or not hasattr(os, "sched_getaffinity"):
        return []
    cores = sorted(os.sched_getaffinity(0))
    each = max(1, len(cores) // parts)
    first = place * each % len(cores)
    return cores[first : first + each]


def _environment(threads: int, parts: int) -> dict[str, str]:
    """Let a process use its cores, and its part of a GPU's memory; the user's word counts."""
    wanted = dict.fromkeys(THREADS, str(threads)) if threads else {}
    if parts > 1:
        wanted["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{0.9 / parts:.3f}"
    path = os.pathsep.join(filter(None, (str(PACKAGE), os.environ.get("PYTHONPATH"))))
    return {**wanted, **os.environ, "PYTHONPATH": path}


@dataclasses.dataclass
class Workers:
    """Processes that execute the runs of a session, each at a place with its part of the cores."""

    session: Session
    places: int
    limit_minutes: float
    launcher: list[str]
    program: Program
    at_work: dict[int, Job] = dataclasses.field(default_factory=dict)  # by place
    looked: dict[str, float] = dataclasses.field(default_factory=dict)  # when, at another's runs

    def work(self) -> None:
        """Execute all runs that wait, and those that become possible by them."""
        waiting = self.session.waiting
        try:
            while waiting or self.at_work:
                self._begin_some()
                for place, job in [*self.at_work.items()]:
                    if job.has_ended(self.limit_minutes):
                        del self.at_work[place]
                        job.claim.close()
                        self.session.done(job.run, job.error())
                if waiting or self.at_work:
                    time.sleep(INTERVAL)
        except BaseException:
            self._stop()
            raise

    def _begin_some(self) -> None:
        """Begin runs at the free places."""
        for run in [*self.session.waiting]:
            if len(self.at_work) == self.places:
                break
            if time.monotonic() - self.looked.get(run.folder, -math.inf) >= ELSEWHERE:
                with contextlib.ExitStack() as claim:
                    self._begin(run, claim)

    def _begin(self, run: Run, claim: contextlib.ExitStack) -> None:
        """Begin a run, unless another command is at it, or has finished it in the meantime."""
        folder, job, error = RunFolder(self.session.workdir / run.folder), None, None
        place = min({*range(self.places)} - self.at_work.keys())
        try:
            if not folder.claim(claim):
                self.looked[run.folder] = time.monotonic()
                return  # It waits for the other command, and is done here if that does not.
            if not run.is_finished(self.session.workdir):
                folder.plan(run.record)
                command = [*self.launcher, *self.program(folder.path)]
                parts = 1 if self.launcher else self.places  # A launcher gives each its part.
                job = Job(run, folder.path, command, share(place, parts), parts)
        except OSError as failure:
            error = f"{failure.filename or folder.path}: {failure.strerror}"
        self.session.waiting.remove(run)
        if job is None:
            self.session.done(run, error)
        else:
            self.at_work[place], job.claim = job, claim.pop_all()

    def _stop(self) -> None:
        """Ask runs to save and to end, by one signal each."""
        print("\nstopping, when all have saved ...", file=sys.stderr, flush=True)
        jobs = [*self.at_work.values()]
        with contextlib.suppress(KeyboardInterrupt):  # a second one: they are not waited for
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
