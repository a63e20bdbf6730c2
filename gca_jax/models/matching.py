"""Pairs found between two sets: mutual nearest neighbours by CSLS, and one to one.

CSLS (Conneau et al., ICLR 2018) takes hubs back: a row that is near to many has its cosines reduced
by how near its ten nearest are.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment

from gca_jax import check

NEIGHBOURS = 10
ROWS_AT_ONCE = 4_096


def csls(
    zx: Float[np.ndarray, "n d"],
    zy: Float[np.ndarray, "m d"],
    *,
    neighbours: int = NEIGHBOURS,
    rows_at_once: int = ROWS_AT_ONCE,
) -> Iterator[Float[np.ndarray, "b m"]]:
    """Compute 2 cos(a, b) - r(a) - r(b), r the mean cosine to the nearest rows of the other set.

    Args:
        zx: Unit rows of the one set [n, d].
        zy: Unit rows of the other [m, d].
        neighbours: How many nearest rows r is the mean of.
        rows_at_once: Rows of zx in a block.

    Yields:
        Scores of the next rows of zx with all of zy [b, m].
    """
    check.at_least("neighbours", neighbours, 1)
    of_columns = np.concatenate(
        [_nearness(part @ zx.T, neighbours) for part in _parts(zy, rows_at_once)]
    )
    for part in _parts(zx, rows_at_once):
        cosines = part @ zy.T
        yield 2 * cosines - _nearness(cosines, neighbours)[:, None] - of_columns


def _nearness(cosines: Float[np.ndarray, "b m"], neighbours: int) -> Float[np.ndarray, " b"]:
    """Return the mean of the largest of each row; of all where there are fewer."""
    if neighbours >= cosines.shape[1]:
        return cosines.mean(axis=1)
    return np.partition(cosines, -neighbours, axis=1)[:, -neighbours:].mean(axis=1)


def _parts(z: Float[np.ndarray, "n d"], size: int) -> Iterator[Float[np.ndarray, "b d"]]:
    return (z[start : start + size] for start in range(0, len(z), size))


def mutual(
    zx: Float[np.ndarray, "n d"],
    zy: Float[np.ndarray, "m d"],
    *,
    neighbours: int = NEIGHBOURS,
    rows_at_once: int = ROWS_AT_ONCE,
) -> Int[np.ndarray, "k 2"]:
    """Find pairs of rows each of which is the other's nearest by CSLS; fewer than rows, as a rule.

    Args:
        zx: Unit rows of the one set [n, d].
        zy: Unit rows of the other [m, d].
        neighbours: As in `csls`.
        rows_at_once: As in `csls`.

    Returns:
        Row of zx and row of zy of each pair [k, 2], in the order of the first.
    """
    best_column, best_row = np.zeros(len(zx), int), np.zeros(len(zy), int)
    highest, start = np.full(len(zy), -np.inf), 0
    for scores in csls(zx, zy, neighbours=neighbours, rows_at_once=rows_at_once):
        best_column[start : start + len(scores)] = scores.argmax(axis=1)
        here, largest = scores.argmax(axis=0), scores.max(axis=0)
        best_row = np.where(largest > highest, start + here, best_row)
        highest = np.maximum(largest, highest)
        start += len(scores)
    rows = np.arange(len(zx))
    both = best_row[best_column] == rows
    return np.stack([rows[both], best_column[both]], axis=1)


def one_to_one(
    zx: Float[np.ndarray, "n d"],
    zy: Float[np.ndarray, "m d"],
    *,
    rows_at_once: int = ROWS_AT_ONCE,
) -> Int[np.ndarray, "k 2"]:
    """Match min(n, m) rows one to one with the largest sum of cosines (SciPy's assignment).

    CSLS would match the same where n = m: what is subtracted is that of the row or of the column.
    Its time grows as the cube of the rows: above `rows_at_once` of them each block takes the
    columns that those before it left, which is no longer the largest sum.

    Args:
        zx: Unit rows of the one set [n, d].
        zy: Unit rows of the other [m, d].
        rows_at_once: Rows of zx in a block.

    Returns:
        Row of zx and row of zy of each pair [k, 2], in the order of the first.
    """
    left, start, found = np.arange(len(zy)), 0, [np.zeros((0, 2), int)]
    for part in _parts(zx, rows_at_once):
        rows, columns = linear_sum_assignment(part @ zy[left].T, maximize=True)
        found.append(np.stack([start + rows, left[columns]], axis=1))
        left, start = np.delete(left, columns), start + len(part)
    return np.concatenate(found)


MATCHINGS = {"mutual": mutual, "one_to_one": one_to_one}


def beside(
    name: str,
    zx: Float[np.ndarray, "n d"],
    zy: Float[np.ndarray, "m d"],
    given: Int[np.ndarray, "k 2"],
) -> Int[np.ndarray, "l 2"]:
    """Match the rows of which no pair is given, and add the given pairs.

    Args:
        name: One of `MATCHINGS`.
        zx: Unit rows of the one set [n, d].
        zy: Unit rows of the other [m, d].
        given: Pairs that are trusted [k, 2].

    Raises:
        ValueError: An unknown name.
    """
    check.one_of("matching", name, MATCHINGS)
    rows, columns = (
        np.delete(np.arange(len(z)), g) for z, g in zip((zx, zy), given.T, strict=True)
    )
    if not len(rows) or not len(columns):
        return given
    found = MATCHINGS[name](zx[rows], zy[columns])
    return np.concatenate([given, np.stack([rows[found[:, 0]], columns[found[:, 1]]], axis=1)])
