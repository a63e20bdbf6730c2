"""A run's folder: the one reader and writer of its files, and where the run in it stands."""

import contextlib
import json
import os
import shutil
import zipfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from ml_collections import ConfigDict

from gca_jax import check, files, shapes
from gca_jax.files import DamagedError
from gca_jax.shapes import Summary

Json = dict[str, Any]
"""What a JSON file holds; its keys are those that its writer gives it."""
State = Literal["new", "unfinished", "finished", "longer"]

PLACES = ("data.data_dir",)
"""Settings of the machine: a run that goes on elsewhere may have others."""
DATA_PLACES = (
    *("data.root", "data.labelled_root", "data.file", "data.skip_unreadable"),
    *("data.a", "data.b", "data.test_a", "data.test_b", "data.labels", "data.pairs"),
)
"""Where data lie: as good as any other where a run's data are known (`IDENTITY`) and the same."""
WRITES = (
    *("log.wandb", "train.log_every_steps"),
    *("train.checkpoint_every_epochs", "train.keep_every_epochs"),
)
"""Settings that change what a run writes, and no weight."""
IDENTITY = "identity.json"
SHOWN = 60  # letters of a value in a message
UNSET = {"model.start": "random", "train.stop_by": "steps", "train.partners": "given"}
"""What a run does whose config lacks a key that others have."""
MATCHES = "matches.npz"
CANDIDATES = "candidates.json"


class RunFolder:
    """The files of a run.

    Each is read once, and what it holds is checked then: a file that is cut or of another shape is
    a `DamagedError`. Everything is written under another name and renamed, so that a reader finds
    the old file or the new one.

    Attributes:
        path: The folder.
        state: Where the run stands that `open` was given a config of: "new" (nothing of value is
            there), "unfinished", "finished", or "longer" (it ended, and the config makes it
            longer). "finished" or "unfinished" of a folder that was opened without one.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path).expanduser()
        self.state: State = "new"
        self._asked: Mapping[str, Any] | None = None
        self._known: dict[str, Any] = {}
        self._intact: dict[int, bool] = {}
        self._held = False
        self._kept: contextlib.ExitStack | None = None

    @classmethod
    def open(
        cls, path: str | Path, config: ConfigDict | Mapping[str, Any] | None = None
    ) -> "RunFolder":
        """Open the folder of a run, and determine the run's state.

        Args:
            path: The folder; with a config it need not exist.
            config: Of the run to be trained there, or its `Experiment.record`; None: of a run that
                is there.

        Raises:
            FileNotFoundError: No run is there, and no config is given.
            ValueError: The folder is a file, has a backslash in its path, or holds a run of another
                config; its config or its summary is damaged and no checkpoint has another one.
        """
        folder = cls(path)
        refuse_backslash(folder.path)
        if folder.path.exists() and not folder.path.is_dir():
            raise ValueError(f"workdir {path} is a file; choose a folder with --workdir=DIR")
        if config is None:
            folder.state = "finished" if folder.summary["finished"] else "unfinished"
        else:
            record = as_json(config) if isinstance(config, ConfigDict) else config
            folder._asked = record
            folder.state = folder._compared_with(record)
        return folder

    def _compared_with(self, record: Mapping[str, Any]) -> State:
        """Determine the run's state, and print what a user would not expect."""
        ended = self._ended_at()
        if self.saved and self._is_longer(record):
            at = f"ended at step {ended}" if ended is not None else f"saved at step {self.newest}"
            print(
                f"{self.path} holds this run, {at}: it is trained further, from there with the "
                "learning rate that a run of the new length has at that step"
            )
            return "longer"
        if self.saved:  # else nothing of value is there: it was stopped before it saved anything
            self.refuse_another(record)
            if told := first_differences(self.config, record):
                print(f"note: {self.path} goes on with settings that make no other run ({told})")
        if ended is None:
            return "unfinished" if self.newest is not None else "new"
        if self.newest == ended:
            print(f"{self.path} holds this run, trained to its end: it is not trained again")
            return "finished"
        gone = "from the start" if self.newest is None else f"on from step {self.newest}"
        print(f"{self.path} held this run, but its last checkpoint is gone: it is trained {gone}")
        return "unfinished" if self.newest is not None else "new"

    def _ended_at(self) -> int | None:
        """Return the step at which the run ended; None if unfinished or its summary is damaged."""
        try:
            return self.summary["steps"] if self.summary["finished"] else None
        except FileNotFoundError:
            return None
        except DamagedError as error:
            print(f"note: {error}; it is written anew by training")
            return None

    def _is_longer(self, record: Mapping[str, Any]) -> bool:
        """Tell whether the record makes the run longer, and changes nothing else."""
        there = self.config
        key = "epochs" if there["train"].get("steps") is None else "steps"
        length = record["train"].get(key) or 0
        as_long = {**there, "train": {**there["train"], key: length}}
        longer = length > there["train"][key]
        return longer and not any(differences(as_long, record, self.free))

    @property
    def free(self) -> frozenset[str]:
        """Settings that may differ: what is written and, of known data, where they lie."""
        return frozenset((*WRITES, *(DATA_PLACES if self.identity else ())))

    @property
    def identity(self) -> Json | None:
        """Return what identifies the data that the run is trained on; None: it is not known.

        It is that of a checkpoint if the file is damaged or gone.
        """
        fault, checkpoints = None, [f"checkpoints/{step}/identity/metadata" for step in self.saved]
        for name in (IDENTITY, *reversed(checkpoints)):
            try:
                if found := self._json(name, shapes.IDENTITY, missing=True):
                    return found
            except DamagedError as error:
                fault = fault or error
        if fault is not None:
            raise fault
        return None

    def refuse_other_data(self, identity: Mapping[str, Any]) -> None:
        """Raise a ValueError where the run was trained on other data, if its own are known.

        Args:
            identity: Of the data, from `data.identity.identify`.
        """
        there = self.identity if self.saved else None
        if there is not None and (parts := other_parts(there, identity)):
            raise ValueError(
                f"{self.path} holds a run on other data and is left as it is ({parts}). Put its "
                "own back, choose another --workdir, or evaluate these beside its own "
                "with --mode=evaluate --config.data.KEY=VALUE"
            )

    def know_data(self, identity: Mapping[str, Any]) -> None:
        """Write what identifies the data; say so where the run was begun without it."""
        if self.saved and not self.identity:
            print(
                f"note: {self.path} has no {IDENTITY}: the data as they are now are taken for "
                "those that it was trained on, and known from here on"
            )
        self.write_json(IDENTITY, identity)

    def refuse_another(self, record: Mapping[str, object]) -> None:
        """Raise a ValueError where the folder holds, or was opened for, a run of another config."""
        there = self.config if self._asked is None or self.state != "longer" else self._asked
        if shown := first_differences(there, record, free=self.free):
            raise ValueError(
                f"{self.path} holds a run of another config and is left as it is ({shown}). "
                "Choose another --workdir, or delete that one"
            )

    def has(self, name: str) -> bool:
        """Tell whether a file is there."""
        return (self.path / name).exists()

    @property
    def begun(self) -> bool:
        """Tell whether the run was begun: it has a lock or a log; a config alone is a plan."""
        return self.has("lock") or self.has("metrics.jsonl") or bool(self.saved)

    @property
    def config(self) -> Json:
        """Return the config as JSON; that of the newest checkpoint if it is damaged or gone."""
        try:
            found = self._json("config.json", shapes.CONFIG)
        except (DamagedError, FileNotFoundError) as error:
            if self.newest is None:
                if isinstance(error, DamagedError) or not self.saved:
                    raise
                raise DamagedError(
                    f"{self.path} holds checkpoints without a config.json; choose another one"
                ) from error
            found = self._json(f"checkpoints/{self.newest}/config/metadata", shapes.CONFIG)
            self._known["config.json"] = found
            print(f"note: {self.path}/config.json is missing or damaged; a checkpoint has it too")
        data = found["data"]  # whose name was enough until 0.2.0
        data.setdefault("kind", "pairs" if data["name"] == "pairs" else "images")
        if data.get("streaming") is False:  # a setting of the hub's sets until 0.3.0
            del data["streaming"]
        return found

    @property
    def summary(self) -> Summary:
        """Return the summary of training; FileNotFoundError if it has saved nothing yet."""
        if not self.has("training.json"):
            raise FileNotFoundError(
                f"there is no run in {self.path} (no training.json): train one first with "
                "--mode=pretrain"
            )
        return self._json("training.json", shapes.SUMMARY)

    @property
    def log(self) -> list[Json]:
        """Return the rows of `metrics.jsonl`, [] if there is none; one cut by a kill is skipped."""
        return [row for row, _ in self._rows()]

    def _rows(self) -> list[tuple[Json, int]]:
        path = self.path / "metrics.jsonl"
        return files.read_log(path) if path.exists() else []

    @property
    def evaluation(self) -> Json:
        """Return the evaluation of the run's current step.

        Raises:
            FileNotFoundError: It has not been evaluated.
            ValueError: Its evaluation is of another step.
        """
        if not self.has("evaluation.json") or not self.has("evaluation.npz"):
            raise FileNotFoundError(
                f"the run in {self.path} has not been evaluated: do so first with --mode=evaluate"
            )
        found, step = self._evaluation(), self.summary["steps"]
        if found["step"] != step:
            raise ValueError(
                f"the evaluation in {self.path} is of step {found['step']}, the run is at step "
                f"{step}: evaluate again with --mode=evaluate"
            )
        return found

    def _evaluation(self) -> Json:
        """Read the evaluation, of whatever step it is."""
        of_pairs = self.config["data"]["kind"] == "pairs"
        return self._json("evaluation.json", shapes.OF_PAIRS if of_pairs else shapes.EVALUATION)

    @property
    def is_evaluated(self) -> bool:
        """Tell whether the run's current step is evaluated, and the files can be read."""
        try:
            _ = self.evaluation, self.arrays
        except (FileNotFoundError, ValueError):
            return False
        return True

    @property
    def is_complete(self) -> bool:
        """Tell whether the run is trained to its end and evaluated there, wherever it was done.

        Its report may be missing, but what is there must be whole.
        """
        try:
            _ = self.report
            return self.summary["finished"] and self.is_evaluated
        except (DamagedError, FileNotFoundError):
            return False

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays of `evaluation.npz`."""
        self._need_archive()
        return self._archive("evaluation.npz", "evaluate again, --mode=evaluate")

    @property
    def matches(self) -> dict[str, np.ndarray] | None:
        """Return the training pairs that the plan found; None where it did not look for any."""
        if not self.has(MATCHES):
            return None
        return self._archive(MATCHES, "train again in another --workdir")

    def _archive(self, name: str, remedy: str) -> dict[str, np.ndarray]:
        if name in self._known:
            return self._known[name]
        try:
            # NumPy leaves a file open that it opened itself and that is damaged.
            with (self.path / name).open("rb") as file, np.load(file) as stored:
                self._known[name] = dict(stored)
        except Exception as error:  # NumPy, zipfile and zlib raise a dozen kinds for a broken file
            words = str(error).splitlines() or [type(error).__name__]
            raise DamagedError(f"{self.path / name} is damaged ({words[0]}): {remedy}") from error
        return self._known[name]

    def _need_archive(self) -> None:
        """Refuse an `evaluation.npz` that is cut, without reading the arrays."""
        path = self.path / "evaluation.npz"
        path.stat()  # of a missing one: FileNotFoundError
        if not zipfile.is_zipfile(path):
            raise DamagedError(
                f"{path} is damaged (it is no whole archive): evaluate again, --mode=evaluate"
            )

    @property
    def candidates(self) -> Json | None:
        """Return what was tried under `auto`, and which was taken; None where nothing was."""
        return self._json(CANDIDATES, shapes.CANDIDATES, missing=True)

    @property
    def tried(self) -> Json:
        """Return the entry `candidates` of a report; empty where nothing was tried."""
        found = self.candidates or {}
        return {"candidates": {k: x for k, x in found.items() if k != "asked"}} if found else {}

    @property
    def corruptions(self) -> Json | None:
        """Return the results on corrupted images; None if not evaluated on any."""
        return self._json("corruptions.json", shapes.CORRUPTIONS, missing=True)

    @property
    def report(self) -> Json | None:
        """Return the report as JSON; None if none is written."""
        return self._json("report.json", shapes.REPORT, missing=True)

    @property
    def damage(self) -> str | None:
        """Describe the file that cannot be used; None if all there are can."""
        try:
            # A link whose target is gone does not exist, and cannot be read either.
            if self.has("config.json") or (self.path / "config.json").is_symlink() or self.saved:
                _ = self.config
            if self.has("training.json"):
                _ = self.summary
                if self.has("evaluation.json") and self.has("evaluation.npz"):
                    with contextlib.suppress(FileNotFoundError):
                        _ = self._evaluation()
                        self._need_archive()
            _ = self.log, self.corruptions, self.report, self.identity, self.candidates
        except DamagedError as error:
            return str(error)
        except OSError as error:
            return f"{error.filename or self.path} cannot be read ({error.strerror or error})"
        return None

    @property
    def saved(self) -> dict[int, Path]:
        """Return the checkpoint folders by step, intact or not, newest last."""
        folders = (self.path / "checkpoints").glob("*")
        found = {int(path.name): path for path in folders if path.name.isdigit()}
        return dict(sorted(found.items()))

    @property
    def newest(self) -> int | None:
        """Return the step of the newest intact checkpoint."""
        # From the end, as checksums of all files of a checkpoint take time.
        return next((step for step in reversed(self.saved) if self.is_intact(step)), None)

    def is_intact(self, step: int) -> bool:
        """Tell whether a checkpoint's files are as they were written; say once if they are not."""
        if step not in self._intact:
            folder = self.saved[step]
            fault = files.fault_of(folder)
            if fault is not None:
                print(f"note: {folder} is damaged ({fault}): it is passed over")
            self._intact[step] = fault is None
        return self._intact[step]

    @contextlib.contextmanager
    def locked(self, first: bool = True) -> Iterator[None]:
        """Hold the folder for one program at a time; whoever holds it may ask again.

        The kernel drops the lock of a killed process. Of several processes the `first` holds it.

        Raises:
            ValueError: Another process holds it.
        """
        if self._held or not first:
            yield
            return
        self.path.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as own:
            stack = self._kept or own
            if not files.lock(stack.enter_context((self.path / "lock").open("a"))):
                raise ValueError(
                    f"another process trains in {self.path}: wait for it, stop it, or choose "
                    "another --workdir"
                )
            self._held = True
            stack.callback(setattr, self, "_held", False)
            yield

    @contextlib.contextmanager
    def keeping_lock(self) -> Iterator[None]:
        """Keep the lock, once anything inside has taken it, until the end."""
        with contextlib.ExitStack() as self._kept:
            try:
                yield
            finally:
                self._kept = None

    def claim(self, stack: contextlib.ExitStack) -> bool:
        """Claim a run for a study until the stack ends; return False if another has it.

        A claim goes with the process that made it, and a run that is at work holds its lock too.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        file = stack.enter_context((self.path / "claim").open("a"))
        if files.lock(file) and not self.is_locked:
            return True
        stack.close()
        return False

    def plan(self, record: Mapping[str, object]) -> None:
        """Write the config of a run to be executed; the folder holds no other run."""
        with contextlib.suppress(DamagedError, FileNotFoundError):
            if self.config == record and self.has("config.json"):
                return
        self.write_json("config.json", record)

    @property
    def is_locked(self) -> bool:
        """Tell whether another process holds the folder."""
        if self._held or not self.has("lock"):
            return False
        with (self.path / "lock").open("a") as file:
            return not files.lock(file)

    def begin(
        self, record: Mapping[str, object], identity: Mapping[str, Any] | None = None
    ) -> None:
        """Prepare the folder for a run that holds its lock: all that precedes the first step.

        A longer run is marked as unfinished before its config is written: stopped at once, it must
        not pass for one that has ended. Damaged checkpoints make room for their steps.
        """
        files.sweep(self.path)
        if self.state == "longer" and self._ended_at() is not None:
            self.write_summary({**self.summary, "finished": False})
        for step, folder in self.saved.items():
            if self.newest is None or step > self.newest:
                aside = folder.with_name(f"damaged-{step}")
                shutil.rmtree(aside, ignore_errors=True)
                folder.rename(aside)
                self._intact.pop(step, None)
        if self.newest is None:  # of a run that was stopped before it saved anything, perhaps
            (self.path / MATCHES).unlink(missing_ok=True)
        if identity is not None:
            self.know_data(identity)
        self.write_json("config.json", record)

    def changed(self) -> None:
        """Drop cached files: another process has written some."""
        self._known.clear()

    def write_summary(self, summary: Summary, first: bool = True) -> None:
        """Write `training.json`, unless another process is the first, which writes."""
        if first:
            self.write_json("training.json", summary)
        self._known["training.json"] = summary

    def write_json(self, name: str, value: object) -> None:
        """Write a JSON file."""
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        files.write_json(self.path / name, value)
        self._known.pop(name, None)

    def write_arrays(self, name: str, arrays: Mapping[str, Any]) -> None:
        """Write a compressed `.npz`."""
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        files.write_arrays(self.path / name, arrays)
        self._known.pop(name, None)

    def write_text(self, name: str, text: str) -> Path:
        """Write a text file, and return its path."""
        return files.write_text(self.path / name, text)

    def write_figures(self, figures: Mapping[str, Any], dpi: int = 150) -> dict[str, Path]:
        """Write figures as `figures/NAME.png`, and return their paths."""
        (self.path / "figures").mkdir(parents=True, exist_ok=True)
        paths = {name: self.path / "figures" / f"{name}.png" for name in figures}
        for name, figure in figures.items():
            files.write_figure(paths[name], figure, dpi)
        return paths

    def open_log(self, step: int) -> IO[bytes]:
        """Open `metrics.jsonl` to append to; what was logged after a step is dropped.

        It was logged by a session that did not live to save it, and every step is there once.
        """
        path = self.path / "metrics.jsonl"
        end = max((end for row, end in self._rows() if row["step"] <= step), default=0)
        file = path.open("ab")
        file.truncate(end)
        return file

    def need_space(self, size: int = 0) -> None:
        """Raise OSError unless `size` + 1 MiB are free on the folder's disk."""
        files.need_space(self.path, size)

    def content(self, name: str) -> Any:
        """Return the content of a JSON file of the folder, whatever its shape."""
        return files.read_json(self.path / name)

    def _json(self, name: str, wanted: Mapping[Any, object], missing: bool = False) -> Any:
        """Read and check a JSON file the first time; None where it is `missing` and may be."""
        path = self.path / name
        if missing and not path.exists():
            return None
        if name not in self._known:
            found = files.read_json(path)
            try:
                check.shape(path.name, found, wanted)
            except ValueError as error:
                raise DamagedError.of(path, error) from None
            self._known[name] = found
        return self._known[name]


def refuse_backslash(path: Path) -> None:
    """Refuse a folder of which TensorStore would make another one: to it a backslash is a slash."""
    if "\\" in str(path.absolute()) and os.sep != "\\":
        raise ValueError(
            f"workdir {path.absolute()} has a backslash in its path, which checkpoints cannot "
            "have: choose another one with --workdir=DIR"
        )


def as_json(config: ConfigDict) -> dict[str, object]:
    """Return the config as JSON returns it: tuples are lists."""
    return json.loads(config.to_json())


def differences(
    there: Mapping[str, object], here: Mapping[str, object], free: Collection[str] = ()
) -> Iterator[str]:
    """List each key whose value differs, as `group.key: 1 there, 2 here`.

    A key that is not set (null) is as good as one that is not there: a run may go on whose config
    was made before there was such a key, by "auto" and by what it did then (`UNSET`) too. Where the
    data lie (`PLACES`) is no difference either, nor is one of a key in `free`.
    """
    a, b = ({key: json.dumps(x) for key, x in flatten(tree)} for tree in (there, here))
    for key in sorted((a.keys() | b.keys()) - {*PLACES, *free}):
        one, other = a.get(key, "null"), b.get(key, "null")
        goes_on = one == "null" and json.loads(other) in ("auto", UNSET.get(key))
        if one != other and not goes_on:
            yield f"{key}: {a.get(key, 'nothing')} there, {b.get(key, 'nothing')} here"


def first_differences(
    there: Mapping[str, object],
    here: Mapping[str, object],
    most: int = 4,
    free: Collection[str] = (),
) -> str:
    """List the first differences of two configs on one line; empty if there are none."""
    differing = list(differences(there, here, free))
    return "; ".join(differing[:most] + ["..."] * (len(differing) > most))


def other_parts(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """Name the parts in which two identities of data differ, on one line; empty if none do."""
    parts = []
    for name in dict.fromkeys((*there, *here)):
        if json.dumps(one := there.get(name)) != json.dumps(other := here.get(name)):
            shapes = [
                str(each["shape"])[:SHOWN]
                if isinstance(each, dict) and "shape" in each
                else "none"
                if each is None
                else str(each)[:SHOWN]
                for each in (one, other)
            ]
            same = shapes[0] == shapes[1]
            parts.append(
                f"{name}: other content" if same else f"{name}: {shapes[0]} there, {shapes[1]} here"
            )
    return "; ".join(parts)


def flatten(tree: Mapping[str, Any] | ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Return every value of a config by the path of its key."""
    for key, value in tree.items():
        if isinstance(value, Mapping | ConfigDict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
