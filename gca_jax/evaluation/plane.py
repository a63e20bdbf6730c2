"""Features in two dimensions, for a picture."""

import numpy as np
from jaxtyping import Float
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

PERPLEXITY = 30
MOST_POINTS = 2_000
MOST_DIMENSIONS = 50


def choose_points(count: int) -> np.ndarray:
    """Indices of at most 2,000 of `count` images, evenly spaced: what a picture can show."""
    return np.unique(np.linspace(0, count - 1, min(count, MOST_POINTS)).astype(int))


def two_dimensions(features: Float[np.ndarray, "n f"], seed: int) -> Float[np.ndarray, "n 2"]:
    """Maps features to the plane by t-SNE (van der Maaten & Hinton 2008), started from PCA.

    Distances between far clusters and the axes mean nothing; neighbourhoods do.

    Args:
        features: `[n, f]`; fewer than six are mapped by PCA alone.
        seed: Of the optimisation.

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
