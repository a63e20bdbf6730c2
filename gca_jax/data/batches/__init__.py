"""Batches of a run from step to step, from memory or streamed; `order` says which images.

Where images stream from disk at sizes of their own, a policy's random crops are made here, on the
host: the device then gets two crops of each image at the network's size.
"""

import dataclasses
import itertools
from collections.abc import Generator
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Int32, UInt8

from gca_jax.data.batches import stream
from gca_jax.data.batches.order import Order
from gca_jax.data.dataset import Images, Streamed

__all__ = ["Batch", "Batches", "Order"]


class Batch(NamedTuple):
    """This process's part of a batch."""

    images: UInt8[np.ndarray, "b ..."]  # [b, h, w, c], or two random crops of each [b, 2, h, w, c]
    groups: Int32[np.ndarray, "b"] | None  # labels or domains, where the target plan needs them


@dataclasses.dataclass(frozen=True, eq=False)
class Batches:
    """A training set, to be taken in batches.

    Attributes:
        images: all of it.
        groups: label or domain of every image, to go with it.
        crop: (scale, ratio) of the random crops that the augmentation begins with, if it does.
    """

    images: Images
    groups: Int32[np.ndarray, "n"] | None = None
    crop: stream.Crop | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image in a batch: (h, w, c), or (2, h, w, c) of a pair of crops."""
        pair = (2,) if isinstance(self.images, Streamed) and self.crop is not None else ()
        return (*pair, *self.images.shape[1:])

    def iterate(self, order: Order, start: int) -> Generator[Batch]:
        """This process's part of batch `start`, `start + 1`, ... without end.

        Args:
            order: which images a batch has.
            start: first batch to give; a resumed run passes the step it stopped at.
        """
        if isinstance(self.images, Streamed):
            parts = stream.batches(self.images, order, start, self.crop)
        else:  # 3.5 million images of 32 x 32 pixels a second: a thread or queue would gain nothing
            parts = ((rows, self.images[rows]) for rows in map(order.rows, itertools.count(start)))
        for rows, part in parts:
            yield Batch(part, None if self.groups is None else self.groups[rows])

    def sample(self, rows: Int[np.ndarray, "k"], seed: int) -> UInt8[np.ndarray, "..."]:
        """Chosen images [k, *shape] as a batch has them, their crops drawn from a seed."""
        if not isinstance(self.images, Streamed) or self.crop is None:
            return self.images[rows]
        rng, size = np.random.default_rng(seed), self.images.size
        whole = (self.images.decode(i) for i in rows)
        return np.stack([stream.two_crops(rng, image, size, self.crop) for image in whole])
