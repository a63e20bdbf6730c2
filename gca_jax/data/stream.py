"""Random crops of images that stay on disk, decoded by threads while the device trains, with Grain.

Each image is decoded once a batch and gives both of its random crops, at the size the network sees,
as uint8; the device does the rest of the augmentation. Crops are drawn from (seed, epoch, image).

Threads and not processes: Pillow decodes and resizes with Python's lock released, and Grain's
worker processes import the main program again and need absl's flags, for a tenth more on two cores
(docs/data.md). An image holds the lock for 0.6 ms (measured once), so threads stop
gaining near 1,600 images a second in one process; a GPU trains ResNet-50 on some 400.
"""

import functools
import math
import os
from collections.abc import Iterator

import grain
import numpy as np
from jaxtyping import Int, UInt8

from gca_jax.data import pictures
from gca_jax.data.batches import Order
from gca_jax.data.dataset import Streamed

Range = tuple[float, float]
Crop = tuple[Range, Range]  # (scale, ratio), as in `crop_box`
BATCHES_AHEAD = 2
TRIES = 10


def stream(
    images: Streamed, order: Order, start: int, crop: Crop | None, threads: int | None = None
) -> Iterator[tuple[Int[np.ndarray, "b"], UInt8[np.ndarray, "b ..."]]]:
    """Yield the rows [b] of batch `start`, ..., and two crops of each or, without, its centre."""
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
