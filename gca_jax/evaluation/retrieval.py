"""How well pairs find each other among many: recall at k, median rank, hubs."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

ROWS_AT_ONCE = 1_024
DEPTHS = (1, 5, 10)
HUB_DEPTH = 10


class Found(NamedTuple):
    """What a retrieval found.

    Attributes:
        ranks: [n], place of each query's own partner, from 1; half a place for each that ties.
        occurrences: [m], how often each candidate is among the first `HUB_DEPTH`.
    """

    ranks: Float[np.ndarray, "n"]
    occurrences: Int[np.ndarray, "m"]


def retrieve(
    queries: Float[np.ndarray, "n d"],
    candidates: Float[np.ndarray, "m d"],
    bonus: Float[np.ndarray, "m"] | float = 0.0,
) -> Found:
    """Rank all candidates for each query by their product, plus a bonus of the candidate.

    Args:
        queries: [n, d]; the partner of query i is candidate i.
        candidates: [m, d], m >= n.
        bonus: [m], which hubs have less of: ε log v of a transport plan.
    """
    n, m = len(queries), len(candidates)
    depth = min(HUB_DEPTH, m)
    ranks, occurrences = np.empty(n), np.zeros(m, np.int64)
    for start in range(0, n, ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        scores = queries[rows] @ candidates.T + bonus
        own = scores[np.arange(len(scores)), start + np.arange(len(scores))][:, None]
        ties = (scores == own).sum(axis=1) - 1
        ranks[rows] = 1 + (scores > own).sum(axis=1) + ties / 2
        first = np.argpartition(-scores, depth - 1, axis=1)[:, :depth]
        occurrences += np.bincount(first.ravel(), minlength=m)
    return Found(ranks, occurrences)


def measures(found: Found) -> dict[str, float]:
    """Give recall at `DEPTHS`, as shares of the queries, and the median rank."""
    recalls = {f"recall_{depth}": float(np.mean(found.ranks <= depth)) for depth in DEPTHS}
    return {**recalls, "median_rank": float(np.median(found.ranks))}


def hubness(occurrences: Int[np.ndarray, "m"]) -> dict[str, float]:
    """Measure hubs: skewness of the occurrences, and the largest one as multiple of the mean.

    Radovanović, Nanopoulos and Ivanović, JMLR 2010. 0 and 1 where all candidates occur alike.
    """
    x = occurrences - occurrences.mean()
    spread = np.sqrt(np.mean(x**2))
    skewness = np.mean(x**3) / spread**3 if spread > 0 else 0.0
    return {"skewness": float(skewness), "largest": float(occurrences.max() / occurrences.mean())}
