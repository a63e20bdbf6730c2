"""From the numbers of runs to what a report says of them."""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gca_jax.studies import statistics
from gca_jax.studies.results import Results
from gca_jax.studies.study import Study
from gca_jax.workdir import RunFolder

ALPHA = 1 - statistics.LEVEL
POINTS = 100.0  # of a fraction


@dataclasses.dataclass(frozen=True)
class Entry:
    """A method under a condition, by one measure, in the unit that is shown.

    Attributes:
        condition: Label of the column.
        method: Label of the row.
        values: By seed.
        summary: Of the values.
        difference: To the reference with the same seeds; None of the reference itself, or where
            there is none.
        p_holm: Its p value, corrected for all comparisons of the measure.
        items: Difference and interval of a bootstrap over test items, where the study names any.
    """

    condition: str
    method: str
    values: Mapping[int, float]
    summary: statistics.Summary
    difference: statistics.Comparison | None = None
    p_holm: float = math.nan
    items: tuple[float, float, float] | None = None

    @property
    def differs(self) -> bool:
        """Whether the difference is one after the correction."""
        return self.p_holm < ALPHA  # False where it is NaN


@dataclasses.dataclass(frozen=True)
class Measured:
    """All entries of one measure, by condition and method; in points unless it is `plain`."""

    label: str
    path: str
    plain: bool
    entries: Mapping[tuple[str, str], Entry]

    @property
    def unit(self) -> str:
        """The label with its unit."""
        return self.label if self.plain else f"{self.label}, %"


def analyse(study: Study, results: Results, workdir: Path) -> list[Measured]:
    """Summarise and compare each measure; the headline, which is the first, also by items."""
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
    for key, by_seed in values.items():
        summary = statistics.summarise([*by_seed.values()])
        entries[key] = Entry(*key, by_seed, summary, _difference(study, values, key))
    compared = [key for key, entry in entries.items() if entry.difference is not None]
    p_values = [entry.difference.p for entry in entries.values() if entry.difference is not None]
    for key, p in zip(compared, statistics.holm(p_values), strict=True):
        entries[key] = dataclasses.replace(entries[key], p_holm=p)
    return Measured(label, results.measures[label], plain, entries)


def _difference(
    study: Study, values: Mapping[tuple[str, str], Mapping[int, float]], key: tuple[str, str]
) -> statistics.Comparison | None:
    condition, method = key
    other = study.reference_of(method)
    if other is None:
        return None
    ours, reference = values[key], values[condition, other]
    seeds = [seed for seed in ours if seed in reference]
    return statistics.compare([ours[s] for s in seeds], [reference[s] for s in seeds])


def _with_items(study: Study, results: Results, workdir: Path, measured: Measured) -> Measured:
    """Add the bootstrap over items where the runs of both methods have the array."""
    arrays: dict[tuple[str, str], dict[int, np.ndarray]] = {}
    for row in results.rows:
        stored = RunFolder(workdir / row.folder).arrays
        if study.items in stored:
            array = stored[study.items].astype(float)
            arrays.setdefault((row.condition, row.method), {})[row.seed] = array
    entries, scale = dict(measured.entries), 1.0 if measured.plain else POINTS
    for key, entry in measured.entries.items():
        other = (key[0], str(study.reference_of(key[1])))
        ours, reference = arrays.get(key), arrays.get(other)
        if entry.difference is None or not ours or not reference:
            continue
        seeds = [seed for seed in ours if seed in reference]
        if seeds:
            pair = (np.stack([each[seed] for seed in seeds]) for each in (ours, reference))
            found = statistics.bootstrap(*pair)
            low, mean, high = (scale * x for x in (found[1], found[0], found[2]))
            entries[key] = dataclasses.replace(entry, items=(mean, low, high))
    return dataclasses.replace(measured, entries=entries)


def as_json(measured: Measured) -> dict[str, Any]:
    """Give a measure as JSON values, NaN where a number is not known."""
    entries = []
    for entry in measured.entries.values():
        difference = entry.difference
        compared = None
        if difference is not None:
            compared = difference._asdict() | {"p_holm": entry.p_holm, "differs": entry.differs}
        entries.append(
            {
                "condition": entry.condition,
                "method": entry.method,
                "seeds": [*entry.values],
                "values": [*entry.values.values()],
                **entry.summary._asdict(),
                "difference": compared,
                "items": entry.items,
            }
        )
    unit = "as it is" if measured.plain else "points"
    return {"label": measured.label, "path": measured.path, "unit": unit, "entries": entries}
