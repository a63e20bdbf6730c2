"""Linear maps of two sets from their second moments: Procrustes, ridge regression, CCA.

Each is a closed form of (Cov X, Cov Y, C), which are summed in one pass over the rows, so that
there may be millions of them.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from gca_jax import check

ROWS_AT_ONCE = 65_536


class Moments(NamedTuple):
    """Means and second moments about them, of paired rows or of a plan between two sets."""

    mean_x: Float[np.ndarray, " p"]
    mean_y: Float[np.ndarray, " q"]
    xx: Float[np.ndarray, "p p"]
    yy: Float[np.ndarray, "q q"]
    xy: Float[np.ndarray, "p q"]


class Maps(NamedTuple):
    """Two linear maps into one space, in which rows are compared by their cosine."""

    mean_x: Float[np.ndarray, " p"]
    mean_y: Float[np.ndarray, " q"]
    x: Float[np.ndarray, "p d"]
    y: Float[np.ndarray, "q d"]

    def map_x(self, rows: Float[np.ndarray, "n p"]) -> Float[np.ndarray, "n d"]:
        """Map rows of the one set to unit length."""
        return unit((np.asarray(rows, np.float64) - self.mean_x) @ self.x)

    def map_y(self, rows: Float[np.ndarray, "m q"]) -> Float[np.ndarray, "m d"]:
        """Map rows of the other set to unit length."""
        return unit((np.asarray(rows, np.float64) - self.mean_y) @ self.y)


def unit(rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Scale rows to unit length; a row of zeros stays one."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1.0)


def moments(
    x: Float[np.ndarray, "n p"],
    y: Float[np.ndarray, "n q"],
    weights: Float[np.ndarray, " n"] | None = None,
    *,
    centre: bool = True,
) -> Moments:
    """Sum the moments of paired rows in one pass, some thousand rows at a time.

    Args:
        x: Rows of the one set [n, p], an array or a mapped file.
        y: Their partners [n, q].
        weights: Weight >= 0 of each pair [n]; None: all alike.
        centre: Whether moments are about the means; else the means are 0.
    """
    if len(x) != len(y):
        raise ValueError(f"x and y must have as many rows, got {len(x)} and {len(y)}")
    shift_x, shift_y = (_row_of(z) * centre for z in (x, y))  # near the means: nothing cancels
    total, sums = 0.0, [np.zeros(z.shape[1]) for z in (x, y)]
    products = [np.zeros((a.shape[1], b.shape[1])) for a, b in ((x, x), (y, y), (x, y))]
    for rows in parts(len(x)):
        a = np.asarray(x[rows], np.float64) - shift_x
        b = np.asarray(y[rows], np.float64) - shift_y
        w = np.ones(len(a)) if weights is None else np.asarray(weights[rows], np.float64)
        weighted_a, weighted_b = a * w[:, None], b * w[:, None]
        total += w.sum()
        sums[0] += weighted_a.sum(0)
        sums[1] += weighted_b.sum(0)
        for product, (one, other) in zip(
            products, ((weighted_a, a), (weighted_b, b), (weighted_a, b)), strict=True
        ):
            product += one.T @ other
    if not total > 0:
        raise ValueError("weights must have some mass, got all zeros")
    a, b = (one / total * centre for one in sums)
    xx, yy, xy = (product / total for product in products)
    about = xx - np.outer(a, a), yy - np.outer(b, b), xy - np.outer(a, b)
    return Moments(a + shift_x, b + shift_y, *about)


def second_moment(rows: Float[np.ndarray, "n p"]) -> Float[np.ndarray, "p p"]:
    """Sum the second moment of rows about zero [p, p], in one pass."""
    total = np.zeros((rows.shape[1], rows.shape[1]))
    for part in parts(len(rows)):
        block = np.asarray(rows[part], np.float64)
        total += block.T @ block
    return total / len(rows)


def _row_of(z: Float[np.ndarray, "n p"]) -> Float[np.ndarray, " p"]:
    return np.asarray(z[:1_024], np.float64).mean(0)


def parts(n: int) -> Iterator[slice]:
    """Cut n rows into parts that are read at once."""
    return (slice(start, start + ROWS_AT_ONCE) for start in range(0, n, ROWS_AT_ONCE))


def identity(mean_x: Float[np.ndarray, " p"], mean_y: Float[np.ndarray, " q"]) -> Maps:
    """Compare rows as they are, about the means; both sets have the same columns."""
    p, q = len(mean_x), len(mean_y)
    if p != q:
        raise ValueError(f"the identity needs as many columns on both sides, got {p} and {q}")
    return Maps(mean_x, mean_y, np.eye(p), np.eye(p))


def procrustes(of: Moments) -> Maps:
    """Rotate the one set onto the other: max tr(Rᵀ C) over orthogonal R (Schönemann, 1966).

    The narrower set is filled up with zeros.
    """
    p, q = of.xy.shape
    width = max(p, q)
    u, _, vt = np.linalg.svd(np.pad(of.xy, ((0, width - p), (0, width - q))))
    return Maps(of.mean_x, of.mean_y, (u @ vt)[:p], np.eye(width)[:q])


def ridge(of: Moments, strength: float) -> Maps:
    """Predict y from x by least squares, with λ = strength · mean variance of x on the diagonal."""
    check.between("strength", strength, 0.0, np.inf)
    p = len(of.xx)
    penalty = strength * np.trace(of.xx) / p * np.eye(p)
    return Maps(of.mean_x, of.mean_y, np.linalg.solve(of.xx + penalty, of.xy), np.eye(len(of.yy)))


def cca(of: Moments, shrink: float | tuple[float, float] = 0.1, power: float = 1.0) -> Maps:
    """Compute canonical correlation analysis (Hotelling, 1936) of shrunk covariances.

    Both sides are whitened by (1 - shrink) Cov + shrink · mean variance · I; directions are
    multiplied by their canonical correlation to `power`, so that what the sets do not share weighs
    little (CSA: Li et al., ICLR 2025).

    Args:
        of: Moments.
        shrink: In [0, 1], of both sides or of each, such as `shrinkage` of its rows.
        power: 0 leaves CCA's own unit variances.
    """
    check.between("shrink", shrink, 0.0, 1.0)
    of_x, of_y = shrink if isinstance(shrink, tuple) else (shrink, shrink)
    white_x, white_y = _whitener(of.xx, of_x), _whitener(of.yy, of_y)
    u, s, vt = np.linalg.svd(white_x.T @ of.xy @ white_y, full_matrices=False)
    scale = np.minimum(s, 1.0) ** power
    return Maps(of.mean_x, of.mean_y, white_x @ u * scale, white_y @ vt.T * scale)


def _whitener(covariance: Float[np.ndarray, "p p"], shrink: float) -> Float[np.ndarray, "p p"]:
    p = len(covariance)
    shrunk = (1 - shrink) * covariance + shrink * np.trace(covariance) / p * np.eye(p)
    values, vectors = np.linalg.eigh(shrunk)
    least = max(values.max(), 0.0) * p * np.finfo(np.float64).eps
    return vectors * np.where(values > least, 1 / np.sqrt(np.maximum(values, least + 1e-300)), 0.0)


def trimmed(
    x: Float[np.ndarray, "n p"],
    y: Float[np.ndarray, "n q"],
    *,
    least: float = 0.1,
    shrinking: float = 0.9,
    centre: bool = True,
) -> Maps:
    """Fit Procrustes to the pairs that fit best, in rounds that keep 0.9 of them down to `least`.

    Args:
        x: Rows of the one set [n, p].
        y: Their partners [n, q], some of them wrong.
        least: In (0, 1], the share of the pairs that the last round keeps.
        shrinking: In (0, 1), what each round keeps of the round before.
        centre: As in `moments`.
    """
    check.between("least", least, 0.0, 1.0, open_low=True)
    n, share = len(x), 1.0
    maps = procrustes(moments(x, y, centre=centre))
    while share * shrinking >= least:
        share *= shrinking
        cosines = np.sum(maps.map_x(x) * maps.map_y(y), axis=1)
        kept = np.sort(np.argsort(-cosines, kind="stable")[: max(1, round(share * n))])
        maps = procrustes(moments(x[kept], y[kept], centre=centre))
    return maps


class Components(NamedTuple):
    """The first principal components of a set."""

    mean: Float[np.ndarray, " p"]
    basis: Float[np.ndarray, "p d"]

    def scores(self, rows: Float[np.ndarray, "n p"]) -> Float[np.ndarray, "n d"]:
        """Project rows, about the mean."""
        return (np.asarray(rows, np.float64) - self.mean) @ self.basis


def components(rows: Float[np.ndarray, "n p"], most: int) -> Components:
    """Find at most `most` principal components of a set [n, p], in one pass over its rows."""
    check.at_least("most", most, 1)
    found = moments(rows, rows[:, :1])
    values, vectors = np.linalg.eigh(found.xx)
    order = np.argsort(-values)[:most]
    order = order[values[order] > values.max() * 1e-12]
    return Components(found.mean_x, vectors[:, order])


def without_axes(rows: Float[np.ndarray, "n p"], axes: int) -> Float[np.ndarray, "n p"]:
    """Remove the `axes` leading principal axes, about zero, of rows."""
    check.at_least("axes", axes, 0)
    leading = np.linalg.eigh(second_moment(rows))[1][:, max(0, rows.shape[1] - axes) :]
    return rows - rows @ leading @ leading.T


def shrinkage(rows: Float[np.ndarray, "n p"], *, centre: bool = True) -> float:
    """Estimate `cca`'s `shrink` of one set by Ledoit & Wolf (2004).

    It minimises the expected squared error of (1 - shrink) Cov + shrink · mean variance · I, for
    which it needs fourth moments: the rows, not their moments alone.

    Args:
        rows: Rows [n, p].
        centre: As in `moments`.
    """
    from sklearn.covariance import ledoit_wolf_shrinkage  # takes longer to import than it runs

    return float(ledoit_wolf_shrinkage(rows, assume_centered=not centre))
