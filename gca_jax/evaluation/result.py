"""Results of evaluations: numbers, arrays and words for the report; and what probes share."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from gca_jax.evaluation.features import Features
from gca_jax.evaluation.frozen import Frozen
from gca_jax.evaluation.splits import Labels, Settings, TestLabels

NO_LABELS = "the images have no labels"
ENCODERS = {
    "trained": "trained encoder",
    "random_encoder": "untrained encoder",
    "pixels": "raw pixels",
    "raw": "raw input",
}
"""What is compared, by its name in the report: the trained encoder and two baselines."""


class Score(NamedTuple):
    """How well a probe of one encoder's features classifies the test images.

    Attributes:
        accuracy: Share of the test images that is classified rightly.
        settings: What was chosen on training images, by its key in `evaluation.json`; a number is
            shown in the report.
        draws: Accuracy by draw of the labels, whose mean is `accuracy`; empty where none are drawn.
        predicted: The class of each test image, -1 for one that is not judged; empty if not known.
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
    """What one evaluation found, or why it was left out.

    Attributes:
        name: The key of a probe's accuracies in `evaluation.json`.
        title: What was measured: a column of the report's table, or the name of a picture.
        scores: Of a probe, a score for each of `ENCODERS`; where networks are trained, of those.
        over: What the draws of a probe are: "10 draws of 100 labels".
        numbers: Other entries of `evaluation.json`, by key; as JSON values.
        arrays: Entries of `evaluation.npz`.
        procedure: How the number was obtained, a line of the report.
        picture: A name in `gca_jax.report.run.FIGURES`; empty for none.
        caption: What a reader should know of the numbers or the picture, a paragraph of the report.
        left_out: Why nothing was measured; empty where something was.
    """

    name: str
    title: str
    scores: Mapping[str, Score] = dataclasses.field(default_factory=dict)
    over: str = ""
    numbers: Mapping[str, object] = dataclasses.field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    procedure: str = ""
    picture: str = ""
    caption: str = ""
    left_out: str = ""

    def as_json(self) -> dict[str, object]:
        """Give what the report is made of, as JSON values."""
        words = ("name", "title", "over", "procedure", "picture", "caption")
        return {
            **{word: getattr(self, word) for word in words},
            "accuracy": {encoder: score.accuracy for encoder, score in self.scores.items()},
            "sd": {encoder: score.sd for encoder, score in self.scores.items()},
        }


class Labelled(NamedTuple):
    """Features of one encoder with what a probe is to read off them, integers from 0."""

    features: Features
    labels: Labels


def shares(
    right: Bool[np.ndarray, "m"], groups: TestLabels, names: Sequence[str] | None
) -> dict[str, float]:
    """Give the share of rightly classified test images of each group, by the group's name.

    Groups that have no test image are left out; those without names are called by their numbers.
    """
    return {
        str(group) if names is None else names[group]: float(right[groups == group].mean())
        for group in np.unique(groups)
    }


def probe(
    frozen: Frozen,
    labels: tuple[Labels, TestLabels] | None,
    fit: Callable[[Labelled, Labelled, Settings], Score],
    *,
    name: str,
    title: str,
    procedure: str,
    over: str = "",
) -> Result:
    """Fit a probe to the features of each of `ENCODERS`.

    Args:
        frozen: What is judged.
        labels: What to read, of the training and of the test images; `frozen.classes`, as a rule.
            None leaves the probe out.
        fit: Fits the probe to training images, and scores it on test images, whose labels are only
            counted.
        name: Key of the accuracies in `evaluation.json`.
        title: Column of the report's table.
        procedure: How the number is obtained; what was chosen is added to it.
        over: What the draws are, where labels are drawn.

    Returns:
        The result, or that there are no labels.
    """
    if labels is None:
        return Result(name, title, left_out=NO_LABELS)
    scores = {}
    for encoder, features in frozen.train_features.items():
        train = Labelled(features, labels[0])
        test = Labelled(frozen.test_features[encoder], labels[1])
        scores[encoder] = fit(train, test, frozen.settings)
    return scored(scores, name=name, title=title, procedure=procedure, over=over)


def scored(
    scores: Mapping[str, Score], *, name: str, title: str, procedure: str, over: str = ""
) -> Result:
    """Give the result of a probe of these scores, its procedure with what was chosen."""
    words = f"{procedure}{_chosen(scores)}"
    return Result(name, title, scores=scores, over=over, procedure=words)


def _chosen(scores: Mapping[str, Score]) -> str:
    """Say what each encoder's probe has chosen, where it is one number."""
    chosen = [
        f"{value:g} ({ENCODERS[encoder]})"
        for encoder, score in scores.items()
        for value in score.settings.values()
        if isinstance(value, int | float)
    ]
    return f" Chosen: {', '.join(chosen)}." if chosen else ""
