"""Batches: their order, and the protocol that a kind of data fulfils to be trained with.

Batch k is a function of (seed, k) and of nothing else: each epoch is one permutation, drawn by
NumPy's counter-based Philox generator with the key (seed, epoch). So a run can start at any step
without replaying the ones before, and the global batch does not depend on how many processes share
it. What an epoch leaves over is dropped.
"""

import dataclasses
import functools
from collections.abc import Collection, Generator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray


class Batch(NamedTuple):
    """This process's part of a batch; or, in a compiled step, the whole of it.

    Attributes:
        inputs: What views are made of; arrays [b, ...].
        rows: Which samples these are [b], numbers below the length of the data.
        info: What a target or a weight has to know of each, arrays [b, ...] by name: "labels",
            "domains" and others; those alone that were asked for.
    """

    inputs: Any
    rows: Any
    info: Mapping[str, Any]


@runtime_checkable
class Data(Protocol):
    """A kind of data, as training and evaluation use it: images, pairs, or one of your own.

    Attributes:
        name: What reports call the data.
        unit: What is counted: "images", "pairs".
        input_shape: Shape of what the network sees of one sample, as its `blank` takes it.
        info: Arrays [n, ...] that targets may take, by name.
        remedy: What to do where an entry of `info` that a target takes is missing.
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
        """Count the samples that are trained with."""
        ...

    def batches(self, order: "Order", start: int, takes: Collection[str] = ()) -> Generator[Batch]:
        """Yield this process's part of batch `start`, `start + 1`, ... with the info it `takes`."""
        ...

    def example(self, size: int) -> Any:
        """Describe the inputs of a batch: a `jax.ShapeDtypeStruct` for each array."""
        ...

    def views(self, key: PRNGKeyArray, inputs: Any) -> tuple[Array, Array]:
        """Make the two views [b, ...] of a batch's inputs that the network embeds."""
        ...

    @property
    def inputs(self) -> Mapping[str, Any]:
        """Describe what the network takes, as JSON, for those who use it when the data are gone."""
        ...

    def describe(self) -> dict[str, Any]:
        """Give names and sizes for `evaluation.json`, as JSON."""
        ...


@runtime_checkable
class Probed(Data, Protocol):
    """Data whose encoder is probed: inputs to fit probes on, inputs to evaluate them on.

    Attributes:
        raw_name: The raw input's name among those that are compared, such as "pixels".
        train_inputs: [n, ...], those that probes are fitted to.
        test_inputs: [m, ...].
    """

    @property
    def raw_name(self) -> str: ...  # noqa: D102
    @property
    def train_inputs(self) -> Any: ...  # noqa: D102
    @property
    def test_inputs(self) -> Any: ...  # noqa: D102

    def plain(self, inputs: Any) -> Array:
        """Turn a batch of inputs into what the network takes, unaugmented."""
        ...

    def raw(self, inputs: Any) -> np.ndarray:
        """Give the raw inputs as features [b, f]: the baseline that costs nothing."""
        ...


def taken(
    info: Mapping[str, np.ndarray], takes: Collection[str], rows: Int[np.ndarray, "b"]
) -> dict[str, np.ndarray]:
    """Give the entries of `info` that are taken, of some rows."""
    return {name: info[name][rows] for name in takes}


def steps_per_epoch(size: int, batch_size: int) -> int:
    """Count the whole batches of an epoch; raise a ValueError if one is larger than the set."""
    if not 1 <= batch_size <= size:
        raise ValueError(
            f"batch_size must be from 1 to {size}, as many as there are to train with; "
            f"got {batch_size}"
        )
    return size // batch_size


@functools.lru_cache(maxsize=4)  # Workers at an epoch's border go back and forth between two.
def permutation(seed: int, epoch: int, size: int) -> Int[np.ndarray, "size"]:
    """Draw the order of the training set in one epoch; the array is read-only."""
    bits = np.random.Philox(key=np.array([seed, epoch], dtype=np.uint64))
    drawn = np.random.Generator(bits).permutation(size)
    drawn.flags.writeable = False
    return drawn


@dataclasses.dataclass(frozen=True)
class Order:
    """Rows of every batch that are this process's; a ValueError if processes cannot share them."""

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
        """Count the rows of a batch that are this process's."""
        return self.batch_size // self.process_count

    def epoch(self, step: int) -> int:
        """Number, from 0, the epoch that batch `step` is of."""
        return step // steps_per_epoch(self.size, self.batch_size)

    def rows(self, step: int) -> Int[np.ndarray, "share"]:
        """Give the rows of batch `step` that are this process's."""
        index = step % steps_per_epoch(self.size, self.batch_size)
        first = index * self.batch_size + self.process_index * self.share
        return permutation(self.seed, self.epoch(step), self.size)[first : first + self.share]
