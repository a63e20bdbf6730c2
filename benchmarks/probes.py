"""Linear probes of large features: seconds and accuracy, beside scikit-learn's.

python -m benchmarks.probes             # Fashion-MNIST, from Debian's dataset-fashion-mnist
python -m benchmarks.probes --quick     # 20,000 training images and two strengths

Each probe chooses its strength on a held-out tenth and is then fitted to all training images, as in
an evaluation. scikit-learn's ends at ten times the gradient: at the same one it takes several times
as long. One run of each, the first of which compiles; CPU seconds beside those of the clock, which
other work on the machine moves.
"""

import dataclasses
import gzip
import pathlib
import time
import warnings
from functools import partial

import numpy as np
from sklearn.linear_model import LogisticRegression

from benchmarks import measure
from gca_jax import models
from gca_jax.evaluation import baseline, features, knn, linear
from gca_jax.evaluation.probes import Labelled
from gca_jax.evaluation.splits import Settings

SETTINGS = Settings(seed=0, labels_per_class=10, draws=1, validation_fraction=0.1)
QUICK = dataclasses.replace(SETTINGS, strengths=(0.01, 1.0))
NETWORK = dict(stage_sizes=(1, 1, 1, 1), block="basic", width=64, stem="imagenet")
HEADS = dict(projector_hidden=8, projector_dim=8)  # which nothing here uses
PEER_TOLERANCE = 1e-3


def read(folder, kind):
    """Images and labels of Fashion-MNIST's "train" or "t10k"."""
    paths = (next(pathlib.Path(folder).glob(f"{kind}-{part}*")) for part in ("i", "l"))
    images, labels = (np.frombuffer(gzip.decompress(p.read_bytes()), np.uint8) for p in paths)
    return images[16:].reshape(-1, 28, 28, 1), labels[8:].astype(np.int32)


def prepare(images):
    return (images / 255.0 - 0.286) / 0.353


def encoded(train, test):
    """512 features of an untrained ResNet."""
    network = models.create(**NETWORK, **HEADS)
    encode = partial(features.encode, network, prepare)
    encoders = {"it": partial(encode, baseline.untrained(network, 0, train, prepare))}
    both = (features.extract(encoders, images, batch_size=500)["it"] for images in (train, test))
    return tuple(both)


def peer(x, labels, strengths):
    """scikit-learn's path of models, as `linear.path`."""
    for strength in strengths:
        model = LogisticRegression(C=strength, max_iter=5_000, tol=PEER_TOLERANCE)
        yield model.fit(x, labels)


def timed(function):
    """What a function gives, with its seconds by the clock and of all cores."""
    clock, cpu = time.perf_counter(), time.process_time()
    found = function()
    seconds = {"seconds": time.perf_counter() - clock, "cpu_seconds": time.process_time() - cpu}
    return found, seconds


def judged(train, test, path, settings):
    """Accuracy, strength and seconds of a probe whose models come from `path`."""
    ours, linear.path = linear.path, path
    score, seconds = timed(lambda: linear.score(train, test, settings))
    linear.path = ours
    return {"accuracy": score.accuracy, "strength": score.settings["linear_strength"], **seconds}


def compared(name, train, test, settings):
    """Our probe beside scikit-learn's, and k-NN's seconds."""
    ours = judged(train, test, linear.path, settings)
    print(f"{name}, ours: {ours}", flush=True)
    theirs = judged(train, test, peer, settings)
    neighbours, seconds = timed(lambda: knn.score(train, test, settings))
    times = {f"times_{key}": theirs[key] / ours[key] for key in ("seconds", "cpu_seconds")}
    points = 100 * (ours["accuracy"] - theirs["accuracy"])
    print(
        f"{name}: {times['times_cpu_seconds']:.1f} times faster, {points:+.2f} points", flush=True
    )
    nearest = {"accuracy": neighbours.accuracy, **seconds}
    print(f"{name}, k-NN: {nearest}", flush=True)
    return {"ours": ours, "sklearn": theirs, **times, "points": points, "knn": nearest}


def work(quick, folder):
    images, labels = read(folder, "train")
    test_images, test_labels = read(folder, "t10k")
    if quick:
        images, labels = images[:20_000], labels[:20_000]
    settings = QUICK if quick else SETTINGS
    warnings.simplefilter("ignore")
    makers = {
        "pixels": lambda *sets: map(features.pixels, sets),
        "untrained encoder": encoded,  # whose features take as long as the probes, on a CPU
    }
    result = {}
    for name, make in makers.items():
        train, test = make(images, test_images)
        both = Labelled(train, labels), Labelled(test, test_labels)
        result[name] = compared(name, *both, settings)
    return result


if __name__ == "__main__":
    measure.command(
        "probes", __doc__, work, quick=False, folder="/usr/share/datasets/fashion-mnist"
    )
