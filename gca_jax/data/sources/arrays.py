"""Arrays of the user's, from an archive of `numpy.savez`."""

import pathlib
import zipfile
import zlib

import numpy as np

from gca_jax.data import memory
from gca_jax.data.dataset import Dataset
from gca_jax.data.sources.row import Source

KEYS = [  # arguments of `memory.arrays`
    "images",
    "labels",
    "domains",
    "test_images",
    "test_labels",
    "test_domains",
    "pretrain_images",
]
HOLDS = (
    "an archive of numpy.savez with images [n, h, w, c] or [n, h, w], uint8 or floats in [0, 1], "
    f"and perhaps {', '.join(KEYS[1:])}"
)


def load(name: str, row: Source, *, file: str | None = None, limit: int | None = None) -> Dataset:
    """Read an archive whose keys are arguments of `memory.arrays`.

    Args:
        name: "arrays".
        row: its row in the table.
        file: the archive; `train_images` means `images`, and `train_labels`, `train_domains`
            likewise.
        limit: at most so many images of each part.

    Raises:
        ValueError: the file cannot be read or holds something else; the message names it.
    """
    if file is None:
        raise ValueError(f"name your file with --config.data.file=X.npz: {HOLDS}")
    path = pathlib.Path(file).expanduser()
    try:
        found = _read(path)
    except ValueError as error:
        raise ValueError(f"{path} {error}; it must be {HOLDS}") from error
    try:
        return memory.arrays(**found, limit=limit, name=name)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _read(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Read an archive's arrays, by their names as arguments.

    Raises:
        ValueError: it cannot be read or has wrong keys; a predicate for the sentence "FILE ...".
    """
    if not path.exists():
        raise ValueError("does not exist")
    if not zipfile.is_zipfile(path):
        raise ValueError("is not a .npz file")
    with np.load(path) as archive:
        keys = {key: key.removeprefix("train_") for key in archive.files}
        if len(set(keys.values())) < len(keys) or not {"images"} <= set(keys.values()) <= set(KEYS):
            raise ValueError(f"has the keys {', '.join(keys) or 'of no array'}")
        try:
            return {argument: archive[key] for key, argument in keys.items()}
        except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"has an array that cannot be read ({error})") from error
