"""Seconds and accuracy of the probes on large features. A few minutes of one core.

python -m benchmarks.probes --folder=/usr/share/datasets/fashion-mnist  # dataset-fashion-mnist
python -m benchmarks.probes                                             # random data of its shapes
python -m benchmarks.probes --quick                                     # a tenth of them

The linear probe chooses one of two values of C on a held-out tenth of 20,000 images of 784 pixels
and is then fitted to all of them, as in an evaluation. k-NN finds 20 neighbours of 10,000 among
60,000 features of 512 numbers. One run of each, compilation included; CPU seconds beside those of
the clock, which other work on the machine moves.
"""

import gzip
import pathlib
import time

import numpy as np

from benchmarks import measure
from gca_jax.evaluation import knn, linear
from gca_jax.evaluation.result import Labelled
from gca_jax.evaluation.splits import Settings

SETTINGS = Settings(
    seed=0, labels_per_class=10, draws=1, validation_fraction=0.1, strengths=(0.01, 1.0)
)
PIXELS, FEATURES, NEIGHBOURS = 784, 512, 20


def read(folder, kind, count):
    """Pixels in [0, 1] and labels of Fashion-MNIST's "train" or "t10k"."""
    paths = (next(pathlib.Path(folder).glob(f"{kind}-{part}*")) for part in ("i", "l"))
    images, labels = (np.frombuffer(gzip.decompress(p.read_bytes()), np.uint8) for p in paths)
    pixels = images[16:].reshape(-1, PIXELS) / np.float32(255)
    return Labelled(pixels[:count], labels[8 : 8 + count].astype(np.int32))


def drawn(train, test, width, rank=40):
    """Features of ten classes, as correlated as pixels are: most of their variance in a few."""
    rng, count = np.random.default_rng(0), train + test
    labels = rng.integers(0, 10, count).astype(np.int32)
    hidden = rng.normal(size=(10, rank))[labels] + 1.5 * rng.normal(size=(count, rank))
    x = hidden @ rng.normal(size=(rank, width)) + 0.5 * rng.normal(size=(count, width))
    x = x.astype(np.float32)
    return Labelled(x[:train], labels[:train]), Labelled(x[train:], labels[train:])


def timed(function):
    """What a function gives, with its seconds by the clock and of all cores."""
    clock, cpu = time.perf_counter(), time.process_time()
    found = function()
    seconds = {"seconds": time.perf_counter() - clock, "cpu_seconds": time.process_time() - cpu}
    return found, seconds


def work(quick, folder):
    share = 10 if quick else 1
    train, test = drawn(20_000 // share, 10_000 // share, PIXELS)
    if folder:
        train, test = read(folder, "train", len(train.labels)), read(folder, "t10k", 10_000)
    probed, seconds = timed(lambda: linear.score(train, test, SETTINGS))
    result = {"data": "Fashion-MNIST" if folder else "random"}
    result["linear"] = {"accuracy": probed.accuracy, **seconds}
    bank, queries = drawn(60_000 // share, 10_000 // share, FEATURES)
    (found,), seconds = timed(lambda: knn.predict(*bank, queries.features, [NEIGHBOURS]))
    return result | {"knn": {"accuracy": float(np.mean(found == queries.labels)), **seconds}}


if __name__ == "__main__":
    measure.command("probes", __doc__, work, folder="")
