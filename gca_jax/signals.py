"""Signals that ask a program to stop, and the end that follows."""

import contextlib
import signal
from collections.abc import Callable, Iterator, Mapping
from typing import Any


class Stopped(KeyboardInterrupt):
    """A run or a study was asked to stop and has saved where it was; the message says how to go on.

    `status` is that of the process: 0 where a scheduler asked, by SIGTERM, and 1 for Ctrl-C.
    """

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


@contextlib.contextmanager
def handled(handlers: Mapping[int, Callable[[int, Any], Any] | int]) -> Iterator[None]:
    """Install signal handlers; restore the previous ones on exit."""
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
