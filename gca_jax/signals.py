"""Signals that ask a program to stop, and the end that follows."""

import contextlib
import signal
from collections.abc import Callable, Iterator, Mapping
from typing import Any

ADVANCE = tuple(
    getattr(signal, name) for name in ("SIGHUP", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)
)
"""A lost connection, and what schedulers send before they end a job, perhaps more than once."""


class Stopped(KeyboardInterrupt):
    """A run or a study was asked to stop and has saved where it was; the message says how to go on.

    `status` is that of the process: 0 where a scheduler asked, by SIGTERM, SIGUSR1 or SIGUSR2, or
    the connection was lost (SIGHUP), and 1 for Ctrl-C.
    """

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


def of_schedulers() -> list[int]:
    """List the signals that stop a program as SIGTERM does; nohup, say, ignores SIGHUP."""
    caught = (signal.SIGTERM, *ADVANCE)
    return [number for number in caught if signal.getsignal(number) != signal.SIG_IGN]


def hurries(number: int, before: int) -> bool:
    """Tell whether a second signal asks to stop at once, and not to save first."""
    return number == signal.SIGINT or not {number, before} & {*ADVANCE}


@contextlib.contextmanager
def handled(handlers: Mapping[int, Callable[[int, Any], Any] | int]) -> Iterator[None]:
    """Install signal handlers; restore the previous ones on exit."""
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
