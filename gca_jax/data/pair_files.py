"""Pairs of two sets, read from files."""

from typing import Any

import numpy as np

from gca_jax import check
from gca_jax.data import tables
from gca_jax.data.dataset import named_values
from gca_jax.data.pairs import Pairs, Sets, Split, pair


def load(
    name: str,
    *,
    a: str | None = None,
    b: str | None = None,
    test_a: str | None = None,
    test_b: str | None = None,
    pairs: str | None = None,
    labels: str | None = None,
    split: Split = "test",
    limit: int | None = None,
    **settings: Any,
) -> Pairs:
    """Read the files of a config's `data` group; by default, halves of scikit-learn's digits.

    Args:
        name: Name in reports.
        a: File of one set, `.npy`, `.npz`, `.parquet` or `.csv`; see `tables.read`.
        b: File of the other set.
        test_a: File of one set of the test pairs, not read if `split` is "validation".
        test_b: File of their other set.
        pairs: File of the pairs that are known [k, 2], rows of `a` and of `b`, perhaps with a third
            column, the probability that each is right. None: all rows, in order.
        labels: File of labels.
        split: Which pairs to evaluate on.
        limit: Most pairs of `a` and `b`, evenly spaced.
        **settings: Further keywords of `pair`.

    Raises:
        ValueError: A file is missing or damaged, or as in `pair`.
    """
    check.keywords("a run on pairs", pair, settings)
    files = {"a": a, "b": b, "test_a": test_a, "test_b": test_b}
    for first, second in (("a", "b"), ("test_a", "test_b")):
        if (files[first] is None) != (files[second] is None):
            missing = first if files[first] is None else second
            raise ValueError(f"{first} and {second} go together; name --config.data.{missing}=FILE")
    if a is None and any(each is not None for each in (test_a, labels, pairs)):
        raise ValueError("test_a, test_b, labels and pairs need a and b: name --config.data.a=FILE")
    if pairs is not None and limit is not None:
        raise ValueError("limit keeps rows that pairs may name: leave one of them out")
    if a is None or b is None:
        from sklearn.datasets import load_digits  # takes most of a second

        digits = load_digits()
        sets: Sets = (digits.images[:, :, :4], digits.images[:, :, 4:])
        ids = digits.target
        name = "halves of digits" if name == "pairs" else name
    else:
        sets = _read(a, b) if pairs is None else (tables.read(a).values, tables.read(b).values)
        ids = None if labels is None else tables.read(labels).values
    if limit is not None:
        check.at_least("limit", limit, 1)
        count = len(sets[0])
        rows = np.linspace(0, count - 1, min(limit, count)).round().astype(int)
        sets = sets[0][rows], sets[1][rows]
        ids = named_values("labels", ids, count, "pair")
        ids = None if ids is None else ids[rows]
    if pairs is not None:
        settings |= _known(pairs)
    test = None
    if test_a is not None and test_b is not None:
        settings["test_fraction"] = 0.0
        test = _read(test_a, test_b) if split == "test" else None
    return pair(*sets, test=test, labels=ids, split=split, name=name, **settings)


def _read(a: str, b: str) -> Sets:
    """Read two files with matching rows; raise ValueError if their row names differ in order."""
    one, other = tables.read(a), tables.read(b)
    sets = tables.matched(a, one.values, b, other.values)
    if one.rows != other.rows and sorted(one.rows or ()) == sorted(other.rows or ()):
        raise ValueError(
            f"{a} and {b} name the same rows in another order: sort one like the other"
        )
    return sets


def _known(file: str) -> dict[str, Any]:
    """Read the keywords `pairs` and `confidence` of `pair`."""
    values = tables.read(file).values
    if values.ndim != 2 or values.shape[1] not in (2, 3) or (values[:, :2] % 1).any():
        raise ValueError(
            f"{file} must have two columns, the row of a and the row of b of each pair, counted "
            f"from 0, and perhaps a third, how likely it is right; got {list(values.shape)}"
        )
    known: dict[str, Any] = {"pairs": values[:, :2].astype(int)}
    return known | ({"confidence": values[:, 2]} if values.shape[1] == 3 else {})
