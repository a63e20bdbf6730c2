"""Arrays of the user's, from an archive of `numpy.savez`."""

import pathlib
import zipfile
import zlib

import numpy as np

from gca_jax.data import memory
from gca_jax.data.dataset import Dataset
from gca_jax.data.sources.row import Source

KINDS = ("images", "labels", "domains")
KEYS = [*KINDS, *(f"test_{kind}" for kind in KINDS), "pretrain_images"]  # of `memory.arrays`
HOLDS = (
    "an archive of numpy.savez with images [n, h, w, c] or [n, h, w], uint8 or floats in [0, 1], "
    f"and perhaps {', '.join(KEYS[1:])}"
)


def load(name: str, row: Source, *, file: str | None = None, limit: int | None = None) -> Dataset:
    """Read an archive whose keys are arguments of `memory.arrays`, perhaps after "train_"."""
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
    """Arrays of an archive by their names as arguments; errors are predicates of "FILE ..."."""
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
