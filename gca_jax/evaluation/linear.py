"""The linear probe on all labels: multinomial logistic regression on frozen features."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from gca_jax.evaluation import splits
from gca_jax.evaluation.features import Features
from gca_jax.evaluation.probes import Labelled, probe
from gca_jax.evaluation.result import Result, Score
from gca_jax.evaluation.settings import Settings
from gca_jax.evaluation.splits import Labels
from gca_jax.evaluation.subject import Subject

PROCEDURE = """L2-regularised logistic regression on features that are centred and divided by one
common scale. Its strength C was chosen by log-loss on {:g} % of the training split, held out; the
probe was then fitted on the whole training split."""

MAX_ITERATIONS = 5_000
LARGE = 2**23  # numbers in the features; from here on exact fits take hours
TOLERANCE, TOLERANCE_OF_LARGE = 1e-4, 1e-3  # of the gradient of the mean loss


def evaluate(subject: Subject) -> Result:
    """Read the classes off the features, with all labels of the training split."""
    return probe(
        subject,
        subject.classes,
        score,
        name="linear",
        title="linear, all labels",
        procedure=PROCEDURE.format(100 * subject.settings.validation_fraction),
    )


def score(
    train: Labelled, test: Labelled, settings: Settings, key: str = "linear_strength"
) -> Score:
    """Score the linear probe on all labels; `key` names the strength that it has chosen."""
    probe = fit_probe(train, settings)
    return Score(probe.accuracy(test), {key: probe.strength})


@dataclasses.dataclass(frozen=True)
class LinearProbe:
    """A linear probe that has been fitted.

    Attributes:
        scale: Standardises features, before the model sees them.
        model: The logistic regression.
        strength: Weight of the data against the penalty, chosen on a held-out part.
    """

    scale: Callable[[np.ndarray], np.ndarray]
    model: LogisticRegression
    strength: float

    def accuracy(self, test: Labelled) -> float:
        """Give the share of images whose most probable class is their label."""
        return accuracy(self.model, self.scale(test.features), test.labels)


def fit_probe(train: Labelled, settings: Settings) -> LinearProbe:
    """Fit the probe, its strength chosen on a held-out part of the training images."""
    held_out = splits.hold_out(train.labels, settings.validation_fraction, settings.seed)
    scale = standardiser(train.features)
    x = scale(train.features)
    with threads(x):
        strength = choose_strength(x, train.labels, [held_out], settings.strengths)
        return LinearProbe(scale, fit(x, train.labels, strength), strength)


def threads(features: np.ndarray) -> threadpool_limits:
    """Limit a small problem to one thread: several are slower, and one sums in one order."""
    return threadpool_limits(1 if features.size <= LARGE else None)


def standardiser(train: Features) -> Callable[[np.ndarray], np.ndarray]:
    """Centre each feature and divide all by one number, both taken from `train`.

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


def _finite(features: np.ndarray) -> Features:
    """Give the features in float64, or refuse them."""
    features = np.asarray(features, np.float64)
    if not np.isfinite(features).all():
        raise ValueError("features must be finite: the encoder gave NaN or infinity")
    return features


def fit(features: Features, labels: Labels, strength: float) -> LogisticRegression:
    """Fit the model, minimising `strength · Σ cross-entropy + ½ ‖weights‖²` with L-BFGS.

    Large problems (Fashion-MNIST's pixels are one) are solved in float32 and to a wider tolerance,
    eight times faster; their test accuracy changed by less than half a point.
    """
    large = features.size > LARGE
    model = LogisticRegression(
        C=strength, max_iter=MAX_ITERATIONS, tol=TOLERANCE_OF_LARGE if large else TOLERANCE
    )
    return model.fit(features.astype(np.float32) if large else features, labels)


def accuracy(model: LogisticRegression, features: Features, labels: Labels) -> float:
    """Give the share of images whose most probable class is their label."""
    return float(np.mean(model.predict(features) == labels))


def log_loss(model: LogisticRegression, features: Features, labels: Labels) -> float:
    """Average −log(probability of the label). Every label must be one the model has seen."""
    columns = np.searchsorted(model.classes_, labels)
    log_probabilities = model.predict_log_proba(features)
    return float(-np.mean(log_probabilities[np.arange(len(labels)), columns]))


def choose_strength(
    features: Features,
    labels: Labels,
    folds: Sequence[splits.Fold],
    strengths: Sequence[float],
) -> float:
    """Choose the strength with the lowest log-loss on the held-out parts of `folds`.

    Log-loss rather than accuracy: on the twenty images that one fold of a 100-label draw holds
    out, accuracy moves in steps of five points and cannot tell strengths apart.

    Args:
        features: Features of training images only, `[n, f]`.
        labels: Their labels, `[n]`.
        folds: Index pairs `(fit, held_out)` into these.
        strengths: Candidates. Ties go to the smaller one, the more regularised probe.

    Returns:
        One of `strengths`.
    """

    def held_out_loss(strength: float) -> float:
        losses = [
            log_loss(fit(features[a], labels[a], strength), features[b], labels[b])
            for a, b in folds
        ]
        return float(np.mean(losses))

    return min(sorted(strengths), key=held_out_loss)
