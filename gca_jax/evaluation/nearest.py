"""Nearest neighbours of a few test images by their features, and a t-SNE map of many."""

import numpy as np
from jaxtyping import Float, Int
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from gca_jax.data.splits import evenly_spaced
from gca_jax.evaluation.frozen import Frozen
from gca_jax.evaluation.knn import nearest_rows
from gca_jax.evaluation.result import Result

QUERIES, NEIGHBOURS = 6, 5
MOST_CLASSES = 10  # that have a query
PERPLEXITY, MOST_DIMENSIONS = 30, 50
MOST_POINTS = 2_000  # on the map


def evaluate(frozen: Frozen) -> Result:
    """Find the neighbours of a few test images by the trained encoder's features.

    Where images have labels, of one image of each class, or of classes evenly spaced.
    """
    features = frozen.test_features["trained"]
    per = "class" if frozen.dataset.labelled else None
    if per is None:
        queries = evenly_spaced(len(features), QUERIES)
    else:
        queries = queries_of_each(frozen.dataset.test_labels, MOST_CLASSES, 1)
    found = nearest_rows(features, queries, min(NEIGHBOURS, len(features) - 1))
    return _result(frozen, "nearest", per, queries, *found)


def evaluate_across(frozen: Frozen) -> Result | None:
    """Find the neighbours of a few test images of each domain among those of other domains."""
    features, domains = frozen.test_features["trained"], frozen.dataset.test_domains
    if domains is None or len(np.unique(domains)) < 2:
        return None
    there = len(np.unique(domains))
    queries = queries_of_each(domains, MOST_CLASSES, max(1, QUERIES // there))
    others = len(domains) - np.bincount(domains)[domains[queries]].max()
    found = nearest_rows(features, queries, min(NEIGHBOURS, others), domains)
    return _result(frozen, "nearest_across", "domain", queries, *found)


def queries_of_each(numbers: Int[np.ndarray, "n"], most: int, each: int) -> Int[np.ndarray, "q"]:
    """Choose rows of each class or domain, evenly spaced over it, group by group.

    Args:
        numbers: The class or domain of each row [n].
        most: Groups at most; of more, evenly spaced ones have queries.
        each: Rows of a group at most.
    """
    there = np.unique(numbers)
    members = [np.flatnonzero(numbers == one) for one in there[evenly_spaced(len(there), most)]]
    return np.concatenate([rows[evenly_spaced(len(rows), each)] for rows in members])


def _result(
    frozen: Frozen,
    name: str,
    per: str | None,
    queries: Int[np.ndarray, "q"],
    similarities: Float[np.ndarray, "q k"],
    found: Int[np.ndarray, "q k"],
) -> Result:
    """Collect queries and neighbours with the images, labels and domains that the figure shows."""
    data = frozen.dataset
    rows = np.concatenate([queries[:, None], found], axis=1)
    images = data.test_images[rows.ravel()]  # may be on disk: read by one list of rows
    arrays = {f"{name}_images": images.reshape(*rows.shape, *images.shape[1:])}
    if data.labelled:
        arrays[f"{name}_labels"] = data.test_labels[rows]
    if name == "nearest_across":
        arrays[f"{name}_domains"] = data.test_domains[rows]
    lists = {"queries": queries, "neighbours": found, "similarities": similarities}
    numbers = {key: values.tolist() for key, values in lists.items()}
    about = {f"{name}_neighbours": {**numbers, "queries_per": per}}
    return Result(name, numbers=about, arrays=arrays)


def evaluate_plane(frozen: Frozen) -> Result:
    """Map the trained encoder's features of test images to the plane."""
    features, kinds = frozen.test_features["trained"], frozen.kinds
    points = evenly_spaced(len(features), MOST_POINTS)
    arrays = {"plane": two_dimensions(features[points], frozen.experiment.seed)}
    if kinds is not None:
        arrays["plane_labels"] = kinds.numbers[points]
    domains = frozen.dataset.test_domains
    several = domains is not None and len(np.unique(domains)) > 1
    if several and kinds is not None and kinds.word == "class":
        arrays["plane_domains"] = domains[points]
    return Result("plane", arrays=arrays)


def two_dimensions(features: Float[np.ndarray, "n f"], seed: int) -> Float[np.ndarray, "n 2"]:
    """Map features to the plane by t-SNE (van der Maaten & Hinton 2008), initialised by PCA.

    Distances between far clusters and the axes mean nothing; neighbourhoods do. Fewer than six
    images are mapped by PCA alone.
    """
    with threadpool_limits(1):  # more threads would sum in an order that changes
        width = min(MOST_DIMENSIONS, *features.shape)
        reduced = PCA(width, svd_solver="full").fit_transform(np.asarray(features, np.float64))
        if len(features) < 6 or width < 2:
            return np.pad(reduced, ((0, 0), (0, 2)))[:, :2].astype(np.float32)
        perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
        tsne = TSNE(perplexity=perplexity, init="pca", random_state=seed, n_jobs=1)
        return tsne.fit_transform(reduced).astype(np.float32)
