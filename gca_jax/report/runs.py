"""Writes `index.html`, a table and curves of all runs below a folder."""

import contextlib
import dataclasses
import io
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from gca_jax.check import counted
from gca_jax.files import write_text
from gca_jax.report.figures import COLOURS, ON_PAGES, curve
from gca_jax.report.markdown import html
from gca_jax.report.run import headline
from gca_jax.report.status import progress
from gca_jax.workdir import Json, RunFolder, flatten

ALWAYS = {"method": "method", "data.name": "data", "seed": "seed"}
"""Settings that are always shown, and the heads of their columns."""
NO_SHARES = ("alignment", "uniformity", "effective_rank", "train_seconds")
CURVES = ("loss", "alignment", "uniformity")
POINTS = 100  # of a curve, at most


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """Summary of a run, finished or not."""

    folder: str  # below the folder of all
    settings: Mapping[str, Any]  # of its config, by dotted key
    finished: bool  # whether it is trained to its end and evaluated there
    state: str  # in words
    results: Mapping[str, float] = dataclasses.field(default_factory=dict)  # accuracies: shares
    pixels: Mapping[str, float] = dataclasses.field(default_factory=dict)  # results of raw pixels
    curves: Mapping[str, list[tuple[float, float]]] = dataclasses.field(default_factory=dict)
    page: str = ""  # its report, where there is one


def write(folder: Path) -> Path | None:
    """Write or overwrite `index.html`; None where there is no run below the folder."""
    runs = collect(folder)
    if not runs:
        return None
    page = render(folder.resolve().name, runs, studies(folder, runs))
    return write_text(folder / "index.html", page)


def render(name: str, runs: list[Run], studies: list[str]) -> str:
    """Render the page."""
    colours = _colours(runs)
    measures = dict.fromkeys(name for run in runs for name in run.results)
    return html(
        "runs.html",
        title=f"Runs in {name}",
        total=counted(len(runs), "run"),
        unfinished=sum(not run.finished for run in runs),
        studies=studies,
        runs=[(run, ON_PAGES.get(c, c)) for run, c in zip(runs, colours, strict=True)],
        settings=varied(runs),
        always=ALWAYS,
        value=value,
        measures=sorted(measures, key=lambda name: name in NO_SHARES),  # accuracies first
        no_shares=NO_SHARES,
        shown=_shown,
        panels=[
            _panel(key, runs, colours) for key in CURVES if any(r.curves.get(key) for r in runs)
        ],
    )


def _colours(runs: list[Run]) -> list[str]:
    """Colour runs by themselves where the palette has enough, else by method and data set."""
    groups = [run.folder for run in runs]
    if len(runs) > len(COLOURS):
        groups = [f"{value(run, 'method')} {value(run, 'data.name')}" for run in runs]
    names = list(dict.fromkeys(groups))
    return [COLOURS[names.index(group) % len(COLOURS)] for group in groups]


def _shown(name: str, number: float) -> str:
    """Write a result; an accuracy is a share, shown in percent."""
    if name == "train_seconds":
        return f"{number:.0f}"
    return f"{number:.3f}" if name in NO_SHARES else f"{100 * number:.1f}"


def _panel(key: str, runs: list[Run], colours: list[str]) -> str:
    """Draw one quantity of all runs over epochs as SVG, each curve in a group `curve-KEY-INDEX`."""
    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axes, text = figure.subplots(), io.StringIO()
    for index, (run, colour) in enumerate(zip(runs, colours, strict=True)):
        if run.curves.get(key):
            x, y = np.transpose(run.curves[key])
            curve(axes, x, y, color=colour, linewidth=1.5, gid=f"curve-{key}-{index}")
    axes.set(xlabel="epoch", title=key)
    # Text stays text, and ids and metadata are the same each time.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": key}):
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(text, format="svg", metadata=nothing, transparent=True)
    svg = text.getvalue()
    return svg[svg.index("<svg") :]  # without the head of a file of its own


def collect(folder: Path) -> list[Run]:
    """Read all runs below a folder in the order of their names; damaged ones have their error."""
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
    found = []
    for parent in (parent for parent in above if parent.is_relative_to(folder)):
        pages = (parent / name for name in ("study.html", "study.md"))
        found += [page for page in pages if page.exists()][:1]
    return sorted(page.relative_to(folder).as_posix() for page in found)


def _folders(folder: Path) -> Iterator[Path]:
    """Find the folders of runs, without descending into a run."""
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
        page=next(filter(run.has, ("report.html", "report.md")), ""),
    )


def _results(evaluation: Json, training: Json, kind: str) -> dict[str, float]:
    """Collect the numbers that runs are compared by."""
    found: dict[str, Any] = dict(headline(evaluation, kind))
    found |= {key: {**training, **evaluation}.get(key) for key in NO_SHARES}
    return {key: x for key, x in found.items() if isinstance(x, int | float) and math.isfinite(x)}


def _curve(rows: list[Json], key: str) -> list[tuple[float, float]]:
    """Subsample a logged quantity, keeping its last point."""
    known = [
        (row["epoch"], row[key]) for row in rows if row.get(key) is not None and row.get("epoch")
    ]
    every = -(-len(known) // POINTS) or 1
    return known[::-1][::every][::-1]


def varied(runs: list[Run]) -> dict[str, bool]:
    """Map settings in which runs differ to whether they are shown at once.

    They are where runs of one method and data set differ, but for settings of the evaluation.
    """
    found: dict[str, bool] = {}
    for key in dict.fromkeys(key for run in runs for key in run.settings if key not in ALWAYS):
        groups: dict[tuple[str, ...], set[str]] = {}
        for run in (run for run in runs if run.settings):
            group = run.settings["method"], run.settings["data.name"]
            groups.setdefault(group, set()).add(value(run, key))
        if len(set().union(*groups.values())) > 1:
            near = any(len(values) > 1 for values in groups.values())
            found[key] = near and not key.startswith("evaluation.")
    return found


def value(run: Run, key: str) -> str:
    """Format a setting; empty where it is not set."""
    found = run.settings.get(key)
    if found is None:
        return ""
    return ", ".join(map(str, found)) if isinstance(found, list) else str(found)
