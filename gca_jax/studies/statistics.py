"""Means over seeds with intervals, paired comparisons, and the correction for making many.

Seeds are the unit: intervals are Student's over runs, and say nothing of other data sets. A
bootstrap over test items is there beside them, and says nothing of other seeds.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

LEVEL = 0.95
DRAWS = 2_000  # of a bootstrap


class Summary(NamedTuple):
    """Runs of one method.

    Attributes:
        n: How many.
        mean: Their mean.
        sd: Standard deviation, with n - 1; NaN of one run.
        half_width: Of the interval of the mean; NaN of one run.
    """

    n: int
    mean: float
    sd: float
    half_width: float


class Comparison(NamedTuple):
    """Differences between runs of two methods with the same seeds.

    Attributes:
        n: Pairs of runs.
        mean: Mean difference.
        half_width: Of its interval; NaN of fewer than two pairs.
        p: Of the two-sided paired t-test that the mean is 0; NaN of fewer than two pairs.
    """

    n: int
    mean: float
    half_width: float
    p: float


def summarise(values: Sequence[float]) -> Summary:
    """Summarise values of independent runs; NaN where there are too few.

    >>> summarise([1.0, 2.0, 3.0]).mean
    2.0
    """
    n = len(values)
    mean = float(np.mean(values)) if n else math.nan
    sd = float(np.std(values, ddof=1)) if n > 1 else math.nan
    return Summary(n, mean, sd, half_width(sd, n))


def half_width(sd: float, n: int) -> float:
    """Give half the width of the t interval of a mean of `n` runs; NaN of one run."""
    if n < 2:
        return math.nan
    return float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * sd / math.sqrt(n)


def compare(ours: Sequence[float], reference: Sequence[float]) -> Comparison:
    """Compare runs pair by pair: both in the same order of seeds.

    Differences that are 0 for all pairs have p = 1. Where they are all alike and not 0, such as one
    test image in each of three runs, no spread is known: interval and p are NaN.

    Raises:
        ValueError: not the same number of runs.
    """
    if len(ours) != len(reference):
        raise ValueError(f"pairs are needed, got {len(ours)} and {len(reference)} runs")
    differences = np.asarray(ours, float) - np.asarray(reference, float)
    n, mean, sd, half = summarise(differences.tolist())
    if n < 2:
        return Comparison(n, mean, math.nan, math.nan)
    if sd <= 1e-12 * abs(mean):
        return Comparison(n, mean, *((0.0, 1.0) if mean == 0 else (math.nan, math.nan)))
    p = 2 * float(stats.t.sf(abs(mean) / (sd / math.sqrt(n)), n - 1))
    return Comparison(n, mean, half, p)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values by Holm's step-down method; those that are NaN are no comparisons.

    Rejecting where the result is below α keeps the chance of any false rejection below α.

    >>> holm([0.01, 0.04])
    [0.02, 0.04]
    """
    known = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
    adjusted, largest = [math.nan] * len(p_values), 0.0
    for rank, (p, i) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        adjusted[i] = largest
    return adjusted


def correlate(x: Sequence[float], y: Sequence[float]) -> tuple[int, float, float]:
    """Count pairs, and give Pearson's and Spearman's correlation; NaN where one is constant."""
    if len(x) < 3 or len(set(x)) < 2 or len(set(y)) < 2:
        return len(x), math.nan, math.nan
    pearson, spearman = (float(each(x, y).statistic) for each in (stats.pearsonr, stats.spearmanr))
    return len(x), pearson, spearman


def bootstrap(
    ours: Float[np.ndarray, "_ items"],
    reference: Float[np.ndarray, "_ items"],
    *,
    seed: int = 0,
    draws: int = DRAWS,
) -> tuple[float, float, float]:
    """Bootstrap the mean difference over items, which both methods and all seeds share.

    Args:
        ours: A number for each item by each run, such as 1 where it is classified rightly.
        reference: The same of the reference.
        seed: Of the draws.
        draws: How many times the items are drawn, with replacement.

    Returns:
        The mean difference, and the ends of its percentile interval.

    Raises:
        ValueError: the items are not the same, or there are none.
    """
    if ours.shape[1:] != reference.shape[1:] or 0 in (*ours.shape, *reference.shape):
        raise ValueError(f"runs [seeds, items] are of {ours.shape} and {reference.shape}")
    by_item = ours.mean(axis=0) - reference.mean(axis=0)
    rng, n = np.random.default_rng(seed), len(by_item)
    # Counts of the items in a draw, so that memory is that of one draw.
    means = [rng.multinomial(n, np.full(n, 1 / n)) @ by_item / n for _ in range(draws)]
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(by_item.mean()), float(low), float(high)
