"""Batches of a run from step to step: from memory, or streamed; `order` says which images.

In memory a batch is one indexing of the array, 3.5 million images of 32 x 32 pixels a second; that
is as good as nothing beside a training step, so there is no thread and no queue.
"""

import itertools
from collections.abc import Generator
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8

from gca_jax.data.batches import stream
from gca_jax.data.batches.order import Order
from gca_jax.data.dataset import Images, Streamed


class Batch(NamedTuple):
    """This process's part of a batch.

    Attributes:
        images: [b, h, w, c]; streamed [b, 2, h, w, c], two random crops of each, where the
            augmentation begins with random crops.
        groups: label or domain of each [b], where the target plan needs them.
    """

    images: UInt8[np.ndarray, "..."]
    groups: Int32[np.ndarray, "b"] | None


def batches(
    images: Images,
    order: Order,
    start: int,
    *,
    groups: Int32[np.ndarray, "n"] | None = None,
    crop: tuple[stream.Range, stream.Range] | None = None,
) -> Generator[Batch]:
    """This process's part of batch `start`, `start + 1`, ... without end.

    Args:
        images: the whole training set.
        order: which of them a batch has.
        start: first batch to give; a resumed run passes the step it stopped at.
        groups: label or domain of every image, to go with it.
        crop: (scale, ratio) of the random crops that are made of streamed images.
    """
    if isinstance(images, Streamed):
        parts = stream.batches(images, order, start, crop)
    else:
        parts = _in_memory(images, order, start)
    for rows, part in parts:
        yield Batch(part, None if groups is None else groups[rows])


def shape(images: Images, crop: tuple[stream.Range, stream.Range] | None) -> tuple[int, ...]:
    """Of what `batches` gives for one image: (h, w, c), or (2, h, w, c)."""
    pair = (2,) if isinstance(images, Streamed) and crop is not None else ()
    return (*pair, *images.shape[1:])


def _in_memory(images: Images, order: Order, start: int):
    for step in itertools.count(start):
        rows = order.rows(step)
        yield rows, images[rows]
