"""The second of a run's three programs: judge the encoder that training left in a workdir."""

import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gca_jax import distributed
from gca_jax.data import corruptions
from gca_jax.evaluation import EVALUATIONS, pairs
from gca_jax.evaluation.features import Variables
from gca_jax.evaluation.frozen import Subject
from gca_jax.evaluation.result import ENCODERS, Result
from gca_jax.evaluation.splits import Settings
from gca_jax.experiment import Experiment, Trainable, blame
from gca_jax.pairs import PairExperiment
from gca_jax.training import checkpoint
from gca_jax.workdir import refuse_another_run, training_summary, write_arrays, write_json

PACKAGES = ("jax", "jaxlib", "flax", "optax", "ott-jax", "numpy", "scikit-learn")


def check(experiment: Trainable) -> None:
    """Refuse labels and settings that do not go together: to be asked before a long training.

    Raises:
        ValueError: what could not be evaluated afterwards.
    """
    if isinstance(experiment, PairExperiment):
        return pairs.check(experiment)
    assert isinstance(experiment, Experiment)
    config, data = experiment.config, experiment.dataset
    with blame("config.evaluation"):
        settings = Settings(experiment.seed, **config.evaluation)
        if data.labelled:
            settings.check(data.train_labels, data.test_labels, data.class_names)
            if settings.corruptions:
                corruptions.names(data.test_images.shape[-1])
    if len(data.test_images) < 2:
        raise ValueError(f"evaluation needs at least 2 test images, {data.name} has one")
    if not data.labelled:
        named = "dataset" not in experiment.given and "labelled_root" in config.data
        remedy = "; --config.data.labelled_root=DIR names a folder of images that have some" * named
        print(f"note: the images have no labels, so no probe of classes will be fitted{remedy}")


def evaluate(experiment: Trainable, workdir: str | Path) -> dict[str, Any]:
    """Evaluate the latest checkpoint of a run, its encoder frozen.

    Probes treat the trained encoder, the untrained one and raw pixels alike; the rest comes from
    views and features of test images. All of it is a function of the checkpoint and the
    experiment: the same command gives the same numbers. Where images have no labels, or the loss
    that was given to `build` no transport plan, what needs them is left out, and `left_out` says
    so. Of several processes each encodes its share of the images, all judge them, the first writes.

    Args:
        experiment: The one that was trained, from `experiment.build`.
        workdir: Folder of a run that `pretrain` has trained, or is training.

    Returns:
        What is written to `evaluation.json`; arrays for pictures go to `evaluation.npz`.

    Raises:
        FileNotFoundError: There is no run in `workdir`.
        ValueError: The run in `workdir` is another one, or it lost its last checkpoint.
    """
    workdir = Path(workdir)
    training = training_summary(workdir)
    refuse_another_run(workdir, experiment.record)
    variables, step = checkpoint.restore_variables(workdir)
    if training["finished"] and step != training["steps"]:
        raise ValueError(
            f"{workdir} has lost its last checkpoint, of step {training['steps']}: "
            f"--mode=pretrain trains on from step {step}"
        )
    results = judge(experiment, variables)
    summary = {
        "method": experiment.method,
        "seed": experiment.seed,
        "step": step,
        "dataset": describe(experiment),
        **numbers(results),
        "left_out": left_out(results),
        "results": [result.as_json() for result in results if not result.left_out],
        "versions": {"python": platform.python_version(), **{p: version(p) for p in PACKAGES}},
    }
    arrays = {name: array for result in results for name, array in result.arrays.items()}
    if distributed.first():
        write_arrays(workdir / "evaluation.npz", arrays)
        write_json(workdir / "evaluation.json", summary)
    return summary


def judge(experiment: Trainable, variables: Variables) -> list[Result]:
    """Give the result of every evaluation that says something of such a run."""
    found: Iterable[Result | None]
    if isinstance(experiment, PairExperiment):
        two = pairs.PairSubject(experiment, variables)
        found = [evaluate(two) for evaluate in pairs.EVALUATIONS.values()]
    else:
        assert isinstance(experiment, Experiment)
        one = Subject(experiment, variables)
        found = [evaluate(one) for evaluate in EVALUATIONS.values()]
    return [result for result in found if result is not None]


def describe(experiment: Trainable) -> dict[str, Any]:
    """Give the name and the sizes of what a run is trained with and judged by."""
    if isinstance(experiment, PairExperiment):
        both = experiment.pairs
        return {
            "name": both.name,
            "train_pairs": len(both.train.a),
            "judged_pairs": len(both.judged.a),
            "judged": both.split,
            "shuffled": both.shuffled,
            "shapes": [list(side.raw.shape[1:]) for side in (both.a, both.b)],
        }
    assert isinstance(experiment, Experiment)
    dataset = experiment.dataset
    return {
        "name": dataset.name,
        "train_images": len(dataset.train_images),
        "test_images": len(dataset.test_images),
        "pretrain_images": len(dataset.pretrain_images),
        "image_shape": list(dataset.train_images.shape[1:]),
        "classes": dataset.num_classes,
        "class_names": list(dataset.class_names or ()),
        "domain_names": list(dataset.domain_names or ()),
    }


def numbers(results: Sequence[Result]) -> dict[str, Any]:
    """Give all numbers by their keys in `evaluation.json`."""
    accuracy: dict[str, dict[str, float]] = {encoder: {} for encoder in ENCODERS}
    settings: dict[str, dict[str, object]] = {encoder: {} for encoder in ENCODERS}
    for result in results:
        for encoder, score in result.scores.items():
            accuracy[encoder][result.name] = score.accuracy
            settings[encoder] |= score.settings
    others = {key: number for result in results for key, number in result.numbers.items()}
    trained = accuracy.pop("trained")
    return {"accuracy": trained, "baselines": accuracy, "settings": settings, **others}


def left_out(results: Iterable[Result]) -> list[str]:
    """Say what was left out, in one sentence for each reason."""
    titles: dict[str, list[str]] = {}
    for result in results:
        if result.left_out:
            titles.setdefault(result.left_out, []).append(result.title)
    return [f"{_join(names)}: {reason}" for reason, names in titles.items()]


def _join(names: Sequence[str]) -> str:
    *first, last = names
    return f"{'; '.join(first)} and {last}" if first else last
