"""Executes runs as processes of their own, some at a time, here or by a cluster's launcher."""

import contextlib
import math
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from gca_jax.signals import Stopped, handled
from gca_jax.studies.grid import Run
from gca_jax.workdir import RunFolder

PATIENCE = 60.0  # seconds that runs have to save when the study is stopped
INTERVAL = 0.1  # seconds between two looks at the processes
ELSEWHERE = 2.0  # seconds between two looks at runs that other commands are at
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
PACKAGE = Path(__file__).resolve().parents[2]

Done = Callable[[Run, str | None], list[Run]]
"""(run, its error or None): notes it, and gives the runs that it makes possible."""
Program = Callable[[Path], list[str]]
"""The folder of a run -> the command that does it."""


def program(path: Path) -> list[str]:
    """Give the command that does a run, whose config is in its folder."""
    config, workdir = f"--config={path / 'config.json'}", f"--workdir={path}"
    return [sys.executable, "-m", "gca_jax", config, workdir]


class Job:
    """A run that is executed by a process of its own, in a session of its own.

    What it prints is appended to `log.txt` in its folder.
    """

    def __init__(self, run: Run, path: Path, place: int, jobs: int, command: list[str]):
        self.run, self.place, self._log = run, place, path / "log.txt"
        self.begun = time.monotonic()
        self._late: str | None = None
        self._logged = self._log.stat().st_size if self._log.exists() else 0
        cores = share(place, jobs)
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(len(cores), jobs),
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


def share(place: int, jobs: int) -> list[int]:
    """Give a job's part of the cores that this process may use; empty: it may use all."""
    if jobs == 1 or not hasattr(os, "sched_getaffinity"):
        return []
    cores = sorted(os.sched_getaffinity(0))
    each = max(1, len(cores) // jobs)
    first = place * each % len(cores)
    return cores[first : first + each]


def _environment(threads: int, jobs: int) -> dict[str, str]:
    """Let a process use its cores, and its part of a GPU's memory; the user's word counts."""
    wanted = dict.fromkeys(THREADS, str(threads)) if threads else {}
    if jobs > 1:
        wanted["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{0.9 / jobs:.3f}"
    path = os.pathsep.join(filter(None, (str(PACKAGE), os.environ.get("PYTHONPATH"))))
    return {**wanted, **os.environ, "PYTHONPATH": path}


def compile_once(folder: Path) -> None:
    """Let all runs keep what they compile in a folder, unless the user has named one."""
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder.resolve()))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")


def execute(
    runs: list[Run],
    workdir: Path,
    done: Done,
    *,
    jobs: int = 1,
    limit_minutes: float | None = None,
    launcher: str = "",
    program: Program = program,
) -> None:
    """Execute runs on `jobs` processes; `done` may return dependent runs to enqueue.

    A run is claimed before it is begun. One that another command has claimed, or is at, is waited
    for, and done here if that ends without finishing it.

    Args:
        runs: What can be done now.
        workdir: The study's folder.
        done: Takes each run that has ended, with its error.
        jobs: How many processes run at a time.
        limit_minutes: After which a run is killed, which is its error; None: never.
        launcher: What starts a process elsewhere, such as `srun -n1 --gpus=1`; empty: here.
        program: Gives the command of a run.

    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM; the runs have saved where they were, and ended.
    """
    limit = math.inf if limit_minutes is None else limit_minutes
    waiting, elsewhere, at_work = list(runs), list[Run](), list[Job]()
    looked = time.monotonic()
    with contextlib.ExitStack() as claims:
        held: dict[str, contextlib.ExitStack] = {}
        try:
            while waiting or elsewhere or at_work:
                free = [place for place in range(jobs) if all(j.place != place for j in at_work)]
                while waiting and free:
                    run = waiting.pop(0)
                    folder, claim = RunFolder(workdir / run.folder), contextlib.ExitStack()
                    try:
                        if not folder.claim(claim):
                            elsewhere.append(run)
                            continue
                        if run.is_finished(workdir):  # by another command, since this one looked
                            claim.close()
                            waiting += done(run, None)
                            continue
                        folder.plan(run.record)
                        command = [*shlex.split(launcher), *program(folder.path)]
                        place = free.pop(0)
                        job = Job(run, folder.path, place, jobs, command)
                    except OSError as fault:
                        claim.close()
                        waiting += done(run, f"{fault.filename or folder.path}: {fault.strerror}")
                        continue
                    at_work.append(job)
                    held[run.folder] = claims.enter_context(claim)
                for job in [job for job in at_work if job.has_ended(limit)]:
                    at_work.remove(job)
                    held.pop(job.run.folder).close()
                    waiting += done(job.run, job.error())
                if elsewhere and time.monotonic() - looked > ELSEWHERE:
                    looked = time.monotonic()
                    for run in [r for r in elsewhere if not RunFolder(workdir / r.folder).is_taken]:
                        elsewhere.remove(run)
                        waiting += done(run, None) if run.is_finished(workdir) else [run]
                waiting.sort(key=lambda run: (run.final, run.final and run.seed))
                if at_work or elsewhere:
                    time.sleep(INTERVAL)
        except BaseException:
            _stop(at_work)
            raise


def _stop(at_work: list[Job]) -> None:
    """Ask runs to save and to end, by one signal each."""
    print("\nstopping, when all have saved ...", file=sys.stderr, flush=True)
    try:
        for job in at_work:
            job.process.terminate()
        end = time.monotonic() + PATIENCE
        for job in at_work:
            with contextlib.suppress(subprocess.TimeoutExpired):
                job.process.wait(max(0.0, end - time.monotonic()))
    except KeyboardInterrupt:  # a second one: they are not waited for
        pass
    for job in at_work:
        if job.process.poll() is None:
            job.kill()


@contextlib.contextmanager
def stop_on_signals() -> Iterator[None]:
    """Let SIGTERM, and the end of the terminal, stop a study as Ctrl-C does."""

    def handler(number: int, frame: object) -> None:
        raise Stopped("", 0)

    kinds = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    caught = [kind for kind in kinds if signal.getsignal(kind) != signal.SIG_IGN]  # as nohup does
    with handled(dict.fromkeys(caught, handler)):
        yield
