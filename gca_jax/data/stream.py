"""Random crops of images on disk, decoded by Grain's threads while the device trains.

Each image is decoded once for both of its random crops, uint8 at the size the network sees; the
device does the rest of the augmentation. Crops are a function of (seed, epoch, image).

Threads and not processes: Pillow decodes and resizes with Python's lock released, and Grain's
worker processes import the main program again and need absl's flags, for a tenth more on two cores
(docs/data.md). An image holds the lock for 0.6 ms (measured once), so threads stop scaling near
1,600 images a second in one process; a GPU trains ResNet-50 on some 400.
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
    """Yield rows [b] of batch `start`, `start + 1`, ..., and two crops (or the centre) of each."""
    threads = threads or os.cpu_count() or 1
    ahead = max(BATCHES_AHEAD * order.share, threads)
    places = grain.MapDataset.range(start * order.share, 2**62)  # the training loop stops
    one_by_one = places.map(functools.partial(cut, images, order, crop)).to_iter_dataset(
        grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)
    )
    # A separate thread stacks the next batch while this one is copied to the device.
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
    """Decode the image at a place, counted over all batches, and return its crops or centre."""
    step, column = divmod(place, order.share)
    i = order.rows(step)[column]
    if crop is None:
        return i, images[np.array([i])][0]
    rng = np.random.default_rng([order.seed, order.epoch(step), i])
    image = images.decode(i, needed_side(images.size, crop))
    return i, two_crops(rng, image, images.size, crop)


def needed_side(size: int, crop: Crop) -> int:
    """Return the shorter side of a picture whose smallest crop has `size` pixels."""
    (scale, _), (_, ratio) = crop
    return math.ceil(size / math.sqrt(scale / ratio))


def two_crops(
    rng: np.random.Generator, image: UInt8[np.ndarray, "h w c"], size: int, crop: Crop
) -> UInt8[np.ndarray, "2 size size c"]:
    """Apply torchvision's RandomResizedCrop of a Pillow image twice: bilinear, antialiased."""
    height, width, _ = image.shape
    crops = []
    for _ in range(2):
        top, left, rows, columns = crop_box(rng, height, width, *crop)
        crops.append(pictures.resize(image[top : top + rows, left : left + columns], size, size))
    return np.stack(crops)


def crop_box(
    rng: np.random.Generator, height: int, width: int, scale: Range, ratio: Range
) -> tuple[int, int, int, int]:
    """Draw torchvision's crop (top, left, rows, columns): the first of ten tries that fits.

    The area relative to the image's is uniform in `scale`, the aspect ratio (width over height)
    log-uniform in `ratio`. If none fits, the crop is the largest rectangle at the centre.
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
