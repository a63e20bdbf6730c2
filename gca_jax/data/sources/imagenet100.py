"""ImageNet-100: a hundred classes of ImageNet 2012, streamed from the set that TFDS prepared.

The classes are those of Y. Tian, D. Krishnan and P. Isola, "Contrastive multiview coding", ECCV
2020, in the order of the file `imagenet100.txt` of their repository HobbitLong/CMC; label k is
line k.
"""

import dataclasses
import hashlib
import os
import pathlib
import zipfile
from functools import partial
from importlib import resources
from typing import Any

import numpy as np
from jaxtyping import Int, Int32
from tqdm import tqdm

from gca_jax.data import pictures, records, splits
from gca_jax.data.dataset import Dataset, Part, Source, Streamed
from gca_jax.data.sources import tfds_sets

CLASSES = 1000  # of ImageNet 2012


def class_list() -> tuple[str, ...]:
    """The WordNet ids of the hundred classes."""
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

    The first use reads the prepared ImageNet once through and decodes each picture of the hundred
    classes; the index that it makes is kept beside the records.
    """
    whole = dataclasses.replace(row, classes=CLASSES, images={})  # ours are counted when found
    builder = tfds_sets.open_set(name, whole, row.builder, data_dir)
    remedy = tfds_sets.remedy(name, builder, data_dir)

    def read(part: str) -> Part:
        faults = records.Faults(f"{name} ({part})", skip_unreadable, remedy)
        source = records.source(builder, row.splits[part])
        positions, labels = _find(builder, row.splits[part], source, faults)
        tfds_sets.note_size(name, part, len(positions), row)
        few = splits.evenly_spaced(len(positions), limit)
        return Part(Streamed(source, positions[few], size), labels[few])

    return Dataset.of(name, *map(read, row.splits), class_names=class_list())


def _find(
    builder: Any, split: str, source: Any, faults: records.Faults
) -> tuple[Int[np.ndarray, "n"], Int32[np.ndarray, "n"]]:
    """Positions and labels of the hundred classes' pictures, from the index or by reading all."""
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
        _store(path, found | {"total": np.array(len(source))})
    for position, error in zip(found["broken"], found["errors"], strict=True):
        faults.add(records.place(source, int(position)), OSError(str(error)))
    faults.report(len(found["positions"]) + len(found["broken"]))
    return found["positions"], found["labels"]


def _search(source: Any, names: list[str], title: str) -> dict[str, np.ndarray]:
    """Read every record, decode those of the hundred classes."""
    ids = class_list()
    new = {label: ids.index(name) for label, name in enumerate(names) if name in ids}
    others = set(range(CLASSES)) - new.keys()
    everything = records.rows(source, np.arange(len(source)))
    bar = tqdm(everything, title, len(source), unit=" images", disable=None)
    wanted = ((p, r) for p, r in bar if isinstance(r, Exception) or r["label"] not in others)
    look = partial(records.decode, channels=3, classes=CLASSES, keep=lambda image: None)
    seen = [(p, label, error) for p, label, _, error in pictures.in_threads(look, wanted)]
    broken = [(p, str(error)) for p, _, error in seen if error is not None]
    return {
        "positions": np.array([p for p, _, error in seen if error is None], np.int64),
        "labels": np.array([new[label] for _, label, error in seen if error is None], np.int32),
        "broken": np.array([p for p, _ in broken], np.int64),
        "errors": np.array([error for _, error in broken], np.str_),
    }


def _store(path: pathlib.Path, index: dict[str, np.ndarray]) -> None:
    """Keep the index; where the folder is read-only, the next run searches again."""
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            np.savez(file, **index)  # type: ignore[arg-type]
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
