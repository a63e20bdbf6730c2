"""Batches of images in memory.

One is an indexing of the array, 3.5 million images of 32 x 32 pixels a second; that is as good as
nothing beside a training step, so there is no thread and no queue.
"""

import itertools
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int, UInt8

from gca_jax.data.batches.order import Order
from gca_jax.data.dataset import Images


def batches(
    images: Images, order: Order, start: int
) -> Iterator[tuple[Int[np.ndarray, "b"], UInt8[np.ndarray, "b h w c"]]]:
    """Batch `start`, `start + 1`, ... without end: which images these are, and the images."""
    for step in itertools.count(start):
        rows = order.rows(step)
        yield rows, images[rows]
