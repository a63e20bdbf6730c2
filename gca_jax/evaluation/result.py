"""Results of evaluations: numbers and arrays; and fitting one probe to each encoder's features.

`report.entries` holds the title, caption and procedure that the report shows for each.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from gca_jax.evaluation.features import Features
from gca_jax.evaluation.frozen import Frozen
from gca_jax.evaluation.splits import Labels, Settings, TestLabels

NO_LABELS = "the images have no labels"


class Score(NamedTuple):
    """How well a probe of one encoder's features classifies the test images.

    Attributes:
        accuracy: Share of the test images that is classified rightly.
        settings: What was chosen on training images, by its key in `evaluation.json`; a number is
            shown in the report.
        draws: Accuracy by draw of the labels, whose mean is `accuracy`; empty where none are drawn.
        predicted: Class of each test image, -1 for one that is not classified; empty if not known.
        cross_entropy: Mean over the test images, in nats; None if not known.
    """

    accuracy: float
    settings: Mapping[str, float | Sequence[float]]
    draws: Sequence[float] = ()
    predicted: Sequence[int] = ()  # no array, so that scores can be compared
    cross_entropy: float | None = None

    @property
    def sd(self) -> float | None:
        """Standard deviation over the draws, 0 of one; None where none are drawn."""
        return float(np.std(self.draws, ddof=len(self.draws) > 1)) if self.draws else None


@dataclasses.dataclass(frozen=True)
class Result:
    """What one evaluation found, or why it was skipped.

    Attributes:
        name: Key of a probe's accuracies in `evaluation.json`, and of its entry in the report.
        scores: Score of the trained encoder and of each baseline, for a probe.
        numbers: Other entries of `evaluation.json`, by key; as JSON values.
        arrays: Entries of `evaluation.npz`.
        skipped: Why nothing was measured; empty where something was.
    """

    name: str
    scores: Mapping[str, Score] = dataclasses.field(default_factory=dict)
    numbers: Mapping[str, object] = dataclasses.field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    skipped: str = ""

    def as_json(self) -> dict[str, object]:
        """Give what the report is made of, as JSON values."""
        scores = self.scores.items()
        return {
            "name": self.name,
            "accuracy": {encoder: score.accuracy for encoder, score in scores},
            "sd": {encoder: score.sd for encoder, score in scores},
            "settings": {encoder: dict(score.settings) for encoder, score in scores},
        }


class Labelled(NamedTuple):
    """Features of one encoder with what a probe is to read off them, integers from 0."""

    features: Features
    labels: Labels


def probe(
    frozen: Frozen,
    labels: tuple[Labels, TestLabels] | None,
    fit: Callable[[Labelled, Labelled, Settings], Score],
    *,
    name: str,
) -> Result:
    """Fit a probe to the features of the trained encoder and of each baseline.

    Args:
        frozen: The frozen model.
        labels: What to read, of the training [n] and of the test images [m]; `frozen.classes`, as
            a rule. None skips the probe.
        fit: Fits the probe to training images, and scores it on test images, whose labels are only
            counted.
        name: Key of the accuracies in `evaluation.json`.

    Returns:
        The result, or that there are no labels.
    """
    if labels is None:
        return Result(name, skipped=NO_LABELS)
    scores = {}
    for encoder, features in frozen.train_features.items():
        train = Labelled(features, labels[0])
        test = Labelled(frozen.test_features[encoder], labels[1])
        scores[encoder] = fit(train, test, frozen.settings)
    return Result(name, scores)


def shares(
    right: Bool[np.ndarray, "m"], groups: TestLabels, names: Sequence[str] | None
) -> dict[str, float]:
    """Compute the accuracy on each group of test images, by the group's name.

    Groups that have no test image are skipped; those without names are called by their numbers.
    """
    return {
        str(group) if names is None else names[group]: float(right[groups == group].mean())
        for group in np.unique(groups)
    }
