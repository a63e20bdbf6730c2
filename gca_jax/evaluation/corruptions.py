"""Linear probes that were fitted to clean images, on corruptions of the test images.

The corruptions are made on the fly (`data.corruptions`), of any labelled data set, from the images
that the run is judged by: a run that is judged on validation images reads no test image. A finished
run on CIFAR-10 is judged on CIFAR-10-C, which has every corruption of its test images at five
severities (D. Hendrycks and T. Dietterich, "Benchmarking neural network robustness to common
corruptions and perturbations", ICLR 2019).
"""

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from gca_jax import distributed
from gca_jax.data import corruptions, sources
from gca_jax.data.dataset import Images
from gca_jax.data.sources import tfds_sets
from gca_jax.evaluation import features, linear
from gca_jax.evaluation.frozen import Frozen
from gca_jax.evaluation.result import NO_LABELS, Labelled, Result
from gca_jax.evaluation.splits import Labels, Settings
from gca_jax.experiment import Experiment, context
from gca_jax.training import checkpoint
from gca_jax.workdir import RunFolder

TITLE = "corruptions"
Found = dict[str, Any]
"""`clean` accuracy, `accuracy` (corruption to its accuracies by severity), `mean` over a subset."""
MADE = {
    "all": lambda corruption: True,
    "without occlusion": lambda corruption: corruption != "occlusion",  # which is our own
}
"""Means over corruptions and severities, each alike: name to which are in it."""

NAME = "cifar10_corrupted"
ROW = sources.find(NAME)
EXTRA = ("gaussian_blur", "saturate", "spatter", "speckle_noise")
OF_CIFAR = {
    "all": lambda corruption: True,
    "without the extra four": lambda corruption: corruption not in EXTRA,
    "snow": lambda corruption: corruption == "snow",  # what the authors' code averages
}
"""Those of CIFAR-10-C."""


@dataclasses.dataclass(frozen=True)
class Corrupted:
    """Images that are corrupted when slices of them are taken, the same ones every time."""

    images: Images
    name: str
    severity: int
    seed: int

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, h, w, c)."""
        return self.images.shape

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: slice) -> UInt8[np.ndarray, "k h w c"]:
        """Corrupt a slice; its random numbers follow from where it starts."""
        start, _, _ = rows.indices(len(self))
        return corruptions.corrupt(self.images[rows], self.name, self.severity, self.seed, start)


def evaluate(frozen: Frozen) -> Result | None:
    """Measure the corruptions where `config.evaluation.corruptions` asks for them."""
    if not frozen.settings.corruptions:
        return None
    if not frozen.dataset.labelled:
        return Result("corruptions", TITLE, left_out=NO_LABELS)
    return Result("corruptions", TITLE, numbers={"corruptions": measure(frozen)})


def measure(frozen: Frozen) -> Found:
    """Measure the linear probes of all of `probes.ENCODERS` on every corruption and severity.

    Encoder, probe and the strength that was chosen are the same for every corruption; none is
    chosen on corrupted images. The random numbers are those of the run's seed.

    Returns:
        `clean`, `accuracy` and `mean` of the trained encoder; `baselines`, an encoder to its own.
    """
    data = frozen.dataset
    kinds = corruptions.names(data.test_images.shape[-1])
    probes = frozen.once(linear.probes)
    found: dict[str, Found] = {
        encoder: {"clean": clean.accuracy, "accuracy": {kind: [] for kind in kinds}}
        for encoder, clean in frozen.once(linear.scores).items()
    }
    for kind in tqdm(kinds, TITLE, unit=" corruptions", disable=None):
        for severity in corruptions.SEVERITIES:
            images = Corrupted(data.test_images, kind, severity, frozen.experiment.seed)
            seen = features.extract(frozen.encoders, images)
            for encoder, probe in probes.items():
                share = probe.accuracy(Labelled(seen[encoder], data.test_labels))
                found[encoder]["accuracy"][kind].append(share)
    for one in found.values():
        one["mean"] = means(one["accuracy"], MADE)
    return {**found.pop("trained"), "baselines": found}


def means(
    accuracy: Mapping[str, list[float]], subsets: Mapping[str, Callable[[str], bool]]
) -> dict[str, float]:
    """Average accuracies, a list for each corruption, over each of some subsets."""
    return {
        name: float(np.mean([shares for kind, shares in accuracy.items() if chosen(kind)]))
        for name, chosen in subsets.items()
    }


def check(experiment: Experiment) -> None:
    """Refuse images that corruptions, which are asked for, cannot be applied to."""
    data = experiment.data.dataset
    if data.labelled and experiment.config.evaluation.corruptions:
        with context("config.evaluation"):
            corruptions.names(data.test_images.shape[-1])


def evaluate_corruptions(experiment: Experiment, folder: RunFolder) -> dict[str, Any]:
    """Measure on corrupted images the linear probe that `evaluate` fits to all clean labels.

    A run on CIFAR-10 is judged on CIFAR-10-C, any other one by `measure`. Encoder, probe
    and the strength that was chosen are the same for every corruption; none is chosen on corrupted
    images.

    Args:
        experiment: The one that was trained, from `experiment.build`.
        folder: Of a run that has been trained.

    Returns:
        What is written to `corruptions.json`: `step`, the `clean` accuracy, `accuracy` (corruption
        to its accuracies by severity) and `mean` (the name of a subset, as in `OF_CIFAR`, to the
        mean over it); of a run on other images the same of its `baselines` too.

    Raises:
        ValueError: The run is another one, its images have no labels, or a corrupted set is not
            prepared.
    """
    official = experiment.data.name in ("cifar10", NAME)
    _check(experiment, folder, official)
    folder.refuse_another(experiment.record)
    variables, step = checkpoint.restore_variables(folder)
    judge = _cifar10_c if official else measure
    result = {"step": step, **judge(Frozen(experiment, variables))}
    if distributed.first():
        folder.write_json("corruptions.json", result)
    return result


def _check(experiment: Experiment, folder: RunFolder, official: bool) -> None:
    """Refuse images without labels, and validation images, which CIFAR-10-C does not have."""
    data = experiment.data.dataset
    split = Settings(experiment.seed, **experiment.config.evaluation).split
    if not data.labelled:
        raise ValueError(f"corruptions are judged by a probe of classes; {data.name} has no labels")
    if official and split != "test":
        raise ValueError(
            f"CIFAR-10-C has corrupted test images; {folder.path} is judged on {split} images"
        )


def _cifar10_c(frozen: Frozen) -> dict[str, Any]:
    """Measure the trained encoder's probe on every set of CIFAR-10-C."""
    experiment, dataset, data = frozen.experiment, frozen.dataset, frozen.experiment.config.data
    named = itertools.product(tfds_sets.corruptions(), tfds_sets.SEVERITIES)
    # All are opened before the first is judged.
    opened = {name: tfds_sets.open_corrupted(NAME, ROW, *name, data.data_dir) for name in named}
    options = {key: data[key] for key in ("data_dir", "limit", "skip_unreadable")}
    # The test images of CIFAR-10-C are corrupted.
    clean = sources.load("cifar10", **options) if dataset.name == NAME else dataset
    plain = experiment.data.plain
    encode = {NAME: partial(features.encode, experiment.network, plain, frozen.variables)}

    def extract(images: Images, labels: Labels) -> Labelled:
        return Labelled(features.extract(encode, images)[NAME], labels)

    probe = linear.fit_probe(extract(clean.train_images, clean.train_labels), frozen.settings)
    accuracy: dict[str, list[float]] = {corruption: [] for corruption, _ in opened}
    for (corruption, _), builder in tqdm(opened.items(), "CIFAR-10-C", unit=" sets", disable=None):
        images, labels = tfds_sets.read_split(NAME, ROW, builder, "test", *options.values())
        accuracy[corruption].append(probe.accuracy(extract(images, labels)))
    clean_accuracy = probe.accuracy(extract(clean.test_images, clean.test_labels))
    return {"clean": clean_accuracy, "accuracy": accuracy, "mean": means(accuracy, OF_CIFAR)}
