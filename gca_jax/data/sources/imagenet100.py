"""ImageNet-100: a hundred classes of ImageNet 2012, streamed from TFDS's prepared set.

The classes are those of Y. Tian, D. Krishnan and P. Isola, "Contrastive multiview coding", ECCV
2020, in the order of the file `imagenet100.txt` of their repository HobbitLong/CMC; label k is
line k.
"""

import contextlib
import hashlib
import pathlib
import zipfile
from importlib import resources
from typing import Any

import numpy as np
from jaxtyping import Int, Int32
from tqdm import tqdm

from gca_jax import files
from gca_jax.data import splits
from gca_jax.data.dataset import Dataset, Part, Source, Streamed
from gca_jax.data.pictures import pixels
from gca_jax.data.sources import reading, tfds_sets
from gca_jax.data.sources.tfds_sets import Split

CLASSES = 1000  # of ImageNet 2012


def class_list() -> tuple[str, ...]:
    """List the WordNet ids of the hundred classes."""
    text = resources.files("gca_jax.data.sources").joinpath("imagenet100.txt").read_text()
    return tuple(text.split())


def load(
    name: str,
    row: Source,
    *,
    size: int = 224,
    data_dir: str | None = None,
    limit: int | None = None,
    skip_unreadable: bool = False,
) -> Dataset:
    """Read ImageNet-100, with ImageNet's validation set as its test set.

    At first use, all of the prepared ImageNet is read and the pictures of the hundred classes are
    decoded; an index of them is kept beside the records.
    """
    builder = tfds_sets.open_set(name, row, row.builder, data_dir)
    remedy = tfds_sets.remedy(name, builder, data_dir)

    def read(part: str) -> Part:
        faults = reading.Faults(f"{name} ({part})", skip_unreadable, remedy)
        source = Split.of(builder, row.splits[part])
        positions, labels = _find(builder, row.splits[part], source, faults)
        few = splits.evenly_spaced(len(positions), limit)
        return Part(Streamed(source, positions[few], size), labels[few])

    return Dataset.of(name, *map(read, row.splits), class_names=class_list())


def _find(
    builder: Any, split: str, source: Split, faults: reading.Faults
) -> tuple[Int[np.ndarray, "n"], Int32[np.ndarray, "n"]]:
    """Find positions and labels of the hundred classes' pictures, from the index or by reading."""
    digest = hashlib.sha256("\n".join(class_list()).encode()).hexdigest()[:8]
    path = pathlib.Path(builder.data_path) / f"imagenet100-{split}-{digest}.npz"
    try:
        with np.load(path) as file:
            found = dict(file)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        found = {}
    if found.get("total") != len(source):
        names = builder.info.features["label"].names
        found = _search(source, names, f"{faults.name}: finding its classes")
        with contextlib.suppress(OSError):  # without write access, each run searches
            files.write_arrays(path, found | {"total": np.array(len(source))})
    for position, error in zip(found["broken"], found["errors"], strict=True):
        faults.add(source, int(position), error)
    faults.report(np.concatenate([found["broken"], found["positions"]]))
    return found["positions"], found["labels"]


def _search(source: Split, names: list[str], title: str) -> dict[str, np.ndarray]:
    """Read all records and decode those of the hundred classes."""
    ids = class_list()
    new = {label: ids.index(name) for label, name in enumerate(names) if name in ids}
    others = set(range(CLASSES)) - new.keys()
    everything = reading.fetched(source, np.arange(len(source)))
    bar = tqdm(everything, title, len(source), unit=" images", disable=None)
    wanted = ((p, r) for p, r in bar if isinstance(r, Exception) or r["label"] not in others)
    seen = [*reading.decoded(source, wanted, lambda e: pixels(e, 3).shape, classes=CLASSES)]
    good = [(p, new[label]) for p, label, _, error in seen if error is None]
    broken = [(p, str(error)) for p, _, _, error in seen if error is not None]
    return {
        "positions": np.array([p for p, _ in good], np.int64),
        "labels": np.array([label for _, label in good], np.int32),
        "broken": np.array([p for p, _ in broken], np.int64),
        "errors": np.array([error for _, error in broken], np.str_),
    }
