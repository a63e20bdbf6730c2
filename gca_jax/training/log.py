"""Logs a run while it trains: progress bar, `metrics.jsonl`, TensorBoard, Weights & Biases."""

import contextlib
import hashlib
import importlib
import io
import json
import math
import pathlib
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

import jax
import numpy as np
from tensorboardX import SummaryWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tqdm import tqdm

from gca_jax import distributed
from gca_jax.check import duration
from gca_jax.experiment import Experiment
from gca_jax.training.state import Metrics
from gca_jax.training.step import Training
from gca_jax.workdir import RunFolder

REPELLED, PATIENCE = 0.9, 50  # share of pairs, and consecutive steps, that count as a collapse
FINITE = ("loss", "gradient_norm", "parameter_norm")
WATCHED = (*FINITE, "repelled")  # in every step, whether it is logged or not
CONSTANTS = {"block_size", "scaling_domain"}  # entries of `aux` that make no curve
BAR = "{desc} {percentage:3.0f}% |{bar:24}| step {n_fmt}/{total_fmt}, {left} left{postfix}"


class Lines(io.TextIOBase):
    """Writes each state of a progress bar on a line of its own, where there is no terminal."""

    def write(self, text: str) -> int:
        """Write non-empty lines, without carriage returns."""
        for line in text.replace("\r", "\n").splitlines():
            if line.strip():
                sys.stderr.write(line.rstrip() + "\n")
        return len(text)

    def flush(self) -> None:
        """Flush standard error."""
        sys.stderr.flush()


class Bar(tqdm):
    """A progress bar whose field `left` is the time left, in days where it exceeds one."""

    @property
    def format_dict(self) -> Any:
        """Add `left`, at tqdm's own rate."""
        known = super().format_dict
        if known.get("initial") is None:  # of a bar that is never drawn
            return known
        done, elapsed = known["n"] - known["initial"], known["elapsed"]
        rate = known["rate"] or (done / elapsed if elapsed else 0.0)
        return known | {"left": duration((known["total"] - known["n"]) / rate) if rate else "?"}


def progress_bar(name: str, total_steps: int, start: int) -> tqdm:
    """Show steps on standard error, in the first process; every 10 s where it is no terminal."""
    terminal = sys.stderr.isatty()
    return Bar(
        desc=name,
        file=sys.stderr if terminal else Lines(),
        total=total_steps,
        initial=start,
        disable=not distributed.first(),
        bar_format=BAR,
        mininterval=0.2 if terminal else 10.0,
        maxinterval=10.0,
        ncols=None if terminal else 100,
        nrows=20,  # tqdm draws no bar in a terminal that does not know its height
    )


class NonFiniteError(ValueError):
    """The loss, or another quantity that a run cannot go on without, is not finite."""


class Events(SummaryWriter):
    """A run's TensorBoard files, written by whoever calls.

    The thread that tensorboardX writes them in dies on a full disk, and whoever adds to its queue
    or closes the files then waits for ever.

    Args:
        folder: The run's folder.
        purge_step: What files have of this step and later ones is not shown; None: all is.

    Raises:
        OSError: The disk is full; from `flush`, `close`, or whatever adds to the files.
    """

    def __init__(self, folder: RunFolder, purge_step: int | None = None):
        self._path = folder.path / "tensorboard"
        # Else the name is that of the second, and files of one second would be one.
        suffix = f".{time.time_ns() % 10**9:09d}"
        self._events: Any = None
        with self._failing():
            super().__init__(str(self._path), filename_suffix=suffix)  # writes to no queue yet
        self._events = self.file_writer.event_writer
        self._events.add_event = self._write
        if purge_step is not None:
            status = SessionLog(status=SessionLog.START)
            for entry in (dict(file_version="brain.Event:2"), dict(session_log=status)):
                self.file_writer.add_event(Event(step=purge_step, **entry))

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        """Name the folder in an error of the disk, after which nothing is written, nor at exit."""
        try:
            yield
        except OSError as error:
            if self._events is not None:
                self._events._closed = True
            raise OSError(error.errno, error.strerror, str(self._path)) from error

    def _write(self, event: Event) -> None:
        if not self._events._closed:
            with self._failing():
                self._events._ev_writer.write_event(event)

    def flush(self) -> None:
        """Bring what was added to the disk."""
        with self._failing():
            super().flush()

    def close(self) -> None:
        """Flush and close the files."""
        with self._failing():
            super().close()


class Writer:
    """Appends rows of scalars to `metrics.jsonl` and TensorBoard, from a step on.

    Rows after that step, from a session that was killed before it saved them, are dropped, so each
    step is logged once.
    """

    def __init__(self, folder: RunFolder, step: int):
        self._file = folder.open_log(step)
        self._events = Events(folder, purge_step=step + 1)

    def write(self, step: int, row: dict[str, float]) -> None:
        """Log one row; a non-finite number becomes null."""
        finite = {key: value if math.isfinite(value) else None for key, value in row.items()}
        self._file.write((json.dumps({"step": step, **finite}) + "\n").encode())
        self._file.flush()
        for key, value in row.items():
            if key not in CONSTANTS:
                self._events.add_scalar(key, value, step)
        self._events.flush()

    def close(self) -> None:
        """Flush and close the files."""
        try:
            self._file.close()
        finally:
            self._events.close()


def wandb(experiment: Experiment) -> ModuleType | None:
    """Import Weights & Biases if `config.log.wandb` names a project.

    Raises:
        ValueError: It, or TensorBoard, which its sync needs, is not installed.
    """
    if (project := experiment.config.log.wandb) is None:
        return None
    try:
        importlib.import_module("tensorboard")
        return importlib.import_module("wandb")
    except ModuleNotFoundError as error:
        raise ValueError(
            f"wandb={project} needs the library of Weights & Biases: "
            "pip install wandb tensorboard, or leave --config.log.wandb out"
        ) from error


def wandb_run(experiment: Experiment, path: pathlib.Path) -> contextlib.AbstractContextManager:
    """Open the run's page at Weights & Biases, if `config.log.wandb` names a project.

    It shows what is written to TensorBoard files that are opened later. The id is a hash of the
    folder's path: a resumed run has the same page, a moved one another.
    """
    if (library := wandb(experiment)) is None:
        return contextlib.nullcontext()
    return library.init(
        project=experiment.config.log.wandb,
        name=path.name,
        id=hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16],
        resume="allow",
        dir=str(path),
        config=experiment.record,
        sync_tensorboard=True,
    )


def show(folder: RunFolder, step: int, pictures: Mapping[str, np.ndarray]) -> None:
    """Add images [h, w, c] and the run's config to its TensorBoard files."""
    with Events(folder) as events:
        for name, picture in pictures.items():
            events.add_image(name, picture, step, dataformats="HWC")
        config = json.dumps(folder.config, indent=2)
        events.add_text("config", textwrap.indent(config, "    "), step)


class Log(contextlib.AbstractContextManager["Log"]):
    """Logs metrics one step late, so that reading them never blocks the next dispatch; a hook.

    Reading a number waits for the device, so a step's metrics are read after the next step is
    dispatched. Leaving the context closes the files.

    Args:
        training: The run.
        hint: Returns advice for when the loss is not finite.
        folder: The run's folder.
        start: Step that the session starts from.
        bar: Progress bar, which shows the loss and the rate.
    """

    name = "log"

    def __init__(
        self, training: Training, hint: Callable[[], str], folder: RunFolder, start: int, bar: tqdm
    ):
        self._training, self._hint, self._bar = training, hint, bar
        self._folder, self._open = folder, contextlib.ExitStack()
        self._writer = None
        if distributed.first():
            self._open.enter_context(wandb_run(training.experiment, folder.path))
            self._writer = self._open.enter_context(contextlib.closing(Writer(folder, start)))
        self._pending: tuple[int, Metrics] | None = None
        self._start, self._began = start, time.perf_counter()
        self._last = start, self._began
        self.memory: dict[str, Any] = {"repelled": 0, "warned": False}

    def __exit__(self, *error: Any) -> None:
        self._open.__exit__(*error)

    def __call__(self, step: int, state: object, metrics: Metrics) -> None:
        """Keep the metrics of the step just dispatched; log those of the previous step."""
        self.flush()
        self._pending = step, metrics

    def flush(self) -> None:
        """Log the pending metrics, waiting for the device if necessary."""
        if self._pending is None:
            return
        (step, metrics), self._pending = self._pending, None
        due = self._training.is_logged(step)
        logged = due or metrics.keys() - self._training.metrics  # a hook's scalars are always
        if not logged:  # each number that is read takes its time
            metrics = {name: metrics[name] for name in WATCHED if name in metrics}
        row = {name: float(value) for name, value in jax.device_get(metrics).items()}
        self._check_finite(step, row)
        self._warn_of_collapse(step, row)
        seconds = time.perf_counter() - self._began
        settings = self._training.experiment.train
        rate = (step - self._start) * settings.batch_size / seconds
        unit = self._training.experiment.data.unit
        self._bar.set_postfix_str(f"loss {row['loss']:.4f}, {rate:,.0f} {unit}/s", refresh=False)
        self._bar.update(1)
        if logged and not due:  # such a step was not diagnosed
            row = {name: number for name, number in row.items() if not math.isnan(number)}
        if logged:
            self._write(step, row)

    def _check_finite(self, step: int, row: dict[str, float]) -> None:
        for name in FINITE:
            if not math.isfinite(row[name]):
                epoch = step / self._training.steps_per_epoch
                raise NonFiniteError(
                    f"{name} is {row[name]} at step {step} (epoch {epoch:.2f}); {self._hint()}"
                )

    def _warn_of_collapse(self, step: int, row: dict[str, float]) -> None:
        """Warn once that RINCE has pushed nearly all pairs apart, where its gradient vanishes."""
        repelled = self.memory["repelled"] + 1 if row.get("repelled", 0.0) >= REPELLED else 0
        self.memory["repelled"] = repelled
        if repelled < PATIENCE or self.memory["warned"]:
            return
        self.memory["warned"], size = True, self._training.experiment.train.batch_size
        if distributed.first():
            self._bar.write(
                f"warning: RINCE has collapsed at step {step}: for {PATIENCE} steps nearly all "
                "pairs have had similarities below 0 and been pushed apart; lower "
                f"--config.loss.lam (below 1/{size}, one over the batch size) or --config.loss.q",
                file=sys.stderr,
            )

    def _write(self, step: int, row: dict[str, float]) -> None:
        (before, then), now = self._last, time.perf_counter()
        self._last = step, now
        row["epoch"] = step / self._training.steps_per_epoch
        row["learning_rate"] = self._training.learning_rate(step - 1)
        images = (step - before) * self._training.experiment.train.batch_size
        row["images_per_second"] = images / (now - then)
        if self._writer is not None:
            self._folder.need_space()
            self._writer.write(step, row)
