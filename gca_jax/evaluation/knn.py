"""k-nearest neighbours on cosine similarity: what the geometry alone knows of the classes."""

from collections.abc import Sequence

import numpy as np

from gca_jax.evaluation import splits
from gca_jax.evaluation.probes import Labelled, Result, Score, probe
from gca_jax.evaluation.splits import Settings
from gca_jax.evaluation.subject import Subject
from gca_jax.neighbours import predict

PROCEDURE = """cosine similarity, votes weighted by exp(similarity / 0.07); k was chosen by accuracy
on a held-out part of the training split, then the whole of it votes."""


def evaluate(subject: Subject) -> Result:
    """Classify each test image by the training images whose features are most like its own."""
    return probe(subject, subject.classes, score, name="knn", title="k-NN", procedure=PROCEDURE)


def score(train: Labelled, test: Labelled, settings: Settings) -> Score:
    """Score the vote of k neighbours, k chosen on a held-out part of the training images."""
    held_out = splits.hold_out(train.labels, settings.validation_fraction, settings.seed)
    k = choose_neighbours(train, held_out, settings.neighbours)
    nearest = predict(*train, test.features, [k])[0]
    return Score(float(np.mean(nearest == test.labels)), {"knn_neighbours": k})


def choose_neighbours(train: Labelled, fold: splits.Fold, neighbours: Sequence[int]) -> int:
    """Choose the k that classifies most images of the fold's second part, the first part voting.

    Ties go to the larger k, the smoother classifier.
    """
    (features, labels), (fit, held_out) = train, fold
    candidates = sorted(neighbours, reverse=True)
    predicted = predict(features[fit], labels[fit], features[held_out], candidates)
    return candidates[int(np.argmax((predicted == labels[held_out]).mean(axis=1)))]
