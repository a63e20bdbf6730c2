"""Evaluates the latest checkpoint of a run and writes `evaluation.json`."""

import hashlib
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from gca_jax import distributed
from gca_jax.check import one_of
from gca_jax.config import UNCHANGED
from gca_jax.evaluation import CHECKS, EVALUATIONS
from gca_jax.evaluation.frozen import Frozen
from gca_jax.evaluation.result import Result
from gca_jax.experiment import Experiment
from gca_jax.training import checkpoint
from gca_jax.workdir import RunFolder

BASELINES = ("trained", "random_encoder", "pixels")  # listed, empty, where no probe was fitted
LONGEST = 100  # letters of the name of an evaluation's folder
PACKAGES = ("jax", "jaxlib", "flax", "optax", "ott-jax", "numpy", "scikit-learn")


def check(experiment: Experiment) -> None:
    """Raise before a long training what evaluation would raise after it.

    Raises:
        ValueError: labels and settings that do not go together, or an unknown evaluation.
    """
    for name in experiment.data.evaluations:
        one_of("evaluations", name, EVALUATIONS)
        if name in CHECKS:
            CHECKS[name](experiment)


def evaluate(
    experiment: Experiment,
    folder: RunFolder,
    step: int | None = None,
    changed: Mapping[str, object] = UNCHANGED,
) -> dict[str, Any]:
    """Evaluate the latest checkpoint of a run, or that of a step, its encoder frozen.

    Probes treat the trained encoder, the untrained one and the raw input alike; the rest comes from
    views and features of test data. All of it is a function of the checkpoint and the
    experiment: the same command gives the same numbers. Where images have no labels, or the loss
    that was given to `build` no transport plan, what needs them is skipped, and listed under
    `left_out`. Each process encodes its share of the images, all evaluate them, the first writes.

    Args:
        experiment: The one that was trained, from `experiment.build`, or one with other settings
            of the evaluation or other data of the same shape.
        folder: Of a run that `train` has trained, or is training.
        step: Of a checkpoint that `train.keep_every_epochs` has kept; None: the latest.
        changed: Those of the experiment's settings that are not the run's, by dotted key.

    Returns:
        What is written to `evaluation.json`; arrays for pictures go to `evaluation.npz`. Of another
        step than the latest, or with changed settings, both are written to a folder of
        `evaluations/` that is named by them.

    Raises:
        FileNotFoundError: There is no run in the folder.
        ValueError: The run in the folder is another one, or on other data, or it lost its last
            checkpoint; other data are of another shape.
    """
    training = folder.summary
    if changed:
        _check_shape(experiment, folder)
    else:
        folder.refuse_another(experiment.record)
    if not any(key.startswith("data.") or key == "evaluation.split" for key in changed):
        folder.refuse_other_data(experiment.identity)
    beside = bool(changed) or (step is not None and step != folder.newest)
    variables, step = checkpoint.restore_variables(folder, step)
    if not beside and training["finished"] and step != training["steps"]:
        raise ValueError(
            f"{folder.path} has lost its last checkpoint, of step {training['steps']}: "
            f"--mode=pretrain trains on from step {step}"
        )
    if any(key.startswith("data.") for key in changed):
        variables.pop("remembered", None)  # of other pairs
    results = evaluate_all(Frozen(experiment, variables))
    summary = {
        "method": experiment.method,
        "seed": experiment.seed,
        "step": step,
        "dataset": experiment.data.describe(),
        **numbers(results),
        "left_out": skipped(results),
        "results": [result.as_json() for result in results if not result.skipped],
        "versions": {"python": platform.python_version(), **{p: version(p) for p in PACKAGES}},
        **({"changed": dict(changed)} if changed else {}),
    }
    arrays = {name: array for result in results for name, array in result.arrays.items()}
    if distributed.first():
        place = f"evaluations/{_name(step, folder, changed)}/" if beside else ""
        folder.write_arrays(f"{place}evaluation.npz", arrays)
        folder.write_json(f"{place}evaluation.json", summary)
        if beside:
            print(f"written to {folder.path / place}")
    return summary


def _check_shape(experiment: Experiment, folder: RunFolder) -> None:
    """Refuse other data than a run's encoder can read."""
    there = folder.summary.get("input_shape")
    here = experiment.data.inputs.get("input_shape")
    if there is not None and here is not None and list(there) != list(here):
        raise ValueError(
            f"the encoder in {folder.path} was trained on images {list(there)}, height, width and "
            f"channels; those of config.data are {list(here)}"
        )


def _name(step: int, folder: RunFolder, changed: Mapping[str, object]) -> str:
    """Name the folder of an evaluation: its step, if not the latest, and what was changed."""
    parts = [f"step-{step}"] if step != folder.newest else []
    for key, value in sorted(changed.items()):
        words = str(value).rstrip("/").rpartition("/")[2]  # of a path, its last part
        parts.append(f"{key.rpartition('.')[2]}={re.sub(r'[^a-zA-Z0-9.]+', '-', words)}")
    name = "_".join(parts)[:LONGEST]
    if any(key.startswith("data.") for key in changed) or len(name) == LONGEST:
        digest = hashlib.sha256(repr(sorted(changed.items())).encode()).hexdigest()
        name += f"-{digest[:8]}"
    return name


def evaluate_all(frozen: Frozen) -> list[Result]:
    """Run the evaluations that the data name; those that do not apply are dropped."""
    found = (EVALUATIONS[name](frozen) for name in frozen.data.evaluations)
    return [result for result in found if result is not None]


def numbers(results: Sequence[Result]) -> dict[str, Any]:
    """Merge the numbers of all results, by their keys in `evaluation.json`."""
    scored = dict.fromkeys(encoder for result in results for encoder in result.scores)
    compared = scored or dict.fromkeys(BASELINES)
    accuracy: dict[str, dict[str, float]] = {encoder: {} for encoder in compared}
    settings: dict[str, dict[str, object]] = {encoder: {} for encoder in compared}
    for result in results:
        for encoder, score in result.scores.items():
            accuracy[encoder][result.name] = score.accuracy
            settings[encoder] |= score.settings
    others = {key: number for result in results for key, number in result.numbers.items()}
    trained = accuracy.pop("trained")
    return {"accuracy": trained, "baselines": accuracy, "settings": settings, **others}


def skipped(results: Iterable[Result]) -> list[str]:
    """Group the names of skipped evaluations by reason, one line each."""
    named: dict[str, list[str]] = {}
    for result in results:
        if result.skipped:
            named.setdefault(result.skipped, []).append(result.name)
    return [f"{', '.join(names)}: {reason}" for reason, names in named.items()]
