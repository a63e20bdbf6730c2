"""k-nearest-neighbour classification and search by cosine similarity."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from gca_jax.evaluation import splits
from gca_jax.evaluation.frozen import Frozen
from gca_jax.evaluation.result import Labelled, Result, Score, probe
from gca_jax.evaluation.splits import Settings

TEMPERATURE = 0.07
AT_ONCE = 2**25  # similarities in memory at a time


def evaluate(frozen: Frozen) -> Result:
    """Classify each test image by a vote of its nearest training images."""
    return probe(frozen, frozen.classes, score, name="knn")


def score(train: Labelled, test: Labelled, settings: Settings) -> Score:
    """Score the vote of k neighbours, k chosen on a held-out part of the training images."""
    held_out = splits.hold_out(train.labels, settings.validation_fraction, settings.seed)
    k = choose_k(train, held_out, settings.neighbours)
    (predicted,) = predict(*train, test.features, [k])
    return Score(float(np.mean(predicted == test.labels)), {"knn_neighbours": k})


def choose_k(train: Labelled, fold: splits.Fold, candidates: Sequence[int]) -> int:
    """Choose the k that classifies most images of the fold's second part, the first part voting.

    Ties go to the larger k, the smoother classifier.
    """
    (features, labels), (fit, held_out) = train, fold
    falling = sorted(candidates, reverse=True)
    predicted = predict(features[fit], labels[fit], features[held_out], falling)
    return falling[int(np.argmax((predicted == labels[held_out]).mean(axis=1)))]


def predict(
    bank: Float[np.ndarray, "n f"],
    bank_labels: Int[np.ndarray, "n"],
    queries: Float[np.ndarray, "m f"],
    neighbours: Sequence[int],
) -> Int[np.ndarray, "k m"]:
    """Classify by weighted vote of the k most similar rows of `bank`, for several k at once.

    A neighbour of cosine similarity s votes for its class with weight exp(s / 0.07), as in Wu et
    al., "Unsupervised feature learning via non-parametric instance discrimination" (2018). Rows of
    the label -1 are of no class, and have no vote.
    """
    bank, bank_labels = bank[bank_labels >= 0], bank_labels[bank_labels >= 0]
    similarity, index = nearest(bank, queries, max(neighbours))
    weight = np.exp((similarity - 1) / TEMPERATURE)  # times exp(-1 / 0.07) changes no vote
    voted, row = bank_labels[index], np.arange(len(queries))[:, None]

    def winners(k: int) -> Int[np.ndarray, "m"]:
        votes = np.zeros((len(queries), bank_labels.max() + 1))
        np.add.at(votes, (row, voted[:, :k]), weight[:, :k])
        return votes.argmax(axis=1)

    return np.stack([winners(k) for k in neighbours])


def nearest(
    bank: Float[np.ndarray, "n f"],
    queries: Float[np.ndarray, "m f"],
    k: int,
    groups: tuple[Int[np.ndarray, "n"], Int[np.ndarray, "m"]] | None = None,
) -> tuple[Float[np.ndarray, "m k"], Int[np.ndarray, "m k"]]:
    """Find the k rows of `bank` of highest cosine similarity to each query, in float32.

    Args:
        bank: [n, f]; a row of zeros is similar to nothing.
        queries: [m, f].
        k: At most n, or the rows that are of other groups than a query's.
        groups: Of the rows [n] and of the queries [m]: neighbours are of another group.

    Returns:
        Their similarities, the highest first, and which rows they are; of equal ones the earlier.
    """
    unit, size = jnp.asarray(_unit(bank)), max(1, AT_ONCE // len(bank))
    found = []
    for first in range(0, len(queries), size):
        rows = slice(first, first + size)
        apart = None if groups is None else (groups[0], groups[1][rows])
        found.append(jax.device_get(_highest(unit, _unit(queries[rows]), k, apart)))
    similarity, index = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return similarity, index


def nearest_rows(
    features: Float[np.ndarray, "n f"],
    queries: Int[np.ndarray, "q"],
    k: int,
    groups: Int[np.ndarray, "n"] | None = None,
) -> tuple[Float[np.ndarray, "q k"], Int[np.ndarray, "q k"]]:
    """Find the nearest other rows of some rows; with `groups` [n], those of other groups."""
    own = np.arange(len(features)) if groups is None else groups
    return nearest(features, features[queries], k, (own, own[queries]))


@partial(jax.jit, static_argnames="k")
def _highest(
    bank: Float[Array, "n f"],
    queries: Float[Array, "b f"],
    k: int,
    groups: tuple[Int[Array, "n"], Int[Array, "b"]] | None,
) -> tuple[Float[Array, "b k"], Int[Array, "b k"]]:
    """Find the k highest inner products of each query with rows of other groups."""
    similarity = jnp.dot(queries, bank.T, precision="highest")
    if groups is not None:
        similarity = jnp.where(groups[1][:, None] == groups[0][None], -jnp.inf, similarity)
    similarity, index = jax.lax.top_k(similarity, k)
    return similarity, index


def _unit(x: Float[np.ndarray, "n f"]) -> Float[np.ndarray, "n f"]:
    """Divide rows by their length, in float32; zeros stay zeros."""
    x = np.asarray(x, np.float32)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.finfo(np.float32).tiny)
