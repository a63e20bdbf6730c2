"""CIFAR-10 and CIFAR-100 from the archives of pickles that their author offers for Python."""

import codecs
import io
import pickle
import tarfile
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gca_jax.data.dataset import Dataset
from gca_jax.data.memory import arrays

SUFFIXES = (".tar.gz", ".tgz", ".tar")


class Layout(NamedTuple):
    """Files of an archive, below its one folder, and keys of what they hold."""

    name: str
    train: tuple[str, ...]
    test: str
    labels: bytes
    meta: str
    names: bytes


LAYOUTS = {
    "cifar-10-batches-py": Layout(
        "cifar10",
        tuple(f"data_batch_{k}" for k in range(1, 6)),
        "test_batch",
        b"labels",
        "batches.meta",
        b"label_names",
    ),
    "cifar-100-python": Layout(
        "cifar100", ("train",), "test", b"fine_labels", "meta", b"fine_label_names"
    ),
}


def load(path: Path, limit: int | None = None) -> Dataset:
    """Read cifar-10-python.tar.gz or cifar-100-python.tar.gz; nothing is unpacked to the disk.

    Raises:
        ValueError: The file is missing, damaged or another archive; the message names it.
    """
    if not path.is_file():
        raise ValueError(f"{path} {'is not a file' if path.exists() else 'does not exist'}")
    try:
        layout, found = _read(path)
        names = np.array([name.decode() for name in found[layout.meta][layout.names]])
        train, test = (
            (
                np.concatenate([found[file][b"data"] for file in files]),
                names[np.concatenate([found[file][layout.labels] for file in files])],
            )
            for files in (layout.train, (layout.test,))
        )
        images, test_images = (
            np.ascontiguousarray(x.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
            for x, _ in (train, test)
        )
        given = {"test_images": test_images, "test_labels": test[1]}
        return arrays(images, train[1], **given, limit=limit, name=layout.name)
    except Exception as error:  # of gzip, tarfile, pickle or a key: no common base class
        words = str(error).splitlines() or [type(error).__name__]
        raise ValueError(
            f"{path} cannot be read as cifar-10-python.tar.gz or cifar-100-python.tar.gz: "
            + words[0]
        ) from error


def _read(path: Path) -> tuple[Layout, dict[str, Any]]:
    """Read the pickles of an archive by the names of their files."""
    found: dict[str, dict[str, Any]] = {folder: {} for folder in LAYOUTS}
    with tarfile.open(path) as archive:
        for member in archive:
            folder, _, name = member.name.removeprefix("./").rpartition("/")
            if folder in LAYOUTS and name in _files(LAYOUTS[folder]):
                content = archive.extractfile(member)
                if content is not None:
                    found[folder][name] = _load(content.read())
    for folder, layout in LAYOUTS.items():
        if missing := [name for name in _files(layout) if name not in found[folder]]:
            if found[folder]:
                raise ValueError(f"it has no {folder}/{missing[0]}")
        else:
            return layout, found[folder]
    raise ValueError(f"it has no folder {' or '.join(LAYOUTS)}")


def _files(layout: Layout) -> tuple[str, ...]:
    return (*layout.train, layout.test, layout.meta)


KNOWN = {
    "_reconstruct": np.zeros(0).__reduce__()[0],
    "ndarray": np.ndarray,
    "dtype": np.dtype,
    "encode": codecs.encode,
}
"""All that these pickles name; any other name could be a program."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] in ("numpy", "_codecs") and name in KNOWN:
            return KNOWN[name]
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is no array")


def _load(content: bytes) -> Any:
    with warnings.catch_warnings():  # NumPy's, of pickles as old as these
        warnings.simplefilter("ignore")
        return _Unpickler(io.BytesIO(content), encoding="bytes").load()
