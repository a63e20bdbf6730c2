"""Pretraining: from an experiment to checkpoints and a log, stoppable at any moment."""

import contextlib
import dataclasses
import itertools
import os
import signal
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from jaxtyping import Array

from gca_jax import distributed
from gca_jax.data.batches import Batch
from gca_jax.experiment import Experiment, context
from gca_jax.shapes import Summary
from gca_jax.signals import Stopped, handled
from gca_jax.training import checkpoint, initial, step
from gca_jax.training.checkpoint import Progress
from gca_jax.training.log import Log, progress_bar, wandb
from gca_jax.training.state import Metrics, TrainState, by_row, replicated
from gca_jax.training.step import Training
from gca_jax.workdir import RunFolder

STOP: Literal["stop"] = "stop"


@runtime_checkable
class Hook(Protocol):
    """What happens beside a step.

    It is called after each one with the step's number, the new state and the step's metrics, to
    which it may add scalars for the log. It returns nothing, a changed state, or `STOP`. `memory`
    is JSON that is saved in checkpoints under the hook's name, and given back when a run goes on.
    """

    name: str
    memory: dict[str, Any]

    def __call__(
        self, step: int, state: TrainState, metrics: Metrics
    ) -> TrainState | Literal["stop"] | None:
        """Do what is to be done after a step."""
        ...


def train(
    experiment: Experiment,
    folder: RunFolder,
    hooks: Sequence[Hook] = (),
    command: str | None = None,
) -> Summary:
    """Train an encoder, or go on with it where an earlier session stopped.

    A run that was stopped and resumed gives the same weights as one that was not, bit for bit on
    CPU: batches, views and learning rate are functions of the seed and the step.

    To train together with the other processes of a cluster, call `distributed.join` before the
    experiment is built; all of them must see the same folder.

    Args:
        experiment: from `experiment.build`.
        folder: `RunFolder.open(path, experiment.record)`. It gets `config.json`, `metrics.jsonl`,
            TensorBoard files, `checkpoints/` and `training.json`. A finished run of this config is
            left as it is; one that differs in `train.epochs` or `train.steps` alone, which were
            fewer, goes on from its end.
        hooks: what else happens beside a step, before it is logged; `evaluation.online.hooks`
            makes those that the config asks for.
        command: the command line, for the report.

    Returns:
        The content of `training.json`: finished, steps, train_seconds (compilation included),
        images_per_second (without it; each image is seen in two views), device, parameters.

    Raises:
        ValueError: something in the config is wrong, the folder holds a run of another config or
            one that another process trains, or the loss is not finite.
        OSError: the disk has no room for the next checkpoint, or for the first three.
        Stopped: Ctrl-C or SIGTERM; a checkpoint has been written.
    """
    _check_hooks(experiment, hooks)
    if folder.saved:
        folder.refuse_another(experiment.record)
    if folder.state == "finished":
        return folder.summary
    # A wrong file is said before anything is traced or written.
    encoder = initial.encoder(experiment) if folder.newest is None else None
    with context("config.log"):
        wandb(experiment)  # that is not installed
    training = step.trace(experiment)
    distributed.wait("all have read the folder")  # before the first one writes
    with contextlib.ExitStack() as stack:
        if distributed.first():
            stack.enter_context(folder.locked())
            folder.begin(experiment.record)
            # Two are kept, and the next one is written before the older one goes.
            folder.need_space(max(1, 3 - len(folder.saved)) * training.bytes)
        distributed.wait("the folder is ready")
        folder.changed()
        manager = stack.enter_context(checkpoint.open_manager(folder))
        return Session(training, folder, manager, hooks, command, encoder).train()


def _check_hooks(experiment: Experiment, hooks: Sequence[Hook]) -> None:
    """Refuse hooks that share a name, and a setting whose hook is not there."""
    names = [hook.name for hook in hooks]
    if len({*names, Log.name, Stop.name, Saver.name}) < len(names) + 3:
        raise ValueError(
            "hooks must have names of their own, and none of log, stop and saver, got "
            + ", ".join(names)
        )
    if experiment.train.knn_every_epochs is not None and all(h.name != "knn" for h in hooks):
        raise ValueError(
            "config.train: knn_every_epochs is a hook's: "
            "train(..., hooks=gca_jax.evaluation.online.hooks(experiment))"
        )


@dataclasses.dataclass(frozen=True)
class Session:
    """One sitting of a run."""

    training: Training
    folder: RunFolder
    manager: ocp.CheckpointManager
    hooks: Sequence[Hook] = ()
    command: str | None = None
    encoder: Mapping[str, Any] | None = None  # to start from, as `initial.draw` takes it

    def train(self) -> Summary:
        """Compile, then train from the latest checkpoint to the end; return the summary."""
        began = time.perf_counter()
        if self.manager.latest_step() is None:
            state, start = self.training.initial(self.encoder), Progress()
        else:
            whole = replicated(self.training.mesh)
            state, start = checkpoint.restore(self.manager, self.training.abstract, whole)
        total = self.training.total_steps
        with progress_bar("compiling", total, start.step) as bar:
            train_step = self.training.lowered.compile()
            compiled = start.compile_seconds + time.perf_counter() - began
            start = dataclasses.replace(start, compile_seconds=compiled)
            bar.unpause()  # Compiling took none of the time that a step takes.
            bar.set_description_str(self.training.experiment.method)
            with (
                stop_on_signals() as stop,
                Log(self.training, self.hint, self.folder, start.step, bar) as log,
            ):
                saver = Saver(self, start, log)
                hooks = (*self.hooks, log, stop, saver)
                for hook in hooks:
                    hook.memory.update(start.hooks.get(hook.name, {}))
                saver.hooks = hooks
                for step, batch in enumerate(batches(self.training, start.step), start.step + 1):
                    state, metrics = train_step(state, self.training.key, batch)
                    state, stopped = after(hooks, step, state, metrics)
                    if stopped:
                        saver.save(step, state)
                        break
                self.manager.wait_until_finished()
        if saver.progress.step < total:
            raise Stopped(
                f"stopped at step {saver.progress.step} of {total}, saved in {self.folder.path}; "
                "run the same command again to go on from there",
                stop.status,
            )
        summary = self.save(state, saver.progress, finished=True)
        self.folder.state = "finished"
        return summary

    def save(self, state: TrainState, progress: Progress, finished: bool) -> Summary:
        """Write a checkpoint, unless there is one of this step, and the summary beside it."""
        self.folder.need_space(0 if finished else self.training.bytes)
        experiment = self.training.experiment
        checkpoint.save(self.manager, state, progress, experiment.record)
        seen = progress.step * experiment.train.batch_size
        weights = jax.tree.leaves(self.training.abstract.params)
        summary: Summary = {
            "finished": finished,
            "steps": progress.step,
            "train_seconds": progress.compile_seconds + progress.seconds,
            "images_per_second": seen / progress.seconds,
            "device": describe_devices(),
            "parameters": sum(leaf.size for leaf in weights),
            "unit": experiment.data.unit,
            **experiment.data.inputs,
        }
        if self.command is not None:
            summary["command"] = self.command
        self.folder.write_summary(summary, distributed.first())
        return summary

    def hint(self) -> str:
        """Say what to try when the loss is not finite."""
        experiment, larger = self.training.experiment, ""
        if "loss" not in experiment.given and "epsilon" in experiment.config.loss:
            larger = f" a --config.loss.epsilon above {experiment.config.loss.epsilon} or"
        self.manager.wait_until_finished()
        step, kept = self.manager.latest_step(), ""
        if step is not None:
            kept = (
                f" in a new --workdir; {self.folder.path} keeps step {step}, from which the same "
                "command goes on, and --mode=evaluate judges it"
            )
        return f"try{larger} a lower --config.optimizer.learning_rate{kept}"


def after(
    hooks: Sequence[Hook], step: int, state: TrainState, metrics: Metrics
) -> tuple[TrainState, bool]:
    """Call the hooks of a step in turn; give the state that they leave, and whether to stop."""
    stopped = False
    for hook in hooks:
        answer = hook(step, state, metrics)
        if isinstance(answer, TrainState):
            state = answer
        elif answer == STOP:
            stopped = True
    return state, stopped


class Saver:
    """Saves checkpoints every few epochs and at the end; a hook, the last one.

    The log is flushed before: a state whose loss is not finite must not be saved.
    """

    name = "saver"

    def __init__(self, session: Session, start: Progress, log: Log):
        self.memory: dict[str, Any] = {}
        self.progress, self.hooks = start, tuple[Hook, ...]()
        self._session, self._log, self._start = session, log, start
        self._began = time.perf_counter()
        training = session.training
        settings = training.experiment.train
        self._every = settings.checkpoint_every_epochs * training.steps_per_epoch
        self._total = training.total_steps

    def __call__(self, step: int, state: TrainState, metrics: Metrics) -> None:
        """Save the state if it is time."""
        if step % self._every == 0 or step == self._total:
            self.save(step, state)

    def save(self, step: int, state: TrainState) -> None:
        """Save the state of a step, unless it is saved."""
        if step == self.progress.step:
            return
        self._log.flush()
        seconds = self._start.seconds + time.perf_counter() - self._began
        memory = {hook.name: dict(hook.memory) for hook in self.hooks if hook.memory}
        self.progress = dataclasses.replace(self._start, step=step, seconds=seconds, hooks=memory)
        self._session.save(state, self.progress, finished=False)


def batches(training: Training, start: int) -> Generator[Batch]:
    """Yield global batches, split over the mesh, of all steps from `start` to the run's end.

    Each is on its way to the devices before the step of the one before it is dispatched.
    """
    rows, size = by_row(training.mesh), training.experiment.train.batch_size
    experiment = training.experiment

    def on_devices(part: np.ndarray) -> Array:
        return jax.make_array_from_process_local_data(rows, part, (size, *part.shape[1:]))

    local = experiment.data.batches(training.order, start, experiment.takes)
    with contextlib.closing(local):
        parts = itertools.islice(local, training.total_steps - start)
        placed = (jax.tree.map(on_devices, _numbered(part)) for part in parts)
        for batch, _ in itertools.pairwise(itertools.chain(placed, [None])):
            yield batch


def _numbered(part: Batch) -> Batch:
    """Give a batch whose row numbers are int32, as devices have them."""
    return part._replace(rows=np.asarray(part.rows, np.int32))


def describe_devices() -> str:
    """Name the devices, such as `1 x cpu (8 cores)` or `4 x NVIDIA H200`."""
    kind = jax.devices()[0].device_kind
    cores = f" ({os.cpu_count()} cores)" if jax.default_backend() == "cpu" else ""
    return f"{jax.device_count()} x {kind}{cores}"


class Stop:
    """Asks for a stop after Ctrl-C or SIGTERM; a hook."""

    name = "stop"

    def __init__(self) -> None:
        self.memory: dict[str, Any] = {}
        self.number = 0  # of the signal
        self.agreed = False

    def __call__(self, step: int, state: TrainState, metrics: Metrics) -> Literal["stop"] | None:
        """Tell whether this step is the last; several processes agree on one."""
        if jax.process_count() > 1:
            self.agreed = multihost_utils.reached_preemption_sync_point(step)
            return STOP if self.agreed else None
        return STOP if self.number > 0 else None

    @property
    def status(self) -> int:
        """Give the exit status, as in `Stopped`."""
        return int(self.number == signal.SIGINT)


@contextlib.contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Let Ctrl-C or SIGTERM ask for a stop instead of breaking off a step; a second one breaks off.

    Signals are left alone outside the main thread, where they cannot be caught. Where several
    processes train together, JAX takes SIGTERM, to any of them, for a notice to all.
    """
    stop, together = Stop(), jax.process_count() > 1
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handler(number: int, frame: object) -> None:
        if stop.number:
            raise KeyboardInterrupt
        stop.number = number
        os.write(2, b"\nstopping after this step ...\n")
        if together:
            os.kill(os.getpid(), signal.SIGTERM)

    caught = (signal.SIGINT,) if together else (signal.SIGINT, signal.SIGTERM)
    try:
        with handled(dict.fromkeys(caught, handler)):
            yield stop
    finally:
        if together:  # JAX no longer waits for the signal; it may come late to some of them.
            signal.signal(signal.SIGTERM, signal.SIG_IGN if stop.agreed else signal.SIG_DFL)
