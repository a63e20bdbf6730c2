"""Batches of a run from step to step, from memory or streamed from disk.

Batch k is a function of (seed, k) and of nothing else: each epoch is one permutation, drawn by
NumPy's counter-based Philox generator with the key (seed, epoch). So a run can start at any step
without replaying the ones before, and the global batch does not depend on how many processes share
it. What an epoch leaves over is dropped.

Sets too large for memory are decoded and cropped by threads while the device trains, with Grain.
Each image is decoded once a batch and gives both of its random crops, at the size the network sees,
as uint8; the device does the rest of the augmentation. Crops are drawn from (seed, epoch, image).

Threads and not processes: Pillow decodes and resizes with Python's lock released, and Grain's
worker processes import the main program again and need absl's flags, for a tenth more on two cores
(docs/data.md). An image holds the lock for 0.6 ms (measured once), so threads stop
gaining near 1,600 images a second in one process; a GPU trains ResNet-50 on some 400.
"""

import dataclasses
import functools
import itertools
import math
import os
from collections.abc import Generator, Iterator
from typing import NamedTuple

import grain
import jax
import numpy as np
from jaxtyping import Int, Int32, UInt8

from gca_jax.data import pictures
from gca_jax.data.dataset import Images, Streamed

Range = tuple[float, float]
Crop = tuple[Range, Range]  # (scale, ratio), as in `crop_box`
BATCHES_AHEAD = 2
TRIES = 10


def steps_per_epoch(size: int, batch_size: int) -> int:
    """How many whole batches an epoch has; a ValueError if a batch is larger than the set."""
    if not 1 <= batch_size <= size:
        raise ValueError(
            f"batch_size must be from 1 to {size}, as many as there are to train with; "
            f"got {batch_size}"
        )
    return size // batch_size


@functools.lru_cache(maxsize=4)  # Workers at an epoch's border go back and forth between two.
def permutation(seed: int, epoch: int, size: int) -> Int[np.ndarray, "size"]:
    """The order of the training set in one epoch, read-only."""
    bits = np.random.Philox(key=np.array([seed, epoch], dtype=np.uint64))
    drawn = np.random.Generator(bits).permutation(size)
    drawn.flags.writeable = False
    return drawn


@dataclasses.dataclass(frozen=True)
class Order:
    """This process's part of every batch; a ValueError if the processes cannot share a batch."""

    size: int  # of the training set
    batch_size: int  # over all processes together
    seed: int
    process_index: int = 0  # which contiguous part of each batch
    process_count: int = 1

    def __post_init__(self):
        steps_per_epoch(self.size, self.batch_size)
        if self.batch_size % self.process_count:
            raise ValueError(
                f"batch_size {self.batch_size} must divide by {self.process_count} processes"
            )

    @property
    def share(self) -> int:
        """Images of a batch that are this process's."""
        return self.batch_size // self.process_count

    def epoch(self, step: int) -> int:
        """The epoch, from 0, that batch `step` is of."""
        return step // steps_per_epoch(self.size, self.batch_size)

    def rows(self, step: int) -> Int[np.ndarray, "share"]:
        """Which images are this process's part of batch `step`."""
        index = step % steps_per_epoch(self.size, self.batch_size)
        first = index * self.batch_size + self.process_index * self.share
        return permutation(self.seed, self.epoch(step), self.size)[first : first + self.share]


class Batch(NamedTuple):
    """This process's part of a batch."""

    images: UInt8[np.ndarray, "b ..."]  # [b, h, w, c], or two random crops of each [b, 2, h, w, c]
    groups: Int32[np.ndarray, "b"] | None  # labels or domains, where the target plan needs them


@dataclasses.dataclass(frozen=True, eq=False)
class Batches:
    """A training set, to be taken in batches."""

    images: Images
    groups: Int32[np.ndarray, "n"] | None = None  # label or domain of every image
    crop: Crop | None = None  # the random crops that the augmentation begins with, if it does

    def __len__(self) -> int:
        return len(self.images)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of an image as the network sees it, (h, w, c)."""
        return self.images.shape[1:]

    def example(self, size: int) -> jax.ShapeDtypeStruct:
        """Describe a batch: images [b, h, w, c], or pairs of crops [b, 2, h, w, c]."""
        pair = (2,) if isinstance(self.images, Streamed) and self.crop is not None else ()
        return jax.ShapeDtypeStruct((size, *pair, *self.input_shape), np.uint8)

    def iterate(self, order: Order, start: int) -> Generator[Batch]:
        """This process's part of batch `start` (0, or where a run goes on), `start + 1`, ..."""
        if isinstance(self.images, Streamed):
            parts = stream(self.images, order, start, self.crop)
        else:  # 3.5 million images of 32 x 32 pixels a second: a thread or queue would gain nothing
            parts = ((rows, self.images[rows]) for rows in map(order.rows, itertools.count(start)))
        for rows, part in parts:
            yield Batch(part, None if self.groups is None else self.groups[rows])

    def sample(self, rows: Int[np.ndarray, "k"], seed: int) -> UInt8[np.ndarray, "..."]:
        """Chosen images as a batch has them, their crops drawn from a seed."""
        if not isinstance(self.images, Streamed) or self.crop is None:
            return self.images[rows]
        rng, whole = np.random.default_rng(seed), map(self.images.decode, rows)
        return np.stack([two_crops(rng, image, self.images.size, self.crop) for image in whole])


def stream(
    images: Streamed, order: Order, start: int, crop: Crop | None, threads: int | None = None
) -> Iterator[tuple[Int[np.ndarray, "b"], UInt8[np.ndarray, "b ..."]]]:
    """Rows [b] of batch `start`, `start + 1`, ... and two crops of each or, without, its centre."""
    threads = threads or os.cpu_count() or 1
    ahead = max(BATCHES_AHEAD * order.share, threads)
    places = grain.MapDataset.range(start * order.share, 2**62)  # the run decides when to stop
    one_by_one = places.map(functools.partial(cut, images, order, crop)).to_iter_dataset(
        grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)
    )
    # A thread of its own stacks the next batch while this one is on its way to the device.
    stacked = grain.experimental.ThreadPrefetchIterDataset(
        one_by_one.batch(order.share), prefetch_buffer_size=1
    )
    iterator = iter(stacked)
    try:
        yield from iterator
    finally:
        iterator.close()


def cut(
    images: Streamed, order: Order, crop: Crop | None, place: int
) -> tuple[np.int64, UInt8[np.ndarray, "..."]]:
    """Decode the image at a place, counted through all batches, and cut its crops or centre out."""
    step, column = divmod(place, order.share)
    i = order.rows(step)[column]
    if crop is None:
        return i, images[np.array([i])][0]
    rng = np.random.default_rng([order.seed, order.epoch(step), i])
    return i, two_crops(rng, images.decode(i), images.size, crop)


def two_crops(
    rng: np.random.Generator, image: UInt8[np.ndarray, "h w c"], size: int, crop: Crop
) -> UInt8[np.ndarray, "2 size size c"]:
    """torchvision's RandomResizedCrop of a Pillow image, twice: bilinear, with antialiasing."""
    height, width, _ = image.shape
    crops = []
    for _ in range(2):
        top, left, rows, columns = crop_box(rng, height, width, *crop)
        crops.append(pictures.resize(image[top : top + rows, left : left + columns], size, size))
    return np.stack(crops)


def crop_box(
    rng: np.random.Generator, height: int, width: int, scale: Range, ratio: Range
) -> tuple[int, int, int, int]:
    """torchvision's (top, left, rows, columns): the first of ten tries that fits into the image.

    The area, as a part of the image's, is uniform in `scale`, the width over the height log-uniform
    in `ratio`. If none fits, it is the largest rectangle at the centre.
    """
    for _ in range(TRIES):
        area = height * width * rng.uniform(*scale)
        wide = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        rows, columns = round(math.sqrt(area / wide)), round(math.sqrt(area * wide))
        if 0 < rows <= height and 0 < columns <= width:
            top, left = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
            return int(top), int(left), rows, columns
    rows = min(height, round(width / ratio[0]))
    columns = min(width, round(height * ratio[1]))
    return (height - rows) // 2, (width - columns) // 2, rows, columns
