"""Which images make up batch k of a run: a function of (seed, k) and of nothing else.

Each epoch is one permutation, drawn by NumPy's counter-based Philox generator with the key
(seed, epoch). So a run can start at any step without replaying the ones before, and the global
batch does not depend on how many processes share it. What an epoch leaves over is dropped.
"""

import dataclasses
import functools

import numpy as np
from jaxtyping import Int


def steps_per_epoch(size: int, batch_size: int) -> int:
    """How many whole batches an epoch has; a ValueError if a batch is larger than the set."""
    if not 1 <= batch_size <= size:
        raise ValueError(
            f"batch_size must be from 1 to {size}, the number of training images; got {batch_size}"
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
