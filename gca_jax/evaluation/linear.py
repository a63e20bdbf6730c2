"""Linear probes: multinomial logistic regression on frozen features."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int
from sklearn.linear_model import LogisticRegression

from gca_jax.evaluation import splits

MAX_ITERATIONS = 5_000
LARGE = 2**23  # numbers in the features; from here on exact fits take hours
TOLERANCE, TOLERANCE_OF_LARGE = 1e-4, 1e-3  # of the gradient of the mean loss


def standardiser(train: Float[np.ndarray, "n f"]) -> Callable[[np.ndarray], np.ndarray]:
    """Centres each feature and divides all by one number, both taken from `train`.

    One common scale makes the regularisation strength mean the same for every encoder. A scale
    per feature would do so too, but blows up features that are nearly constant (the rim of a
    scanned digit), which makes raw pixels look worse than they are.

    Args:
        train: Features of the training split, `[n, f]`; no labels are needed.

    Returns:
        A function that does it to features of any split, in float64; those of `train` get mean 0
        and mean variance 1.

    Raises:
        ValueError: Every feature of `train` is constant, or, then and later, one is not finite.
    """
    train = _finite(train)
    mean = train.mean(0)
    scale = np.sqrt(train.var(0).mean())
    if scale <= 1e-12 * max(1.0, float(np.abs(mean).max())):
        raise ValueError("the features are the same for every training image: nothing to probe")
    return lambda features: (_finite(features) - mean) / scale


def _finite(features: np.ndarray) -> Float[np.ndarray, "..."]:
    """In float64."""
    features = np.asarray(features, np.float64)
    if not np.isfinite(features).all():
        raise ValueError("features must be finite: the encoder gave NaN or infinity")
    return features


def fit(
    features: Float[np.ndarray, "n f"], labels: Int[np.ndarray, " n"], strength: float
) -> LogisticRegression:
    """Fits the probe, minimising `strength · Σ cross-entropy + ½ ‖weights‖²` with L-BFGS.

    Large problems (Fashion-MNIST's pixels are one) are solved in float32 and to a wider tolerance,
    eight times faster; their test accuracy changed by less than half a point.
    """
    large = features.size > LARGE
    model = LogisticRegression(
        C=strength, max_iter=MAX_ITERATIONS, tol=TOLERANCE_OF_LARGE if large else TOLERANCE
    )
    return model.fit(features.astype(np.float32) if large else features, labels)


def accuracy(
    model: LogisticRegression, features: Float[np.ndarray, "n f"], labels: Int[np.ndarray, " n"]
) -> float:
    """Share of images whose most probable class is their label."""
    return float(np.mean(model.predict(features) == labels))


def log_loss(
    model: LogisticRegression, features: Float[np.ndarray, "n f"], labels: Int[np.ndarray, " n"]
) -> float:
    """Mean of −log(probability of the label). Every label must be one the model has seen."""
    columns = np.searchsorted(model.classes_, labels)
    log_probabilities = model.predict_log_proba(features)
    return float(-np.mean(log_probabilities[np.arange(len(labels)), columns]))


def choose_strength(
    features: Float[np.ndarray, "n f"],
    labels: Int[np.ndarray, " n"],
    folds: Sequence[splits.Fold],
    strengths: Sequence[float],
) -> float:
    """The strength with the lowest log-loss on the held-out parts of `folds`.

    Log-loss rather than accuracy: on the twenty images that one fold of a 100-label draw holds
    out, accuracy moves in steps of five points and cannot tell strengths apart.

    Args:
        features: Of training images only, `[n, f]`.
        labels: Their labels, `[n]`.
        folds: Index pairs `(fit, held_out)` into these.
        strengths: Candidates. Ties go to the smaller one, the more regularised probe.

    Returns:
        One of `strengths`.
    """

    def held_out_loss(strength: float) -> float:
        return float(
            np.mean(
                [
                    log_loss(fit(features[a], labels[a], strength), features[b], labels[b])
                    for a, b in folds
                ]
            )
        )

    return min(sorted(strengths), key=held_out_loss)
