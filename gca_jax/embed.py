"""The features of all pictures in a folder, and the table that they are written to."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from tqdm import tqdm

from gca_jax.data import tables
from gca_jax.data.sources import in_place
from gca_jax.data.sources.tree import Tree
from gca_jax.encoder import Encoder
from gca_jax.evaluation.features import Features
from gca_jax.workdir import replace


class Embedded(NamedTuple):
    """The pictures that could be read, [k] rows of a tree, with their features [k, f]."""

    rows: Int[np.ndarray, "k"]
    features: Features
    faults: dict[str, str]


def write(encoder: Encoder, folder: str | Path, out: Path) -> None:
    """Write the features of all pictures in a folder, and say which were left out.

    Args:
        encoder: Of a run.
        folder: Any tree of in_place.
        out: File to write or overwrite; its ending is one of `tables.WRITERS`.

    Raises:
        ValueError: There are no pictures, or none can be read.
    """
    found = in_place.scan(folder, "--images", encoder.reads_arrays)
    print(found)
    embedded = embed(encoder, found)
    if embedded.faults:
        print(f"note: {in_place.describe(embedded.faults, len(found.files))}")
    table = columns(found, embedded)
    replace(out, lambda file: tables.WRITERS[out.suffix](file, table))
    print(f"{out}: {', '.join(table)} {list(embedded.features.shape)}")


def embed(encoder: Encoder, found: Tree) -> Embedded:
    """Encode every picture of a tree, a batch at a time.

    Raises:
        ValueError: None of them can be read.
    """
    size, count = encoder.batch_size, len(found.files)
    rows, parts = [], []
    faults: dict[str, str] = {}
    with tqdm(None, f"embedding {found.root}", count, unit=" images", disable=None) as bar:
        for start in range(0, count, size):
            asked = np.arange(start, min(start + size, count))
            some = in_place.read(found, asked, encoder.shape, encoder.shorter_side)
            faults |= some.faults
            if len(some.rows):
                rows.append(some.rows)
                parts.append(encoder.encode(some.images))
            bar.update(len(asked))
    if not rows:
        raise ValueError(in_place.describe(faults, count))
    return Embedded(np.concatenate(rows), np.concatenate(parts), faults)


def columns(found: Tree, embedded: Embedded) -> Mapping[str, np.ndarray]:
    """Give the columns of the table: path, class and domain where folders name them, features."""
    named = {"path": found.files, "class": found.classes, "domain": found.domains}
    names = {
        name: np.array(values)[embedded.rows]
        for name, values in named.items()
        if values is not None
    }
    return {**names, "features": embedded.features}
