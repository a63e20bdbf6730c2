"""A finished run, judged on corrupted images: CIFAR-10 on CIFAR-10-C, others made on the fly.

CIFAR-10-C has every corruption of CIFAR-10's test images at five severities.

D. Hendrycks and T. Dietterich, "Benchmarking neural network robustness to common corruptions and
perturbations", ICLR 2019.
"""

import itertools
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from gca_jax import features, processes
from gca_jax.data import sources
from gca_jax.data.dataset import Images
from gca_jax.data.sources import tfds_sets
from gca_jax.evaluation import corrupted
from gca_jax.evaluation.linear import fit_probe
from gca_jax.evaluation.probes import Labelled
from gca_jax.evaluation.splits import Labels, Settings
from gca_jax.evaluation.subject import Subject
from gca_jax.experiment import Experiment
from gca_jax.training import checkpoint
from gca_jax.workdir import refuse_another_run, training_summary, write_json

NAME = "cifar10_corrupted"
ROW = sources.find(NAME)
EXTRA = ("gaussian_blur", "saturate", "spatter", "speckle_noise")
SUBSETS = {
    "all": lambda corruption: True,
    "without the extra four": lambda corruption: corruption not in EXTRA,
    "snow": lambda corruption: corruption == "snow",  # what the authors' code averages
}
"""Means over corruptions and severities, each of all images equally: name to which are in it."""


def evaluate_corruptions(experiment: Experiment, workdir: str | Path) -> dict[str, Any]:
    """Measure on corrupted images the linear probe that `evaluate` fits to all clean labels.

    A run on CIFAR-10 is judged on CIFAR-10-C, any other one by `corrupted.measure`. Encoder, probe
    and the strength that was chosen are the same for every corruption; none is chosen on corrupted
    images.

    Args:
        experiment: The one that was trained, from `experiment.build`.
        workdir: Folder of a run that has been trained.

    Returns:
        What is written to `corruptions.json`: `step`, the `clean` accuracy, `accuracy` (corruption
        to its accuracies by severity) and `mean` (the name of a subset, as in `SUBSETS`, to the
        mean over it); of a run on other images the same of its `baselines` too.

    Raises:
        FileNotFoundError: There is no run in `workdir`.
        ValueError: The run is another one, its images have no labels, or a corrupted set is not
            prepared.
    """
    workdir = Path(workdir)
    training_summary(workdir)
    official = experiment.dataset.name in ("cifar10", NAME)
    _check(experiment, workdir, official)
    refuse_another_run(workdir, experiment.record)
    variables, step = checkpoint.restore_variables(workdir)
    measure = _cifar10_c if official else corrupted.measure
    result = {"step": step, **measure(Subject(experiment, variables))}
    if processes.first():
        write_json(workdir / "corruptions.json", result)
    return result


def _check(experiment: Experiment, workdir: Path, official: bool) -> None:
    """Refuse images without labels, and validation images, which CIFAR-10-C does not have."""
    data = experiment.dataset
    split = Settings(experiment.seed, **experiment.config.evaluation).split
    if not data.labelled:
        raise ValueError(f"corruptions are judged by a probe of classes; {data.name} has no labels")
    if official and split != "test":
        raise ValueError(
            f"CIFAR-10-C has corrupted test images; {workdir} is judged on {split} images"
        )


def _cifar10_c(subject: Subject) -> dict[str, Any]:
    """Measure the trained encoder's probe on every set of CIFAR-10-C."""
    experiment, dataset, data = subject.experiment, subject.dataset, subject.experiment.config.data
    named = itertools.product(tfds_sets.corruptions(), tfds_sets.SEVERITIES)
    # All are opened before the first is judged.
    opened = {name: tfds_sets.open_corrupted(NAME, ROW, *name, data.data_dir) for name in named}
    options = {key: data[key] for key in ("data_dir", "limit", "skip_unreadable")}
    # The test images of CIFAR-10-C are corrupted.
    clean = sources.load("cifar10", **options) if dataset.name == NAME else dataset
    plain = experiment.policy.plain
    encode = {NAME: partial(features.encode, experiment.network, plain, subject.variables)}

    def extract(images: Images, labels: Labels) -> Labelled:
        return Labelled(features.extract(encode, images)[NAME], labels)

    probe = fit_probe(extract(clean.train_images, clean.train_labels), subject.settings)
    accuracy: dict[str, list[float]] = {corruption: [] for corruption, _ in opened}
    for (corruption, _), builder in tqdm(opened.items(), "CIFAR-10-C", unit=" sets", disable=None):
        images, labels = tfds_sets.read_split(NAME, ROW, builder, "test", *options.values())
        accuracy[corruption].append(probe.accuracy(extract(images, labels)))
    clean_accuracy = probe.accuracy(extract(clean.test_images, clean.test_labels))
    return {"clean": clean_accuracy, "accuracy": accuracy, "mean": means(accuracy)}


def means(accuracy: dict[str, list[float]]) -> dict[str, float]:
    """Average over each of `SUBSETS`."""
    return {
        name: float(np.mean([a for corruption, a in accuracy.items() if chosen(corruption)]))
        for name, chosen in SUBSETS.items()
    }
