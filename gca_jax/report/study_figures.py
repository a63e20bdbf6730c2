"""Draws the pictures of a study: a method has its colour, mark and line in all, for print too."""

import contextlib
import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gca_jax.report.figures import COLOURS, as_text, curve, label, plain, show_plans, within
from gca_jax.report.markdown import shortened
from gca_jax.studies.results import Results, number
from gca_jax.studies.statistics import POINTS, Measured, half_width
from gca_jax.studies.study import Study
from gca_jax.workdir import RunFolder

MARKS = "osD^vPX<>*"
LINES = ("-", "--", "-.", ":", (0, (3, 1, 1, 1, 1, 1)))
COLUMNS = 4  # of panels, at most
MOST_LETTERS = 48  # of a condition's name, in several lines
ASIDE = 0.18  # of the mean, where the runs' dots are, in rows
DOTS: dict[str, Any] = {"alpha": 0.6, "markersize": 5, "markeredgewidth": 0}

Shown = Mapping[str, Sequence[tuple[float, float, Sequence[float]]]]
"""By method, for each condition: mean, half-width of its interval, values of the seeds."""


def draw(
    study: Study, results: Results, measured: Sequence[Measured], workdir: Path
) -> dict[str, Figure]:
    """Draw what a study found, by the pictures' names."""
    figures: dict[str, Figure] = {}
    if results.rows and measured:
        first = measured[0]
        pixels = raw_pixels(results, first, workdir)
        figures["headline"] = _figure(study, _values(study, first), first.unit, pixels=pixels)
        if differences := _differences(study, first):
            one = len(study.references) == 1
            reference = study.references.pop() if one else "what each is compared with"
            words = f"{first.label} minus {reference}{'' if first.plain else ', points'}"
            figures["differences"] = _figure(study, differences, words, zero=True)
        if curves := _curves(results, workdir):
            figures["training"] = _training(study, curves)
    if results.rows and study.correlate:
        figures["correlation"] = correlation(study, results)
    if study.plans and (plans := _plans(study, results, workdir)):
        figures["plans"] = plans
    return figures


def _values(study: Study, measured: Measured) -> Shown:
    found = {m: [measured.entries[c, m] for c in study.conditions] for m in study.methods}
    return {
        method: [(e.summary.mean, e.summary.half_width, [*e.values.values()]) for e in entries]
        for method, entries in found.items()
    }


def _differences(study: Study, measured: Measured) -> Shown:
    compared = [method for method in study.methods if study.reference_of(method)]
    found = {m: [measured.entries[c, m].difference for c in study.conditions] for m in compared}
    return {m: [(d.mean, d.half_width, ()) for d in each if d] for m, each in found.items()}


def raw_pixels(results: Results, measured: Measured, workdir: Path) -> float | None:
    """Compute what raw pixels reach in a measure, the mean over runs; None where no run has it."""
    group, _, name = measured.path.partition(".")
    found = []
    if group == "accuracy":
        for row in results.rows:
            with contextlib.suppress(ValueError, OSError):
                found.append(number(workdir / row.folder, f"baselines.pixels.{name}"))
    known = [value for value in found if not math.isnan(value)]
    scale = 1.0 if measured.plain else POINTS
    return scale * float(np.mean(known)) if known else None


def style(study: Study, method: str) -> dict[str, Any]:
    """Give a method's colour, mark and line, the same in all pictures."""
    place = list(study.methods).index(method)
    kinds = {"color": COLOURS, "marker": MARKS, "linestyle": LINES}
    return {kind: of[place % len(of)] for kind, of in kinds.items()}


def _figure(
    study: Study, found: Shown, words: str, zero: bool = False, pixels: float | None = None
) -> Figure:
    """Draw a measure by condition; a single condition by method, beside raw pixels' line."""
    alone = len(study.conditions) == 1
    size = (7, 1.4 + 0.42 * len(found)) if alone else (8, 5)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    (_by_method if alone else _by_condition)(axes, study, found, words)
    if zero:
        (axes.axvline if alone else axes.axhline)(0, color="#555555", linewidth=0.8, zorder=0)
    if alone and pixels is not None:
        axes.axvline(pixels, color="#555555", linestyle="--", linewidth=1.2, zorder=0)
        above = axes.get_xaxis_transform()
        axes.text(pixels, 1.01, "raw pixels", color="#555555", transform=above, ha="center")
    if not alone:
        figure.legend(loc="outside right upper", frameon=False, handlelength=3.2)
    return figure


def _by_condition(axes: Axes, study: Study, found: Shown, words: str) -> None:
    """Draw curves where all conditions have a number, else means with bars beside each other."""
    xs = np.array([condition.x for condition in study.conditions.values()], float)
    numeric = not np.isnan(xs).any()
    for place, (method, each) in enumerate(found.items()):
        look = {**style(study, method), "label": label(method)}
        if numeric:
            order = np.argsort(xs)
            mean, half = (np.array([one[i] for one in each])[order] for i in (0, 1))
            curve(axes, xs[order], mean, half, markersize=5, linewidth=1.6, **look)
        else:
            offset = 0.6 * ((place + 0.5) / len(found) - 0.5)
            _intervals(axes, np.arange(len(xs)) + offset, each, look)
    plain(axes)
    axes.set(ylabel=_filled(words, 50), xlabel=as_text(study.x_label or "condition"))
    if not numeric:
        width = max(8, 60 // len(xs))
        names = [_filled(shortened(name, MOST_LETTERS), width) for name in study.conditions]
        axes.set_xticks(range(len(xs)), names)


def _filled(words: str, width: int) -> str:
    """Write text in lines of so many letters."""
    return as_text(textwrap.fill(words, width))


def _by_method(axes: Axes, study: Study, found: Shown, words: str) -> None:
    """Draw one row for each method: its runs, their mean, its interval."""
    for place, (method, each) in enumerate(found.items()):
        _intervals(axes, np.array([place]), each, style(study, method), rows=True)
    plain(axes)  # whose ticks are of numbers
    axes.set_yticks(range(len(found)), [label(method) for method in found])
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set_xlabel(_filled(words, 80))


def _intervals(
    axes: Axes, places: np.ndarray, found: Sequence[Any], look: dict[str, Any], rows: bool = False
) -> None:
    """Draw means with bars, upright or in `rows`, and the runs as dots."""
    turned = slice(None, None, -1 if rows else 1)  # (x, y) of upright ones
    aside = ASIDE if rows else ASIDE / 4
    for place, (_, _, values) in zip(places, found, strict=True):
        dots = [place + aside] * len(values), values
        axes.plot(*dots[turned], ".", color=look["color"], **DOTS)
    mean, half = (np.array([each[i] for each in found]) for i in (0, 1))
    look = {**look, "linestyle": "none", "xerr" if rows else "yerr": half}
    axes.errorbar(*(places, mean)[turned], markersize=7 if rows else 6, capsize=4, **look)


Curve = tuple[Float[np.ndarray, "k"], Float[np.ndarray, "seeds k"]]
"""Epochs and losses."""


def _curves(results: Results, workdir: Path) -> dict[tuple[str, str], Curve]:
    """Read the losses of final runs; seeds whose logs have other epochs are skipped."""
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
                epochs, losses = curves[condition, method]
                half = None
                if (n := len(losses)) > 1:
                    half = half_width(1.0, n) * losses.std(axis=0, ddof=1)
                curve(axes, epochs, losses.mean(axis=0), half, linewidth=1.2, **line)
        axes.set_title(label(method), fontsize=10)
        plain(axes)
    for axes in panels[len(study.methods) :]:
        axes.set_visible(False)
    figure.supxlabel("epoch", fontsize=10)
    figure.supylabel("loss of a training batch", fontsize=10)
    if len(lines) > 1:
        handles = [Line2D([], [], **line) for line in lines.values()]
        box = figure.legend(handles, [*map(label, lines)], loc="outside right upper", frameon=False)
        box.set_title("condition")  # whose names they are; x_label is of their numbers
    return figure


def pairs(study: Study, results: Results, method: str = "all") -> tuple[list[float], list[float]]:
    """Give the two measures to correlate of the final runs of a method, or of all, with both."""
    rows = [row for row in results.rows if method in ("all", row.method)]
    found = [[row.values[label] for label in study.correlate] for row in rows]
    known = [pair for pair in found if not any(map(math.isnan, pair))]
    return [x for x, _ in known], [y for _, y in known]


def correlation(study: Study, results: Results) -> Figure:
    """Draw every final run by the two measures, marked by its method."""
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    for method in study.methods:
        look = {**style(study, method), "linestyle": "none"}
        x, y = (
            np.array(values) * (1 if measure in study.plain else POINTS)
            for measure, values in zip(study.correlate, pairs(study, results, method), strict=True)
        )
        curve(axes, x, y, label=label(method), markersize=6, alpha=0.8, **look)
    names = [name if name in study.plain else f"{name}, %" for name in study.correlate]
    axes.set(xlabel=_filled(names[0], 80), ylabel=_filled(names[1], 50))
    figure.legend(loc="outside right upper", frameon=False)
    return figure


def _plans(study: Study, results: Results, workdir: Path) -> Figure | None:
    """Draw the mean over seeds of each method's mean plan under the first condition (Figure A4).

    None where no run has a plan.
    """
    condition, found = next(iter(study.conditions)), {}
    for method in study.methods:
        rows = [row for row in results.rows if (row.condition, row.method) == (condition, method)]
        arrays = [RunFolder(workdir / row.folder).arrays for row in rows]
        matrices = [each["plan"] / each["plan"].sum() for each in arrays if "plan" in each]
        if matrices:
            found[method] = np.mean(matrices, axis=0), arrays[0]["plan_labels"]
    if not found:
        return None
    columns = min(3, len(found))
    rows_of = math.ceil(len(found) / columns)
    figure = Figure(figsize=(3.2 * columns + 1, 3.4 * rows_of), layout="compressed")
    panels = figure.subplots(rows_of, columns, squeeze=False).flat
    show_plans(figure, panels, [matrix for matrix, _ in found.values()])
    for axes, (method, (matrix, labels)) in zip(panels, found.items(), strict=False):
        axes.set_title(f"{label(method)}\n{within(matrix, labels)}", fontsize=9)
        axes.set(xticks=[], yticks=[], xlabel="images, sorted by class")
    return figure
