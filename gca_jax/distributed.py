"""Several processes that train and evaluate together: how they join, share work, and end.

All of them see one workdir. The first writes and prints; an error of any ends all.
"""

import os
import re
import sys
import traceback
from typing import NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

HEARTBEAT_TIMEOUT = 30  # seconds after which a process that says nothing counts as dead
PEER_FAILURE = r"Gloo|NCCL|coordination|heartbeat|UNAVAILABLE"  # as JAX's errors say it


def join(coordinator: str | None, process_id: int | None, num_processes: int | None) -> None:
    """Join the other processes, before anything asks for devices.

    Args:
        coordinator: HOST:PORT of process 0; None: a cluster that JAX knows tells it, and the rest.
        process_id: Index of this process, from 0.
        num_processes: Number of processes.

    Raises:
        ValueError: No cluster is found, or the coordinator cannot be reached.
    """
    try:
        if coordinator is not None and not re.fullmatch(r".+:\d+", coordinator):
            raise ValueError(f"--coordinator must be HOST:PORT, got {coordinator}")
        jax.distributed.initialize(
            coordinator, num_processes, process_id, heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT
        )
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"the processes cannot join: {error} Outside SLURM, TPU pods, Kubernetes and Open MPI "
            "say --coordinator=HOST:PORT, --process_id=K and --num_processes=N"
        ) from error
    if not first():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    sys.excepthook = lambda *error: leave(error[1], "".join(traceback.format_exception(*error)))


def leave(error: BaseException, message: str) -> NoReturn:
    """Exit at once: with `message`, or a line on the failed peer if that is the cause.

    Python's own end would wait for the other processes, which wait for this one in a collective.
    """
    if re.search(PEER_FAILURE, str(error)):
        message = (
            f"error: process {jax.process_index()} of {jax.process_count()} ends, as another one "
            f"was killed or met an error ({str(error).splitlines()[0][:200]}); start all again, "
            "and the run goes on from its last checkpoint"
        )
    print(f"\n{message.rstrip()}", file=sys.stderr, flush=True)
    os._exit(1)


def first() -> bool:
    """Tell whether this process writes for all."""
    return jax.process_index() == 0


def wait(name: str) -> None:
    """Block until all processes have reached this barrier."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def share(count: int) -> range:
    """Return this process's equal slice of `range(count)`; the last ones may run past the end."""
    each = -(-count // jax.process_count())
    return range(jax.process_index() * each, (jax.process_index() + 1) * each)


def gather(part: np.ndarray) -> np.ndarray:
    """Join the arrays of all processes, equal in shape, along their first axis."""
    if jax.process_count() == 1:
        return part
    return multihost_utils.process_allgather(part, tiled=True)
