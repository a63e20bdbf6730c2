"""Data sets of TFDS whose images have one size, read into memory."""

import contextlib
import io
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import UInt8

from gca_jax.data import records, splits
from gca_jax.data.dataset import Dataset, Numbers, Part, Source

SEVERITIES = (1, 2, 3, 4, 5)  # of each corruption in CIFAR-10-C


def load(
    name: str,
    row: Source,
    *,
    data_dir: str | None = None,
    limit: int | None = None,
    skip_unreadable: bool = False,
) -> Dataset:
    """Read training and test images, and those to pretrain with where the row has such a split."""
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
    if corruption not in corruptions():
        raise ValueError(f"unknown corruption {corruption!r}; one of: {', '.join(corruptions())}")
    if severity not in SEVERITIES:
        raise ValueError(f"severity must be from 1 to 5, got {severity}")
    return open_set(name, row, f"{row.builder}/{corruption}_{severity}", data_dir, ("test",))


def corruptions() -> tuple[str, ...]:
    """Names of CIFAR-10-C's corruptions, 15 and 4 more, in alphabetical order."""
    configs = tfds.builder_cls("cifar10_corrupted").BUILDER_CONFIGS
    return tuple(sorted({config.corruption for config in configs}))


def open_set(
    name: str,
    row: Source,
    builder_name: str | None,
    data_dir: str | None,
    parts: tuple[str, ...] | None = None,
) -> Any:
    """Open a prepared set of TFDS; a ValueError if it is not whole, or not what its row says.

    `parts` are the keys of `row.splits` that must be there; None: all.
    """
    builder = tfds.builder(builder_name, data_dir=data_dir)
    advice = command(name, data_dir)
    if fault := records.fault_of(builder):
        raise ValueError(
            f"data set {builder.name} cannot be read: {fault}. Prepare it once:\n    {advice}\n"
            "A folder other than TFDS's own ($TFDS_DATA_DIR or ~/tensorflow_datasets) is named "
            "with --config.data.data_dir=DIR."
        )
    found = builder.info.features["image"].shape
    classes = builder.info.features["label"].num_classes
    if found != row.shape or classes != row.classes:
        raise ValueError(
            f"{builder.data_path} has images {found} of {classes} classes, but {name} has "
            f"{row.shape} of {row.classes}: prepare it in another folder"
        )
    for part in parts or row.splits:
        if row.splits[part] not in builder.info.splits:
            raise ValueError(
                f"{builder.data_path} has no split {row.splits[part]!r}. Delete it and prepare it "
                f"whole: {advice}"
            )
        note_size(name, part, builder.info.splits[row.splits[part]].num_examples, row)
    return builder


def read_split(
    name: str,
    row: Source,
    builder: Any,
    part: str,
    data_dir: str | None,
    limit: int | None,
    skip: bool,
) -> tuple[UInt8[np.ndarray, "n h w c"], Numbers]:
    """Images and labels of one split; those to pretrain with have no labels."""
    source = records.source(builder, row.splits[part])
    height, width, channels = row.shape
    assert height is not None and width is not None  # noqa: PT018 - for the type checker
    return records.read(
        source,
        splits.evenly_spaced(len(source), limit),
        (height, width, channels),
        records.Faults(f"{name} ({part})", skip, remedy(name, builder, data_dir)),
        classes=None if part == "pretrain" else row.classes,
    )


def remedy(name: str, builder: Any, data_dir: str | None) -> str:
    """Advice for a broken record."""
    return f"Delete {builder.data_path} and prepare it again: {command(name, data_dir)}"


def command(name: str, data_dir: str | None) -> str:
    """The command that prepares a set of TFDS."""
    folder = "" if data_dir is None else f" --config.data.data_dir={data_dir}"
    return f"python main.py --mode=prepare --config=configs/{name}.py{folder}"


def note_size(name: str, part: str, found: int, row: Source) -> None:
    """Print a note if a split has another number of images than was published."""
    if part in row.images and found != row.images[part]:
        print(f"note: {name} has {found} {part} images here, {row.images[part]} as published")


def prepare(make: Callable[[], tfds.core.DatasetBuilder]) -> tfds.core.DatasetBuilder:
    """Write a set unless it is there, whole; two processes may do so at the same time.

    `make` gives its builder, and does so again when the set has been written.
    """
    builder = start_anew(make)
    if records.fault_of(builder) is None:
        return builder
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS's own messages
            builder.download_and_prepare(file_format="array_record")
    except OSError as error:
        # Perhaps another process was faster, and ours was thrown away.
        if not builder.data_path.exists() or records.fault_of(make()) is not None:
            raise ValueError(
                f"{builder.data_path} cannot be written ({error}); name another folder with "
                "--config.data.data_dir=DIR"
            ) from error
    finally:
        tfds.enable_progress_bar()
    return make()


def start_anew(make: Callable[[], tfds.core.DatasetBuilder]) -> tfds.core.DatasetBuilder:
    """A builder whose set is whole or not there: half of one, TFDS would take for the whole."""
    builder = make()
    fault = records.fault_of(builder)
    if fault is not None and builder.data_path.exists():
        print(f"{builder.name}: {fault}; it is made again")
        shutil.rmtree(builder.data_path)
        builder = make()
    return builder
