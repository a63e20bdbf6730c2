"""Which images a probe may see: a hold-out, folds and draws, functions of labels and seed alone.

Nothing here takes features, so every encoder that is compared gets the same images.
"""

from typing import TypeAlias

import numpy as np
from jaxtyping import Int
from sklearn.model_selection import StratifiedKFold, train_test_split

Labels: TypeAlias = Int[np.ndarray, "n"]
TestLabels: TypeAlias = Int[np.ndarray, "m"]
Fold: TypeAlias = tuple[Int[np.ndarray, "_"], Int[np.ndarray, "_"]]


def evenly_spaced(count: int, most: int) -> Int[np.ndarray, "_"]:
    """Choose at most `most` of `count` images, evenly spaced from the first to the last."""
    return np.linspace(0, count - 1, min(count, most)).astype(int)


def hold_out(labels: Labels, fraction: float, seed: int) -> Fold:
    """Split the indices in two, sorted, each class with the same `fraction` in the second part.

    Raises:
        ValueError: A class is too small to be in both parts.
    """
    if not can_hold_out(labels, fraction):
        raise ValueError(
            f"the smallest class has {_smallest(labels)} training images, too few to hold out "
            f"{fraction:.0%} of them: raise validation_fraction or use more images"
        )
    fit, held_out = train_test_split(
        np.arange(len(labels)), test_size=fraction, stratify=labels, random_state=seed
    )
    return np.sort(fit), np.sort(held_out)


def can_hold_out(labels: Labels, fraction: float) -> bool:
    """Tell whether each class has images enough to be in both parts of `hold_out`."""
    return round(_smallest(labels) * min(fraction, 1 - fraction)) >= 1


def _smallest(labels: Labels) -> int:
    """Count the images of the smallest class that has any."""
    counts = np.bincount(labels)
    return int(counts[counts > 0].min())


def folds(labels: Labels, fraction: float, seed: int) -> list[Fold]:
    """Make cross-validation folds that each hold out about `fraction` of every class.

    There are `round(1 / fraction)`, at least two, at most as many as the smallest class has
    images; every index is held out exactly once.
    """
    count = max(2, min(round(1 / fraction), _smallest(labels)))
    splitter = StratifiedKFold(count, shuffle=True, random_state=seed)
    return list(splitter.split(np.zeros((len(labels), 1)), labels))


def draw(labels: Labels, per_class: int, seed: int, index: int) -> Int[np.ndarray, "drawn"]:
    """Draw `per_class` images of every class, without replacement, sorted by class.

    Draws of one seed and different indices are independent.

    Raises:
        ValueError: A class has fewer than `per_class` images.
    """
    rng = np.random.default_rng([seed, index])
    chosen = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) < per_class:
            raise ValueError(
                f"cannot draw {per_class} images of class {label}: there are {len(members)}"
            )
        chosen.append(rng.choice(members, per_class, replace=False))
    return np.concatenate(chosen)


def most_per_class(labels: Labels, batch_size: int) -> int:
    """Count how many images of each class fit a batch, the smallest class permitting."""
    classes = len(np.unique(labels))
    return max(1, min(batch_size // classes, _smallest(labels)))
