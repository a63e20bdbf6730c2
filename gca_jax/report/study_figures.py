"""The pictures of a study: each method has its colour, its mark and its line, for print too."""

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gca_jax.report.figures import COLOURS, plain
from gca_jax.studies.results import Results
from gca_jax.studies.statistics import Entry, Measured, half_width
from gca_jax.studies.study import Study
from gca_jax.workdir import RunFolder

MARKS = "osD^vPX<>*"
LINES = ("-", "--", "-.", ":", (0, (3, 1, 1, 1, 1, 1)))
COLUMNS = 4  # of panels, at most
ASIDE = 0.18  # of the mean, where the runs' dots are, in rows
DOTS: dict[str, Any] = {"alpha": 0.6, "markersize": 5, "markeredgewidth": 0}

Shown = tuple[float, float, list[float]]
"""Mean, half-width of its interval, values of the seeds."""


def draw(
    study: Study, results: Results, measured: Sequence[Measured], workdir: Path
) -> dict[str, Figure]:
    """Draw what a study found, by the pictures' names."""
    if not measured:
        return {}
    headline = measured[0]
    figures = {"headline": _figure(study, headline, list(study.methods), _value, headline.unit)}
    others = [method for method in study.methods if study.reference_of(method)]
    if others:
        unit = "" if headline.plain else ", points"
        one = len(study.references) == 1
        reference = study.references.pop() if one else "what each is compared with"
        label = f"{headline.label} minus {reference}{unit}"
        figures["differences"] = _figure(study, headline, others, _difference, label)
    curves = _curves(results, workdir)
    if curves:
        figures["training"] = _training(study, curves)
    return figures


def _value(entry: Entry) -> Shown:
    return entry.summary.mean, entry.summary.half_width, [*entry.values.values()]


def _difference(entry: Entry) -> Shown:
    assert entry.difference is not None
    return entry.difference.mean, entry.difference.half_width, []


def style(study: Study, method: str) -> dict[str, Any]:
    """Give a method's colour, mark and line, the same in all pictures."""
    place = list(study.methods).index(method)
    return {
        "color": COLOURS[place % len(COLOURS)],
        "marker": MARKS[place % len(MARKS)],
        "linestyle": LINES[place % len(LINES)],
    }


def _figure(
    study: Study,
    measured: Measured,
    methods: Sequence[str],
    shown: Callable[[Entry], Shown],
    label: str,
) -> Figure:
    """Draw a measure by condition; a single condition by method."""
    if len(study.conditions) == 1:
        return _by_method(study, measured, methods, shown, label)
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    xs = [condition.x for condition in study.conditions.values()]
    numeric = all(x is not None for x in xs)
    for place, method in enumerate(methods):
        found = [shown(measured.entries[condition, method]) for condition in study.conditions]
        look = style(study, method)
        if numeric:
            _line(axes, np.asarray(xs, float), found, look, method)
        else:
            offset = 0.6 * ((place + 0.5) / len(methods) - 0.5)
            _bars(axes, np.arange(len(xs)) + offset, found, look, method)
    if shown is _difference:
        axes.axhline(0, color="#555555", linewidth=0.8, zorder=0)
    axes.set(ylabel=textwrap.fill(label, 50), xlabel=study.x_label or "condition")
    if not numeric:
        width = max(8, 60 // len(xs))
        axes.set_xticks(range(len(xs)), [textwrap.fill(c, width) for c in study.conditions])
    plain(axes)
    figure.legend(loc="outside right upper", frameon=False, handlelength=3.2)
    return figure


def _line(
    axes: Axes, x: np.ndarray, found: Sequence[Shown], look: dict[str, Any], label: str
) -> None:
    """Draw the mean as a line, its interval as a band."""
    order = np.argsort(x)
    mean, half = (np.array([each[i] for each in found])[order] for i in (0, 1))
    axes.plot(x[order], mean, label=label, markersize=5, linewidth=1.6, **look)
    axes.fill_between(
        x[order], mean - half, mean + half, color=look["color"], alpha=0.12, linewidth=0
    )


def _bars(
    axes: Axes, x: np.ndarray, found: Sequence[Shown], look: dict[str, Any], label: str
) -> None:
    """Draw means with bars, beside each other, and the runs as dots."""
    mean, half = (np.array([each[i] for each in found]) for i in (0, 1))
    for place, (_, _, values) in zip(x, found, strict=True):
        axes.plot([place + ASIDE / 4] * len(values), values, ".", color=look["color"], **DOTS)
    still = {**look, "linestyle": "none"}
    axes.errorbar(x, mean, half, label=label, markersize=6, capsize=3, **still)


def _by_method(
    study: Study,
    measured: Measured,
    methods: Sequence[str],
    shown: Callable[[Entry], Shown],
    label: str,
) -> Figure:
    """Draw one row for each method: its runs, their mean, its interval."""
    figure = Figure(figsize=(7, 1.4 + 0.42 * len(methods)), layout="constrained")
    axes = figure.subplots()
    (condition,) = study.conditions
    for place, method in enumerate(methods):
        mean, half, values = shown(measured.entries[condition, method])
        look = {**style(study, method), "linestyle": "none"}
        axes.plot(values, [place + ASIDE] * len(values), ".", color=look["color"], **DOTS)
        if not math.isnan(mean):
            error = None if math.isnan(half) else half
            axes.errorbar(mean, place, xerr=error, markersize=7, capsize=4, **look)
    if shown is _difference:
        axes.axvline(0, color="#555555", linewidth=0.8, zorder=0)
    plain(axes)  # whose ticks are of numbers
    axes.set_yticks(range(len(methods)), methods)
    axes.set_ylim(len(methods) - 0.5, -0.5)
    axes.set_xlabel(label)
    return figure


Curve = tuple[np.ndarray, np.ndarray]
"""Epochs [k] and losses [seeds, k]."""


def _curves(results: Results, workdir: Path) -> dict[tuple[str, str], Curve]:
    """Read the losses of final runs; seeds whose logs have other epochs are left out."""
    logs: dict[tuple[str, str], list[tuple[list[float], list[float]]]] = {}
    for row in results.rows:
        rows = RunFolder(workdir / row.folder).log
        if read := [entry for entry in rows if entry.get("loss") is not None]:
            log = [entry["epoch"] for entry in read], [entry["loss"] for entry in read]
            logs.setdefault((row.condition, row.method), []).append(log)
    return {
        key: (np.array(found[0][0]), np.array([y for x, y in found if x == found[0][0]]))
        for key, found in logs.items()
        if len(found[0][0]) > 1
    }


def _training(study: Study, curves: Mapping[tuple[str, str], Curve]) -> Figure:
    """Draw one panel for each method, as losses of different methods have different scales."""
    rows = math.ceil(len(study.methods) / COLUMNS)
    columns = math.ceil(len(study.methods) / rows)
    figure = Figure(figsize=(2.6 * columns + 1.6, 2.3 * rows + 0.5), layout="constrained")
    panels = [*figure.subplots(rows, columns, squeeze=False).flat]
    shades = mpl.colormaps["viridis"](np.linspace(0, 0.85, len(study.conditions)))
    lines: dict[str, dict[str, Any]] = {
        condition: {"color": shades[place], "linestyle": LINES[place % len(LINES)]}
        for place, condition in enumerate(study.conditions)
    }
    for axes, method in zip(panels, study.methods, strict=False):
        for condition, line in lines.items():
            if (condition, method) in curves:
                _curve(axes, curves[condition, method], line)
        axes.set_title(method, fontsize=10)
        plain(axes)
    for axes in panels[len(study.methods) :]:
        axes.set_visible(False)
    figure.supxlabel("epoch", fontsize=10)
    figure.supylabel("loss of a training batch", fontsize=10)
    if len(lines) > 1:
        handles = [Line2D([], [], **line) for line in lines.values()]
        box = figure.legend(handles, list(lines), loc="outside right upper", frameon=False)
        box.set_title("condition")  # whose names they are; x_label is of their numbers
    return figure


def _curve(axes: Axes, curve: Curve, line: dict[str, Any]) -> None:
    epochs, losses = curve
    mean = losses.mean(axis=0)
    axes.plot(epochs, mean, linewidth=1.2, **line)
    if len(losses) > 1:
        half = half_width(1.0, len(losses)) * losses.std(axis=0, ddof=1)
        axes.fill_between(
            epochs, mean - half, mean + half, color=line["color"], alpha=0.2, linewidth=0
        )
