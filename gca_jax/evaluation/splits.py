"""Which images a probe may see: a hold-out, folds and draws, functions of labels and seed alone.

Nothing here takes features, so every encoder that is compared gets the same images.
"""

from typing import TypeAlias

import numpy as np
from jaxtyping import Int
from sklearn.model_selection import StratifiedKFold, train_test_split

Labels: TypeAlias = Int[np.ndarray, " n"]
Fold: TypeAlias = tuple[np.ndarray, np.ndarray]


def hold_out(labels: Labels, fraction: float, seed: int) -> Fold:
    """Splits the indices of `labels` in two, each class in the same proportion.

    Args:
        labels: Class labels, `[n]`.
        fraction: Share of the second part, in (0, 1).
        seed: Of the shuffle.

    Returns:
        Sorted indices `(fit, held_out)`, disjoint, together all of `range(n)`.

    Raises:
        ValueError: `fraction` is outside (0, 1), or a class is too small to be in both parts.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"validation_fraction must lie in (0, 1), got {fraction}")
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
    """Whether each class has images enough to be in both parts of `hold_out`."""
    return round(_smallest(labels) * min(fraction, 1 - fraction)) >= 1


def _smallest(labels: Labels) -> int:
    """Images of the smallest class that has any."""
    counts = np.bincount(labels)
    return int(counts[counts > 0].min())


def folds(labels: Labels, fraction: float, seed: int) -> list[Fold]:
    """Cross-validation folds that each hold out about `fraction` of every class.

    Args:
        labels: Class labels, `[n]`.
        fraction: Share held out by one fold; there are `round(1 / fraction)` folds, at least two,
            at most as many as the smallest class has images.
        seed: Of the shuffle.

    Returns:
        Pairs of indices `(fit, held_out)`; every index is held out exactly once.
    """
    count = max(2, min(round(1 / fraction), _smallest(labels)))
    splitter = StratifiedKFold(count, shuffle=True, random_state=seed)
    return list(splitter.split(np.zeros((len(labels), 1)), labels))


def draw(labels: Labels, per_class: int, seed: int, index: int) -> np.ndarray:
    """Draws `per_class` images of every class, without replacement, sorted by class.

    Args:
        labels: Class labels, `[n]`.
        per_class: Images drawn from each class present.
        seed: The run's seed.
        index: Number of the draw; draws of different indices are independent.

    Returns:
        Indices into `labels`, `[per_class * classes]`, sorted by class.

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
