"""The training loop: from an experiment to checkpoints and a log; it can be stopped at any step."""

import contextlib
import dataclasses
import itertools
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import Array

from gca_jax import distributed
from gca_jax.data.batches import Batch
from gca_jax.experiment import Experiment, context
from gca_jax.models.closed_form import Maps
from gca_jax.shapes import Summary
from gca_jax.signals import Stopped
from gca_jax.training import checkpoint, initial, start, step
from gca_jax.training.checkpoint import Progress
from gca_jax.training.hooks import STOP, Hook, Saver, Stop, stop_on_signals
from gca_jax.training.log import Log, progress_bar, wandb
from gca_jax.training.state import Metrics, TrainState, by_row, replicated
from gca_jax.training.step import Training
from gca_jax.training.validation import Validation
from gca_jax.workdir import IDENTITY, MATCHES, RunFolder

__all__ = ["STOP", "Hook", "batches", "train"]


def train(
    experiment: Experiment,
    folder: RunFolder,
    hooks: Sequence[Hook] = (),
    command: str | None = None,
    fit: Callable[[Experiment], start.Fitted] | None = None,
) -> Summary:
    """Train an encoder, or resume the run in a folder.

    A run that was stopped and resumed gives the same weights as one that was not, bit for bit on
    CPU: batches, views and learning rate are functions of the seed and the step.

    To train together with the other processes of a cluster, call `distributed.join` before the
    experiment is built; all of them must see the same folder.

    Args:
        experiment: From `experiment.build`.
        folder: `RunFolder.open(path, experiment.record)`. Gets `config.json`, `identity.json`,
            `metrics.jsonl`, TensorBoard files, `checkpoints/` and `training.json`. A finished run
            of this config is left as it is; one with a smaller `train.epochs` or `train.steps` and
            otherwise the same config is trained further from where it is.
        hooks: Callables that run after each step, before it is logged; `evaluation.online.hooks`
            makes those of the config.
        command: The command line, for the report.
        fit: In place of `start.fit_maps`, where runs on pairs have their start in common.

    Returns:
        The content of `training.json`: finished, steps, train_seconds (compilation included),
        images_per_second (without it; each image is seen in two views), device, parameters; where
        validation pairs chose the weights, `validation`: their step, ℓ, and every look.

    Raises:
        ValueError: The config is wrong, the folder holds a run of another config or on other
            data, or one that another process trains, or the loss is not finite.
        OSError: The disk has no room for the next checkpoint, or for the first three.
        Stopped: Ctrl-C or a signal of `signals.of_schedulers`; a checkpoint has been written.
    """
    _check_hooks(experiment, hooks)
    known = experiment.identity
    if folder.saved:
        folder.refuse_another(experiment.record)
        folder.refuse_other_data(known)
    if folder.state == "finished":
        if distributed.first() and not folder.has(IDENTITY):
            folder.know_data(known)
        return folder.summary
    # Read here, so that a wrong file is refused before anything is traced or written.
    encoder = initial.encoder(experiment) if folder.newest is None else None
    with context("config.log"):
        wandb(experiment)  # fails now if the library is missing, not when the log is opened
    experiment = _as_begun(experiment, folder)
    training = step.trace(experiment)  # also finds mistakes, before anything is fitted or written
    distributed.wait("all have read the folder")  # before the first one writes
    with contextlib.ExitStack() as stack:
        if distributed.first():
            stack.enter_context(folder.locked())
            folder.begin(experiment.record, known)
            # Two are kept, and the next one is written before the older one is deleted.
            folder.need_space(max(1, 3 - len(folder.saved)) * training.bytes)
        distributed.wait("the folder is ready")
        folder.changed()
        prepared, maps = start.prepare(experiment, folder, fit)
        if prepared is not experiment:
            training = step.trace(prepared)
        kept = experiment.train.keep_every_epochs
        manager = stack.enter_context(
            checkpoint.open_manager(folder, keep=kept and kept * training.steps_per_epoch)
        )
        return _train(training, folder, manager, hooks, command, encoder, maps)


def _as_begun(experiment: Experiment, folder: RunFolder) -> Experiment:
    """Go on with a run as begun, perhaps before validation chose or pairs were remembered."""
    if not experiment.by_validation or folder.newest is None:
        return experiment
    there, settings = checkpoint.kept(folder), experiment.train
    if settings.stop_by == "auto" and "params" not in there:
        settings = dataclasses.replace(settings, stop_by="steps")
    remember = settings.remember and "memory" in there
    settings = dataclasses.replace(settings, remember=remember)
    return dataclasses.replace(experiment, train=settings)


def _check_hooks(experiment: Experiment, hooks: Sequence[Hook]) -> None:
    """Refuse hooks that share a name, and `knn_every_epochs` without its hook."""
    names = [hook.name for hook in hooks]
    own = (Log.name, Stop.name, Saver.name, Validation.name)
    if len({*names, *own}) < len(names) + len(own):
        raise ValueError(
            f"hooks must have names of their own, and none of {', '.join(own)}, got "
            + ", ".join(names)
        )
    if experiment.train.knn_every_epochs is not None and all(h.name != "knn" for h in hooks):
        raise ValueError(
            "config.train: knn_every_epochs is a hook's: "
            "train(..., hooks=gca_jax.evaluation.online.hooks(experiment))"
        )


def _train(
    training: Training,
    folder: RunFolder,
    manager: ocp.CheckpointManager,
    hooks: Sequence[Hook],
    command: str | None,
    encoder: Mapping[str, Any] | None,
    maps: Maps | None,
) -> Summary:
    """Compile, then train from the latest checkpoint, or from what is given, to the end."""
    began = time.perf_counter()
    if manager.latest_step() is None:
        state, begun = training.initial(encoder, maps), Progress()
    else:
        whole = replicated(training.mesh)
        state, begun = checkpoint.restore(manager, training.abstract, whole)
    total = training.total_steps
    validation = Validation(training) if training.experiment.by_validation else None
    own = () if validation is None else (validation,)
    if validation is not None:
        validation.memory.update(begun.hooks.get(validation.name, {}))
        state = validation.begin(state)
    over = begun.step == total or _ended(validation)
    if over and begun.step < total:
        print(f"validation pairs have ended this run at step {begun.step}, whatever its length")
    with progress_bar("compiling", total, begun.step) as bar:
        train_step: Any = None if over else training.lowered.compile()
        compiled = begun.compile_seconds + time.perf_counter() - began
        begun = dataclasses.replace(begun, compile_seconds=compiled)
        bar.unpause()  # so that compilation does not count in the remaining time
        bar.set_description_str(training.experiment.method)
        hint = partial(_hint, training.experiment, folder, manager)
        with stop_on_signals() as stop, Log(training, hint, folder, begun.step, bar) as log:
            saver = Saver(training, folder, manager, begun, log.flush, command)
            saver.hooks = hooks = (*hooks, *own, log, stop, saver)
            saver.about = partial(_about, training, folder, validation)
            for hook in hooks:
                hook.memory.update(begun.hooks.get(hook.name, {}))
            steps = () if over else enumerate(batches(training, begun.step), begun.step + 1)
            for step, batch in steps:
                # Dispatched, not awaited: nothing below reads a number of this step.
                state, metrics = train_step(state, training.key, batch)
                state, stopped = _after(hooks, step, state, metrics)
                if stopped:
                    saver.save(step, state)
                    break
            if total == 0:
                saver.save(0, state)
            manager.wait_until_finished()
    if saver.progress.step < total and not _ended(validation):
        raise Stopped(
            f"stopped at step {saver.progress.step} of {total}, saved in {folder.path}; "
            "run the same command again to go on from there",
            stop.status,
        )
    summary = saver.summarise(finished=True)  # not before the last checkpoint has its name
    folder.state = "finished"
    return summary


def _about(training: Training, folder: RunFolder, validation: Validation | None) -> dict[str, Any]:
    """Return what `training.json` says of a run on pairs besides."""
    chosen = {} if validation is None else {"validation": validation.summary}
    found = {"matched": len(training.experiment.data)} if folder.has(MATCHES) else {}
    return chosen | found


def _ended(validation: Validation | None) -> bool:
    """Tell whether validation pairs have ended the run before its last step."""
    return validation is not None and validation.ended


def _hint(experiment: Experiment, folder: RunFolder, manager: ocp.CheckpointManager) -> str:
    """Advise what to try when the loss is not finite."""
    larger, kept = "", ""
    if "loss" not in experiment.given and "epsilon" in experiment.config.loss:
        larger = f" a --config.loss.epsilon above {experiment.config.loss.epsilon} or"
    manager.wait_until_finished()
    if (step := manager.latest_step()) is not None:
        kept = (
            f" in a new --workdir; {folder.path} keeps step {step}, which the same command "
            "resumes and --mode=evaluate evaluates"
        )
    return f"try{larger} a lower --config.optimizer.learning_rate{kept}"


def _after(
    hooks: Sequence[Hook], step: int, state: TrainState, metrics: Metrics
) -> tuple[TrainState, bool]:
    """Call the hooks of a step in turn; return the state that they leave, and whether to stop."""
    stopped = False
    for hook in hooks:
        answer = hook(step, state, metrics)
        if isinstance(answer, TrainState):
            state = answer
        elif answer == STOP:
            stopped = True
    return state, stopped


def batches(training: Training, start: int) -> Generator[Batch]:
    """Yield global batches, sharded over the mesh, of all steps from `start` to the run's end.

    Each is on its way to the devices before the previous one's step is dispatched.
    """
    experiment, rows = training.experiment, by_row(training.mesh)
    size = experiment.train.batch_size

    def on_devices(part: np.ndarray) -> Array:
        return jax.make_array_from_process_local_data(rows, part, (size, *part.shape[1:]))

    def place(part: Batch) -> Any:  # a Batch, of arrays on the devices
        part = part._replace(rows=np.asarray(part.rows, np.int32))
        if jax.process_count() == 1:
            return jax.device_put(part, rows)  # all at once: less work for the host
        return jax.tree.map(on_devices, part)

    local = experiment.data.batches(training.order, start, experiment.takes)
    with contextlib.closing(local):
        parts = itertools.islice(local, training.total_steps - start)
        # In pairs, so that the next batch is placed before this one is yielded.
        for batch, _ in itertools.pairwise(itertools.chain(map(place, parts), [None])):
            yield batch
