"""Pretraining: from an experiment to checkpoints and a log, stoppable at any moment."""

import contextlib
import dataclasses
import itertools
import os
import pathlib
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from jaxtyping import Array
from tqdm import tqdm

from gca_jax import distributed
from gca_jax.evaluation import online_knn
from gca_jax.experiment import Trainable, blame
from gca_jax.signals import Stopped, handled
from gca_jax.training import checkpoint, initial, setup
from gca_jax.training.checkpoint import Progress
from gca_jax.training.log import Log, asked_board, progress_bar, wandb
from gca_jax.training.step import TrainState, TrainStep, by_row, replicated
from gca_jax.workdir import (
    Summary,
    checkpoints,
    locked,
    need_space,
    refuse_another_run,
    shorter_run,
    training_summary,
    write_json,
)


def pretrain(
    experiment: Trainable, workdir: str | pathlib.Path, command: str | None = None
) -> Summary:
    """Train an encoder, or go on with it where an earlier session stopped.

    A run that was stopped and resumed gives the same weights as one that was not, bit for bit on
    CPU: batches, views and learning rate are functions of the seed and the step.

    To train together with the other processes of a cluster, call `distributed.join` before the
    experiment is built; all of them must see the same workdir.

    Args:
        experiment: from `experiment.build`.
        workdir: the run's folder. It gets `config.json`, `metrics.jsonl`, TensorBoard files,
            `checkpoints/` and `training.json`. A finished run of this config is left as it is; one
            that differs in `train.epochs` or `train.steps` alone, which were fewer, goes on from
            its end.
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
    workdir = pathlib.Path(workdir)
    summary = trained_before(workdir, experiment.record)
    if summary is not None:
        return summary
    # A wrong file is said before anything is traced or written.
    given = None if checkpoints(workdir) else initial.encoder(experiment)
    with blame("config.log"):
        if project := asked_board(experiment):
            wandb(project)
    training = setup.trace(experiment)
    with contextlib.ExitStack() as stack:
        if distributed.first():
            workdir.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(workdir))
            reopen(workdir, experiment.record)
            write_json(workdir / "config.json", experiment.record)
            checkpoint.set_damaged_aside(workdir)
            # Two are kept, and the next one is written before the older one goes.
            need_space(workdir, max(1, 3 - len(checkpoints(workdir))) * training.bytes)
        distributed.wait("the folder is ready")
        manager = stack.enter_context(checkpoint.open_manager(workdir))
        return Session(training, workdir, manager, command, given).train()


def trained_before(workdir: str | pathlib.Path, record: Mapping[str, object]) -> Summary | None:
    """Read the summary of a run that is trained to its end, and say so; refuse another record."""
    workdir = pathlib.Path(workdir)
    if distributed.first():
        checkpoint.repair_config(workdir)
    distributed.wait("the config can be read")
    if shorter_run(workdir, record) is not None:
        distributed.wait("all have read it")  # before the first one reopens it
        return None
    refuse_another_run(workdir, record)
    if not (workdir / "training.json").exists():
        return None
    summary = training_summary(workdir)
    if not summary["finished"]:
        return None
    step = checkpoint.newest(workdir)
    if step != summary["steps"]:
        where = "from the start" if step is None else f"on from step {step}"
        print(f"{workdir} held this run, but its last checkpoint is gone: it is trained {where}")
        return None
    print(f"{workdir} holds this run, trained to its end: it is not trained again")
    return summary


def reopen(workdir: pathlib.Path, record: Mapping[str, object]) -> None:
    """Mark a finished run as unfinished, and say so, if the record makes it longer.

    This comes before its config is written: stopped at once, the longer run must not pass for one
    that has ended.
    """
    if (summary := shorter_run(workdir, record)) is None:
        return
    print(
        f"{workdir} holds this run, ended at step {summary['steps']}: it is trained further, from "
        "there with the learning rate that a run of the new length has at that step"
    )
    write_json(workdir / "training.json", {**summary, "finished": False})


@dataclasses.dataclass(frozen=True)
class Session:
    """One sitting of a run."""

    training: setup.Training
    workdir: pathlib.Path
    manager: ocp.CheckpointManager
    command: str | None = None
    given: Mapping[str, Any] | None = None  # an encoder to start from, as `initial.draw` takes it

    def train(self) -> Summary:
        """Compile, then train from the latest checkpoint to the end; return the summary."""
        began = time.perf_counter()
        if self.manager.latest_step() is None:
            state, start = self.training.initial(self.given), Progress()
        else:
            whole = replicated(self.training.mesh)
            state, start = checkpoint.restore(self.manager, self.training.abstract, whole)
        with progress_bar("compiling", self.training.total_steps, start.step) as bar:
            train_step = self.training.lowered.compile()
            compiled = start.compile_seconds + time.perf_counter() - began
            start = dataclasses.replace(start, compile_seconds=compiled)
            bar.unpause()  # Compiling took none of the time that a step takes.
            bar.set_description_str(self.training.experiment.method)
            with stop_on_signals() as stop:
                state, progress = self.loop(train_step, state, start, bar, stop)
        if progress.step < self.training.total_steps:
            raise Stopped(
                f"stopped at step {progress.step} of {self.training.total_steps}, saved in "
                f"{self.workdir}; run the same command again to go on from there",
                stop.status,
            )
        return self.save(state, progress, finished=True)

    def loop(
        self, train_step: TrainStep, state: TrainState, start: Progress, bar: tqdm, stop: "Stop"
    ) -> tuple[TrainState, Progress]:
        """Train until the end or until a signal asks to stop; either way the state is saved."""
        settings, per_epoch = self.training.experiment.train, self.training.steps_per_epoch
        every = settings.checkpoint_every_epochs * per_epoch
        watched = (settings.knn_every_epochs or 0) * per_epoch
        knn = online_knn.make(self.training) if watched else None
        began, progress = time.perf_counter(), start
        with Log(self.training, self.hint, self.workdir, start.step, bar) as log:
            parts = batches(self.training, start.step)
            for step, (images, groups) in enumerate(parts, start.step + 1):
                state, metrics = train_step(state, self.training.key, images, groups)
                if knn is not None and step % watched == 0:
                    metrics |= knn(state)
                log.add(step, metrics)
                last = stop.asked(step) or step == self.training.total_steps
                if last or step % every == 0:
                    log.flush()  # A state whose loss is not finite must not be saved.
                    seconds = start.seconds + time.perf_counter() - began
                    progress = dataclasses.replace(start, step=step, seconds=seconds)
                    self.save(state, progress, finished=False)
                if last:
                    break
        self.manager.wait_until_finished()
        return state, progress

    def save(self, state: TrainState, progress: Progress, finished: bool) -> Summary:
        """Write a checkpoint, unless there is one of this step, and the summary beside it."""
        need_space(self.workdir, 0 if finished else self.training.bytes)
        checkpoint.save(self.manager, state, progress, self.training.experiment.record)
        images = progress.step * self.training.experiment.train.batch_size
        weights = jax.tree.leaves(self.training.abstract.params)
        summary = Summary(
            finished=finished,
            steps=progress.step,
            train_seconds=progress.compile_seconds + progress.seconds,
            images_per_second=images / progress.seconds,
            device=describe_devices(),
            parameters=sum(leaf.size for leaf in weights),
            **self.training.experiment.inputs,
        )
        if self.command is not None:
            summary["command"] = self.command
        if distributed.first():
            write_json(self.workdir / "training.json", summary)
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
                f" in a new --workdir; {self.workdir} keeps step {step}, from which the same "
                "command goes on, and --mode=evaluate judges it"
            )
        return f"try{larger} a lower --config.optimizer.learning_rate{kept}"


def batches(training: setup.Training, start: int) -> Iterator[tuple[Array, Array | None]]:
    """Yield global batches, split over the mesh, of all steps from `start` to the run's end.

    Each is on its way to the devices before the step of the one before it is dispatched.
    """
    rows, size = by_row(training.mesh), training.experiment.train.batch_size

    def on_devices(part: np.ndarray) -> Array:
        return jax.make_array_from_process_local_data(rows, part, (size, *part.shape[1:]))

    with contextlib.closing(training.experiment.batches.iterate(training.order, start)) as local:
        parts = itertools.islice(local, training.total_steps - start)
        placed = (jax.tree.map(on_devices, part) for part in parts)
        for batch, _ in itertools.pairwise(itertools.chain(placed, [None])):
            yield batch


def describe_devices() -> str:
    """Name the devices, such as `1 x cpu (8 cores)` or `4 x NVIDIA H200`."""
    kind = jax.devices()[0].device_kind
    cores = f" ({os.cpu_count()} cores)" if jax.default_backend() == "cpu" else ""
    return f"{jax.device_count()} x {kind}{cores}"


class Stop:
    """Whether the run was asked to stop, by Ctrl-C or SIGTERM."""

    def __init__(self) -> None:
        self.number = 0  # of the signal
        self.agreed = False

    def asked(self, step: int) -> bool:
        """Tell whether this step is the last; several processes agree on one."""
        if jax.process_count() > 1:
            self.agreed = multihost_utils.reached_preemption_sync_point(step)
            return self.agreed
        return self.number > 0

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
