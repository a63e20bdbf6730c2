"""What all probes share: one of each encoder, fitted to the same images and labels."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from gca_jax.evaluation.features import Features
from gca_jax.evaluation.result import ENCODERS, Result, Score
from gca_jax.evaluation.splits import Labels, Settings, TestLabels
from gca_jax.evaluation.subject import Subject

NO_LABELS = "the images have no labels"


class Labelled(NamedTuple):
    """Features of one encoder with what a probe is to read off them, integers from 0."""

    features: Features
    labels: Labels


def probe(
    subject: Subject,
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
        subject: What is judged.
        labels: What to read, of the training and of the test images; `subject.classes`, as a rule.
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
    for encoder in ENCODERS:
        train = Labelled(subject.train_features[encoder], labels[0])
        test = Labelled(subject.test_features[encoder], labels[1])
        scores[encoder] = fit(train, test, subject.settings)
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
