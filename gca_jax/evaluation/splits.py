"""Settings of the probes, and the splits and draws of their images.

These are functions of labels and seed alone, so that every encoder is compared on the same images.
"""

import dataclasses
import warnings
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from jaxtyping import Int
from sklearn.model_selection import StratifiedKFold, train_test_split

from gca_jax.check import at_least, positive

Labels: TypeAlias = Int[np.ndarray, "n"]
TestLabels: TypeAlias = Int[np.ndarray, "m"]
Fold: TypeAlias = tuple[Int[np.ndarray, "_"], Int[np.ndarray, "_"]]


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of the probes: the `evaluation` group, see `gca_jax.config.EVALUATION`.

    Attributes:
        seed: The run's seed, of every split and draw.
        strengths: Candidates of C, the inverse regularisation.
        neighbours: Candidates of k.
        split: Read by `experiment.build`, which puts validation images in the place of test images.

    Raises:
        ValueError: A setting is out of range; the message names it.
    """

    seed: int
    labels_per_class: int
    draws: int
    validation_fraction: float
    strengths: Sequence[float] = (0.01, 0.1, 1.0, 10.0, 100.0)
    neighbours: Sequence[int] = (1, 3, 5, 10, 20, 50)
    split: str = "test"
    corruptions: bool = False
    sgd_epochs: int = 0
    sgd_learning_rate: float = 0.2
    finetune_epochs: int = 0

    def __post_init__(self):
        at_least("labels_per_class", self.labels_per_class, 2)  # one to fit, one to choose C
        for name, low in {"draws": 1, "sgd_epochs": 0, "finetune_epochs": 0}.items():
            at_least(name, getattr(self, name), low)
        positive("sgd_learning_rate", self.sgd_learning_rate)
        if not 0 < self.validation_fraction < 1:
            raise ValueError(
                f"validation_fraction must lie in (0, 1), got {self.validation_fraction}"
            )
        if not self.strengths or min(self.strengths) <= 0:
            raise ValueError(f"strengths must be positive numbers, got {list(self.strengths)}")
        if not self.neighbours or min(self.neighbours) < 1:
            raise ValueError(f"neighbours must be integers >= 1, got {list(self.neighbours)}")

    def check(
        self, train_labels: Labels, test_labels: TestLabels, names: Sequence[str] | None = None
    ) -> None:
        """Raise if probes could not be fitted to these labels with these settings.

        Raises:
            ValueError: All classes but one or the training split are too small; the message names
                the setting.
        """
        unseen = np.setdiff1d(test_labels, train_labels).tolist()
        if unseen:
            shown = ", ".join(names[label] if names else str(label) for label in unseen)
            raise ValueError(
                f"test_labels has classes without a training image: {shown}; give such images, or "
                "leave those test images out"
            )
        if len(np.unique(train_labels)) < 2:
            raise ValueError(
                "all images are of one class, so that there is nothing to tell apart: leave the "
                "labels out (for a folder, --config.data.labelled=False)"
            )
        fit, _ = hold_out(train_labels, self.validation_fraction, 0)
        if max(self.neighbours) > len(fit):
            raise ValueError(
                f"neighbours must lie in [1, {len(fit)}] (the images that vote), "
                f"got {list(self.neighbours)}"
            )


def hold_out(labels: Labels, fraction: float, seed: int) -> Fold:
    """Split the indices in two, sorted, each class with the same `fraction` in the second part.

    A class that is too small to be in both parts is wholly in the first.

    Raises:
        ValueError: Fewer than two classes can be in both parts.
    """
    rows = np.flatnonzero(~np.isin(labels, too_small(labels, fraction)))
    if not can_hold_out(labels, fraction):
        raise ValueError(
            f"fewer than two classes have training images enough to hold out {fraction:.0%} of "
            "them: raise validation_fraction or use more images"
        )
    _, held_out = train_test_split(
        rows, test_size=fraction, stratify=labels[rows], random_state=seed
    )
    return np.setdiff1d(np.arange(len(labels)), held_out), np.sort(held_out)


def can_hold_out(labels: Labels, fraction: float) -> bool:
    """Return whether two classes have enough images for both parts of `hold_out`."""
    return len(np.unique(labels)) - len(too_small(labels, fraction)) >= 2


def too_small(labels: Labels, fraction: float) -> Int[np.ndarray, "k"]:
    """List the classes of which `hold_out` holds out nothing."""
    classes, counts = _counted(labels)
    return classes[np.round(counts * min(fraction, 1 - fraction)) < 1]


def fewer(labels: Labels, per_class: int) -> dict[int, int]:
    """Return how many images the classes have that have fewer than `per_class`."""
    counts = zip(*(each.tolist() for each in _counted(labels)), strict=True)
    return {label: count for label, count in counts if count < per_class}


def _counted(labels: Labels) -> tuple[Int[np.ndarray, "k"], Int[np.ndarray, "k"]]:
    """Return the classes and how many images each has."""
    if labels.min() < 0:
        raise ValueError("labels must be classes from 0; leave out images of -1, not known")
    return np.unique(labels, return_counts=True)


def folds(labels: Labels, fraction: float, seed: int) -> list[Fold]:
    """Make cross-validation folds that each hold out about `fraction` of every class.

    There are `round(1 / fraction)`, at least two, at most as many as the largest class has images.
    Every index is held out exactly once, but the only image of a class never.
    """
    classes, counts = _counted(labels)
    rows = np.flatnonzero(~np.isin(labels, classes[counts < 2]))
    splitter = StratifiedKFold(
        max(2, min(round(1 / fraction), int(counts.max()))), shuffle=True, random_state=seed
    )
    with warnings.catch_warnings():  # that a class has fewer images than there are folds
        warnings.filterwarnings("ignore", "The least populated class")
        parts = [rows[part] for _, part in splitter.split(rows, labels[rows])]
    return [(np.setdiff1d(np.arange(len(labels)), part), part) for part in parts]


def draw(labels: Labels, per_class: int, seed: int, index: int) -> Int[np.ndarray, "drawn"]:
    """Draw `per_class` images of every class but -1, without replacement, sorted by class.

    Of a class that has fewer, all. Draws of one seed and different indices are independent.
    """
    rng = np.random.default_rng([seed, index])
    members = [np.flatnonzero(labels == label) for label in np.unique(labels[labels >= 0])]
    return np.concatenate(
        [rng.choice(rows, min(per_class, len(rows)), replace=False) for rows in members]
    )


def most_per_class(labels: Labels, batch_size: int) -> int:
    """Count how many images of each class fit a batch, the smallest class permitting."""
    classes, counts = _counted(labels)
    return max(1, min(batch_size // len(classes), int(counts.min())))
