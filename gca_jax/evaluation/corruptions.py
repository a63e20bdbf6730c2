"""Linear probes, fitted to clean images, on corruptions of the test images.

Of CIFAR-10 these are CIFAR-10-C, every corruption of its test images at five severities (D.
Hendrycks and T. Dietterich, "Benchmarking neural network robustness to common corruptions and
perturbations", ICLR 2019). Of any other labelled images, and in a run's own evaluation, they are
made by `data.corruptions` from the images that the run is evaluated on: where those are validation
images, no test image is read.
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from itertools import product
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
from gca_jax.evaluation.splits import Labels
from gca_jax.experiment import Experiment, context
from gca_jax.training import checkpoint
from gca_jax.workdir import RunFolder

Found = dict[str, Any]
"""`clean` accuracy, `accuracy` (corruption to its accuracies by severity), `mean` over a subset."""
Subsets = Mapping[str, Callable[[str], bool]]
"""Name of a mean -> predicate of the corruptions in it; all severities weigh the same."""
Sets = Mapping[tuple[str, int], Callable[[], tuple[Images, Labels]]]
"""(corruption, severity) -> function that reads or makes its test images and labels."""

NAME = "cifar10_corrupted"
EXTRA = ("gaussian_blur", "saturate", "spatter", "speckle_noise")
CIFAR_SUBSETS: Subsets = {
    "all": lambda corruption: True,
    "without the extra four": lambda corruption: corruption not in EXTRA,
    "snow": lambda corruption: corruption == "snow",  # what the authors' code averages
}
OWN_SUBSETS: Subsets = {
    "all": lambda corruption: True,
    "without occlusion": lambda corruption: corruption != "occlusion",  # not of CIFAR-10-C
}


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


def on_the_fly(frozen: Frozen) -> Sets:
    """Corrupt the test images when they are read; the run's seed seeds the corruptions."""
    images, labels = frozen.dataset.test_images, frozen.dataset.test_labels
    kinds = product(corruptions.names(images.shape[-1]), corruptions.SEVERITIES)

    def corrupt(kind: str, severity: int) -> tuple[Images, Labels]:
        return Corrupted(images, kind, severity, frozen.experiment.seed), labels

    return {kind: partial(corrupt, *kind) for kind in kinds}


def cifar10_c(frozen: Frozen) -> Sets:
    """Open every set of CIFAR-10-C, so that a missing one is named before any is encoded."""
    data, row = frozen.experiment.config.data, sources.find(NAME)
    options = data.data_dir, data.limit, data.skip_unreadable
    found = {}
    for kind in product(tfds_sets.corruptions(), tfds_sets.SEVERITIES):
        builder = tfds_sets.open_corrupted(NAME, row, *kind, data.data_dir)
        found[kind] = partial(tfds_sets.read_split, NAME, row, builder, "test", *options)
    return found


def measure(frozen: Frozen, sets: Sets, subsets: Subsets) -> Found:
    """Measure the linear probe of each encoder on every corruption and severity.

    Encoder, probe and C are the same for every corruption; none is chosen on corrupted images.

    Returns:
        `clean`, `accuracy` and `mean` of the trained encoder; where there are baselines,
        `baselines`, an encoder to its own.
    """
    found: dict[str, Found] = {
        encoder: {"clean": clean.accuracy, "accuracy": {kind: [] for kind, _ in sets}}
        for encoder, clean in frozen.once(linear.scores).items()
    }
    for (kind, _), read in tqdm(sets.items(), "corruptions", unit=" sets", disable=None):
        images, labels = read()
        seen = features.extract(frozen.encoders, images)
        for encoder, probe in frozen.once(linear.probes).items():
            share = probe.accuracy(Labelled(seen[encoder], labels))
            found[encoder]["accuracy"][kind].append(share)
    for one in found.values():
        one["mean"] = means(one["accuracy"], subsets)
    trained = found.pop("trained")
    return {**trained, "baselines": found} if found else trained


def means(accuracy: Mapping[str, list[float]], subsets: Subsets) -> dict[str, float]:
    """Average accuracies, a list for each corruption, over each of some subsets."""
    return {
        name: float(np.mean([shares for kind, shares in accuracy.items() if chosen(kind)]))
        for name, chosen in subsets.items()
    }


def evaluate(frozen: Frozen) -> Result | None:
    """Measure the corruptions where `config.evaluation.corruptions` asks for them."""
    if not frozen.settings.corruptions:
        return None
    if not frozen.dataset.labelled:
        return Result("corruptions", skipped=NO_LABELS)
    return Result(
        "corruptions", numbers={"corruptions": measure(frozen, on_the_fly(frozen), OWN_SUBSETS)}
    )


def check(experiment: Experiment) -> None:
    """Raise if `config.evaluation.corruptions` is set and the images cannot be corrupted."""
    data = experiment.data.dataset
    if data.labelled and experiment.config.evaluation.corruptions:
        with context("config.evaluation"):
            corruptions.names(data.test_images.shape[-1])


def evaluate_corruptions(experiment: Experiment, folder: RunFolder) -> Found:
    """Measure the linear probe of a run on corrupted images: CIFAR-10-C of a run on CIFAR-10.

    Args:
        experiment: The one that was trained, from `experiment.build`.
        folder: Of a run that has been trained.

    Returns:
        What is written to `corruptions.json`: `step` and what `measure` gives.

    Raises:
        ValueError: The run is another one, its images have no labels, or a corrupted set is not
            prepared.
    """
    name, split = experiment.data.name, experiment.config.evaluation.split
    official = name in ("cifar10", NAME)
    if not experiment.data.dataset.labelled:
        raise ValueError(f"corruptions are evaluated by a probe of classes; {name} has no labels")
    if official and split != "test":
        raise ValueError(
            f"CIFAR-10-C has corrupted test images; {folder.path} is evaluated on {split} images"
        )
    folder.refuse_another(experiment.record)
    folder.refuse_other_data(experiment.identity)
    variables, step = checkpoint.restore_variables(folder)
    frozen = Frozen(_on_clean(experiment), variables, baselines=not official)
    sets = (cifar10_c(frozen), CIFAR_SUBSETS) if official else (on_the_fly(frozen), OWN_SUBSETS)
    result = {"step": step, **measure(frozen, *sets)}
    if distributed.first():
        folder.write_json("corruptions.json", result)
    return result


def _on_clean(experiment: Experiment) -> Experiment:
    """Replace CIFAR-10-C by CIFAR-10: its test images are already corrupted."""
    if experiment.data.name != NAME:
        return experiment
    data = experiment.config.data
    options = {key: data[key] for key in ("data_dir", "limit", "skip_unreadable")}
    clean = dataclasses.replace(experiment.data, dataset=sources.load("cifar10", **options))
    return dataclasses.replace(experiment, data=clean)
