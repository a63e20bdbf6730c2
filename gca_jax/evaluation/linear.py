"""Linear probes: multinomial logistic regression on frozen features, with all labels or a few."""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import Float
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix, log_loss
from threadpoolctl import threadpool_limits

from gca_jax.check import counted
from gca_jax.data.dataset import Dataset
from gca_jax.evaluation import softmax, splits
from gca_jax.evaluation.features import Features
from gca_jax.evaluation.frozen import Frozen
from gca_jax.evaluation.result import NO_LABELS, Labelled, Result, Score, probe, shares
from gca_jax.evaluation.splits import Labels, Settings
from gca_jax.experiment import Experiment, context

MAX_ITERATIONS = 5_000
TOLERANCE = 1e-4  # of the gradient of the mean loss
SHOWN = 3  # names of classes in a line
LARGE = 2**23  # entries of the features; beyond it scikit-learn takes minutes to hours


def check(experiment: Experiment) -> None:
    """Raise if no probe could be fitted to these labels with these settings."""
    config, data = experiment.config, experiment.data.dataset
    with context("config.evaluation"):
        settings = Settings(experiment.seed, **config.evaluation)
        if data.labelled:
            settings.check(data.train_labels, data.test_labels, data.class_names)
            for words in _shortages(data, settings):
                print(f"note: {words}")
    if len(data.test_images) < 2:
        raise ValueError(f"evaluation needs at least 2 test images, {data.name} has one")
    if not data.labelled:
        named = "dataset" not in experiment.given and "labelled_root" in config.data
        remedy = "; --config.data.labelled_root=DIR names a folder of images that have some" * named
        print(f"note: the images have no labels, so no probe of classes will be fitted{remedy}")


def _shortages(data: Dataset, settings: Settings) -> Iterator[str]:
    """Describe what probes do with classes that have too few training images."""
    most, share = settings.labels_per_class, settings.validation_fraction
    few, small = splits.fewer(data.train_labels, most), splits.too_small(data.train_labels, share)
    if few:
        yield (
            f"{_listed(data, few)} fewer than {most} training images: a probe on {most} labels a "
            "class takes those that there are"
        )
    if len(small):
        yield (
            f"{_listed(data, small.tolist())} too few training images to hold out {share:.0%} of "
            "them: settings of probes are chosen without them"
        )


def _listed(data: Dataset, labels: Collection[int]) -> str:
    """Write `1 class (name) has` or `12 classes (name, name, name, ...) have`."""
    names = [_name(data, label) for label in labels][:SHOWN]
    more = ", ..." if len(labels) > SHOWN else ""
    verb = "has" if len(labels) == 1 else "have"
    return f"{counted(len(labels), 'class')} ({', '.join(names)}{more}) {verb}"


def _name(data: Dataset, label: int) -> str:
    return str(label) if data.class_names is None else data.class_names[label]


def evaluate(frozen: Frozen) -> Result:
    """Evaluate the linear probe fitted to all labels of the training split."""
    if frozen.classes is None:
        return Result("linear", skipped=NO_LABELS)
    data, found = frozen.dataset, frozen.once(scores)
    right = np.array(found["trained"].predicted) == data.test_labels
    numbers: dict[str, object] = {
        "linear_cross_entropy": found["trained"].cross_entropy,
        "per_class": shares(right, data.test_labels, data.class_names),
    }
    small = splits.too_small(data.train_labels, frozen.settings.validation_fraction)
    if len(small):
        numbers["not_held_out"] = [_name(data, label) for label in small.tolist()]
    if data.test_domains is not None:
        numbers["per_domain"] = shares(right, data.test_domains, data.domain_names)
    return Result("linear", found, numbers, {"linear_right": right})


def evaluate_confusion(frozen: Frozen) -> Result:
    """Compute the confusion matrix of the trained encoder's linear probe."""
    if frozen.classes is None:
        return Result("confusion", skipped=NO_LABELS)
    predicted = frozen.once(scores)["trained"].predicted
    labels = range(frozen.dataset.num_classes)
    counts = confusion_matrix(frozen.classes[1], predicted, labels=labels)
    return Result("confusion", arrays={"confusion": counts})


def evaluate_few(frozen: Frozen) -> Result:
    """Evaluate the linear probe fitted to a few labels of each class."""
    name = f"linear_{frozen.settings.labels_per_class}_per_class"
    found = probe(frozen, frozen.classes, score_few, name=name)
    by_draw = {
        encoder: {"accuracy": list(score.draws), "sd": score.sd}
        for encoder, score in found.scores.items()
    }
    numbers: dict[str, object] = {"draws": by_draw}
    data = frozen.dataset
    if data.labelled and (few := splits.fewer(data.train_labels, frozen.settings.labels_per_class)):
        numbers["fewer_labels"] = {_name(data, label): count for label, count in few.items()}
    return dataclasses.replace(found, numbers=numbers)


@dataclasses.dataclass(frozen=True)
class LinearProbe:
    """A fitted probe: its standardisation of features, its model and its C."""

    scale: Callable[[np.ndarray], np.ndarray]
    model: LogisticRegression
    c: float

    def accuracy(self, test: Labelled) -> float:
        """Compute the share of images whose most probable class is their label."""
        return float(np.mean(self.predict(test.features) == test.labels))

    def predict(self, features: Features) -> Labels:
        """Give the most probable class of each image."""
        return self.model.predict(self.scale(features))

    def probabilities(self, features: Features) -> Float[np.ndarray, "m c"]:
        """Give the probability of each of the model's classes."""
        return self.model.predict_proba(self.scale(features))


def fit_probe(train: Labelled, settings: Settings) -> LinearProbe:
    """Fit the probe, its C chosen on a held-out part of the training images."""
    held_out = splits.hold_out(train.labels, settings.validation_fraction, settings.seed)
    scale = standardiser(train.features)
    x = scale(train.features)
    if x.size > LARGE:
        x = x.astype(np.float32)
    with threads(x):
        c = choose_c(x, train.labels, [held_out], settings.strengths)
        return LinearProbe(scale, fit(x, train.labels, c), c)


def probes(frozen: Frozen) -> dict[str, LinearProbe]:
    """Fit the probe of each encoder to all labels of the training images."""
    labels = frozen.dataset.train_labels
    return {
        encoder: fit_probe(Labelled(features, labels), frozen.settings)
        for encoder, features in frozen.train_features.items()
    }


def scores(frozen: Frozen) -> dict[str, Score]:
    """Score these probes on the test images."""
    labels = frozen.dataset.test_labels
    return {
        encoder: score_probe(fitted, Labelled(frozen.test_features[encoder], labels))
        for encoder, fitted in frozen.once(probes).items()
    }


def score_probe(fitted: LinearProbe, test: Labelled, key: str = "linear_strength") -> Score:
    """Score a probe that has been fitted; `key` names its C in `evaluation.json`."""
    p, classes = fitted.probabilities(test.features), fitted.model.classes_
    predicted = classes[p.argmax(axis=1)]
    return Score(
        float(np.mean(predicted == test.labels)),
        {key: fitted.c},
        predicted=tuple(predicted.tolist()),
        cross_entropy=float(log_loss(test.labels, p, labels=classes)),
    )


def score(
    train: Labelled, test: Labelled, settings: Settings, key: str = "linear_strength"
) -> Score:
    """Fit the linear probe to all labels and score it."""
    return score_probe(fit_probe(train, settings), test, key)


def score_few(train: Labelled, test: Labelled, settings: Settings) -> Score:
    """Score the mean over probes that are each fitted to one draw of the labels."""
    scale = standardiser(train.features)
    scaled_test = scale(test.features)
    accuracies, chosen = [], []
    with threads(train.features):
        for index in range(settings.draws):
            drawn = splits.draw(train.labels, settings.labels_per_class, settings.seed, index)
            x, labels = scale(train.features[drawn]), train.labels[drawn]
            folds = splits.folds(labels, settings.validation_fraction, settings.seed)
            c = choose_c(x, labels, folds, settings.strengths)
            accuracies.append(fit(x, labels, c).score(scaled_test, test.labels))
            chosen.append(c)
    key = f"linear_{settings.labels_per_class}_per_class_strengths"
    return Score(float(np.mean(accuracies)), {key: chosen}, accuracies)


def threads(features: np.ndarray) -> threadpool_limits:
    """Limit a small problem to one thread: several are slower, and one sums in one order."""
    return threadpool_limits(1 if features.size <= LARGE else None)


def standardiser(train: Features) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function that centres each feature and divides all by one scale, in float64.

    Both come from `train`, whose features get mean 0 and mean variance 1. One common scale makes
    C mean the same for every encoder. A scale per feature would do so too, but blows up features
    that are nearly constant (the rim of a scanned digit), which makes raw pixels look worse than
    they are.

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
    """Convert features to float64; raise if one is not finite."""
    features = np.asarray(features, np.float64)
    if not np.isfinite(features).all():
        raise ValueError("features must be finite: the encoder gave NaN or infinity")
    return features


def choose_c(
    features: np.ndarray, labels: Labels, folds: Sequence[splits.Fold], candidates: Sequence[float]
) -> float:
    """Choose the C with the lowest log-loss on the held-out parts of `folds`.

    Log-loss rather than accuracy: on the twenty images that one fold of a 100-label draw holds
    out, accuracy moves in steps of five points and cannot tell candidates apart. Ties go to the
    smaller C, the more regularised probe. A single candidate is not fitted.
    """
    if len(candidates) == 1:
        return candidates[0]
    rising = sorted(candidates)
    losses = []
    for seen, held_out in folds:
        models = path(features[seen], labels[seen], rising)
        x, y = features[held_out], labels[held_out]
        losses.append([log_loss(y, m.predict_proba(x), labels=m.classes_) for m in models])
    return rising[int(np.argmin(np.mean(losses, axis=0)))]


def fit(features: np.ndarray, labels: Labels, c: float) -> LogisticRegression:
    """Fit the model, minimising `c · Σ cross-entropy + ½ ‖weights‖²` with L-BFGS."""
    return next(path(features, labels, [c]))


def path(
    features: np.ndarray, labels: Labels, rising: Iterable[float]
) -> Iterator[LogisticRegression]:
    """Fit the model for each C in turn: by scikit-learn, or `softmax` where features are many."""
    if features.size > LARGE:
        most = MAX_ITERATIONS
        yield from softmax.path(features, labels, rising, tolerance=TOLERANCE, most=most)
        return
    model = LogisticRegression(max_iter=MAX_ITERATIONS, tol=TOLERANCE)
    for c in rising:
        yield model.set_params(C=c).fit(features, labels)
