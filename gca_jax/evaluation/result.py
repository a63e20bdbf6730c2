"""What an evaluation gives: numbers, arrays, and its own words for the report."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

ENCODERS = {
    "trained": "trained encoder",
    "random_encoder": "untrained encoder",
    "pixels": "raw pixels",
}
"""What is judged: the trained encoder and two baselines, with their names in the report."""


class Score(NamedTuple):
    """How well a probe of one encoder's features classifies the test images.

    Attributes:
        accuracy: Share of the test images that is classified rightly.
        settings: What was chosen on training images, by its key in `evaluation.json`; a number is
            shown in the report.
        draws: Accuracy by draw of the labels, whose mean is `accuracy`; empty where none are drawn.
    """

    accuracy: float
    settings: Mapping[str, float | Sequence[float]]
    draws: Sequence[float] = ()

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
        scores: Of a probe, a score for each of `ENCODERS`.
        over: What the draws of a probe are: "10 draws of 100 labels".
        numbers: Other entries of `evaluation.json`, by key; as JSON values.
        arrays: Entries of `evaluation.npz`.
        procedure: How the number was obtained, a line of the report.
        picture: A name in `gca_jax.report.figures.FIGURES`; empty for none.
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
