"""Features in two dimensions, for a picture."""

import numpy as np
from jaxtyping import Float
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from gca_jax.evaluation import splits
from gca_jax.evaluation.result import Result
from gca_jax.evaluation.subject import Subject

CAPTION = """t-SNE of the encoder's test features. Neighbourhoods mean something; distances between
groups and the axes do not."""
PERPLEXITY = 30
MOST_POINTS = 2_000  # that a picture can show
MOST_DIMENSIONS = 50


def evaluate(subject: Subject) -> Result:
    """Map the trained encoder's features of test images to the plane."""
    features, kinds = subject.test_features["trained"], subject.kinds
    points = splits.evenly_spaced(len(features), MOST_POINTS)
    arrays = {"plane": two_dimensions(features[points], subject.experiment.seed)}
    if kinds is not None:
        arrays["plane_labels"] = kinds.numbers[points]
    title = "test features in two dimensions"
    return Result("plane", title, arrays=arrays, picture="plane", caption=CAPTION)


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
