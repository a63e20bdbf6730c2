"""All runs below a folder: settings, results and curves, read from the files that they left."""

import contextlib
import dataclasses
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gca_jax.report.run import headline
from gca_jax.report.status import progress
from gca_jax.workdir import Json, RunFolder, flatten

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
        name, run = path.relative_to(folder).as_posix(), RunFolder(path)
        fault = run.damage
        if fault is None:
            runs.append(_read(run, name))
        else:
            runs.append(Run(folder=name, settings={}, finished=False, state=f"damaged: {fault}"))
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


def _read(run: RunFolder, name: str) -> Run:
    """Read a run whose files are whole."""
    config, rows = run.config, run.log
    summary: Json = dict(run.summary) if run.has("training.json") else {"finished": False}
    evaluation: Json = {}
    with contextlib.suppress(FileNotFoundError, ValueError):  # not evaluated at its last step
        evaluation = run.evaluation
    if summary["finished"]:
        state = "finished" if evaluation else "trained, not evaluated"
    else:
        state = progress(rows[-1], config) if rows else "no step is logged yet"
    return Run(
        folder=name,
        settings=dict(flatten(config)),
        finished=bool(summary["finished"] and evaluation),
        state=state,
        results=_results(evaluation, summary, config["data"]["kind"]) if evaluation else {},
        pixels=evaluation.get("baselines", {}).get("pixels", {}),
        curves={key: _curve(rows, key) for key in CURVES},
        page="report.md" if run.has("report.md") else None,
    )


def _results(evaluation: Json, training: Json, kind: str) -> dict[str, float]:
    """Choose the numbers that runs are compared by."""
    found: dict[str, Any] = dict(headline(evaluation, kind))
    for key in ("alignment", "uniformity", "effective_rank"):
        found[key] = evaluation.get(key)
    found["train_seconds"] = training["train_seconds"]
    return {key: x for key, x in found.items() if isinstance(x, int | float) and math.isfinite(x)}


def _curve(rows: list[Json], key: str) -> list[tuple[float, float]]:
    """Thin a quantity of the log out; its last point stays."""
    known = [
        (row["epoch"], row[key]) for row in rows if row.get(key) is not None and row.get("epoch")
    ]
    every = -(-len(known) // POINTS) or 1
    return known[::-1][::every][::-1]


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
