"""Worker processes that each do many runs, so that imports are paid once."""

import contextlib
import math
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing import connection as connections
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from gca_jax.signals import Stopped, handled
from gca_jax.studies.grid import Run
from gca_jax.studies.worker import Runner, work

PATIENCE = 60  # seconds that workers have to save their runs when the study is stopped
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

Done = Callable[[Run, str | None], list[Run]]
"""(run, its error or None): notes it, and gives the runs that it makes possible."""


class Worker:
    """A process, what it is told through, and the run that it is at."""

    def __init__(self, runner: Runner, place: int, jobs: int):
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.run: Run | None = None
        self.begun = 0.0  # by `time.monotonic`
        cores = share(place, jobs)
        # Not a daemon, which could not start the processes that read images.
        self.process: BaseProcess = context.Process(target=work, args=(other, runner, cores))
        # Ctrl-C must not break it off before it has a session of its own.
        deaf = handled({signal.SIGINT: signal.SIG_IGN})
        with _environment(threads=len(cores), jobs=jobs), deaf:
            self.process.start()
        other.close()

    def begin(self, run: Run, workdir: Path) -> None:
        """Let it do a run."""
        self.run, self.begun = run, time.monotonic()
        _send(self.connection, (run.config, str(workdir / run.folder)))

    def minutes(self) -> float:
        """Tell how long its run has taken."""
        return (time.monotonic() - self.begun) / 60

    def finish(self) -> tuple[Run, str | None]:
        """Take the run that it was at, and what it says of it; it says nothing if it has died."""
        assert self.run is not None
        run, self.run = self.run, None
        try:
            return run, self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            code = self.process.exitcode or 0
            how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with status {code}"
            return run, f"its process ended {how}"

    def kill(self) -> Run:
        """Kill it with the processes that its run has started, and give the run."""
        assert self.run is not None
        run, self.run = self.run, None
        assert self.process.pid
        with contextlib.suppress(AttributeError, OSError):  # It leads a session, see `work`.
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.join()
        return run

    def end(self, patience: float) -> None:
        """Wait until it ends, and then no longer."""
        self.process.join(patience)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.connection.close()


def share(place: int, jobs: int) -> list[int]:
    """Give a worker's part of the cores that this process may use; empty: it may use all."""
    if jobs == 1 or not hasattr(os, "sched_getaffinity"):
        return []
    cores = sorted(os.sched_getaffinity(0))
    each = max(1, len(cores) // jobs)
    first = place * each % len(cores)
    return cores[first : first + each]


@contextlib.contextmanager
def _environment(threads: int, jobs: int) -> Iterator[None]:
    """Let a new process use its cores, and its part of a GPU's memory; the user's word counts."""
    wanted = dict.fromkeys(THREADS, str(threads)) if threads else {}
    if jobs > 1:
        wanted["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{0.9 / jobs:.3f}"
    mine = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(mine)
    try:
        yield
    finally:
        for name in mine:
            del os.environ[name]


def compile_once(folder: Path) -> None:
    """Let all workers keep what they compile in a folder, unless the user has named one."""
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder.resolve()))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")


def do(
    runs: list[Run],
    jobs: int,
    workdir: Path,
    runner: Runner,
    done: Done,
    limit_minutes: float | None = None,
) -> None:
    """Do runs, and those that they make possible, in `jobs` processes.

    One that takes longer than `limit_minutes` is killed, which is its error; the others go on.

    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM; the workers have saved their runs and ended.
    """
    waiting, workers = list(runs), list[Worker]()
    limit = math.inf if limit_minutes is None else limit_minutes
    try:
        workers.extend(Worker(runner, place, jobs) for place in range(jobs))
        while waiting or any(worker.run for worker in workers):
            for place, worker in enumerate(workers):
                if waiting and worker.run is None:
                    if not worker.process.is_alive():
                        worker.end(0)
                        workers[place] = Worker(runner, place, jobs)
                    workers[place].begin(waiting.pop(0), workdir)
            busy = {worker.connection: worker for worker in workers if worker.run}
            left = limit - max(worker.minutes() for worker in busy.values())
            ended = connections.wait(list(busy), 60 * max(0.0, min(left, 60.0)))
            for connection, worker in busy.items():
                if connection in ended:
                    waiting += done(*worker.finish())
                elif worker.minutes() >= limit:
                    waiting += done(worker.kill(), f"no end after {limit:g} minutes")
            waiting.sort(key=lambda run: (run.final, run.final and run.seed))
        for worker in workers:
            _send(worker.connection, None)
    except BaseException:
        try:
            _stop(workers)
        except KeyboardInterrupt:  # a second one: they are not waited for
            for worker in workers:
                worker.process.kill()
        raise
    finally:
        for worker in workers:
            worker.end(PATIENCE)


def _send(connection: Connection, message: object) -> None:
    with contextlib.suppress(OSError):  # It has died: there will be no answer.
        connection.send(message)


def _stop(workers: list[Worker]) -> None:
    """Ask workers to save their runs and to end, by one signal each."""
    print("\nstopping, when all have saved ...", file=sys.stderr, flush=True)
    for worker in workers:
        if worker.run is None:
            _send(worker.connection, None)
        elif worker.process.is_alive():
            worker.process.terminate()
    end = time.monotonic() + PATIENCE
    for worker in workers:
        with contextlib.suppress(EOFError, OSError):
            if worker.run and worker.connection.poll(max(0.0, end - time.monotonic())):
                worker.connection.recv()  # It has saved, and waits for the next run.
        _send(worker.connection, None)


@contextlib.contextmanager
def stop_on_signals() -> Iterator[None]:
    """Let SIGTERM, and the end of the terminal, stop a study as Ctrl-C does."""

    def handler(number: int, frame: object) -> None:
        raise Stopped("", 0)

    kinds = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    caught = [kind for kind in kinds if signal.getsignal(kind) != signal.SIG_IGN]  # as nohup does
    with handled(dict.fromkeys(caught, handler)):
        yield
