"""Finds, checks and reads prepared data sets of TFDS, without TensorFlow.

TFDS takes seconds to import: only functions that need it do so.
"""

import dataclasses
import os
import pathlib
from collections.abc import Collection
from typing import Any

from gca_jax import check
from gca_jax.data import splits
from gca_jax.data.dataset import Dataset, Images, Numbers, Part, Source
from gca_jax.data.sources import reading

SEVERITIES = (1, 2, 3, 4, 5)  # of each corruption of CIFAR-10-C


@dataclasses.dataclass(frozen=True)
class Split:
    """Encoded images of a prepared split, as `dataset.Records`; picklable."""

    source: Any  # TFDS's data source

    @classmethod
    def of(cls, builder: Any, name: str) -> "Split":
        """Open a split without decoding its images."""
        import tensorflow_datasets as tfds

        # By its folder: pickling the caller's builder would take the whole object tree along.
        bare = tfds.builder_from_directory(builder.data_path)
        return cls(bare.as_data_source(name, decoders={"image": tfds.decode.SkipDecoding()}))

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, position: int, /) -> dict[str, Any]:
        return self.source[position]

    def __getitems__(self, positions: list[int], /) -> list[dict[str, Any]]:
        return self.source.__getitems__(positions)

    def place(self, position: int) -> str:
        """Name the file of a record and its number there."""
        for part in self.source.dataset_info.splits[self.source.split].file_instructions:
            if position < part.take:
                return f"{part.filename}, record {position + part.skip}"
            position -= part.take
        raise IndexError(position)


def load(
    name: str,
    row: Source,
    *,
    data_dir: str | None = None,
    limit: int | None = None,
    skip_unreadable: bool = False,
) -> Dataset:
    """Read training and test images, and images to pretrain on if the row has such a split."""
    builder = open_set(name, row, row.builder, data_dir)
    options = (data_dir, limit, skip_unreadable)
    parts = (Part(*read_split(name, row, builder, part, *options)) for part in row.splits)
    return Dataset.of(name, *parts, class_names=tuple(builder.info.features["label"].names))


def load_corrupted(
    name: str,
    row: Source,
    *,
    corruption: str | None = None,
    severity: int | None = None,
    data_dir: str | None = None,
    limit: int | None = None,
    skip_unreadable: bool = False,
) -> Dataset:
    """Read CIFAR-10's training set, and its test set under one corruption at one severity."""
    corrupted = open_corrupted(name, row, corruption, severity, data_dir)
    clean = open_set("cifar10", row, "cifar10", data_dir, ("train",))
    options = (data_dir, limit, skip_unreadable)
    train = Part(*read_split("cifar10", row, clean, "train", *options))
    test = Part(*read_split(name, row, corrupted, "test", *options))
    return Dataset.of(name, train, test, class_names=tuple(clean.info.features["label"].names))


def open_corrupted(
    name: str, row: Source, corruption: str | None, severity: int | None, data_dir: str | None
) -> Any:
    """Open one corruption at one severity, 1 to 5, as `open_set` does."""
    check.one_of("corruption", str(corruption), corruptions())
    if severity not in SEVERITIES:
        raise ValueError(f"severity must be from 1 to 5, got {severity}")
    return open_set(name, row, f"{row.builder}/{corruption}_{severity}", data_dir, ("test",))


def corruptions() -> tuple[str, ...]:
    """Name the 19 corruptions of CIFAR-10-C in alphabetical order."""
    import tensorflow_datasets as tfds

    configs = tfds.builder_cls("cifar10_corrupted").BUILDER_CONFIGS
    return tuple(sorted({config.corruption for config in configs}))


def open_set(
    name: str,
    row: Source,
    builder_name: str | None,
    data_dir: str | None,
    parts: Collection[str] | None = None,
) -> Any:
    """Open a prepared set; raise ValueError if it is incomplete.

    `parts` are the required keys of `row.splits`; None: all.
    """
    import tensorflow_datasets as tfds

    builder = tfds.builder(builder_name, data_dir=expanded(data_dir))
    advice = command(name, data_dir)
    if fault := fault_of(builder):
        raise ValueError(
            f"data set {builder.name} cannot be read: {fault}. Prepare it once:\n    {advice}\n"
            "A folder other than TFDS's own ($TFDS_DATA_DIR or ~/tensorflow_datasets) is named "
            "with --config.data.data_dir=DIR."
        )
    for part in parts or row.splits:
        if row.splits[part] not in builder.info.splits:
            raise ValueError(
                f"{builder.data_path} has no split {row.splits[part]!r}. Delete it and prepare it "
                f"whole: {advice}"
            )
    return builder


def expanded(data_dir: str | None) -> str | None:
    """Return TFDS's folder with ~ expanded, which TFDS leaves as it is."""
    return None if data_dir is None else os.path.expanduser(data_dir)


def fault_of(builder: Any) -> str | None:
    """Explain why a set on disk cannot be read; None if it can."""
    where = pathlib.Path(builder.data_path)
    if not where.exists():
        if left := sorted(where.parent.glob(f"incomplete.*_{where.name}")):
            return f"it is half-prepared, its preparation was cut off in {left[-1]}"
        return f"it is not in {where}"
    if not (where / "dataset_info.json").exists():
        return f"it is half-prepared, {where / 'dataset_info.json'} is missing"
    if builder.info.file_format.value != "array_record":
        return f"it is not array_record but {builder.info.file_format.value} in {where}"
    for split in builder.info.splits.values():
        for path in split.filepaths:
            if not pathlib.Path(path).exists():
                return f"it is half-prepared, {path} is missing"
    return None


def read_split(
    name: str,
    row: Source,
    builder: Any,
    part: str,
    data_dir: str | None,
    limit: int | None,
    skip: bool,
) -> tuple[Images, Numbers]:
    """Read a split's images and labels, of a split to pretrain on without labels."""
    split = Split.of(builder, row.splits[part])
    features = builder.info.features
    rows = splits.evenly_spaced(len(split), limit)
    faults = reading.Faults(f"{name} ({part})", skip, remedy(name, builder, data_dir))
    classes = None if part == "pretrain" else features["label"].num_classes
    _, found = reading.read(split, rows, features["image"].shape, faults, classes=classes)
    faults.report(rows)
    return found.images, found.labels


def remedy(name: str, builder: Any, data_dir: str | None) -> str:
    """Return the advice on a broken record."""
    return f"Delete {builder.data_path} and prepare it again: {command(name, data_dir)}"


def command(name: str, data_dir: str | None) -> str:
    """Return the command that prepares a set."""
    folder = "" if data_dir is None else f" --config.data.data_dir={data_dir}"
    return f"python main.py --mode=prepare --config=configs/{name}.py{folder}"
