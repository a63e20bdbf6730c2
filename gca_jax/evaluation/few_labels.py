"""The linear probe on a few labels of each class, mean over draws of them."""

import dataclasses

import numpy as np

from gca_jax.evaluation import linear, splits
from gca_jax.evaluation.probes import Labelled, probe
from gca_jax.evaluation.result import Result, Score
from gca_jax.evaluation.settings import Settings
from gca_jax.evaluation.subject import Subject

PROCEDURE = """the linear probe on {labels} labels, mean over {draws} class-balanced draws, the same
draws in every row. C was chosen for each draw by cross-validation within its own labels. Only
centre and scale see the other training images, without labels."""


def evaluate(subject: Subject) -> Result:
    """Read the classes off the features, with a few labels of each class."""
    per_class, draws = subject.settings.labels_per_class, subject.settings.draws
    labels = per_class * subject.dataset.num_classes
    found = probe(
        subject,
        subject.classes,
        score,
        name=f"linear_{per_class}_per_class",
        title=f"linear, {per_class} labels a class",
        procedure=PROCEDURE.format(labels=labels, draws=draws),
        over=f"{draws} draws of {labels} labels" if draws > 1 else f"one draw of {labels} labels",
    )
    by_draw = {
        encoder: {"accuracy": list(score.draws), "sd": score.sd}
        for encoder, score in found.scores.items()
    }
    return dataclasses.replace(found, numbers={"draws": by_draw})


def score(train: Labelled, test: Labelled, settings: Settings) -> Score:
    """Score the mean of the probes that each see a draw of the labels."""
    scale = linear.standardiser(train.features)
    scaled_test = scale(test.features)
    accuracies, strengths = [], []
    with linear.threads(train.features):
        for index in range(settings.draws):
            drawn = splits.draw(train.labels, settings.labels_per_class, settings.seed, index)
            x, labels = scale(train.features[drawn]), train.labels[drawn]
            folds = splits.folds(labels, settings.validation_fraction, settings.seed)
            strength = linear.choose_strength(x, labels, folds, settings.strengths)
            model = linear.fit(x, labels, strength)
            accuracies.append(linear.accuracy(model, scaled_test, test.labels))
            strengths.append(strength)
    key = f"linear_{settings.labels_per_class}_per_class_strengths"
    return Score(float(np.mean(accuracies)), {key: strengths}, accuracies)
