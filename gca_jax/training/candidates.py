"""`auto` of a run on pairs: many methods are begun, the best two go on, and the best one is kept.

All begin from one start and are judged by ℓ of the same validation pairs (`training.validation`).
Each candidate is a run in `candidates/NAME` of the run's folder, which is stopped early and may go
on, so that what a killed command has done is not done again.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
from ml_collections import ConfigDict

from gca_jax import config
from gca_jax.config import AUTO
from gca_jax.data.pairs import ENOUGH, Pairs
from gca_jax.experiment import Experiment, build
from gca_jax.signals import Stopped
from gca_jax.training import start
from gca_jax.training.hooks import STOP
from gca_jax.training.log import NonFiniteError
from gca_jax.training.start import Fitted
from gca_jax.training.state import Metrics, TrainState
from gca_jax.training.train import train
from gca_jax.workdir import CANDIDATES, Json, RunFolder, as_json, first_differences

SHORT = 100  # steps of a candidate
FINALISTS = 2


def best(
    asked: ConfigDict,
    path: str | Path,
    dataset: Pairs | None = None,
    command: str | None = None,
    check: Callable[[Experiment], None] = lambda experiment: None,
) -> ConfigDict:
    """Return the config of a run; under `auto` of the best candidate, which is then trained there.

    Args:
        asked: The config, of any method; all but `auto` are left as they are.
        path: Folder of the run. Gets `candidates.json` and the run of the best candidate; those of
            the others stay in `candidates/`.
        dataset: The pairs, where the config does not name their files.
        command: The command line, for the report.
        check: Raises, before anything is trained, what evaluation would raise after it.

    Raises:
        ValueError: A setting that leaves nothing to choose by; the folder holds another run, or
            another process is at work there; several processes train together.
        Stopped: As in `train`; the same call goes on.
    """
    if asked.method != AUTO:
        return asked
    if jax.process_count() > 1:
        raise ValueError(f"{AUTO} is for one process: name a method")
    if asked.train.stop_by == "steps":
        raise ValueError(
            f"config.train: {AUTO} is judged by validation pairs, which stop_by=steps leaves out"
        )
    made, folder, record = config.candidates(asked), RunFolder(path), as_json(asked)
    if (found := folder.candidates) is not None:
        if shown := first_differences(found["asked"], record, free=folder.free):
            raise ValueError(
                f"{folder.path} holds candidates of another config and is left as it is ({shown}). "
                "Choose another --workdir, or delete that one"
            )
        _take(folder, found["chosen"])
        return made[found["chosen"]]
    name, *others = made
    check(first := build(made[name], dataset=dataset))
    fit = functools.cache(lambda: start.fit_maps(first))  # for whoever needs it first
    if (reason := _why_not(first, fit)) is not None:
        print(f"note: {AUTO} tries no candidates, {reason}: {name} is trained")
        return made[name]
    if folder.saved:
        folder.refuse_another(record)
    experiments = {name: first}
    for each in others:  # the data are read once
        of_data = build(made[each], dataset=first.data)
        experiments[each] = dataclasses.replace(of_data, given=first.given)
    with folder.locked():
        if (found := folder.candidates) is None:  # nor has another process chosen meanwhile
            found = {"asked": record, **_choose(experiments, folder, fit, command)}
            folder.write_json(CANDIDATES, found)
        _take(folder, found["chosen"])
    return made[found["chosen"]]


def _why_not(experiment: Experiment, fit: Callable[[], Fitted]) -> str | None:
    """Say why candidates could not be told apart; None: they can."""
    if experiment.train.steps == 0:
        return "as no step is to be trained"
    data = experiment.data
    count = len(data.validation.a)
    if count < ENOUGH and experiment.start is not None and all(map(len, data.unpaired)):
        # Where the plan finds the training pairs, all given ones validate.
        count = len(start.matched(experiment, fit().pairs).data.validation.a)
    if count < ENOUGH:
        return f"as {count} validation pairs do not tell them apart, {ENOUGH} would"
    return None


def _choose(
    experiments: dict[str, Experiment],
    folder: RunFolder,
    fit: Callable[[], Fitted],
    command: str | None,
) -> Json:
    """Begin all, train the best ones to the end, and return what `candidates.json` says of it."""

    def trained(name: str, until: float) -> Json:
        path = folder.path / "candidates" / name
        return {"name": name, **_trained(experiments[name], path, until, fit, command)}

    tried: dict[str, Json] = {}
    for number, name in enumerate(experiments, 1):
        tried[name] = trained(name, SHORT)
        print(f"{AUTO}, {number} of {len(experiments)}: {_told(tried[name])}", flush=True)
    finals: list[str] = []
    for name in sorted(tried, key=lambda name: _order(tried[name])):
        if len(finals) < FINALISTS and tried[name]["likelihood"] is not None:
            tried[name] = trained(name, math.inf)
            print(f"{AUTO}, to the end: {_told(tried[name])}", flush=True)
            finals += [name] * (tried[name]["likelihood"] is not None)
    if not finals:
        raise ValueError(f"{AUTO}: the loss of every candidate is not finite")
    chosen = min(finals, key=lambda name: _order(tried[name]))
    print(f"{AUTO} takes {chosen}")
    return {"steps": SHORT, "tried": [*tried.values()], "chosen": chosen}


def _order(row: Json) -> float:
    """Sort by ℓ, the largest first; the order of equal ones stays."""
    return math.inf if row["likelihood"] is None else -row["likelihood"]


def _told(row: Json) -> str:
    if row["likelihood"] is None:
        return f"{row['name']}, whose loss is not finite"
    return f"{row['name']}, ℓ = {row['likelihood']:.3f} at step {row['step']} of {row['steps']}"


def _trained(
    experiment: Experiment,
    path: Path,
    until: float,
    fit: Callable[[], Fitted],
    command: str | None,
) -> Json:
    """Train a candidate, unless that is done, and return how it stands."""
    folder, hook = RunFolder(path), Until(until)
    if folder.has("training.json") and folder.summary["steps"] >= until:
        folder.refuse_another(experiment.record)
        folder.refuse_other_data(experiment.identity)
    else:
        folder = RunFolder.open(path, experiment.record)
        try:
            train(experiment, folder, [hook], command, lambda _: fit())
        except NonFiniteError:
            return {"likelihood": None, "start": None, "step": 0, "steps": 0}
        except Stopped as stopped:
            if not hook.reached or stopped.status:
                raise
    look: dict[str, Any] = folder.summary["validation"]
    found = {key: look[key] for key in ("likelihood", "step")}
    return {**found, "start": look["looks"][0][1], "steps": folder.summary["steps"]}


class Until:
    """Stops a run after a step, which is saved; a hook."""

    name = "until"

    def __init__(self, step: float):
        self.memory: dict[str, Any] = {}
        self.step, self.reached = step, False

    def __call__(self, step: int, state: TrainState, metrics: Metrics) -> Literal["stop"] | None:
        """Request the stop."""
        self.reached = step >= self.step
        return STOP if self.reached else None


def _take(folder: RunFolder, name: str) -> None:
    """Move a candidate's run to its place, or what of it is not there yet."""
    own = folder.path / "candidates" / name
    if own.exists():
        with folder.locked():
            (own / "lock").unlink(missing_ok=True)
            for file in sorted(own.iterdir()):
                file.replace(folder.path / file.name)
            own.rmdir()
