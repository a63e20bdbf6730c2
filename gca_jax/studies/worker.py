"""What a worker process does: run after run, until it is told that there are no more."""

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from ml_collections import ConfigDict

Runner = Callable[[ConfigDict, str], object]
"""(config, folder): does one run, as `--mode=all` would. Found by its name in another process."""


def work(connection: Connection, runner: Runner, cores: list[int]) -> None:
    """Do the runs (config, folder) that come; answer None for each, or its error in one line.

    `cores` are those that it may use; XLA counts them when its backend starts, so that this comes
    first. Ctrl-C in a terminal reaches the study alone, which passes it on once.
    """
    with contextlib.suppress(AttributeError, OSError):  # Windows has no such thing, nor macOS
        os.setsid()
        if cores:
            os.sched_setaffinity(0, cores)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with contextlib.suppress(EOFError, OSError):  # The study is gone: the run was the last.
        while (task := connection.recv()) is not None:
            connection.send(_error(runner, *task))


def _error(runner: Runner, config: ConfigDict, folder: str) -> str | None:
    """Do one run, its words kept in its folder; give its error in one line, None without one."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    with _spoken_into(Path(folder) / "log.txt"):
        try:
            runner(config, folder)
        except KeyboardInterrupt as error:
            traceback.print_exc()
            return str(error) or "interrupted"
        except Exception as error:
            traceback.print_exc()
            said = " ".join(str(error).split())
            mistake = isinstance(error, ValueError | OSError)
            return said if mistake and said else f"{type(error).__name__}: {said}"
        except SystemExit as error:
            return f"it ended itself: {error.code}"
    return None


@contextlib.contextmanager
def _spoken_into(path: Path) -> Iterator[None]:
    """Append to a file what is printed, also by libraries in C."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    try:
        with path.open("ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, number)
            os.close(copy)
