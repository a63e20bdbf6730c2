"""Pairs of two sets: which row of one belongs to which row of the other, and batches of them."""

import dataclasses
import itertools
from collections.abc import Collection, Generator, Sequence
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32, Int, PRNGKeyArray
from numpy.typing import ArrayLike

from gca_jax import check
from gca_jax.data import tables
from gca_jax.data.batches import Batch, Order, taken
from gca_jax.data.dataset import Numbers, named_values, number

Split = Literal["test", "validation"]
Scaling = Literal["columns", "whole", "none"]
Rows = Int[np.ndarray, "k"]
Sets = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Side:
    """One of two sets, as it was given, and as a tower sees it.

    Attributes:
        raw: [n, ...], features or images.
        mean: Taken off the flattened rows: a number, or one for each column [f].
        sd: What they are then divided by, likewise.
    """

    raw: np.ndarray
    mean: np.ndarray
    sd: np.ndarray

    @classmethod
    def of(cls, raw: np.ndarray, rows: Rows, scaling: Scaling | None) -> "Side":
        """Scale by the mean and the standard deviation of some rows.

        None takes "whole", one mean and one deviation, for images (uint8, or [n, h, w] and more),
        else "columns": features may be of different units.
        """
        if scaling is None:
            scaling = "whole" if raw.dtype == np.uint8 or raw.ndim > 2 else "columns"
        check.one_of("scaling", scaling, ("columns", "whole", "none"))
        if scaling == "none":
            return cls(raw, np.zeros(()), np.ones(()))
        axis = 0 if scaling == "columns" else None
        some = raw[rows].reshape(len(rows), -1)
        mean, sd = (f(axis=axis, dtype=np.float64) for f in (some.mean, some.std))
        # A column that is constant up to rounding has nothing to say, in whatever unit.
        return cls(raw, mean, np.where(sd > _rounding(raw) * np.abs(mean), sd, 1.0))

    @property
    def width(self) -> int:
        """Features of a row."""
        return int(np.prod(self.raw.shape[1:]))

    @property
    def pictures(self) -> bool:
        """Whether rows can be shown: [n, h, w] or [n, h, w, c] with 1, 3 or 4 channels."""
        shape = self.raw.shape[1:]
        return len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))

    def features(self, rows: Rows) -> Float32[np.ndarray, "k f"]:
        """Give some rows as a tower sees them: flat, scaled."""
        return self.scale(self.raw[rows])

    def scale(self, raw: np.ndarray) -> Float32[np.ndarray, "k f"]:
        """Flatten and scale other rows of this set."""
        flat = np.asarray(raw).reshape(len(raw), -1)
        return ((flat - self.mean) / self.sd).astype(np.float32)


class Part(NamedTuple):
    """Some of the pairs: row `a[k]` of one set with row `b[k]` of the other."""

    a: Rows
    b: Rows

    @property
    def wrong(self) -> Bool[np.ndarray, "k"]:
        """Which pairs were shuffled, so that they do not belong together."""
        return self.a != self.b


@dataclasses.dataclass(frozen=True, eq=False)
class Pairs:
    """Two sets whose rows of the same number belong together, split three ways; made by `pair`.

    They are a kind of data, a `data.batches.Data`.

    Attributes:
        name: What reports call them.
        a: One set.
        b: The other one.
        train: What is trained with; some pairs may be shuffled.
        judged: The evaluation split: test pairs, none of which is shuffled, or validation pairs,
            shuffled like those of training.
        split: Which of the two it is.
        labels: [n] of all rows, where they are known.
        shuffled: Noise ratio: the share of the pairs that was shuffled.
    """

    name: str
    a: Side
    b: Side
    train: Part
    judged: Part
    split: Split
    labels: Numbers = None
    shuffled: float = 0.0

    unit: ClassVar[str] = "pairs"
    remedy: ClassVar[str] = "--config.data.labels=FILE, or labels= in Python, gives them"
    evaluations: ClassVar[tuple[str, ...]] = ("retrieval", "weights", "extremes", "embeddings")

    def __len__(self) -> int:
        return len(self.train.a)

    @property
    def input_shape(self) -> tuple[int, int]:
        """Features of a row of each set."""
        return self.a.width, self.b.width

    @property
    def inputs(self) -> dict[str, Any]:
        """Describe what the towers take."""
        return {"input_shape": list(self.input_shape)}

    @cached_property
    def info(self) -> dict[str, np.ndarray]:
        """Labels of the training pairs, where they are known: their domains too, for `blocks`."""
        if self.labels is None:
            return {}
        return dict.fromkeys(("labels", "domains"), self.labels[self.train.a])

    def example(self, size: int) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
        """Describe a batch: rows of both sets."""
        first, second = (jax.ShapeDtypeStruct((size, w), jnp.float32) for w in self.input_shape)
        return first, second

    def batches(self, order: Order, start: int, takes: Collection[str] = ()) -> Generator[Batch]:
        """Yield this process's part of batch `start`, `start + 1`, ..."""
        for rows in map(order.rows, itertools.count(start)):
            both = self.a.features(self.train.a[rows]), self.b.features(self.train.b[rows])
            yield Batch(both, rows, taken(self.info, takes, rows))

    def views(self, key: PRNGKeyArray, inputs: tuple[Array, Array]) -> tuple[Array, Array]:
        """Take both sides as they are."""
        return inputs

    def describe(self) -> dict[str, Any]:
        """Give the name and the sizes of the training and the evaluation split."""
        return {
            "name": self.name,
            "train_pairs": len(self.train.a),
            "judged_pairs": len(self.judged.a),
            "judged": self.split,
            "shuffled": self.shuffled,
            "shapes": [list(side.raw.shape[1:]) for side in (self.a, self.b)],
        }


def pair(
    a: ArrayLike,
    b: ArrayLike,
    *,
    test: tuple[ArrayLike, ArrayLike] | None = None,
    labels: ArrayLike | None = None,
    test_fraction: float = 0.2,
    validation_fraction: float = 0.1,
    shuffled: float = 0.0,
    shuffled_within: bool = False,
    scaling: Scaling | None = None,
    seed: int = 0,
    split: Split = "test",
    name: str = "pairs",
) -> Pairs:
    """Split two sets into training, validation and test pairs.

    Args:
        a: [n, ...], features or images; row i belongs to row i of `b`.
        b: [n, ...].
        test: Test pairs of their own, (a, b); None draws `test_fraction` of the rows.
        labels: [n] integers or names, for `shuffled_within` and targets that need labels.
        test_fraction: Share of the rows that is kept for the test.
        validation_fraction: Share of the other rows that is not trained with either.
        shuffled: Share of the training pairs, and of the validation pairs, whose `b` is exchanged
            among them, each for another one. Test pairs stay as they are.
        shuffled_within: Whether they are exchanged inside their class alone.
        scaling: See `Side.of`.
        seed: Of the split and the shuffle.
        split: Which pairs are evaluated on; "validation" leaves the test pairs alone.
        name: What reports call them.

    Raises:
        ValueError: Rows that do not match in number or are all alike, a value that is not a finite
            number, a share out of its range; the message names the argument.
    """
    check.one_of("split", split, ("test", "validation"))
    check.between("shuffled", shuffled, 0, 1)
    check.at_least("seed", seed, 0)
    if shuffled_within and labels is None:
        raise ValueError("shuffled_within needs labels")
    sets = tables.matched("a", a, "b", b)
    n = len(sets[0])
    ids = number(named_values("labels", labels, n, "pair"))[1][0]
    parts = _split(n, 0.0 if test is not None else test_fraction, validation_fraction, seed)
    if test is not None and split == "test":
        others = tables.matched("test_a", test[0], "test_b", test[1])
        parts["test"] = n + np.arange(len(others[0]))
        sets = _joined(sets, others)
    for kind in ("train", split):
        if len(parts[kind]) < 2:
            raise ValueError(
                f"of {n} pairs {len(parts[kind])} are left to {kind}: give more pairs, or other "
                "test_fraction and validation_fraction"
            )

    def noisy(kind: str, stream: int) -> Part:
        rows, within = parts[kind], ids if shuffled_within else None
        return Part(rows, _shuffle(rows, shuffled, [seed, stream], within))

    train = noisy("train", 2)
    judged = noisy("validation", 1) if split == "validation" else Part(*[parts["test"]] * 2)
    for key, raw in zip("ab", sets, strict=True):
        if _is_constant(raw[train.a]):
            raise ValueError(
                f"{key} is the same in all {len(train.a)} training rows, up to rounding: there is "
                "nothing to align it by"
            )
    side_a, side_b = (Side.of(raw, train.a, scaling) for raw in sets)
    return Pairs(name, side_a, side_b, train, judged, split, ids, shuffled)


def _split(n: int, test_fraction: float, validation_fraction: float, seed: int) -> dict[str, Rows]:
    """Draw rows to test with, of the others rows to validate with; the rest are trained with."""
    shares = {"test_fraction": test_fraction, "validation_fraction": validation_fraction}
    for key, share in shares.items():
        if not 0 <= share < 1:
            raise ValueError(f"{key} must be at least 0 and below 1, got {share}")
    order = np.random.default_rng([seed, 0]).permutation(n)
    test, rest = np.split(order, [round(test_fraction * n)])
    validation, train = np.split(rest, [round(validation_fraction * len(rest))])
    return {"test": np.sort(test), "validation": np.sort(validation), "train": np.sort(train)}


def _joined(first: Sets, second: Sets) -> Sets:
    """Append the rows of other pairs, whose shapes must be the same."""
    for name, x, y in zip("ab", first, second, strict=True):
        if x.shape[1:] != y.shape[1:]:
            raise ValueError(
                f"rows of {name} have shape {list(x.shape[1:])}, those of test_{name} "
                f"{list(y.shape[1:])}"
            )
    a, b = (np.concatenate(sides) for sides in zip(first, second, strict=True))
    return a, b


def _rounding(raw: np.ndarray) -> float:
    """Give the relative size of differences that are rounding errors."""
    return 8 * float(np.finfo(raw.dtype if raw.dtype.kind == "f" else np.float64).eps)


def _is_constant(raw: np.ndarray) -> bool:
    """Tell whether all rows are equal, up to rounding."""
    low, high = (end(axis=0).astype(np.float64) for end in (raw.min, raw.max))
    return not np.any(high - low > _rounding(raw) * np.maximum(np.abs(low), np.abs(high)))


def _shuffle(rows: Rows, share: float, seed: Sequence[int], labels: Numbers) -> Rows:
    """Exchange a share of the rows, each for another one, perhaps of its own class."""
    rng, out = np.random.default_rng(seed), rows.copy()
    wrong = rng.permutation(len(rows))[: round(share * len(rows))]
    kinds = np.zeros(len(rows), np.int32) if labels is None else labels[rows]
    for kind in np.unique(kinds):
        places = wrong[kinds[wrong] == kind]
        out[places] = rows[np.roll(places, 1)]  # in a random order, so no place keeps its own
    return out


def load(
    name: str,
    *,
    a: str | None = None,
    b: str | None = None,
    test_a: str | None = None,
    test_b: str | None = None,
    labels: str | None = None,
    split: Split = "test",
    limit: int | None = None,
    **settings: Any,
) -> Pairs:
    """Read two files of the `data` group of a config; without any, halves of scikit-learn's digits.

    Args:
        name: What reports call them.
        a: File of one set, `.npy`, `.npz`, `.parquet` or `.csv`; see `tables.read`.
        b: File of the other one.
        test_a: File of the test pairs' one set, not read where `split` is validation.
        test_b: And of the other one.
        labels: File of labels.
        split: Which pairs are evaluated on.
        limit: At most so many pairs of the files `a` and `b`, evenly spaced.
        **settings: Further keywords of `pair`.

    Raises:
        ValueError: A file that is missing or damaged, or what `pair` raises.
    """
    check.keywords("a run on pairs", pair, settings)
    files = {"a": a, "b": b, "test_a": test_a, "test_b": test_b}
    for first, second in (("a", "b"), ("test_a", "test_b")):
        if (files[first] is None) != (files[second] is None):
            missing = first if files[first] is None else second
            raise ValueError(f"{first} and {second} go together; name --config.data.{missing}=FILE")
    if a is None and (test_a is not None or labels is not None):
        raise ValueError("test_a, test_b and labels need a and b: name --config.data.a=FILE")
    if a is None or b is None:
        sets, ids = _digits()
        name = "halves of digits" if name == "pairs" else name
    else:
        sets = _read(a, b)
        ids = None if labels is None else tables.read(labels).values
    if limit is not None:
        check.at_least("limit", limit, 1)
        count = len(sets[0])
        rows = np.linspace(0, count - 1, min(limit, count)).round().astype(int)
        sets = sets[0][rows], sets[1][rows]
        ids = named_values("labels", ids, count, "pair")
        ids = None if ids is None else ids[rows]
    test = None
    if test_a is not None and test_b is not None:
        settings["test_fraction"] = 0.0
        test = _read(test_a, test_b) if split == "test" else None
    return pair(*sets, test=test, labels=ids, split=split, name=name, **settings)


def _read(a: str, b: str) -> Sets:
    """Read two files whose rows belong together, by their names too where both have names."""
    one, other = tables.read(a), tables.read(b)
    sets = tables.matched(a, one.values, b, other.values)
    if one.rows != other.rows and sorted(one.rows or ()) == sorted(other.rows or ()):
        raise ValueError(
            f"{a} and {b} name the same rows in another order: sort one like the other"
        )
    return sets


def _digits() -> tuple[Sets, np.ndarray | None]:
    """Cut digits into halves [1797, 8, 4], left and right, and give their classes."""
    from sklearn.datasets import load_digits  # takes most of a second

    raw = load_digits()
    return (raw.images[:, :, :4], raw.images[:, :, 4:]), raw.target
