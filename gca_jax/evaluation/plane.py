"""Features in two dimensions, for a picture."""

import numpy as np
from jaxtyping import Float, Int
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from gca_jax.evaluation.result import Result
from gca_jax.evaluation.subject import Subject

CAPTION = """t-SNE of the encoder's test features. Neighbourhoods mean something; distances between
groups and the axes do not."""
PERPLEXITY = 30
MOST_POINTS = 2_000
MOST_DIMENSIONS = 50


def evaluate(subject: Subject) -> Result:
    """Map the trained encoder's features of test images to the plane."""
    features, kinds = subject.test_features["trained"], subject.kinds
    points = choose_points(len(features))
    arrays = {"plane": two_dimensions(features[points], subject.experiment.seed)}
    if kinds is not None:
        arrays["plane_labels"] = kinds.numbers[points]
    title = "test features in two dimensions"
    return Result("plane", title, arrays=arrays, picture="plane", caption=CAPTION)


def choose_points(count: int) -> Int[np.ndarray, "p"]:
    """Choose at most 2,000 of `count` images, evenly spaced: what a picture can show."""
    return np.unique(np.linspace(0, count - 1, min(count, MOST_POINTS)).astype(int))


def two_dimensions(features: Float[np.ndarray, "n f"], seed: int) -> Float[np.ndarray, "n 2"]:
    """Map features to the plane by t-SNE (van der Maaten & Hinton 2008), started from PCA.

    Distances between far clusters and the axes mean nothing; neighbourhoods do.

    Args:
        features: `[n, f]`; fewer than six are mapped by PCA alone.
        seed: Seed of the optimisation.

    Returns:
        Coordinates, `[n, 2]`, float32.
    """
    with threadpool_limits(1):
        width = min(MOST_DIMENSIONS, *features.shape)
        reduced = PCA(width, svd_solver="full").fit_transform(np.asarray(features, np.float64))
        if len(features) < 6 or width < 2:
            return np.pad(reduced, ((0, 0), (0, 2)))[:, :2].astype(np.float32)
        perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
        tsne = TSNE(perplexity=perplexity, init="pca", random_state=seed, n_jobs=1)
        return tsne.fit_transform(reduced).astype(np.float32)
