"""Probes of large features beside scikit-learn's: seconds and accuracy. A few minutes of one core.

python -m benchmarks.probes --folder=/usr/share/datasets/fashion-mnist  # dataset-fashion-mnist
python -m benchmarks.probes                                             # random data of its shapes

The linear probe chooses one of two strengths on a held-out tenth of 20,000 images of 784 pixels and
is then fitted to all of them, as in an evaluation; both solvers end at the same gradient of the
same objective. k-NN finds 20 neighbours of 10,000 among 60,000 features of 512 numbers. One run of
each, compilation included; CPU seconds beside those of the clock, which other work on the machine
moves.
"""

import gzip
import pathlib
import time

import numpy as np
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from benchmarks import measure
from gca_jax.evaluation import knn as votes
from gca_jax.evaluation import linear
from gca_jax.evaluation.result import Labelled
from gca_jax.evaluation.splits import Settings

SETTINGS = Settings(
    seed=0, labels_per_class=10, draws=1, validation_fraction=0.1, strengths=(0.01, 1.0)
)
TRAIN, TEST, PIXELS = 20_000, 10_000, 784
BANK, FEATURES, NEIGHBOURS = 60_000, 512, 20


def read(folder, kind):
    """Pixels in [0, 1] and labels of Fashion-MNIST's "train" or "t10k"."""
    paths = (next(pathlib.Path(folder).glob(f"{kind}-{part}*")) for part in ("i", "l"))
    images, labels = (np.frombuffer(gzip.decompress(p.read_bytes()), np.uint8) for p in paths)
    return Labelled(images[16:].reshape(-1, PIXELS) / np.float32(255), labels[8:].astype(np.int32))


def drawn(count, width, rank=40):
    """Features of ten classes, as correlated as pixels are: most of their variance in a few."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, count).astype(np.int32)
    hidden = rng.normal(size=(10, rank))[labels] + 1.5 * rng.normal(size=(count, rank))
    x = hidden @ rng.normal(size=(rank, width)) + 0.5 * rng.normal(size=(count, width))
    return Labelled(x.astype(np.float32), labels)


def split(data, count):
    """The first `count` images, and the last TEST."""
    return Labelled(*(part[:count] for part in data)), Labelled(*(part[-TEST:] for part in data))


def peer(x, labels, strengths):
    """scikit-learn's path of models, as `linear.path`."""
    for strength in strengths:
        model = LogisticRegression(C=strength, max_iter=linear.MAX_ITERATIONS, tol=linear.TOLERANCE)
        yield model.fit(x, labels)


def timed(function):
    """What a function gives, with its seconds by the clock and of all cores."""
    clock, cpu = time.perf_counter(), time.process_time()
    found = function()
    seconds = {"seconds": time.perf_counter() - clock, "cpu_seconds": time.process_time() - cpu}
    return found, seconds


def probed(train, test, path):
    """The linear probe whose models come from `path`: its seconds, its end, its accuracy."""
    ours, linear.path = linear.path, path
    probe, seconds = timed(lambda: linear.fit_probe(train, SETTINGS))
    linear.path = ours
    loss, gradient = reached(probe, train)
    found = {"strength": probe.strength, "accuracy": probe.accuracy(test), **seconds}
    return found | {"iterations": int(probe.model.n_iter_[0]), "loss": loss, "gradient": gradient}


def reached(probe, train):
    """Mean penalised loss and the largest entry of its gradient, in float64."""
    x, n = probe.scale(train.features), len(train.labels)
    w, b = (np.asarray(part, np.float64) for part in (probe.model.coef_, probe.model.intercept_))
    log_p = log_softmax(x @ w.T + b, axis=1)
    error = np.exp(log_p) - np.eye(len(w))[train.labels]
    gradient = error.T @ x / n + w / (n * probe.strength)
    loss = (w**2).sum() / (2 * n * probe.strength) - log_p[np.arange(n), train.labels].mean()
    return float(loss), float(max(np.abs(gradient).max(), np.abs(error.mean(axis=0)).max()))


def neighbours(train, test):
    """Our k-NN beside scikit-learn's: seconds of both, and how many predictions are equal."""

    def weights(distance):
        return np.exp(-distance / votes.TEMPERATURE)

    kind = KNeighborsClassifier(NEIGHBOURS, algorithm="brute", metric="cosine", weights=weights)
    theirs, their_seconds = timed(lambda: kind.fit(*train).predict(test.features))
    ours, our_seconds = timed(lambda: votes.predict(*train, test.features, [NEIGHBOURS])[0])
    equal = {"equal_predictions": float(np.mean(ours == theirs))}
    both = {"ours": (ours, our_seconds), "sklearn": (theirs, their_seconds)}
    return equal | {
        name: {"accuracy": float(np.mean(found == test.labels)), **seconds}
        for name, (found, seconds) in both.items()
    }


def work(folder):
    if folder:
        train, test = split(read(folder, "train"), TRAIN)[0], read(folder, "t10k")
    else:
        train, test = split(drawn(TRAIN + TEST, PIXELS), TRAIN)
    result = {"data": "Fashion-MNIST" if folder else "random"}
    for name, path in {"ours": linear.path, "sklearn": peer}.items():
        result[f"linear, {name}"] = probed(train, test, path)
        print(name, result[f"linear, {name}"], flush=True)
    return {**result, "knn": neighbours(*split(drawn(BANK + TEST, FEATURES), BANK))}


if __name__ == "__main__":
    measure.command("probes", __doc__, work, folder="")
