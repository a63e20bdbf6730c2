"""Reads encoded pictures into one array; counts or refuses unreadable ones."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from gca_jax import check
from gca_jax.data import pictures
from gca_jax.data.dataset import ChangedError, Images, Numbers, Part, Records, Streamed
from gca_jax.data.pictures import CHUNK, fit, in_threads, pixels

MEMORY_LIMIT = 4 * 2**30  # bytes of pixels; larger sets stream from disk
THREADS_ABOVE = 64  # pixels of a side: threads cost more than decoding a smaller picture
NAMED = 10  # unreadable images in a message

Rows = Int[np.ndarray, "n"]
Some = Int[np.ndarray, "_"]
Fetched = tuple[int, Any]
"""Position and record, or the error of reading it, or None: to be read where it is decoded."""
Decoded = tuple[int, int, Any, Exception | None]
"""Position, label (0 without classes), what is kept of the image, and the error, if any."""


@dataclasses.dataclass
class Faults:
    """Unreadable images of a set (and split): the first is an error, unless they are skipped.

    Attributes:
        name: Name of the set in messages.
        skip: Whether to leave unreadable images out.
        remedy: What to do about one, in messages.
        reasons: File and error of each, by position.
        looks: A look at each of the others, by its file; None: they are not looked at.
    """

    name: str
    skip: bool
    remedy: str = ""
    reasons: dict[int, str] = dataclasses.field(default_factory=dict)
    looks: dict[str, pictures.Look] | None = None

    def add(self, records: Records, position: int, error: object) -> None:
        """Record an unreadable image, or raise ValueError that names its file."""
        place = records.place(position)
        error = getattr(error, "strerror", None) or error  # without the place once more
        self.reasons[position] = f"{place} ({error})"
        if not self.skip:
            raise ValueError(
                f"{place}: {error}. {self.remedy}; or leave such images out with "
                "--config.data.skip_unreadable"
            )

    def report(self, rows: Rows) -> None:
        """Print which of these images are left out; raise ValueError if all of them are."""
        reasons = [self.reasons[row] for row in rows.tolist() if row in self.reasons]
        count, total = len(reasons), len(rows)
        if count == total:
            raise ValueError(
                f"{self.name}: none of its {total} images can be read. {self.remedy}".rstrip()
            )
        if count:
            more = f" and {count - NAMED} more" * (count > NAMED)
            print(
                f"note: {self.name}: left out {count} of {total} images (unreadable): "
                f"{', '.join(reasons[:NAMED])}{more}"
            )
        if self.looks:
            note(self.name, self.looks)


def note(name: str, looks: Mapping[str, pictures.Look]) -> None:
    """Print whether a set's pictures span few levels, and which have more pages than are read."""
    low, high = min(look.low for look in looks.values()), max(x.high for x in looks.values())
    pictures.few_levels(f"the pictures of {name}", low, high)
    if paged := sorted(place for place, look in looks.items() if look.pages > 1):
        more = ", ..." * (len(paged) > NAMED)
        print(
            f"note: of {check.counted(len(paged), 'picture')} of {name}, only the first page or "
            f"frame is read: {', '.join(paged[:NAMED])}{more}"
        )


@dataclasses.dataclass(frozen=True)
class Form:
    """The form in which the images of a data set are read.

    Attributes:
        shape: (h, w, c).
        resized: Whether images are resized to it; else they must have it.
        streamed: Whether images stay on disk, as they do not fit in memory.
    """

    shape: tuple[int, int, int]
    resized: bool
    streamed: bool

    @classmethod
    def of(
        cls, parts: Sequence[tuple[Records, Some]], size: int | None, channels: int, faults: Faults
    ) -> "Form":
        """Choose the form: squares of `size`, or the shape of the first readable image."""
        if size is not None:
            check.at_least("size", size, 1)
        shape = (*((size, size) if size else _first_size(*parts[0], channels, faults)), channels)
        streamed = sum(len(rows) for _, rows in parts) * math.prod(shape) > MEMORY_LIMIT
        if streamed and size is None:
            raise ValueError(f"{faults.name} does not fit in memory: say --config.data.size=PIXELS")
        return cls(shape, size is not None, streamed)


def _first_size(records: Records, rows: Rows, channels: int, faults: Faults) -> tuple[int, int]:
    """Return (h, w) of the first image that can be read."""
    for row, _, image, error in decoded(
        records, rows, partial(pixels, channels=channels), threads=False
    ):
        if error is None:
            return image.shape[0], image.shape[1]
        faults.add(records, row, error)
    faults.report(rows)
    raise AssertionError("unreachable: `report` raises if no image can be read")


def take(
    records: Records,
    rows: Rows,
    form: Form,
    faults: Faults,
    labels: Numbers = None,
    domains: Numbers = None,
) -> Part:
    """Read images into memory, or leave them on disk, with their part of `labels` and `domains`.

    Unreadable images are left out if `faults` skips them, for which streamed images are decoded
    once; else an unreadable streamed image is an error only in the batch that needs it.
    """
    images: Images
    if form.streamed:
        if faults.skip:
            whole = partial(pixels, channels=form.shape[2], side=form.shape[0])
            for row, _, _, error in decoded(records, rows, lambda encoded: whole(encoded).shape):
                if error is not None:
                    faults.add(records, row, error)
        kept = np.setdiff1d(rows, [*faults.reasons])
        images = Streamed(records, kept, form.shape[0], form.shape[2])
    else:
        shorter = form.shape[0] if form.resized else None
        kept, (images, *_) = read(records, rows, form.shape, faults, shorter_side=shorter)
    faults.report(rows)
    return Part(images, *(None if of is None else of[kept] for of in (labels, domains)))


def read(
    records: Records,
    rows: Rows,
    shape: tuple[int, ...],
    faults: Faults,
    *,
    classes: int | None = None,
    shorter_side: int | None = None,
) -> tuple[Some, Part]:
    """Read images of one shape into memory.

    Args:
        records: Encoded pictures.
        rows: [n], positions to read.
        shape: (h, w, c).
        faults: Collects unreadable records, wrong labels and images of another shape.
        classes: Number of classes if records have labels, in 0..classes - 1.
        shorter_side: Pixels to which pictures are resized before a square is cropped; None: they
            must have the shape.

    Returns:
        Positions [k] of the images that could be read, and these with their labels.
    """
    images = np.empty((len(rows), *shape), np.uint8)
    kept: list[int] = []
    labels: list[int] = []
    # A source that reads one at a time waits for its disk: threads always gain there.
    threads = not hasattr(records, "__getitems__") or shape[0] > THREADS_ABOVE
    side = shorter_side if shape[0] == shape[1] else None  # `fit` resizes squares alone

    def fitted(encoded: bytes) -> tuple[UInt8[np.ndarray, "h w c"], pictures.Look | None]:
        image = pixels(encoded, shape[2], side)
        seen = None if faults.looks is None else pictures.look(encoded, image)
        return fit(image, shape, shorter_side), seen

    for position, label, found, error in decoded(records, rows, fitted, classes, threads):
        if error is not None:
            faults.add(records, position, error)
        else:
            images[len(kept)], seen = found
            if faults.looks is not None:
                faults.looks[records.place(position)] = seen
            kept.append(position)
            labels.append(label)
    numbers = None if classes is None else np.array(labels, np.int32)
    return np.array(kept, np.int64), Part(images[: len(kept)], numbers)


def fetched(records: Records, rows: Rows) -> Iterator[Fetched]:
    """Read records, many at once if the source can."""
    many = getattr(records, "__getitems__", None)
    if many is None:
        yield from ((position, None) for position in rows.tolist())
        return
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK].tolist()
        try:
            yield from zip(chunk, many(chunk), strict=True)
        except Exception:  # ArrayRecord's and protobuf's errors have no common base class
            for position in chunk:
                try:
                    yield position, records[position]
                except Exception as error:
                    yield position, error


def decoded(
    records: Records,
    found: Rows | Iterable[Fetched],
    decode: Callable[[bytes], Any],
    classes: int | None = None,
    threads: bool = True,
) -> Iterator[Decoded]:
    """Apply `decode` to encoded pictures; `found` are positions, or `fetched` records."""
    if isinstance(found, np.ndarray):
        found = fetched(records, found)

    def look(item: Fetched) -> Decoded:
        position, record = item
        if isinstance(record, Exception):
            return position, 0, None, record
        try:
            record = records[position] if record is None else record
            label = 0 if classes is None else int(record["label"])
            if classes is not None and not 0 <= label < classes:
                raise ValueError(f"has label {label}, outside 0..{classes - 1}")
            return position, label, decode(record["image"]), None
        except ChangedError:
            raise
        except (OSError, ValueError) as error:  # which `pixels` makes of all others
            return position, 0, None, error

    return (in_threads if threads else map)(look, found)
