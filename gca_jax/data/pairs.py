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
from scipy import sparse

from gca_jax import check
from gca_jax.data import tables
from gca_jax.data.batches import Batch, Order, taken
from gca_jax.data.dataset import Numbers, named_values, number
from gca_jax.data.splits import hashes
from gca_jax.ot import inputs

KEPT = 2**28  # bytes of standardised rows that are kept
Split = Literal["test", "validation"]
Scaling = Literal["columns", "whole", "none"]
Rows = Int[np.ndarray, "k"]
Known = Int[np.ndarray, "k 2"]
Sets = tuple[np.ndarray, np.ndarray]
NO_ROWS = np.zeros(0, int), np.zeros(0, int)
ENOUGH = 20  # validation pairs that tell anything: as many are held out of 100 given ones or more


@dataclasses.dataclass(frozen=True, eq=False)
class Side:
    """One of two sets, and how its rows are standardised.

    Values are divided by a power of two about as large as the largest, so that no unit, however
    large or small, overflows or vanishes where they are squared.

    Attributes:
        name: "a" or "b", for messages.
        raw: [n, ...], features or images.
        exponent: Of that power of two, a number or [f].
        origin: Least quotient, which is subtracted first: differences are kept beside a large mean.
        mean: Mean of the differences to subtract, a number or [f].
        sd: Standard deviation to divide by, a number or [f].
    """

    name: str
    raw: np.ndarray
    exponent: np.ndarray
    origin: np.ndarray
    mean: np.ndarray
    sd: np.ndarray

    @classmethod
    def of(cls, name: str, raw: np.ndarray, rows: Rows, scaling: Scaling | None) -> "Side":
        """Take mean and standard deviation of some rows.

        `scaling` None is "whole", one mean and one deviation, for images (uint8, or [n, h, w] and
        more), else "columns": features may have different units.

        Raises:
            ValueError: A value is beyond float32 once it is standardised, or all rows are one.
        """
        if scaling is None:
            scaling = "whole" if raw.dtype == np.uint8 or raw.ndim > 2 else "columns"
        check.one_of("scaling", scaling, ("columns", "whole", "none"))
        exponent, origin, mean, sd = np.zeros((), int), np.zeros(()), np.zeros(()), np.ones(())
        if scaling != "none":
            axis = 0 if scaling == "columns" else None
            some = inputs.widened(raw[rows].reshape(len(rows), -1))
            low, high = some.min(axis=axis), some.max(axis=axis)
            exponent = np.frexp(np.maximum(np.abs(low), np.abs(high)))[1]
            np.ldexp(some, -exponent, out=some)
            origin = np.ldexp(low, -exponent)
            some -= origin
            mean, sd = some.mean(axis=axis), np.where(low == high, 1.0, some.std(axis=axis))
        side = cls(name, raw, exponent, origin, mean, sd)
        low, high = side.scale(np.stack([raw[rows].min(axis=0), raw[rows].max(axis=0)]))
        if (low == high).all():
            raise ValueError(
                f"{name} is the same in all {len(rows)} training rows, in float32: there is "
                "nothing to align it by"
            )
        side.scale(np.stack([raw.min(axis=0), raw.max(axis=0)]))  # all others lie between them
        return side

    @property
    def width(self) -> int:
        """Number of features of a row."""
        return int(np.prod(self.raw.shape[1:]))

    @property
    def pictures(self) -> bool:
        """Whether rows can be drawn: [n, h, w] or [n, h, w, c] with 1, 3 or 4 channels."""
        shape = self.raw.shape[1:]
        return len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))

    def features(self, rows: Rows) -> Float32[np.ndarray, "k f"]:
        """Flatten and standardise some rows, as a tower takes them."""
        return self.scale(self.raw[rows]) if self._scaled is None else self._scaled[rows]

    @cached_property
    def _scaled(self) -> Float32[np.ndarray, "n f"] | None:
        """All rows, so that no step standardises them again; None where they take much memory."""
        return self.scale(self.raw) if 4 * self.raw.size <= KEPT else None

    def scale(self, raw: np.ndarray) -> Float32[np.ndarray, "k f"]:
        """Flatten and standardise new rows [k, ...].

        Raises:
            ValueError: A value is beyond float32 then.
        """
        flat = inputs.widened(raw.reshape(len(raw), -1))
        with np.errstate(over="ignore"):
            np.ldexp(flat, -self.exponent, out=flat)
            flat -= self.origin
            flat -= self.mean
            flat /= self.sd
            found = flat.astype(np.float32)
        beyond = ~np.isfinite(found)
        if beyond.any():
            row, column = np.argwhere(beyond)[0]
            raise ValueError(
                f"{self.name} has {raw.reshape(len(raw), -1)[row, column]:g} in column {column}, "
                "beyond float32 once it is scaled like the training rows: leave such rows out, or "
                "scale that column"
            )
        return found


class Part(NamedTuple):
    """Some pairs: row `a[k]` of one set with row `b[k]` of the other."""

    a: Rows
    b: Rows


@dataclasses.dataclass(frozen=True, eq=False)
class Pairs:
    """Two sets, some or all of whose rows belong together; a `data.batches.Data`.

    Attributes:
        name: Name in reports.
        a: One set.
        b: The other.
        train: Training pairs.
        validation: Pairs that are not trained with, shuffled like those of training.
        evaluated: The evaluation split: test pairs, never shuffled, or the validation pairs.
        split: Which of the two it is.
        labels: Of all rows of `a` [n], if known.
        noise_ratio: Share of the pairs that is shuffled.
        wrong: Which training pairs are shuffled, false positives [k]; None: none are.
        quality: Weight of each training pair [k], if it is known: its probability to be right.
        unpaired: Training rows of `a` and of `b` that no pair holds.
        given: Whether the training pairs are given ones; the plan's else (`matched`).
    """

    name: str
    a: Side
    b: Side
    train: Part
    validation: Part
    evaluated: Part
    split: Split
    labels: Numbers = None
    noise_ratio: float = 0.0
    wrong: Bool[np.ndarray, "k"] | None = None
    quality: Float32[np.ndarray, "k"] | None = None
    unpaired: tuple[Rows, Rows] = NO_ROWS
    given: bool = True

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
        """Return the towers' input widths as JSON."""
        return {"input_shape": list(self.input_shape)}

    @cached_property
    def info(self) -> dict[str, np.ndarray]:
        """Labels of the training pairs, also as domains for `blocks`, and quality, if known."""
        known = {} if self.quality is None else {"quality": self.quality}
        if self.labels is not None:
            known |= dict.fromkeys(("labels", "domains"), self.labels[self.train.a])
        return known

    @property
    def rows(self) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " m"]]:
        """Training rows of both sides, with or without a partner, each once."""
        first, second = (
            np.union1d(one, other) for one, other in zip(self.train, self.unpaired, strict=True)
        )
        return first, second

    def matched(self, a: Rows, b: Rows, quality: Float32[np.ndarray, " k"]) -> "Pairs":
        """Train with other pairs, each with a weight; validate by the given ones."""
        given = zip(self.train, self.validation, strict=True)
        validation = Part(*(np.concatenate(parts) for parts in given))
        return dataclasses.replace(
            self,
            train=Part(a, b),
            validation=validation,
            quality=quality,
            wrong=None,
            unpaired=NO_ROWS,
            given=False,
        )

    def example(self, size: int) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
        """Describe a batch: rows of both sets."""
        first, second = (jax.ShapeDtypeStruct((size, w), jnp.float32) for w in self.input_shape)
        return first, second

    def batches(self, order: Order, start: int, takes: Collection[str] = ()) -> Generator[Batch]:
        """Yield this process's part of batch `start`, `start + 1`, ..., its `info` of `takes`."""
        for rows in map(order.rows, itertools.count(start)):
            both = self.a.features(self.train.a[rows]), self.b.features(self.train.b[rows])
            yield Batch(both, rows, taken(self.info, takes, rows))

    def views(self, key: PRNGKeyArray, inputs: tuple[Array, Array]) -> tuple[Array, Array]:
        """Return both sides unchanged."""
        return inputs

    def describe(self) -> dict[str, Any]:
        """Return the name and sizes of the two splits."""
        alone = (
            {"unpaired": [len(rows) for rows in self.unpaired]}
            if any(map(len, self.unpaired))
            else {}
        )
        return {
            "name": self.name,
            "train_pairs": len(self.train.a),
            "judged_pairs": len(self.evaluated.a),
            "judged": self.split,
            "shuffled": self.noise_ratio,
            **alone,
            "shapes": [list(side.raw.shape[1:]) for side in (self.a, self.b)],
        }


def pair(
    a: ArrayLike,
    b: ArrayLike,
    *,
    pairs: Literal["rows"] | ArrayLike = "rows",
    confidence: ArrayLike | None = None,
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
        a: [n, ...], features or images.
        b: [m, ...].
        pairs: "rows": row i of `a` belongs to row i of `b`. Or the row of `a` and the row of `b` of
            each known pair [k, 2], a row perhaps in several; other rows have partners that are not
            known, or none. Pairs that share a row stay on one side of every split, and rows of
            test and validation pairs are not trained with.
        confidence: Probability that a pair is right, of each [k] or of all; None: not known.
        test: Separate test pairs (a, b), rows; None: `test_fraction` of the pairs.
        labels: Of the rows of `a` [n], integers or names, for `shuffled_within` and targets that
            take labels; -1 is of no class.
        test_fraction: Share of the pairs to test on.
        validation_fraction: Share of the other pairs to validate on. Of 100 known pairs or more at
            least 20.
        shuffled: Noise ratio: share of the training and the validation pairs whose `b` are
            permuted. Test pairs are never shuffled.
        shuffled_within: Whether to permute within classes only.
        scaling: See `Side.of`.
        seed: Of the split and the shuffle.
        split: Which pairs to evaluate on; "validation" leaves the test pairs alone.
        name: Name in reports.

    Raises:
        ValueError: Numbers of rows that differ, constant or non-finite values, a share out of
            range, pairs of rows that there are not; the message names the argument.
    """
    check.one_of("split", split, ("test", "validation"))
    check.between("shuffled", shuffled, 0, 1)
    check.at_least("seed", seed, 0)
    if shuffled_within and labels is None:
        raise ValueError("shuffled_within needs labels")
    sets, known = _given(a, b, pairs)
    n, k = len(sets[0]), len(known)
    ids = number(named_values("labels", labels, n, "row"))[1][0]
    trust = _of_each("confidence", confidence, k)
    shares = 0.0 if test is not None else test_fraction, validation_fraction
    parts = _split(_groups(known, sets), shares, 0 if isinstance(pairs, str) else ENOUGH, seed)
    for kind in ("train", "validation") if split == "validation" else ("train",):
        _require_pairs(kind, k, len(parts[kind]))
    within = None if not shuffled_within or ids is None else ids[known[:, 0]]
    moved = np.arange(k)
    for kind, stream in (("train", 2), ("validation", 1)):
        moved[parts[kind]] = _shuffle(parts[kind], shuffled, [seed, stream], within)
    first, second = (
        np.setdiff1d(np.arange(len(rows)), held) for rows, held in zip(sets, known.T, strict=True)
    )
    given, dealt = known[:, 0], known[moved, 1]
    train, validation = (Part(given[of], dealt[of]) for of in (parts["train"], parts["validation"]))
    evaluated = validation if split == "validation" else Part(*known[parts["test"]].T)
    if test is not None and split == "test":
        others = tables.matched("test_a", test[0], "test_b", test[1])
        new = np.arange(len(others[0]))
        evaluated = Part(len(sets[0]) + new, len(sets[1]) + new)
        sets = _joined(sets, others)
    _require_pairs(split, k, len(evaluated.a))
    side_a, side_b = (
        Side.of(key, raw, np.concatenate([of, rest]), scaling)
        for key, raw, of, rest in zip("ab", sets, train, (first, second), strict=True)
    )
    trained = train, Part(first, second)
    _note_equal(
        name, sets, [np.concatenate(rows) for rows in zip(*trained, strict=True)], evaluated
    )
    return Pairs(
        name, side_a, side_b, train, validation, evaluated, split, ids, shuffled,
        wrong=(moved != np.arange(k))[parts["train"]] if shuffled else None,
        quality=None if trust is None else trust[parts["train"]],
        unpaired=(first, second),
    )  # fmt: skip


def _note_equal(name: str, sets: Sets, trained: Sequence[np.ndarray], evaluated: Part) -> None:
    """Print how many evaluated pairs have rows equal to ones that are trained with, if any do.

    Rows are compared by hashes of 64 bits: a million rows of 100 numbers take seconds.
    """
    a, b = sets
    if a.shape == b.shape and np.array_equal(a, b):
        print(f"note: {name}: a and b are the same rows, and the partner of each is itself")
    found = [
        np.isin(hashes(rows[of]), hashes(rows[known]))
        for rows, of, known in zip(sets, evaluated, trained, strict=True)
    ]
    both = found[0] & found[1]
    if both.any():
        print(
            f"note: {name}: in {both.sum()} of {len(both)} pairs that are evaluated, the rows of a "
            "and of b equal rows that are trained with: what is measured on those is no test"
        )


def _given(a: ArrayLike, b: ArrayLike, pairs: str | ArrayLike) -> tuple[Sets, Known]:
    """Check two sets and the pairs of their rows [k, 2]."""
    if isinstance(pairs, str):
        check.one_of("pairs", pairs, ("rows",))
        sets = tables.matched("a", a, "b", b)
        return sets, np.stack([np.arange(len(sets[0]))] * 2, axis=1)
    sets, known = (tables.checked("a", a), tables.checked("b", b)), np.asarray(pairs)
    if known.ndim != 2 or known.shape[1] != 2 or known.dtype.kind not in "iu":
        raise ValueError(
            "pairs must be 'rows', or integers [k, 2]: the row of a and the row of b of each, got "
            f"{known.dtype} {list(known.shape)}"
        )
    known = known.astype(int)
    for name, held, rows in zip("ab", known.T, sets, strict=True):
        if len(held) and not 0 <= held.min() <= held.max() < len(rows):
            wrong = held.min() if held.min() < 0 else held.max()
            raise ValueError(f"pairs: {name} has rows 0 to {len(rows) - 1}, and none {wrong}")
    if len(np.unique(known, axis=0)) < len(known):
        raise ValueError("pairs: one is there twice; numpy.unique(pairs, axis=0) keeps each once")
    return sets, known


def _of_each(name: str, given: ArrayLike | None, count: int) -> Float32[np.ndarray, " k"] | None:
    """Return a number in [0, 1] for each pair."""
    if given is None:
        return None
    values = np.asarray(given, np.float32)
    if values.shape not in ((), (count,)):
        raise ValueError(f"{name} is a number, or one for each of {count} pairs: {values.shape}")
    check.between(name, values, 0, 1)
    return np.broadcast_to(values, count)


def _groups(pairs: Known, sets: Sets) -> Int[np.ndarray, " k"]:
    """Number the pairs, those that share a row alike."""
    (n, m), (rows, columns) = map(len, sets), pairs.T
    links = sparse.coo_array((np.ones(len(pairs)), (rows, n + columns)), shape=(n + m, n + m))
    _, of_row = sparse.csgraph.connected_components(links, directed=False)
    return np.unique(of_row[rows], return_inverse=True)[1]


def _require_pairs(kind: str, count: int, left: int) -> None:
    if left < 2:
        raise ValueError(
            f"of {count} pairs {left} are left to {kind}: give more pairs, or other "
            "test_fraction and validation_fraction"
        )


def _split(
    groups: Int[np.ndarray, " g"], shares: tuple[float, float], few: int, seed: int
) -> dict[str, Rows]:
    """Draw test pairs, validation pairs of the others, and training pairs, the rest, by groups."""
    for key, share in zip(("test_fraction", "validation_fraction"), shares, strict=True):
        if not 0 <= share < 1:
            raise ValueError(f"{key} must be at least 0 and below 1, got {share}")
    n = len(np.unique(groups))
    order = np.random.default_rng([seed, 0]).permutation(n)
    test, rest = np.split(order, [round(shares[0] * n)])
    held_out = round(shares[1] * len(rest))
    if shares[1] > 0 and few <= len(rest) // 5:
        held_out = max(held_out, few)
    validation, train = np.split(rest, [held_out])
    drawn = {"test": test, "validation": validation, "train": train}
    return {kind: np.flatnonzero(np.isin(groups, some)) for kind, some in drawn.items()}


def _joined(first: Sets, second: Sets) -> Sets:
    """Append rows of the same shapes to both sets."""
    for name, x, y in zip("ab", first, second, strict=True):
        if x.shape[1:] != y.shape[1:]:
            raise ValueError(
                f"rows of {name} have shape {list(x.shape[1:])}, those of test_{name} "
                f"{list(y.shape[1:])}"
            )
    a, b = (np.concatenate(sides) for sides in zip(first, second, strict=True))
    return a, b


def _shuffle(rows: Rows, share: float, seed: Sequence[int], labels: Numbers) -> Rows:
    """Permute a share of the rows, within classes if there are labels; none of them stays.

    Rows of the label -1 are of no class, and stay.
    """
    out = rows.copy()
    wrong = np.random.default_rng(seed).permutation(len(rows))[: round(share * len(rows))]
    kinds = np.zeros(len(wrong), np.int32) if labels is None else labels[rows[wrong]]
    for kind in np.unique(kinds[kinds >= 0]):
        places = wrong[kinds == kind]
        out[places] = rows[np.roll(places, 1)]  # in a random order, so no place keeps its own
    return out
