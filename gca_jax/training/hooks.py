"""The protocol of hooks, which run after each step, and the hooks that stop and save a run."""

import contextlib
import dataclasses
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import jax
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from gca_jax import distributed
from gca_jax.shapes import Summary
from gca_jax.signals import handled, hurries, of_schedulers
from gca_jax.training import checkpoint
from gca_jax.training.checkpoint import Progress
from gca_jax.training.state import Metrics, TrainState
from gca_jax.training.step import Training
from gca_jax.workdir import RunFolder

STOP: Literal["stop"] = "stop"


@runtime_checkable
class Hook(Protocol):
    """A callable that runs after each step.

    It gets the step's number, the new state and the step's metrics, to which it may add scalars for
    the log. It returns nothing, a changed state, or `STOP`. `memory` is JSON that checkpoints save
    under the hook's name, and that a resumed run restores.
    """

    name: str
    memory: dict[str, Any]

    def __call__(
        self, step: int, state: TrainState, metrics: Metrics
    ) -> TrainState | Literal["stop"] | None:
        """Run after a step."""
        ...


class Stop:
    """Stops the run after Ctrl-C or a signal of schedulers; a hook."""

    name = "stop"

    def __init__(self) -> None:
        self.memory: dict[str, Any] = {}
        self.number = 0  # of the signal; 0: none yet
        self.agreed = False  # whether all processes stop after the same step

    def __call__(self, step: int, state: TrainState, metrics: Metrics) -> Literal["stop"] | None:
        """Request a stop once a signal has come; several processes agree on the step."""
        if jax.process_count() > 1:
            self.agreed = multihost_utils.reached_preemption_sync_point(step)
            return STOP if self.agreed else None
        return STOP if self.number > 0 else None

    @property
    def status(self) -> int:
        """The exit status, as in `Stopped`."""
        return int(self.number == signal.SIGINT)


@contextlib.contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Let Ctrl-C or a scheduler's signal stop the run after the current step.

    A second Ctrl-C or SIGTERM stops at once. Where several processes train together, JAX passes a
    SIGTERM to any of them on to all.
    """
    stop, together = Stop(), jax.process_count() > 1
    if threading.current_thread() is not threading.main_thread():
        yield stop  # Python handles signals in the main thread only
        return

    def handler(number: int, frame: object) -> None:
        if stop.number:
            if hurries(number, stop.number):
                raise KeyboardInterrupt
            return
        stop.number = number
        with contextlib.suppress(OSError):  # the terminal may be gone
            os.write(2, b"\nstopping after this step ...\n")  # a print may be interrupted in itself
        if together:
            os.kill(os.getpid(), signal.SIGTERM)

    caught = {signal.SIGINT, *of_schedulers()} - ({signal.SIGTERM} if together else set())
    try:
        with handled(dict.fromkeys(caught, handler)):
            yield stop
    finally:
        if together:  # JAX no longer waits for the signal, which may reach some processes late
            signal.signal(signal.SIGTERM, signal.SIG_IGN if stop.agreed else signal.SIG_DFL)


@dataclasses.dataclass(eq=False)
class Saver:
    """Saves checkpoints every few epochs and at the end; the last hook, as it saves the memory."""

    training: Training
    folder: RunFolder
    manager: ocp.CheckpointManager
    progress: Progress  # of the last checkpoint written or restored
    flush: Callable[[], None]  # writes the pending metrics; raises if one is not finite
    command: str | None = None
    hooks: Sequence[Hook] = ()
    about: Callable[[], Mapping[str, Any]] = dict  # further entries of the summary
    memory: dict[str, Any] = dataclasses.field(default_factory=dict)
    name = "saver"

    def __post_init__(self) -> None:
        self._start, self._began = self.progress, time.perf_counter()

    def __call__(self, step: int, state: TrainState, metrics: Metrics) -> None:
        """Save the state if a checkpoint is due."""
        settings, each = self.training.experiment.train, self.training.steps_per_epoch
        epochs = (settings.checkpoint_every_epochs, settings.keep_every_epochs)
        due = any(step % (number * each) == 0 for number in epochs if number is not None)
        if due or step == self.training.total_steps:
            self.save(step, state)

    def save(self, step: int, state: TrainState) -> None:
        """Save the state of a step and the summary, unless they are saved already."""
        if step == self.manager.latest_step():
            return
        self.flush()  # before saving: a state with a non-finite loss must not be kept
        seconds = self._start.seconds + time.perf_counter() - self._began
        memory = {hook.name: dict(hook.memory) for hook in self.hooks if hook.memory}
        self.progress = dataclasses.replace(self._start, step=step, seconds=seconds, hooks=memory)
        self.folder.need_space(self.training.bytes)
        record, identity = self.training.experiment.record, self.folder.identity
        checkpoint.save(self.manager, state, self.progress, record, identity)
        self.summarise(finished=False)

    def summarise(self, finished: bool) -> Summary:
        """Write and return the content of `training.json`."""
        self.folder.need_space()
        experiment, progress = self.training.experiment, self.progress
        summary: Summary = {
            "finished": finished,
            "steps": progress.step,
            "train_seconds": progress.compile_seconds + progress.seconds,
            "images_per_second": progress.step * experiment.train.batch_size / progress.seconds,
            "device": describe_devices(),
            "parameters": sum(x.size for x in jax.tree.leaves(self.training.abstract.params)),
            "unit": experiment.data.unit,
            **experiment.data.inputs,
            **self.about(),  # type: ignore[typeddict-item]
        }
        if self.command is not None:
            summary["command"] = self.command
        self.folder.write_summary(summary, distributed.first())
        return summary


def describe_devices() -> str:
    """Name the devices, such as `1 x cpu (8 cores)` or `4 x NVIDIA H200`."""
    kind = jax.devices()[0].device_kind
    cores = f" ({os.cpu_count()} cores)" if jax.default_backend() == "cpu" else ""
    return f"{jax.device_count()} x {kind}{cores}"
