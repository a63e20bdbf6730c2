"""k-nearest neighbours on cosine similarity: what the geometry alone knows of the classes."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from gca_jax.evaluation import splits
from gca_jax.evaluation.probes import Labelled, Result, Score, probe
from gca_jax.evaluation.splits import Settings
from gca_jax.evaluation.subject import Subject

PROCEDURE = """cosine similarity, votes weighted by exp(similarity / 0.07); k was chosen by accuracy
on a held-out part of the training split, then the whole of it votes."""
TEMPERATURE = 0.07
QUERIES_AT_ONCE = 1024


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

    Raises:
        ValueError: A k lies outside [1, n].
    """
    for k in neighbours:
        if not 1 <= k <= len(bank):
            raise ValueError(f"neighbours must lie in [1, {len(bank)}] (images to vote), got {k}")
    classes = int(bank_labels.max()) + 1
    vote = partial(_vote, jnp.asarray(bank), jnp.asarray(bank_labels), tuple(neighbours), classes)
    chunk = min(QUERIES_AT_ONCE, len(queries))
    rows = -(-len(queries) // chunk) * chunk
    padded = np.pad(queries, ((0, rows - len(queries)), (0, 0)))
    parts = [np.asarray(vote(padded[i : i + chunk])) for i in range(0, rows, chunk)]
    return np.concatenate(parts, axis=1)[:, : len(queries)]


@partial(jax.jit, static_argnums=(2, 3))
def _vote(
    bank: Float[Array, "n f"],
    bank_labels: Int[Array, "n"],
    neighbours: tuple[int, ...],
    classes: int,
    queries: Float[Array, "m f"],
) -> Int[Array, "k m"]:
    similarity = jnp.matmul(_unit(queries), _unit(bank).T, precision=jax.lax.Precision.HIGHEST)
    nearest, index = jax.lax.top_k(similarity, max(neighbours))
    # The nearest neighbour's weight is 1: dividing a row by its largest weight changes no vote.
    weight = jnp.exp((nearest - nearest[:, :1]) / TEMPERATURE)
    ballots = weight[..., None] * jax.nn.one_hot(bank_labels[index], classes)
    counts = jnp.cumsum(ballots, axis=1)
    return jnp.stack([jnp.argmax(counts[:, k - 1], axis=-1) for k in neighbours])


def _unit(x: Float[Array, "n f"]) -> Float[Array, "n f"]:
    norm = jnp.linalg.norm(x, axis=-1, keepdims=True)
    return x / jnp.maximum(norm, jnp.finfo(x.dtype).tiny)


def choose_neighbours(train: Labelled, fold: splits.Fold, neighbours: Sequence[int]) -> int:
    """Choose the k that classifies most images of the fold's second part, the first part voting.

    Ties go to the larger k, the smoother classifier.
    """
    (features, labels), (fit, held_out) = train, fold
    candidates = sorted(neighbours, reverse=True)
    predicted = predict(features[fit], labels[fit], features[held_out], candidates)
    return candidates[int(np.argmax((predicted == labels[held_out]).mean(axis=1)))]
