"""A run on CIFAR-10, judged on CIFAR-10-C: every corruption of the test images, five severities.

D. Hendrycks and T. Dietterich, "Benchmarking neural network robustness to common corruptions and
perturbations", ICLR 2019.
"""

from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from gca_jax import files, models
from gca_jax.data import augment, sources
from gca_jax.data.dataset import Images
from gca_jax.data.sources import tfds_sets
from gca_jax.evaluation import features
from gca_jax.evaluation.probes import fit_linear_probe
from gca_jax.training import checkpoint

NAME = "cifar10_corrupted"
SEVERITIES = (1, 2, 3, 4, 5)
EXTRA = ("gaussian_blur", "saturate", "spatter", "speckle_noise")
SUBSETS = {
    "all": lambda corruption: True,
    "without the extra four": lambda corruption: corruption not in EXTRA,
    "snow": lambda corruption: corruption == "snow",  # what the authors' code averages
}
"""Means over corruptions and severities, each of all images equally: name to which are in it."""


def evaluate_corruptions(workdir: str | Path) -> dict[str, Any]:
    """Test accuracy on CIFAR-10-C of the linear probe that `evaluate` fits to all clean labels.

    Encoder, probe and the strength that was chosen are the same for every corruption; none is
    chosen on corrupted images.

    Args:
        workdir: Of a run on CIFAR-10 that has been trained.

    Returns:
        What is written to `corruptions.json`: `step`, the `clean` accuracy, `accuracy` (corruption
        to its accuracies by severity) and `mean` (a name of `SUBSETS` to the mean over it).

    Raises:
        FileNotFoundError: There is no run in `workdir`.
        ValueError: The run is not on CIFAR-10, or a corrupted set is not prepared.
    """
    workdir = Path(workdir)
    files.training_summary(workdir)
    config, variables, step = checkpoint.restore_variables(workdir)
    if config.data.name not in ("cifar10", NAME):
        raise ValueError(
            f"CIFAR-10-C holds corrupted images of CIFAR-10; {workdir} is of {config.data.name}"
        )
    names = ("data_dir", "limit", "skip_unreadable")
    options = {name: config.data[name] for name in names}
    kinds = [(c, s) for c in tfds_sets.corruptions() for s in SEVERITIES]
    row = sources.find(NAME)
    for kind in kinds:  # all, before the first is judged
        tfds_sets.open_corrupted(NAME, row, *kind, options["data_dir"])
    clean = sources.load("cifar10", **options)
    encode = features.encoder(
        models.create(**config.model), variables, augment.make(**config.augment).plain
    )

    def extract(images: Images) -> np.ndarray:
        size = features.batch_size(clean.train_images)
        return features.extract({"": encode}, images, batch_size=size)[""]

    probe = fit_linear_probe(
        extract(clean.train_images),
        clean.train_labels,
        seed=config.seed,
        validation_fraction=config.evaluation.validation_fraction,
        strengths=config.evaluation.strengths,
    )
    result: dict[str, Any] = {
        "step": step,
        "clean": probe.accuracy(extract(clean.test_images), clean.test_labels),
        "accuracy": {corruption: [] for corruption, _ in kinds},
    }
    for kind in tqdm(kinds, "CIFAR-10-C", unit=" sets", disable=None):
        images, labels = tfds_sets.load_corrupted_test(NAME, row, *kind, **options)
        result["accuracy"][kind[0]].append(probe.accuracy(extract(images), labels))
    result["mean"] = means(result["accuracy"])
    files.write_json(workdir / "corruptions.json", result)
    return result


def means(accuracy: dict[str, list[float]]) -> dict[str, float]:
    """The mean over each of `SUBSETS`."""
    return {
        name: float(np.mean([a for corruption, a in accuracy.items() if chosen(corruption)]))
        for name, chosen in SUBSETS.items()
    }
