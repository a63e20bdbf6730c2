"""Several processes that train and evaluate together: how they join, share work, and end.

All of them see one workdir. The first writes and prints; an error of any ends all.
"""

import atexit
import os
import re
import subprocess
import sys
import traceback
from pathlib import Path
from typing import NamedTuple, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

SILENCE = 30  # seconds after which a process that says nothing counts as dead
PEER_IS_GONE = r"Gloo|NCCL|coordination|heartbeat|UNAVAILABLE"  # as JAX's errors say it
VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_PROCESS_ID", "JAX_NUM_PROCESSES")


class Place(NamedTuple):
    """Where a process stands among all: HOST:PORT of the first one, its own number, how many."""

    coordinator: str | None = None
    process_id: int | None = None
    num_processes: int | None = None

    def checked(self) -> "Place":
        """Fill in JAX's variables; a ValueError if it is no place. All None: JAX finds it."""
        given = [
            os.environ.get(name) if x is None else x
            for x, name in zip(self, VARIABLES, strict=True)
        ]
        if given == [None] * 3:
            return self
        if None in given or not all(str(number).isdigit() for number in given[1:]):
            raise ValueError(
                "--coordinator=HOST:PORT, --process_id=K and --num_processes=N go together; their "
                f"variables are {', '.join(VARIABLES)}"
            )
        address, index, count = str(given[0]), int(str(given[1])), int(str(given[2]))
        if not re.fullmatch(r".+:\d+", address):
            raise ValueError(f"--coordinator must be HOST:PORT, got {address}")
        if not index < count:
            raise ValueError(f"--process_id must be from 0 to {count} - 1, got {index}")
        return Place(address, index, count)


_watcher: subprocess.Popen[bytes] | None = None


def join(place: Place, workdir: str) -> None:
    """Join the other processes, before anything asks for devices.

    Raises:
        ValueError: the place is none, no cluster is found, or the coordinator cannot be reached.
    """
    address, index, count = place.checked()
    try:
        jax.distributed.initialize(address, count, index, heartbeat_timeout_seconds=SILENCE)
    except (RuntimeError, ValueError) as error:
        if address is not None:
            raise ValueError(f"processes cannot join at {address}: {error}") from error
        raise ValueError(
            "--distributed finds no cluster here (SLURM, TPU, Kubernetes, Open MPI): say where "
            "this process stands with --coordinator=HOST:PORT, --process_id and --num_processes"
        ) from error
    _watch(Path(workdir))


def _watch(workdir: Path) -> None:
    """Let a shell say it in one line if this process ends as another one has died.

    JAX then ends it by a page of C++, which goes to a file in the workdir. The first alone prints.
    """
    index, count = jax.process_index(), jax.process_count()
    workdir.mkdir(parents=True, exist_ok=True)
    log = workdir / f"process{index}.log"
    words = (
        f"error: process {index} of {count} has ended, as it or another of them was killed or met "
        f"an error ({log}); start all again, and the run goes on from its last checkpoint"
    )
    command = ["sh", "-c", 'read -r well || printf "\\n%s\\n" "$1" >&2', "sh", words]
    # In a session of its own, so that no signal to the run ends it.
    global _watcher
    _watcher = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    written = os.devnull if index else os.dup(1)
    sys.stdout, sys.stderr = open(written, "w"), open(os.dup(2), "w", buffering=1)  # noqa: SIM115
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.excepthook = lambda *error: leave(error[1], "".join(traceback.format_exception(*error)))
    atexit.register(_be_quiet)


def leave(error: BaseException, said: str) -> NoReturn:
    """End this process at once because of its own error, or of another process's end.

    Else it would wait for the others, and they for it. Of another's end the watcher speaks; what
    JAX said of it goes to the log.
    """
    if re.search(PEER_IS_GONE, str(error)):
        os.write(2, f"{said}\n".encode())
    else:
        print(said.rstrip(), file=sys.stderr, flush=True)
        _be_quiet()
    os._exit(1)


def _be_quiet() -> None:
    """Let the watcher end without a word."""
    if _watcher is not None:
        _watcher.communicate(b"well\n")


def first() -> bool:
    """Tell whether this process writes for all."""
    return jax.process_index() == 0


def wait(name: str) -> None:
    """Wait until all processes have come here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def share(count: int) -> range:
    """Give this process's part of 0, 1, ... `count` - 1; all are equal, so some go beyond it."""
    each = -(-count // jax.process_count())
    return range(jax.process_index() * each, (jax.process_index() + 1) * each)


def gather(part: np.ndarray) -> np.ndarray:
    """Join the arrays of all processes, equal in shape, along their first axis."""
    if jax.process_count() == 1:
        return part
    return multihost_utils.process_allgather(part, tiled=True)
