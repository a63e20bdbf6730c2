"""Two sets aligned without pairs: where the alternation starts, and whether its end is identified.

The sharpest of several starts, after one cycle of the alternation, is annealed to its end.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import quadratic_assignment

from gca_jax.models import closed_form, evidence
from gca_jax.models.closed_form import Maps

WITHOUT = ((0,), (2,), (0, 1, 2, 4, 8, 16))  # leading axes that profiles do without
CENTRES, RESTARTS = 30, 20
LEAST_RATIO, LEAST_AGREEMENT = 1.15, 0.3  # of a fit without pairs that is identified


def by_centres(
    x: Float[np.ndarray, "n p"],
    y: Float[np.ndarray, "m q"],
    pairs: Int[np.ndarray, "k 2"] | None = None,
    *,
    centres: int = CENTRES,
    restarts: int = RESTARTS,
    seed: int = 0,
) -> Maps:
    """Start from k-means centres of both sets, matched by quadratic assignment; then Procrustes.

    max Σ A_ij B_π(i)π(j) over permutations π, A and B the cosines between centres, by the FAQ
    algorithm (Vogelstein et al., PLOS ONE 2015), the best of several restarts. Known pairs are
    further centres of which π is given: a linear term in the others.

    Args:
        x: Rows of the one set [n, p], unit principal-component scores.
        y: Rows of the other [m, q].
        pairs: Row of x and row of y of known pairs [k, 2]; some dozens are enough.
        centres: Clusters of each set.
        restarts: Of FAQ, the first from the barycentre and the others from random matrices.
        seed: Of k-means and of restarts.
    """
    from sklearn.cluster import KMeans  # takes long to import

    known = np.zeros((0, 2), int) if pairs is None else pairs
    count = min(centres, len(x), len(y))
    points, sizes = [], []
    for rows, own in zip((x, y), known.T, strict=True):
        found = KMeans(count, n_init=4, random_state=seed).fit(rows)
        points.append(np.concatenate([rows[own], found.cluster_centers_]))
        sizes.append(np.concatenate([np.ones(len(own)), np.bincount(found.labels_)]))
    a, b = (closed_form.unit(z) @ closed_form.unit(z).T for z in points)
    fixed = np.stack([np.arange(len(known))] * 2, axis=1)
    rng = np.random.default_rng([seed, 16])
    matched = [
        quadratic_assignment(
            a,
            b,
            method="faq",
            options={"maximize": True, "partial_match": fixed, "P0": first, "rng": rng},
        )
        for first in ["barycenter", *["randomized"] * (restarts - 1)]
    ]
    best = max(matched, key=lambda found: float(found.fun)).col_ind
    weights = np.minimum(sizes[0], sizes[1][best])
    return closed_form.procrustes(
        closed_form.moments(points[0], points[1][best], weights, centre=False)
    )


class Basin(NamedTuple):
    """Where the alternation ended from one start.

    Attributes:
        start: Name of the start.
        cycle: One cycle from there.
    """

    start: str
    cycle: evidence.Cycle


def basins(x: Float[np.ndarray, "n p"], y: Float[np.ndarray, "m q"], seed: int = 0) -> list[Basin]:
    """Align two sets of which no pair is known, one cycle from each start; the sharpest first."""
    found = [
        Basin(name, evidence.cycle(x, y, None, start(), seed=seed))
        for name, start in starts(x, y, seed=seed).items()
    ]
    return sorted(found, key=lambda basin: -basin.cycle.sharpness)


def starts(
    x: Float[np.ndarray, "n p"],
    y: Float[np.ndarray, "m q"],
    pairs: Int[np.ndarray, "k 2"] | None = None,
    *,
    seed: int = 0,
) -> dict[str, Callable[[], Maps]]:
    """Name the starts that take no pair for the truth; each is a function that computes it.

    Args:
        x: Rows of the one set [n, p], unit principal-component scores.
        y: Rows of the other [m, q].
        pairs: A linear term of `by_centres`.
        seed: Of `by_centres`.
    """
    profiles = {
        f"profiles without {', '.join(map(str, axes))} axes": partial(
            evidence.by_profiles, x, y, without=axes
        )
        for axes in WITHOUT
    }
    return {**profiles, "centres": partial(by_centres, x, y, pairs, seed=seed)}


def without_pairs(x: Float[np.ndarray, "n p"], y: Float[np.ndarray, "m q"], seed: int = 0) -> Maps:
    """Align two sets of which no pair is known: from the sharpest basin, annealed to the end.

    Args:
        x: Rows of the one set [n, p], unit principal-component scores; some thousand.
        y: Rows of the other [m, q].
        seed: Of the starts.
    """
    best = basins(x, y, seed)[0].cycle
    return evidence.anneal(x, y, None, best, seed=seed).maps


def agreement(
    x: Float[np.ndarray, "n p"], y: Float[np.ndarray, "m q"], one: Maps, other: Maps
) -> float:
    """Compute the share of rows whose best match is the same by two pairs of maps."""
    best = [(maps.map_x(x) @ maps.map_y(y).T).argmax(axis=1) for maps in (one, other)]
    return float(np.mean(best[0] == best[1]))


class Identified(NamedTuple):
    """Whether two sets without pairs were aligned, rather than onto a mirror image or a null.

    Attributes:
        ratio: R, `sharpness` of the fit over that of the same procedure on a set whose columns were
            permuted, each by itself: 1.26 to 1.81 of right fits in trials, 0.97 to 1.04 of nulls.
        agreement: Share of rows whose best match is the same by fits of two subsamples, and by that
            of the mirror image if it is as sharp: 0.65 to 0.89 of right fits, up to 0.04 of others.
    """

    ratio: float
    agreement: float

    def __bool__(self) -> bool:
        """Apply the rule: R >= 1.15, and fits of two subsamples that agree on 30 % of the rows."""
        return self.ratio >= LEAST_RATIO and self.agreement >= LEAST_AGREEMENT


Procedure = Callable[[Float[np.ndarray, "n p"], Float[np.ndarray, "m q"], int], Maps]


def identified(
    x: Float[np.ndarray, "n p"],
    y: Float[np.ndarray, "m q"],
    maps: Maps,
    procedure: Procedure = without_pairs,
    *,
    share: float = 0.85,
    seed: int = 0,
) -> Identified:
    """Judge a fit that no pair can judge, by three further runs of its procedure and its mirror.

    A distribution with symmetries, as a Gaussian, is aligned up to them only, however sharp the
    plan is. One that is its own mirror image has two fits, of which both subsamples may find the
    same: so a fit from -y that is as sharp must have the same matches.

    Args:
        x: Rows of the one set [n, p], unit principal-component scores.
        y: Rows of the other [m, q].
        maps: The fit.
        procedure: (x, y, seed) → maps, what the fit was made by.
        share: Of the rows in each of the two subsamples.
        seed: Of permutation and subsamples.
    """
    rng = np.random.default_rng([seed, 15])
    null = closed_form.unit(rng.permuted(x, axis=0))
    ratio = evidence.sharpness(x, y, maps) / evidence.sharpness(null, y, procedure(null, y, seed))
    fits = []
    for draw in (1, 2):
        some = [rng.permutation(len(z))[: round(share * len(z))] for z in (x, y)]
        fits.append(procedure(x[some[0]], y[some[1]], seed + draw))
    agreed = agreement(x, y, *fits)
    own, mirrored = (
        evidence.cycle(x, y, None, maps._replace(y=sign * maps.y), seed=seed)
        for sign in (1.0, -1.0)
    )
    if mirrored.sharpness * LEAST_RATIO > own.sharpness:  # -y fits x as well: both must be one
        agreed = min(agreed, agreement(x, y, own.fit.maps, mirrored.fit.maps))
    return Identified(ratio, agreed)
