"""Order, batches and shards: batch k of a run is a function of (seed, k) and of nothing else.

Each epoch is one permutation, drawn by NumPy's counter-based Philox generator with the key
(seed, epoch). So a run can start at any step without replaying the ones before, and the global
batch does not depend on how many processes share it. What an epoch leaves over is dropped.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int, UInt8


def steps_per_epoch(size: int, batch_size: int) -> int:
    """How many whole batches an epoch has.

    Raises:
        ValueError: the batch is larger than the training set.
    """
    if not 1 <= batch_size <= size:
        raise ValueError(
            f"batch_size must be from 1 to {size}, the number of training images; got {batch_size}"
        )
    return size // batch_size


def permutation(seed: int, epoch: int, size: int) -> Int[np.ndarray, "size"]:
    """The order of the training set in one epoch."""
    bits = np.random.Philox(key=np.array([seed, epoch], dtype=np.uint64))
    return np.random.Generator(bits).permutation(size)


def batches(
    images: UInt8[np.ndarray, "n h w c"],
    *,
    batch_size: int,
    seed: int,
    start: int,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[UInt8[np.ndarray, "b h w c"]]:
    """This process's part of batch `start`, `start + 1`, ... without end.

    Args:
        images: the whole training set.
        batch_size: images in a batch over all processes together.
        seed: the run's seed, at least 0.
        start: first batch to give; a resumed run passes the step it stopped at.
        process_index: which contiguous part of each batch to give.
        process_count: how many parts there are.

    Yields:
        uint8 images [batch_size / process_count, h, w, c].

    Raises:
        ValueError: a batch larger than the training set, or one that the processes cannot share.
    """
    steps = steps_per_epoch(len(images), batch_size)
    if batch_size % process_count:
        raise ValueError(f"batch_size {batch_size} must divide by {process_count} processes")
    return _batches(images, batch_size, seed, start, process_index, process_count, steps)


def _batches(images, batch_size, seed, start, process_index, process_count, steps):
    share = batch_size // process_count
    epoch, index = divmod(start, steps)
    while True:
        order = permutation(seed, epoch, len(images))
        for k in range(index, steps):
            first = k * batch_size + process_index * share
            yield images[order[first : first + share]]
        epoch, index = epoch + 1, 0
