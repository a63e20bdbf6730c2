"""Labels and domains as numbers, and the images of each that are held out to test."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, Int32

TEST_SHARE = 0.2  # of each class of each domain, where a data set has no test images of its own


def number(
    *values: np.ndarray | Sequence[str] | None,
) -> tuple[tuple[str, ...] | None, list[Int32[np.ndarray, "_"] | None]]:
    """Number the integers or names of several parts together, in sorted order.

    Gives the numbered values as text, and the numbers of each part; None where there are none.
    """
    given = [np.asarray(part) for part in values if part is not None]
    if not given:
        return None, [None] * len(values)
    names, numbers = np.unique(np.concatenate(given), return_inverse=True)
    ends = np.cumsum([len(part) for part in given])
    parts = iter(np.split(numbers.astype(np.int32), ends))
    return tuple(map(str, names.tolist())), [None if v is None else next(parts) for v in values]


def hold_out(
    count: int, *known: Int32[np.ndarray, "count"] | None
) -> tuple[Int[np.ndarray, "train"], Int[np.ndarray, "test"]]:
    """Draw `TEST_SHARE` of each group of images to test, at random but always the same.

    Groups are told apart by the numbers that are known, such as domains and labels.
    """
    groups = np.zeros(count, np.int64)
    for numbers in known:
        if numbers is not None:
            groups = groups * (numbers.max() + 1) + numbers
    rng, to_test = np.random.default_rng(0), np.zeros(count, bool)
    for group in np.unique(groups):
        rows = rng.permutation(np.flatnonzero(groups == group))
        to_test[rows[: round(TEST_SHARE * len(rows))]] = True
    if not to_test.any():
        raise ValueError(
            f"{count} images are too few to hold out {TEST_SHARE:.0%} of each class and domain "
            "as test images: give more, or test images of their own"
        )
    return np.flatnonzero(~to_test), np.flatnonzero(to_test)
