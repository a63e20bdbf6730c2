"""Data sets of the Hugging Face hub, read by its library `datasets` if that is installed."""

import dataclasses
import os
import ssl
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32

from gca_jax.data import pictures
from gca_jax.data.dataset import Dataset, Source, named_values, number
from gca_jax.data.sources import network, reading
from gca_jax.data.splits import evenly_spaced, hold_out

TESTS = (
    "test",
    "testing",
    "validation",
    "valid",
    "val",
    "dev",
    "eval",
)  # test splits to look for if none is named
MISSING = (
    "the data set hf is read by the library of the Hugging Face hub, which is not installed: "
    "pip install 'datasets>=4'"
)
OFFLINE = "HF_HUB_OFFLINE"  # by which the library asks no host
REMEDY = "Remove that row, or choose another data set"


@dataclasses.dataclass(frozen=True)
class Encoded:
    """Encoded images of a split, as `dataset.Records`."""

    rows: Sequence[Mapping[str, Any]]  # {column: {"bytes": ..., "path": ...}}
    column: str
    split: str

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int, /) -> dict[str, Any]:
        image = self.rows[position][self.column]
        if image is None:
            raise ValueError("there is no image")
        encoded = image["bytes"]
        return {"image": Path(image["path"]).read_bytes() if encoded is None else encoded}

    def place(self, position: int) -> str:
        """Name a row."""
        return f"split {self.split}, row {position}"


def load(
    name: str,
    row: Source,
    *,
    path: str | None = None,
    subset: str | None = None,
    image: str = "image",
    label: str | None = None,
    domain: str | None = None,
    train: str = "train",
    test: str | None = None,
    size: int | None = None,
    channels: int | None = None,
    limit: int | None = None,
    skip_unreadable: bool = False,
) -> Dataset:
    """Read two splits of a data set; without one to test on, a fifth is held out.

    Args:
        name: Name in reports.
        row: Its row of `SOURCES`.
        path: A name on the hub, a folder of `save_to_disk`, or another argument of `load_dataset`.
        subset: Its configuration, if it has several.
        image: Column of images.
        label: Column of classes; None: unlabelled.
        domain: Column of domains; None: no domains.
        train: Split to train on.
        test: Split to test on; None: the first of `TESTS` that exists.
        size: Pixels of a side to resize images to; None: all have one size.
        channels: 1 converts images to grey, None to RGB.
        limit: Most rows of each part.
        skip_unreadable: Whether to leave out and count unreadable images. Else the first is an
            error, of a set that does not fit in memory only in the batch that needs it.

    Raises:
        ValueError: The library or the data set is missing, or a column is of another type.
    """
    if path is None:
        raise ValueError("name a data set with --config.data.path: one of the hub, or a folder")
    splits = _open(path, subset, train, test)
    columns = {"image": image, "label": label, "domain": domain}
    images = [_encoded(split, found, columns) for split, found in splits.items()]
    class_names, labels = _numbers("label", label, splits)
    domain_names, domains = _numbers("domain", domain, splits)
    faults = [reading.Faults(f"split {split}", skip_unreadable, REMEDY) for split in splits]
    every = [(each, np.arange(len(each))) for each in images]
    form = reading.Form.of(every, size, 3 if channels is None else channels, faults[0])
    parts = [
        reading.take(each, evenly_spaced(len(each), limit), form, fault, *numbers)
        for each, fault, *numbers in zip(images, faults, labels, domains, strict=True)
    ]
    if isinstance(parts[0].images, np.ndarray):
        low, high = int(parts[0].images.min()), int(parts[0].images.max())
        pictures.few_levels(f"the pictures of {path}", low, high)
    if len(parts) == 1:
        (whole,) = parts
        rows = hold_out(len(whole.images), whole.domains, whole.labels)
        parts = [whole.take(chosen) for chosen in rows]
    return Dataset.of(name, *parts, class_names=class_names, domain_names=domain_names)


def _open(path: str, subset: str | None, train: str, test: str | None) -> dict[str, Any]:
    """Open the splits to train and test on, the latter if there is one."""
    folder = Path(path).expanduser()
    away = None if folder.exists() else _go_offline()
    try:
        import datasets
    except ModuleNotFoundError as error:
        if error.name != "datasets":
            raise
        raise ValueError(MISSING) from error
    saved = any((folder / f"{kind}.json").exists() for kind in ("dataset_dict", "state"))
    try:
        if saved:
            found = datasets.load_from_disk(str(folder))
        else:
            found = datasets.load_dataset(path, subset)
    except Exception as error:  # of the network or the library, any class
        reason = str(error).strip().splitlines() or [type(error).__name__]
        if away is not None:
            reason = [f"{away}, and it is not in the cache: {reason[0]}"]
        raise ValueError(f"{path} cannot be opened: {reason[0]}") from error
    splits = dict(found) if isinstance(found, dict) else {train: found}
    test = test or next((name for name in TESTS if name in splits and name != train), None)
    for name in (train, test):
        if name is not None and name not in splits:
            raise ValueError(
                f"{path} has no split {name!r}; it has: {', '.join(splits)}: choose with "
                "--config.data.train and .test"
            )
    chosen = {name: splits[name] for name in (train, test) if name is not None}
    unread = "".join(f", {name} for nothing" for name in splits if name not in chosen)
    tested = "a fifth of it" if test is None else f"split {test}"
    print(f"{path}: split {train} to train with, {tested} to test on{unread}")
    return chosen


def _go_offline() -> str | None:
    """Let the library read its cache alone if the hub does not answer, and return why.

    It would ask again for half a minute, with a warning each time. That must be said before it is
    imported.
    """
    if os.environ.get(OFFLINE) or "datasets" in sys.modules:
        return None
    hub = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    fault = network.fault_of(hub)
    if fault is None or isinstance(fault, ssl.SSLError):  # it may have other certificates
        return None
    os.environ[OFFLINE] = "1"
    return f"{hub} cannot be reached ({fault})"


def _encoded(split: str, found: Any, columns: Mapping[str, str | None]) -> Encoded:
    """Check that a split has the columns, and return its images encoded."""
    features = found.features
    for kind, column in columns.items():
        if column is not None and column not in features:
            raise ValueError(
                f"there is no column {column!r}; there are: {', '.join(features)}: choose with "
                f"--config.data.{kind}"
            )
    image = str(columns["image"])
    if type(features[image]).__name__ != "Image":
        raise ValueError(f"column {image!r} holds {features[image]}, not images")
    found = found.cast_column(image, type(features[image])(decode=False))
    return Encoded(found.select_columns([image]), image, split)


def _numbers(
    kind: str, column: str | None, splits: Mapping[str, Any]
) -> tuple[tuple[str, ...] | None, list[Int32[np.ndarray, "_"] | None]]:
    """Encode the classes or domains of all splits, as the data set numbers them if it does."""
    if column is None:
        return number(*(None for _ in splits))
    parts = []
    for split, found in splits.items():
        values = named_values(f"column {column!r}", list(found[column]), len(found))
        assert values is not None
        if values.dtype.kind != "U" and values.min() < 0:
            raise ValueError(
                f"{split} has rows without {kind} (-1): choose another split with "
                "--config.data.test"
            )
        parts.append(values)
    first = next(iter(splits.values()))
    if names := getattr(first.features[column], "names", None):
        return tuple(names), [values.astype(np.int32) for values in parts]
    return number(*parts)
