"""k-nearest neighbours on cosine similarity: what the geometry alone knows of the classes."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from sklearn.neighbors import NearestNeighbors

from gca_jax.evaluation import splits
from gca_jax.evaluation.probes import Labelled, Result, Score, probe
from gca_jax.evaluation.splits import Settings
from gca_jax.evaluation.subject import Subject

PROCEDURE = """cosine similarity, votes weighted by exp(similarity / 0.07); k was chosen by accuracy
on a held-out part of the training split, then the whole of it votes."""
TEMPERATURE = 0.07


def evaluate(subject: Subject) -> Result:
    """Classify each test image by the training images whose features are most like its own."""
    return probe(subject, subject.classes, score, name="knn", title="k-NN", procedure=PROCEDURE)


def score(train: Labelled, test: Labelled, settings: Settings) -> Score:
    """Score the vote of k neighbours, k chosen on a held-out part of the training images."""
    held_out = splits.hold_out(train.labels, settings.validation_fraction, settings.seed)
    k = choose_neighbours(train, held_out, settings.neighbours)
    nearest = predict(*train, test.features, [k])[0]
    return Score(float(np.mean(nearest == test.labels)), {"knn_neighbours": k})


def predict(
    bank: Float[np.ndarray, "n f"],
    bank_labels: Int[np.ndarray, "n"],
    queries: Float[np.ndarray, "m f"],
    neighbours: Sequence[int],
) -> Int[np.ndarray, "k m"]:
    """Classify by weighted vote of the k most similar images, for several k at once.

    A neighbour of cosine similarity s votes for its class with weight exp(s / 0.07), as in Wu et
    al., "Unsupervised feature learning via non-parametric instance discrimination" (2018).
    """
    search = NearestNeighbors(n_neighbors=max(neighbours), metric="cosine").fit(bank)
    distance, index = search.kneighbors(queries)
    weight = np.exp(-distance / TEMPERATURE)  # times exp(-1 / 0.07), which changes no vote
    voted, row = bank_labels[index], np.arange(len(queries))[:, None]

    def winners(k: int) -> Int[np.ndarray, "m"]:
        votes = np.zeros((len(queries), bank_labels.max() + 1))
        np.add.at(votes, (row, voted[:, :k]), weight[:, :k])
        return votes.argmax(axis=1)

    return np.stack([winners(k) for k in neighbours])


def choose_neighbours(train: Labelled, fold: splits.Fold, neighbours: Sequence[int]) -> int:
    """Choose the k that classifies most images of the fold's second part, the first part voting.

    Ties go to the larger k, the smoother classifier.
    """
    (features, labels), (fit, held_out) = train, fold
    candidates = sorted(neighbours, reverse=True)
    predicted = predict(features[fit], labels[fit], features[held_out], candidates)
    return candidates[int(np.argmax((predicted == labels[held_out]).mean(axis=1)))]
