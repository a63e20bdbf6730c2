"""Means over seeds with intervals, paired comparisons, and Holm's correction for their number.

Seeds are the unit: Student's t intervals over runs say nothing about other data sets. A bootstrap
over test items complements them, and says nothing about other seeds.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

from gca_jax import check
from gca_jax.studies.results import Results
from gca_jax.studies.study import Study
from gca_jax.workdir import RunFolder

LEVEL = 0.95
DRAWS = 2_000  # of a bootstrap
BATCH = 100  # draws in memory at a time: 8 MB for 10,000 items
POINTS = 100.0  # percentage points of a fraction


class Summary(NamedTuple):
    """Summary of the runs of a method; NaN where there are too few."""

    n: int
    mean: float
    sd: float  # standard deviation, with n - 1
    half_width: float  # of the t interval of the mean


class Comparison(NamedTuple):
    """Differences of two methods over common seeds; NaN where there are too few."""

    n: int  # pairs of runs
    mean: float
    half_width: float  # of the t interval of the mean
    p: float  # two-sided paired t-test of a mean of 0


@dataclasses.dataclass(frozen=True)
class Entry:
    """One measure of a method under a condition, in the unit shown."""

    condition: str
    method: str
    values: Mapping[int, float]  # by seed
    summary: Summary
    difference: Comparison | None = None  # from the reference, if there is one
    p_holm: float = math.nan  # p corrected for all comparisons of the measure
    items: tuple[float, float, float] | None = None  # difference, interval over test items

    @property
    def differs(self) -> bool:
        """Whether the difference is significant after the correction."""
        return self.p_holm < 1 - LEVEL  # False where it is NaN


@dataclasses.dataclass(frozen=True)
class Measured:
    """One measure by condition and method; in percentage points unless it is `plain`."""

    label: str
    path: str
    plain: bool
    entries: Mapping[tuple[str, str], Entry]

    @property
    def unit(self) -> str:
        """Label with unit."""
        return self.label if self.plain else f"{self.label}, %"


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
    """Compute half the width of the t interval of a mean of `n` runs; NaN for one run."""
    return float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * sd / math.sqrt(n) if n > 1 else math.nan


def compare(ours: Sequence[float], reference: Sequence[float]) -> Comparison:
    """Compare runs pair by pair; both are in the same order of seeds.

    Differences of 0 in all pairs have p = 1. Where all are equal and not 0, such as one test image
    in each of three runs, no spread is known: interval and p are NaN.

    Raises:
        ValueError: The numbers of runs differ.
    """
    if len(ours) != len(reference):
        raise ValueError(f"pairs are needed, got {len(ours)} and {len(reference)} runs")
    n, mean, sd, _ = summarise(np.subtract(ours, reference).tolist())
    if n < 2:
        return Comparison(n, mean, math.nan, math.nan)
    if sd <= 1e-12 * abs(mean):  # SciPy would divide by it
        return Comparison(n, mean, *((0.0, 1.0) if mean == 0 else (math.nan, math.nan)))
    test = stats.ttest_rel(ours, reference)
    low, high = test.confidence_interval(LEVEL)
    return Comparison(n, mean, float(high - low) / 2, float(test.pvalue))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values by Holm's step-down method; NaN is no comparison.

    Rejecting where the result is below α keeps the family-wise error rate below α.

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
    """Return the number of pairs, Pearson's and Spearman's correlation; NaN if one is constant."""
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
        ours: A number per run and item, such as 1 for a correct classification, [runs, items].
        reference: The same for the reference.
        seed: Seed of the draws.
        draws: Number of resamples.

    Returns:
        The mean difference, and the ends of its percentile interval.

    Raises:
        ValueError: The items differ, or there are none; or a seed that is no integer from 0.
    """
    check.at_least("seed", seed, 0)
    if ours.shape[1:] != reference.shape[1:] or 0 in (*ours.shape, *reference.shape):
        raise ValueError(f"runs [seeds, items] are of {ours.shape} and {reference.shape}")
    by_item = ours.mean(axis=0) - reference.mean(axis=0)
    found = stats.bootstrap(
        (by_item,),
        np.mean,
        n_resamples=draws,
        batch=BATCH,
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    low, high = found.confidence_interval
    return float(by_item.mean()), float(low), float(high)


def analyse(study: Study, results: Results, workdir: Path) -> list[Measured]:
    """Summarise and compare each measure; the first, the headline, also over items."""
    measured = [_measured(study, results, label) for label in results.measures]
    if measured and study.items:
        measured[0] = _with_items(study, results, workdir, measured[0])
    return measured


def _measured(study: Study, results: Results, label: str) -> Measured:
    plain = label in study.plain
    scale = 1.0 if plain else POINTS
    values: dict[tuple[str, str], dict[int, float]] = {
        (condition, method): {} for condition in study.conditions for method in study.methods
    }
    for row in results.rows:
        if not math.isnan(value := row.values[label]):
            values[row.condition, row.method][row.seed] = scale * value
    entries = {}
    for key, seeds in values.items():
        alone = study.reference_of(key[1]) is None
        difference = None if alone else compare(*_paired(study, values, key))
        entries[key] = Entry(*key, seeds, summarise([*seeds.values()]), difference)
    p_values = {key: each.difference.p for key, each in entries.items() if each.difference}
    for key, p in zip(p_values, holm([*p_values.values()]), strict=True):
        entries[key] = dataclasses.replace(entries[key], p_holm=p)
    return Measured(label, results.measures[label], plain, entries)


def _paired(
    study: Study, found: Mapping[tuple[str, str], Mapping[int, Any]], key: tuple[str, str]
) -> tuple[list[Any], list[Any]]:
    """Pair the values of a method and of its reference over the seeds that both have."""
    ours = found.get(key, {})
    reference = found.get((key[0], str(study.reference_of(key[1]))), {})
    seeds = [seed for seed in ours if seed in reference]
    return [ours[seed] for seed in seeds], [reference[seed] for seed in seeds]


def _with_items(study: Study, results: Results, workdir: Path, measured: Measured) -> Measured:
    """Add the bootstrap over items to entries whose runs, and their reference's, have the array."""
    arrays: dict[tuple[str, str], dict[int, np.ndarray]] = {}
    for row in results.rows:
        stored = RunFolder(workdir / row.folder).arrays
        if study.items in stored:
            array = stored[study.items].astype(float)
            arrays.setdefault((row.condition, row.method), {})[row.seed] = array
    entries, scale = dict(measured.entries), 1.0 if measured.plain else POINTS
    for key, entry in measured.entries.items():
        ours, reference = _paired(study, arrays, key)
        if ours:
            mean, low, high = bootstrap(np.stack(ours), np.stack(reference))
            items = scale * mean, scale * low, scale * high
            entries[key] = dataclasses.replace(entry, items=items)
    return dataclasses.replace(measured, entries=entries)


def as_json(measured: Measured) -> dict[str, Any]:
    """Convert a measure to JSON values; unknown numbers are NaN."""
    entries = [
        {
            "condition": entry.condition,
            "method": entry.method,
            "seeds": [*entry.values],
            "values": [*entry.values.values()],
            **entry.summary._asdict(),
            "difference": entry.difference
            and {**entry.difference._asdict(), "p_holm": entry.p_holm, "differs": entry.differs},
            "items": entry.items,
        }
        for entry in measured.entries.values()
    ]
    unit = "as it is" if measured.plain else "points"
    return {"label": measured.label, "path": measured.path, "unit": unit, "entries": entries}
