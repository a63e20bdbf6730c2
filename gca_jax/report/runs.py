"""All runs below a folder: settings, results and curves, read from the files that they left."""

import dataclasses
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gca_jax.report.pairs import WAYS
from gca_jax.report.reading import Json
from gca_jax.report.status import progress
from gca_jax.workdir import flatten, read_json, read_log

ALWAYS = ("method", "data.name", "seed")
CURVES = ("loss", "alignment", "uniformity")
POINTS = 100  # of a curve, at most


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """What is known of a run, finished or not.

    Attributes:
        folder: Below the folder of all.
        settings: Of its config, by dotted key.
        finished: Whether it is trained to its end and judged there.
        state: In words.
        results: Numbers by name; accuracies are shares.
        pixels: Those of raw pixels, where they were measured.
        curves: (epoch, value) of `CURVES`.
        page: Name of its report; None where there is none.
    """

    folder: str
    settings: Mapping[str, Any]
    finished: bool
    state: str
    results: Mapping[str, float] = dataclasses.field(default_factory=dict)
    pixels: Mapping[str, float] = dataclasses.field(default_factory=dict)
    curves: Mapping[str, list[tuple[float, float]]] = dataclasses.field(default_factory=dict)
    page: str | None = None


def collect(folder: Path) -> list[Run]:
    """Read all runs below a folder, in the order of their names; of a damaged one, its fault."""
    runs = []
    for path in sorted(_folders(folder)):
        name = path.relative_to(folder).as_posix()
        try:
            runs.append(_read(path, name))
        except (ValueError, KeyError, TypeError, OSError) as error:
            words = f"cannot be read: {str(error) or type(error).__name__}"
            runs.append(Run(folder=name, settings={}, finished=False, state=words))
    return runs


def studies(folder: Path, runs: list[Run]) -> list[str]:
    """Name the reports of the studies that runs belong to."""
    above = {parent for run in runs for parent in (folder / run.folder).parents}
    pages = (parent / "study.md" for parent in above if parent.is_relative_to(folder))
    return sorted(page.relative_to(folder).as_posix() for page in pages if page.exists())


def _folders(folder: Path) -> Iterator[Path]:
    """Find folders of runs; nothing inside of one is looked at."""
    for where, inner, files in os.walk(folder):
        if "config.json" in files:
            inner.clear()
            yield Path(where)


def _read(path: Path, name: str) -> Run:
    config = read_json(path / "config.json")
    settings = dict(flatten(config))
    if missing := [key for key in ALWAYS if key not in settings]:
        raise ValueError(f"config.json has no {missing[0]}")
    log, summary, found = (
        path / file for file in ("metrics.jsonl", "training.json", "evaluation.json")
    )
    rows = [row for row, _ in read_log(log)] if log.exists() else []
    training = read_json(summary) if summary.exists() else {"finished": False, "steps": 0}
    evaluation = read_json(found) if found.exists() else {}
    trained = training["finished"]
    judged = bool(evaluation) and evaluation["step"] == training["steps"]
    if trained:
        state = "finished" if judged else "trained, not evaluated"
    else:
        state = progress(rows[-1], config) if rows else "no step is logged yet"
    return Run(
        folder=name,
        settings=settings,
        finished=bool(trained and judged),
        state=state,
        results=_results(evaluation, training) if judged else {},
        pixels=evaluation.get("baselines", {}).get("pixels", {}) if judged else {},
        curves={key: _curve(rows, key) for key in CURVES},
        page="report.md" if (path / "report.md").exists() else None,
    )


def _results(evaluation: Json, training: Json) -> dict[str, float]:
    """Choose the numbers that runs are compared by."""
    found = dict(evaluation.get("accuracy", {}))
    for way in WAYS if "retrieval" in evaluation else ():
        found[f"recall@1, {way.replace('_', ' ')}"] = evaluation["retrieval"][way]["recall_1"]
    for key in ("alignment", "uniformity", "effective_rank"):
        found[key] = evaluation.get(key)
    found["train_seconds"] = training.get("train_seconds")
    return {key: x for key, x in found.items() if isinstance(x, int | float) and math.isfinite(x)}


def _curve(rows: list[Json], key: str) -> list[tuple[float, float]]:
    """Thin a quantity of the log out; its last point stays."""
    known = [(row["epoch"], row[key]) for row in rows if isinstance(row.get(key), int | float)]
    points = [(x, y) for x, y in known if math.isfinite(y)]
    every = -(-len(points) // POINTS) or 1
    return points[::-1][::every][::-1]


def varied(runs: list[Run]) -> dict[str, bool]:
    """Name the settings in which runs differ; whether two of one method and data set do."""
    found: dict[str, bool] = {}
    for key in dict.fromkeys(key for run in runs for key in run.settings if key not in ALWAYS):
        groups: dict[tuple[str, ...], set[str]] = {}
        for run in (run for run in runs if run.settings):
            group = tuple(run.settings[each] for each in ALWAYS[:2])
            groups.setdefault(group, set()).add(value(run, key))
        if len(set().union(*groups.values())) > 1:
            found[key] = any(len(values) > 1 for values in groups.values())
    return found


def value(run: Run, key: str) -> str:
    """Give a setting as a reader would write it; nothing where it is not set."""
    found = run.settings.get(key)
    if found is None:
        return ""
    return ", ".join(map(str, found)) if isinstance(found, list) else str(found)
