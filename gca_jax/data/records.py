"""Prepared data sets on disk: found, checked and read without TensorFlow."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int, Int32, UInt8

from gca_jax.data.pictures import CHUNK, centre, in_threads, pixels

MEMORY_LIMIT = 4 * 2**30  # bytes of pixels; sets that are larger stream from disk
THREADS_ABOVE = 64  # pixels of a side


@runtime_checkable
class Records(Protocol):
    """A data source of TFDS whose records keep their image encoded; reads one, or many at once."""

    def __len__(self) -> int: ...
    def __getitem__(self, position: int, /) -> dict[str, Any]: ...
    def __getitems__(self, positions: list[int], /) -> list[dict[str, Any]]: ...


def fault_of(builder: Any) -> str | None:
    """Why a set on disk cannot be read, or None."""
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


def source(builder: Any, split: str) -> Records:
    """A split of a prepared set, its images left encoded; picklable."""
    import tensorflow_datasets as tfds

    # Through the folder alone: a builder of ours would take its whole tree along when pickled.
    bare = tfds.builder_from_directory(builder.data_path)
    return bare.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})


def rows(
    records: Records, positions: Int[np.ndarray, "n"]
) -> Iterator[tuple[int, dict[str, Any] | Exception]]:
    """Positions with their records; where one cannot be read, with the error."""
    for start in range(0, len(positions), CHUNK):
        chunk = positions[start : start + CHUNK].tolist()
        try:
            yield from zip(chunk, records.__getitems__(chunk), strict=True)
        except Exception:  # ArrayRecord's and protobuf's errors have no class in common
            for position in chunk:
                try:
                    yield position, records[position]
                except Exception as error:
                    yield position, error


@dataclasses.dataclass
class Faults:
    """Unreadable images of a set (and split): the first is an error, or `skip` counts them all."""

    name: str
    skip: bool
    remedy: str
    count: int = 0

    def add(self, place: str, error: Exception) -> None:
        """Count an unreadable image, or raise a ValueError that names its file."""
        self.count += 1
        if not self.skip:
            raise ValueError(
                f"{place}: {error}. {self.remedy}; or leave such images out with "
                "--config.data.skip_unreadable"
            ) from error

    def report(self, total: int) -> None:
        """Print the count; a ValueError if no image is left."""
        if self.count == total:
            raise ValueError(f"{self.name}: none of its {total} images can be read. {self.remedy}")
        if self.count:
            print(f"note: {self.name}: left out {self.count} of {total} images (unreadable)")


def read(
    records: Records,
    positions: Int[np.ndarray, "n"],
    shape: tuple[int, int, int],
    faults: Faults,
    *,
    classes: int | None = None,
    resize: bool = False,
) -> tuple[UInt8[np.ndarray, "k h w c"], Int32[np.ndarray, "k"] | None]:
    """Read images of one size, and their labels in 0..classes - 1 if they have any, into memory.

    `faults` counts or refuses unreadable records, wrong labels and images of another shape, unless
    `resize` brings these to the one asked for.
    """
    images = np.empty((len(positions), *shape), np.uint8)
    labels = np.zeros(len(positions), np.int32)

    def fit(image: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "rows columns c"]:
        if image.shape != shape and resize:
            image = centre(image, shape[0], shorter=shape[0])
        if image.shape != shape:
            size, right = (" x ".join(map(str, s[:2])) for s in (image.shape, shape))
            raise ValueError(f"is of {size} pixels, the other images are of {right}")
        return image

    # Threads cost more than the decoding of a small picture.
    each = in_threads if shape[0] > THREADS_ABOVE else map
    look = partial(decode, channels=shape[2], classes=classes, keep=fit)
    good = 0
    for position, label, image, error in each(look, rows(records, positions)):
        if error is not None:
            faults.add(place(records, position), error)
        else:
            images[good], labels[good] = image, label
            good += 1
    faults.report(len(positions))
    return images[:good], None if classes is None else labels[:good]


def decode(
    row: tuple[int, dict[str, Any] | Exception],
    channels: int,
    classes: int | None,
    keep: Callable[[UInt8[np.ndarray, "h w c"]], Any],
) -> tuple[int, int, Any, Exception | None]:
    """Position of a row, its label, what to keep of its image, and the error if it has one."""
    position, record = row
    if isinstance(record, Exception):
        return position, 0, None, record
    try:
        label = 0 if classes is None else int(record["label"])
        if classes is not None and not 0 <= label < classes:
            raise ValueError(f"has label {label}, outside 0..{classes - 1}")
        return position, label, keep(pixels(record["image"], channels)), None
    except (OSError, ValueError) as error:
        return position, 0, None, error


def place(records: Any, position: int) -> str:
    """The file that a record is in, and its number there."""
    if hasattr(records, "place"):
        return records.place(position)
    for part in records.dataset_info.splits[records.split].file_instructions:
        if position < part.take:
            return f"{part.filename}, record {position + part.skip}"
        position -= part.take
    raise IndexError(position)
