"""Batches, their order, and the protocol of a kind of data.

Batch k depends on (seed, k) alone: each epoch is one permutation, drawn by NumPy's counter-based
Philox generator with the key (seed, epoch). So a run can start at any step without replaying the
earlier ones, and the global batch does not depend on the number of processes. The last, incomplete
batch of an epoch is dropped.
"""

import dataclasses
import functools
from collections.abc import Collection, Generator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray

from gca_jax import check


class Batch(NamedTuple):
    """This process's part of a batch; inside a compiled step, the global batch.

    Attributes:
        inputs: Arrays [b, ...] that views are made of.
        rows: [b], row numbers of the samples in the data.
        info: Arrays [b, ...] by name that the target or the weights take: "labels", "domains", ...
    """

    inputs: Any
    rows: Any
    info: Mapping[str, Any]


@runtime_checkable
class Data(Protocol):
    """A kind of data, as training and evaluation use it: images, pairs, or one of your own.

    Attributes:
        name: Name in reports.
        unit: Plural noun of a sample: "images", "pairs".
        input_shape: Shape of one sample as the network sees it, an argument of its `blank`.
        info: Arrays [n, ...] by name that targets may take.
        remedy: End of the error message where `info` lacks an entry that a target takes.
        evaluations: Names of the evaluations, keys of `evaluation.EVALUATIONS`.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def unit(self) -> str: ...  # noqa: D102
    @property
    def input_shape(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def info(self) -> Mapping[str, np.ndarray]: ...  # noqa: D102
    @property
    def remedy(self) -> str: ...  # noqa: D102
    @property
    def evaluations(self) -> Sequence[str]: ...  # noqa: D102

    def __len__(self) -> int:
        """Count the training samples."""

    def batches(self, order: "Order", start: int, takes: Collection[str] = ()) -> Generator[Batch]:
        """Yield this process's part of batch `start`, `start + 1`, ..., its `info` of `takes`."""

    def example(self, size: int) -> Any:
        """Return a `jax.ShapeDtypeStruct` for each array of a batch's inputs."""

    def views(self, key: PRNGKeyArray, inputs: Any) -> tuple[Array, Array]:
        """Make two views [b, ...] of a batch's inputs."""

    @property
    def inputs(self) -> Mapping[str, Any]:
        """Describe the network's input as JSON, for use of the network without the data."""

    def describe(self) -> dict[str, Any]:
        """Return names and sizes for `evaluation.json`, as JSON."""


@runtime_checkable
class Probed(Data, Protocol):
    """Data whose encoder is probed.

    Attributes:
        raw_name: Name of the raw input in comparisons, such as "pixels".
        train_inputs: [n, ...], inputs that probes are fitted on.
        test_inputs: [m, ...], inputs that probes are evaluated on.
    """

    @property
    def raw_name(self) -> str: ...  # noqa: D102
    @property
    def train_inputs(self) -> Any: ...  # noqa: D102
    @property
    def test_inputs(self) -> Any: ...  # noqa: D102

    def plain(self, inputs: Any) -> Array:
        """Prepare a batch of inputs for the network without augmentation."""

    def raw(self, inputs: Any) -> np.ndarray:
        """Return the raw inputs as features [b, f], the baseline without an encoder."""


def taken(
    info: Mapping[str, np.ndarray], takes: Collection[str], rows: Int[np.ndarray, "b"]
) -> dict[str, np.ndarray]:
    """Select some entries of `info` at some rows."""
    return {name: info[name][rows] for name in takes}


def steps_per_epoch(size: int, batch_size: int) -> int:
    """Count the batches of an epoch; raise ValueError if the set is smaller than one batch."""
    if not 1 <= batch_size <= size:
        raise ValueError(
            f"batch_size must be from 1 to {size}, as many as there are to train with; "
            f"got {batch_size}"
        )
    return size // batch_size


@functools.lru_cache(maxsize=4)  # At an epoch's end, threads alternate between two epochs.
def permutation(seed: int, epoch: int, size: int) -> Int[np.ndarray, "size"]:
    """Draw the order of the training set in one epoch, a read-only array."""
    bits = np.random.Philox(key=np.array([seed, epoch], dtype=np.uint64))
    drawn = np.random.Generator(bits).permutation(size)
    drawn.flags.writeable = False
    return drawn


@dataclasses.dataclass(frozen=True)
class Order:
    """Assigns a contiguous part of every batch to each process.

    Raises:
        ValueError: The batch size does not divide by the number of processes; or a seed that is no
            integer from 0.
    """

    size: int  # of the training set
    batch_size: int  # over all processes
    seed: int
    process_index: int = 0
    process_count: int = 1

    def __post_init__(self):
        check.at_least("seed", self.seed, 0)
        steps_per_epoch(self.size, self.batch_size)
        if self.batch_size % self.process_count:
            raise ValueError(
                f"batch_size {self.batch_size} must divide by {self.process_count} processes"
            )

    @property
    def share(self) -> int:
        """Number of rows of a batch in this process."""
        return self.batch_size // self.process_count

    def epoch(self, step: int) -> int:
        """Return the epoch of batch `step`, from 0."""
        return step // steps_per_epoch(self.size, self.batch_size)

    def rows(self, step: int) -> Int[np.ndarray, "share"]:
        """Return this process's rows of batch `step`."""
        index = step % steps_per_epoch(self.size, self.batch_size)
        first = index * self.batch_size + self.process_index * self.share
        return permutation(self.seed, self.epoch(step), self.size)[first : first + self.share]
