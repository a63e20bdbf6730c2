"""Which test images lie near each other by their features: neighbours of a few, a map of many."""

import numpy as np
from jaxtyping import Float, Int
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from gca_jax.data import splits
from gca_jax.evaluation.frozen import Frozen
from gca_jax.evaluation.knn import most_similar
from gca_jax.evaluation.result import Result

QUERIES, NEIGHBOURS = 6, 5
CAPTION = """Test images (left) and the {} other test images{} that are nearest to each by the
cosine similarity of the encoder's features, which stands above them. The queries are evenly spaced
over the test split, not chosen.{}"""
ELSEWHERE = " of other domains"
LABELLED = " Neighbours of another class than the query's have a frame."
MAP = """t-SNE of the encoder's test features. Neighbourhoods mean something; distances between
groups and the axes do not."""
PERPLEXITY, MOST_DIMENSIONS = 30, 50
MOST_POINTS = 2_000  # that a picture can show


def evaluate(frozen: Frozen) -> Result:
    """Find the neighbours of a few test images by the trained encoder's features."""
    features = frozen.test_features["trained"]
    queries = splits.evenly_spaced(len(features), QUERIES)
    found = nearest(features, queries, min(NEIGHBOURS, len(features) - 1))
    return _shown(frozen, "nearest", queries, *found)


def evaluate_across(frozen: Frozen) -> Result | None:
    """Find the neighbours of a few test images of each domain among those of other domains."""
    features, domains = frozen.test_features["trained"], frozen.dataset.test_domains
    if domains is None or len(np.unique(domains)) < 2:
        return None
    by_domain = np.argsort(domains, kind="stable")
    queries = by_domain[splits.evenly_spaced(len(domains), QUERIES)]
    others = len(domains) - np.bincount(domains)[domains[queries]].max()
    found = nearest(features, queries, min(NEIGHBOURS, others), domains)
    return _shown(frozen, "nearest_across", queries, *found)


def _shown(
    frozen: Frozen,
    name: str,
    queries: Int[np.ndarray, "q"],
    found: Int[np.ndarray, "q k"],
    similarities: Float[np.ndarray, "q k"],
) -> Result:
    """Give queries and their neighbours as a picture; across domains with their domains."""
    data, across = frozen.dataset, name == "nearest_across"
    shown = np.concatenate([queries[:, None], found], axis=1)
    images = data.test_images[shown.ravel()]
    arrays = {f"{name}_images": images.reshape(*shown.shape, *images.shape[1:])}
    if data.labelled:
        arrays[f"{name}_labels"] = data.test_labels[shown]
    if across:
        arrays[f"{name}_domains"] = data.test_domains[shown]
    lists = {"queries": queries, "neighbours": found, "similarities": similarities}
    numbers = {f"{name}_neighbours": {key: values.tolist() for key, values in lists.items()}}
    where = ELSEWHERE * across
    caption = CAPTION.format(found.shape[1], where, LABELLED * data.labelled)
    title = f"nearest neighbours{where}"
    return Result(name, title, numbers=numbers, arrays=arrays, picture=name, caption=caption)


def nearest(
    features: Float[np.ndarray, "n f"],
    queries: Int[np.ndarray, "q"],
    count: int,
    groups: Int[np.ndarray, "n"] | None = None,
) -> tuple[Int[np.ndarray, "q k"], Float[np.ndarray, "q k"]]:
    """Find the `count` <= n - 1 rows that are nearest to each query by cosine similarity.

    Args:
        features: [n, f].
        queries: [q], rows.
        count: k.
        groups: [n], a group of each row: neighbours are of another one than the query's, and of
            each query there are at least `count` such rows.

    Returns:
        The neighbours' rows, the nearest first, and their similarities in [-1, 1]; a query is not
        its own neighbour.
    """
    own = np.arange(len(features)) if groups is None else groups
    similarities, found = most_similar(features, features[queries], count, (own, own[queries]))
    return found, similarities


def evaluate_plane(frozen: Frozen) -> Result:
    """Map the trained encoder's features of test images to the plane."""
    features, kinds = frozen.test_features["trained"], frozen.kinds
    points = splits.evenly_spaced(len(features), MOST_POINTS)
    arrays = {"plane": two_dimensions(features[points], frozen.experiment.seed)}
    if kinds is not None:
        arrays["plane_labels"] = kinds.numbers[points]
    domains = frozen.dataset.test_domains
    if domains is not None and kinds is not None and kinds.word == "class":
        arrays["plane_domains"] = domains[points]
    title = "test features in two dimensions"
    return Result("plane", title, arrays=arrays, picture="plane", caption=MAP)


def two_dimensions(features: Float[np.ndarray, "n f"], seed: int) -> Float[np.ndarray, "n 2"]:
    """Map features to the plane by t-SNE (van der Maaten & Hinton 2008), started from PCA.

    Distances between far clusters and the axes mean nothing; neighbourhoods do. Fewer than six
    images are mapped by PCA alone.
    """
    with threadpool_limits(1):
        width = min(MOST_DIMENSIONS, *features.shape)
        reduced = PCA(width, svd_solver="full").fit_transform(np.asarray(features, np.float64))
        if len(features) < 6 or width < 2:
            return np.pad(reduced, ((0, 0), (0, 2)))[:, :2].astype(np.float32)
        perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
        tsne = TSNE(perplexity=perplexity, init="pca", random_state=seed, n_jobs=1)
        return tsne.fit_transform(reduced).astype(np.float32)
