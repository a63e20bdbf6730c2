"""Sets too large for memory: decoded and cropped by threads while the device trains, with Grain.

Each image is decoded once a batch and gives both of its random crops, at the size the network sees,
as uint8; the device does the rest of the augmentation. Which images a batch has is `order.Order`'s
word, and the crops are drawn from (seed, epoch, image): so any batch can be made without the ones
before it, and a resumed run sees what an unbroken one does.

Threads and not processes: Pillow decodes and resizes with Python's lock released, and Grain's
worker processes import the main program again and need absl's flags, for a tenth more on two cores
(`benchmarks/data.py`). An image holds the lock for 0.6 ms, so threads stop gaining near 1,600
images a second in one process; a GPU trains ResNet-50 on some 400, and where several processes
train together each has threads of its own.
"""

import dataclasses
import math
import os
from collections.abc import Iterator

import grain
import numpy as np
import PIL.Image
from jaxtyping import Int, UInt8

from gca_jax.data.batches.order import Order
from gca_jax.data.dataset import Streamed

Range = tuple[float, float]
Pixels = UInt8[np.ndarray, "b 2 s s 3"] | UInt8[np.ndarray, "b s s 3"]
BATCHES_AHEAD = 2
TRIES = 10


def batches(
    images: Streamed,
    order: Order,
    start: int,
    crop: tuple[Range, Range] | None,
    threads: int | None = None,
) -> Iterator[tuple[Int[np.ndarray, "b"], Pixels]]:
    """Batch `start`, `start + 1`, ... without end, two of them ahead of the caller.

    Args:
        images: the training set.
        order: which of them a batch has.
        start: first batch to give.
        crop: (scale, ratio) of the random crops, as in `crop_box`; None for the centres alone.
        threads: that decode; None: one for each core.

    Yields:
        Which images these are [b], and their crops, uint8 [b, 2, size, size, 3]: two of each; or
        their centres [b, size, size, 3].

    Raises:
        ValueError: a record that cannot be read; the message names it.
    """
    threads = threads or os.cpu_count() or 1
    ahead = max(BATCHES_AHEAD * order.share, threads)
    elements = grain.MapDataset.source(Places(order, start)).map(Crops(images, order, crop))
    one_by_one = elements.to_iter_dataset(
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


@dataclasses.dataclass(frozen=True)
class Places:
    """A data source of Grain: place p -> (step, column), the batch and the position in it."""

    order: Order
    start: int

    def __len__(self) -> int:
        return 2**62  # the run decides when to stop

    def __getitem__(self, place: int) -> tuple[int, int]:
        step, column = divmod(place, self.order.share)
        return self.start + step, column


@dataclasses.dataclass(frozen=True)
class Crops(grain.transforms.Map):
    """(step, column) -> which image that is, and its two crops or its centre."""

    images: Streamed
    order: Order
    crop: tuple[Range, Range] | None

    def map(self, place: tuple[int, int]) -> tuple[np.int64, UInt8[np.ndarray, "..."]]:
        """Decode the image and cut it."""
        step, column = place
        i = self.order.rows(step)[column]
        if self.crop is None:
            return i, self.images[np.array([i])][0]
        image = self.images.decode(i)
        rng = np.random.default_rng([self.order.seed, self.order.epoch(step), i])
        return i, two_crops(rng, image, self.images.shape[1], self.crop)


def two_crops(
    rng: np.random.Generator,
    image: UInt8[np.ndarray, "h w 3"],
    size: int,
    crop: tuple[Range, Range],
) -> UInt8[np.ndarray, "2 size size 3"]:
    """Two random crops of one image; arguments as for `random_crop`."""
    return np.stack([random_crop(rng, image, size, *crop) for _ in range(2)])


def random_crop(
    rng: np.random.Generator,
    image: UInt8[np.ndarray, "h w 3"],
    size: int,
    scale: Range,
    ratio: Range,
) -> UInt8[np.ndarray, "size size 3"]:
    """torchvision's RandomResizedCrop of a Pillow image: bilinear, with antialiasing.

    Args:
        rng: random numbers.
        image: of any size.
        size: rows and columns of the result.
        scale: range of the crop's area, as a part of the image's.
        ratio: range of its width over its height.
    """
    top, left, height, width = crop_box(rng, image.shape[0], image.shape[1], scale, ratio)
    part = PIL.Image.fromarray(image[top : top + height, left : left + width])
    return np.asarray(part.resize((size, size), PIL.Image.Resampling.BILINEAR))


def crop_box(
    rng: np.random.Generator, height: int, width: int, scale: Range, ratio: Range
) -> tuple[int, int, int, int]:
    """torchvision's rectangle: the first of ten tries that fits, else the largest at the centre.

    Args:
        rng: random numbers.
        height: of the image.
        width: of the image.
        scale: range of the area as a part of the image's; uniform.
        ratio: range of width over height; log-uniform.

    Returns:
        (top, left, rows, columns).
    """
    for _ in range(TRIES):
        area = height * width * rng.uniform(*scale)
        wide = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        rows, columns = round(math.sqrt(area / wide)), round(math.sqrt(area * wide))
        if 0 < rows <= height and 0 < columns <= width:
            return (
                int(rng.integers(height - rows + 1)),
                int(rng.integers(width - columns + 1)),
                rows,
                columns,
            )
    rows = min(height, round(width / ratio[0]))
    columns = min(width, round(height * ratio[1]))
    return (height - rows) // 2, (width - columns) // 2, rows, columns
