"""What a study shows beside its measures: how two of them go together, and the methods' plans."""

import math
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from gca_jax.evaluation.plan import within_class
from gca_jax.report.figures import plain, scale_of_plans, show_plan
from gca_jax.report.markdown import table, wrap
from gca_jax.report.study_figures import style
from gca_jax.studies import statistics
from gca_jax.studies.results import Results
from gca_jax.studies.statistics import POINTS
from gca_jax.studies.study import Study
from gca_jax.workdir import RunFolder

WORDS = """Over the final runs of each method, all conditions and seeds together, which share
conditions and are therefore no independent draws: p values would promise too much and are left
out. Pearson's r is of a straight line, Spearman's of any rising or falling curve."""


def correlation_table(study: Study, results: Results) -> str:
    """Give the correlation of the two measures that the study names; empty where it names none."""
    if not study.correlate:
        return ""
    rows = []
    for method in ("all", *study.methods):
        n, pearson, spearman = statistics.correlate(*pairs(study, results, method))
        shown = ("–" if math.isnan(r) else f"{r:+.2f}" for r in (pearson, spearman))
        rows.append([method, str(n), *shown])
    x, y = study.correlate
    head = ["method", "runs", "Pearson's r", "Spearman's ρ"]
    picture = f"![{y} against {x}](figures/correlation.png)"
    title = f"{x[:1].upper()}{x[1:]} and {y}"
    return f"## {title}\n\n{table(head, rows)}\n{picture}\n\n{wrap(WORDS)}"


def pairs(study: Study, results: Results, method: str = "all") -> tuple[list[float], list[float]]:
    """Give the two measures of the final runs of a method, or of all, that have both."""
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
            np.array(values) * (1 if label in study.plain else POINTS)
            for label, values in zip(study.correlate, pairs(study, results, method), strict=True)
        )
        axes.plot(x, y, label=method, markersize=6, alpha=0.8, **look)
    names = [label if label in study.plain else f"{label}, %" for label in study.correlate]
    axes.set(xlabel=names[0], ylabel=names[1])
    plain(axes)
    figure.legend(loc="outside right upper", frameon=False)
    return figure


def plans(study: Study, results: Results, workdir: Path) -> Figure | None:
    """Draw the mean over seeds of each method's mean plan (Figure A4); None where no run has one.

    Of the study's first condition.
    """
    condition = next(iter(study.conditions))
    found = {}
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
    panels = [*figure.subplots(rows_of, columns, squeeze=False).flat]
    for axes, (method, (matrix, labels)) in zip(panels, found.items(), strict=False):
        image = _plan(axes, method, matrix, labels)
    for axes in panels[len(found) :]:
        axes.set_visible(False)
    scale_of_plans(figure, image, panels)
    return figure


def _plan(axes: Axes, method: str, matrix: np.ndarray, labels: np.ndarray) -> AxesImage:
    share, uniform = within_class(matrix, labels)
    words = "" if share is None else f"\n{share:.0%} within class (uniform: {uniform:.0%})"
    axes.set_title(f"{method}{words}", fontsize=9)
    axes.set(xticks=[], yticks=[], xlabel="images, sorted by class")
    return show_plan(axes, matrix)
