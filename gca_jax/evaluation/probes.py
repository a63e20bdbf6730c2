"""The procedure by which every encoder is judged: two linear probes and nearest neighbours."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from gca_jax.evaluation import knn, linear, splits

STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)
NEIGHBOURS = (1, 3, 5, 10, 20, 50)


def evaluate_encoder(
    train_features: Float[np.ndarray, "n f"],
    train_labels: Int[np.ndarray, " n"],
    test_features: Float[np.ndarray, "m f"],
    test_labels: Int[np.ndarray, " m"],
    *,
    seed: int,
    labels_per_class: int,
    draws: int,
    validation_fraction: float,
    strengths: Sequence[float] = STRENGTHS,
    neighbours: Sequence[int] = NEIGHBOURS,
) -> dict[str, Any]:
    """Test accuracy of frozen features by linear probe, few-label linear probe and k-NN.

    Every setting is chosen on training images: on a held-out part of the training split, and for
    a few-label draw by cross-validation within its own labels. Test labels are only counted.
    Which images are drawn or held out depends on the labels and the seed alone, so encoders
    compared with the same arguments see the same images.

    Args:
        train_features: Features of the training split, `[n, f]`.
        train_labels: Their labels, `[n]`, integers from 0.
        test_features: Features of the test split, `[m, f]`.
        test_labels: Their labels, `[m]`.
        seed: Of every split and draw.
        labels_per_class: Labels of each class that a few-label probe sees, at least 2.
        draws: How many few-label probes are averaged.
        validation_fraction: Share of the training split held out to choose settings.
        strengths: Candidates for the weight of the data against the L2 penalty of one.
        neighbours: Candidates for k.

    Returns:
        `accuracy` with `linear`, `linear_<labels_per_class>_per_class` (mean over draws) and
        `knn`; `draws` with the accuracy of each draw and their standard deviation; `settings`
        with what was chosen.

    Raises:
        ValueError: An argument is out of range; the message names it.
    """
    _check_features(train_features, train_labels, test_features, test_labels)
    check_settings(
        train_labels,
        test_labels,
        labels_per_class=labels_per_class,
        draws=draws,
        validation_fraction=validation_fraction,
        strengths=strengths,
        neighbours=neighbours,
    )
    full = fit_linear_probe(
        train_features,
        train_labels,
        seed=seed,
        validation_fraction=validation_fraction,
        strengths=strengths,
    )
    test = full.scale(test_features)
    held_out = splits.hold_out(train_labels, validation_fraction, seed)
    k = knn.choose_neighbours(train_features, train_labels, *held_out, neighbours)
    nearest = knn.predict(train_features, train_labels, test_features, [k])[0]
    few = []
    with _threads(train_features):
        for index in range(draws):
            chosen = splits.draw(train_labels, labels_per_class, seed, index)
            labels = train_labels[chosen]
            folds = splits.folds(labels, validation_fraction, seed)
            train = full.scale(train_features[chosen]), labels
            few.append(_probe(train, (test, test_labels), folds, strengths))
    accuracies = [accuracy for accuracy, _ in few]
    few_label = f"linear_{labels_per_class}_per_class"
    return {
        "accuracy": {
            "linear": linear.accuracy(full.model, test, test_labels),
            few_label: float(np.mean(accuracies)),
            "knn": float(np.mean(nearest == test_labels)),
        },
        "draws": {"accuracy": accuracies, "sd": float(np.std(accuracies, ddof=draws > 1))},
        "settings": {
            "linear_strength": full.strength,
            f"{few_label}_strengths": [chosen for _, chosen in few],
            "knn_neighbours": k,
        },
    }


@dataclasses.dataclass(frozen=True)
class LinearProbe:
    """A linear probe that has been fitted.

    Attributes:
        scale: Of features, before the model sees them.
        model: The logistic regression.
        strength: Of the data against the penalty, chosen on a held-out part.
    """

    scale: Callable[[np.ndarray], np.ndarray]
    model: LogisticRegression
    strength: float

    def accuracy(self, features: Float[np.ndarray, "m f"], labels: Int[np.ndarray, " m"]) -> float:
        """Share of images whose most probable class is their label."""
        return linear.accuracy(self.model, self.scale(features), labels)


def fit_linear_probe(
    features: Float[np.ndarray, "n f"],
    labels: Int[np.ndarray, " n"],
    *,
    seed: int,
    validation_fraction: float,
    strengths: Sequence[float],
) -> LinearProbe:
    """The linear probe on all labels.

    Args:
        features: Of the training split, `[n, f]`.
        labels: Theirs, `[n]`: classes, or domains in place of them.
        seed: Of the held-out part.
        validation_fraction: Share of the training split held out to choose the strength.
        strengths: Candidates.
    """
    held_out = splits.hold_out(labels, validation_fraction, seed)
    scale = linear.standardiser(features)
    x = scale(features)
    with _threads(x):
        strength = linear.choose_strength(x, labels, [held_out], strengths)
        return LinearProbe(scale, linear.fit(x, labels, strength), strength)


def _threads(features: np.ndarray) -> threadpool_limits:
    """Threads make small problems slower, and sums run in one order with one."""
    return threadpool_limits(1 if features.size <= linear.LARGE else None)


def _probe(
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    folds: Sequence[splits.Fold],
    strengths: Sequence[float],
) -> tuple[float, float]:
    """Test accuracy, and the strength that `folds` of the training images chose."""
    strength = linear.choose_strength(*train, folds, strengths)
    return linear.accuracy(linear.fit(*train, strength), *test), strength


def check_settings(
    train_labels: Int[np.ndarray, " n"],
    test_labels: Int[np.ndarray, " m"],
    *,
    labels_per_class: int,
    draws: int,
    validation_fraction: float,
    strengths: Sequence[float] = STRENGTHS,
    neighbours: Sequence[int] = NEIGHBOURS,
) -> None:
    """Refuses settings that `evaluate_encoder` could not use: to be asked before a long training.

    Args:
        train_labels: Of the training split, `[n]`.
        test_labels: Of the test split, `[m]`; each must be of a class with training images.
        labels_per_class: As in `evaluate_encoder`, and so are the others.
        draws: How many few-label probes.
        validation_fraction: Share held out.
        strengths: Candidates, positive.
        neighbours: Candidates, at most as many as images fit the probe while k is chosen.

    Raises:
        ValueError: A setting is out of range; the message names it.
    """
    unseen = np.setdiff1d(test_labels, train_labels)
    if len(unseen):
        raise ValueError(f"test_labels has classes without a training image: {unseen.tolist()}")
    if labels_per_class < 2:
        raise ValueError(
            "labels_per_class must be at least 2 (one to fit, one to choose the strength), "
            f"got {labels_per_class}"
        )
    splits.draw(train_labels, labels_per_class, 0, 0)
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    fit, _ = splits.hold_out(train_labels, validation_fraction, 0)
    if not strengths or min(strengths) <= 0:
        raise ValueError(f"strengths must be positive numbers, got {list(strengths)}")
    if not neighbours or not 1 <= min(neighbours) <= max(neighbours) <= len(fit):
        raise ValueError(
            f"neighbours must lie in [1, {len(fit)}] (the images that vote), got {list(neighbours)}"
        )


def _check_features(
    train_features: np.ndarray,
    train_labels: np.ndarray,
    test_features: np.ndarray,
    test_labels: np.ndarray,
) -> None:
    for name, x, y in (
        ("train", train_features, train_labels),
        ("test", test_features, test_labels),
    ):
        if x.ndim != 2 or y.shape != x.shape[:1]:
            raise ValueError(
                f"{name}_features must be [n, f] and {name}_labels [n], got {x.shape}, {y.shape}"
            )
    if train_features.shape[1] != test_features.shape[1]:
        raise ValueError(
            "train_features and test_features must have one width, "
            f"got {train_features.shape} and {test_features.shape}"
        )
