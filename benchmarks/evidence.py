"""Seconds and memory to align two large sets of which 100 pairs are known, from mapped files.

python -m benchmarks.evidence          # 100,000 rows a side of 128, a minute on two cores
python -m benchmarks.evidence --quick  # 10,000 rows
python -m benchmarks.evidence --rows=1000000 --width=256  # 2 GB on disk

The second set is the first one by a known map, with noise, in another order. `procrustes` is the
closed form of the known pairs, the cheapest rival. Memory is the most that the process held beside
what it held before the call, files that are mapped among it.
"""

import pathlib
import resource
import tempfile
import time

import numpy as np

from benchmarks import measure
from gca_jax.models import choice, closed_form, evidence

KNOWN, JUDGED, CLUSTERS, AT_ONCE = 100, 2_000, 300, 65_536


def write(folder, rows, width):
    """Write both sets as float32 unit rows; return their files and the column of each row."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((CLUSTERS, width)) * np.linspace(2, 0.2, width)
    shares = rng.dirichlet(np.ones(CLUSTERS))
    turn = np.linalg.qr(rng.standard_normal((width, width)))[0]
    order = rng.permutation(rows)
    sets = [
        np.lib.format.open_memmap(folder / name, "w+", np.float32, (rows, width))
        for name in ("x.npy", "y.npy")
    ]
    for start in range(0, rows, AT_ONCE):
        count = min(AT_ONCE, rows - start)
        x = centres[rng.choice(CLUSTERS, count, p=shares)]
        x = x + rng.standard_normal(x.shape) * np.linspace(1, 0.1, width)
        y = x @ turn + 0.4 * rng.standard_normal(x.shape)
        sets[0][start : start + count] = closed_form.unit(x)
        sets[1][order[start : start + count]] = closed_form.unit(y)
    for one in sets:
        one.flush()
    return order


def recall(maps, x, y, order):
    """Return the share of rows whose partner is the nearest of `JUDGED`, in %."""
    rows = np.arange(KNOWN, KNOWN + JUDGED)
    nearest = (maps.map_x(x[rows]) @ maps.map_y(y[order[rows]]).T).argmax(axis=1)
    return 100 * float(np.mean(nearest == np.arange(JUDGED)))


def most_held():
    """Return the most bytes that this process has held."""
    return 1_024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def work(quick, rows, width):
    rows, width = 10_000 if quick else int(rows), int(width)
    with tempfile.TemporaryDirectory() as path:
        order = write(pathlib.Path(path), rows, width)
        x, y = (np.load(pathlib.Path(path) / name, mmap_mode="r") for name in ("x.npy", "y.npy"))
        pairs = np.stack([np.arange(KNOWN), order[:KNOWN]], axis=1)
        plain = closed_form.procrustes(
            closed_form.moments(x[pairs[:, 0]], y[pairs[:, 1]], centre=False)
        )
        before, began = most_held(), time.perf_counter()
        found = choice.choose(x, y, evidence.Given(pairs))
        seconds = time.perf_counter() - began
        return {
            "rows": rows,
            "width": width,
            "seconds": seconds,
            "GB": (most_held() - before) / 1e9,
            "chosen": found.name,
            "recall": recall(found.maps, x, y, order),
            "recall of procrustes": recall(plain, x, y, order),
        }


if __name__ == "__main__":
    measure.command("evidence", __doc__, work, rows="100000", width="128")
