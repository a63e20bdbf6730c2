"""Data sets by the library of the Hugging Face hub, `datasets`, where it is installed."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Int32

from gca_jax.data.dataset import Dataset, Source, named_values, number
from gca_jax.data.sources import reading
from gca_jax.data.splits import evenly_spaced, hold_out

TESTS = ("test", "validation", "valid", "val")  # splits that test, if none is named
MISSING = (
    "the data set hf is read by the library of the Hugging Face hub, which is not installed: "
    "pip install 'datasets>=4'"
)
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
    """Read two splits of a data set; without one to test with, a fifth is held out.

    Args:
        name: what reports call it.
        row: its row of `SOURCES`.
        path: a name on the hub, a folder of `save_to_disk`, or what else `load_dataset` takes.
        subset: its configuration, where it has several.
        image: the column of images.
        label: the column of classes; None: there are none.
        domain: the column of domains; None: there are none.
        train: the split to train with.
        test: the split to test with; None: the first of `TESTS` that is there.
        size: pixels of a side to bring images to; None: all have one size.
        channels: 1 makes images grey; None: they become RGB.
        limit: at most so many rows of each part.
        skip_unreadable: whether images that cannot be read are counted and left out; else the first
            is an error, of a set that does not fit in memory only when it is needed.

    Raises:
        ValueError: the library or the data set is not there, or a column is of another kind.
    """
    if path is None:
        raise ValueError("name a data set with --config.data.path: one of the hub, or a folder")
    splits = _open(_library(), path, subset, train, test)
    columns = {"image": image, "label": label, "domain": domain}
    read = [_read(split, each, columns) for split, each in splits.items()]
    known = {kind: _numbers(kind, columns[kind], read) for kind in ("label", "domain")}
    images = [part["image"] for part in read]
    faults = [reading.Faults(f"split {each.split}", skip_unreadable, REMEDY) for each in images]
    every = [(each, np.arange(len(each))) for each in images]
    form = reading.Form.of(every, size, 3 if channels is None else channels, faults[0])
    parts = [
        reading.take(one, evenly_spaced(len(one), limit), form, fault, *numbers)
        for one, fault, *numbers in zip(
            images, faults, *(of for _, of in known.values()), strict=True
        )
    ]
    if len(parts) == 1:
        (whole,) = parts
        rows = hold_out(len(whole.images), whole.domains, whole.labels)
        parts = [whole.take(chosen) for chosen in rows]
    class_names, domain_names = (names for names, _ in known.values())
    return Dataset.of(name, *parts, class_names=class_names, domain_names=domain_names)


def _library() -> ModuleType:
    try:
        import datasets
    except ModuleNotFoundError as error:
        if error.name != "datasets":
            raise
        raise ValueError(MISSING) from error
    return datasets


def _open(
    library: ModuleType, path: str, subset: str | None, train: str, test: str | None
) -> dict[str, Any]:
    """Open the splits to train and to test with, the latter if there is one."""
    folder = Path(path).expanduser()
    saved = any((folder / f"{kind}.json").exists() for kind in ("dataset_dict", "state"))
    try:
        found = library.load_from_disk(str(folder)) if saved else library.load_dataset(path, subset)
    except Exception as error:  # of any kind, by the network or the library
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(f"{path} cannot be opened: {reason[0]}") from error
    splits = dict(found) if isinstance(found, dict) else {train: found}
    test = test or next((name for name in TESTS if name in splits and name != train), None)
    for name in (train, test):
        if name is not None and name not in splits:
            raise ValueError(
                f"{path} has no split {name!r}; it has: {', '.join(splits)}: choose with "
                "--config.data.train and .test"
            )
    return {name: splits[name] for name in (train, test) if name is not None}


def _read(split: str, found: Any, columns: Mapping[str, str | None]) -> dict[str, Any]:
    """Give the columns of a split, images encoded; with the names of numbered classes."""
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
    out: dict[str, Any] = {"image": Encoded(found.select_columns([image]), image, split)}
    for kind in ("label", "domain"):
        column = columns[kind]
        out[kind] = None if column is None else list(found[column])
        out[f"{kind}_names"] = None if column is None else getattr(features[column], "names", None)
    return out


def _numbers(
    kind: str, column: str | None, read: Sequence[Mapping[str, Any]]
) -> tuple[tuple[str, ...] | None, list[Int32[np.ndarray, "_"] | None]]:
    """Number the classes or domains of all parts, by the data set's own numbers if it has names."""
    if column is None:
        return number(*(None for _ in read))
    parts = []
    for part in read:
        values = named_values(f"column {column!r}", part[kind], len(part["image"]))
        assert values is not None
        if values.dtype.kind != "U" and values.min() < 0:
            raise ValueError(
                f"{part['image'].split} has rows without {kind} (-1): choose another split with "
                "--config.data.test"
            )
        parts.append(values)
    if names := read[0][f"{kind}_names"]:
        return tuple(names), [values.astype(np.int32) for values in parts]
    return number(*parts)
