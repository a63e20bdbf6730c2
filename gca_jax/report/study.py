"""Writes the report of a study, complete or not."""

import csv
import io
import math
import platform
from importlib.metadata import version
from pathlib import Path

from gca_jax.data.tables import as_cell
from gca_jax.files import finite, write_figure, write_json, write_text
from gca_jax.report import runs, study_figures
from gca_jax.report.figures import any_script
from gca_jax.report.markdown import markdown, page, text
from gca_jax.studies import Study, statistics
from gca_jax.studies.grid import Cell
from gca_jax.studies.results import Results, collect
from gca_jax.studies.statistics import Entry, Measured, analyse, as_json
from gca_jax.workdir import Json, flatten

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "scipy", "scikit-learn")
NOTHING = "–"


def write(study: Study, grid: list[Cell], workdir: Path, command: str) -> Path:
    """Write `study.md`, `study.json`, `study.csv`, `figures/*.png` from what is finished.

    And `study.html`, the same page with its pictures inside; `index.html`, over all runs, trials
    too.

    Args:
        study: The study.
        grid: Its runs, from `grid.cells`.
        workdir: The study's folder.
        command: The command line, for the page.

    Returns:
        The page's path.
    """
    results = collect(study, grid, workdir)
    measured = analyse(study, results, workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    found = _content(study, grid, results, measured, command)
    write_json(workdir / "study.json", finite(found, nan=None))
    _write_rows(workdir / "study.csv", results)
    (workdir / "figures").mkdir(exist_ok=True)
    with any_script():
        pictures = study_figures.draw(study, results, measured, workdir)
        for name, figure in pictures.items():
            write_figure(workdir / "figures" / f"{name}.png", figure)
    content = markdown(
        "study.md",
        study=study,
        grid=grid,
        results=results,
        measured=measured,
        command=command,
        pictures=pictures,
        changes={key: x for key, x in flatten(study.common) if x is not None},
        choices=_choices(grid, results),
        correlations=_correlations(study, results),
        reference=study.references.pop() if len(study.references) == 1 else None,
        compared=[method for method in study.methods if study.reference_of(method)],
        value=value,
        difference=difference,
        items=items,
        around=around,
        half_width=statistics.half_width,
        NOTHING=NOTHING,
    )
    path = write_text(workdir / "study.md", content)
    write_text(workdir / "study.html", page(content, workdir))
    runs.write(workdir)
    return path


def value(entry: Entry, measured: Measured, seeds: int) -> str:
    """Write a mean ± the standard deviation over seeds, and how many where some are missing."""
    if not entry.summary.n:
        return NOTHING
    few = f" (n = {entry.summary.n})" if entry.summary.n < seeds else ""
    return around(entry.summary.mean, entry.summary.sd, measured) + few


def around(mean: float, spread: float, measured: Measured, sign: str = "") -> str:
    """Write a number of a measure ± its spread, where that is known."""
    digits = ".4g" if measured.plain else ".2f"
    after = "" if math.isnan(spread) else f" ± {spread:{digits}}"
    return f"{mean:{sign}{digits}}{after}"


def difference(entry: Entry, measured: Measured) -> str:
    """Write a difference to the reference ± half its interval, and its corrected p value."""
    found = entry.difference
    if found is None or not found.n:
        return NOTHING
    words = around(found.mean, found.half_width, measured, "+")
    words = f"**{words}**" if entry.differs else words
    if math.isnan(entry.p_holm):
        return words
    shown = "< 0.001" if entry.p_holm < 0.001 else f"{entry.p_holm:.3f}"
    return f"{words} ({shown})"


def items(entry: Entry, measured: Measured) -> str:
    """Write a difference and its interval of the bootstrap over test items."""
    if entry.items is None:
        return NOTHING
    mean, low, high = (around(x, math.nan, measured, "+") for x in entry.items)
    return f"{mean} [{low}, {high}]"


def _correlations(study: Study, results: Results) -> list[list[str]]:
    """Tabulate the correlation of the two measures that the study names, if it names any."""
    rows = []
    for method in ("all", *study.methods) if study.correlate else ():
        n, *found = statistics.correlate(*study_figures.pairs(study, results, method))
        shown = (NOTHING if math.isnan(r) else f"{r:+.2f}" for r in found)
        rows.append([text(method), str(n), *shown])
    return rows


def _choices(grid: list[Cell], results: Results) -> list[list[str]]:
    """Tabulate what was chosen, by which budget; empty where there was nothing to choose."""
    rows = []
    for cell in grid if any(cell.chooses for cell in grid) else []:
        choice = results.choices[cell.condition, cell.method]
        settings, score = "none finished" if choice.complete else "not chosen yet", None
        if choice.best is not None:
            found = cell.candidates[choice.best].items()
            settings = ", ".join(f"{key} = {value}" for key, value in found) or "as configured"
            score = choice.scores[choice.best]
        tried = str(len(cell.candidates)) if cell.chooses else "0"
        shown = NOTHING if score is None else f"{score:.4f}"
        rows.append([*map(text, (cell.condition, cell.method, settings)), tried, shown])
    return rows


def _content(
    study: Study, grid: list[Cell], results: Results, measured: list[Measured], command: str
) -> Json:
    """Give everything as one dictionary, the content of `study.json`."""
    choices = [
        {
            "condition": cell.condition,
            "method": cell.method,
            "candidates": list(map(dict, cell.candidates)),
            **results.choices[cell.condition, cell.method]._asdict(),
        }
        for cell in grid
    ]
    return {
        "command": command,
        "complete": not results.missing and not results.failed,
        "study": study.as_json(),
        "measures": [as_json(one) for one in measured],
        "choices": choices,
        "runs": [row._asdict() for row in results.rows],
        "failed": results.failed,
        "missing": results.missing,
        "versions": {"python": platform.python_version(), **{p: version(p) for p in PACKAGES}},
    }


def _write_rows(path: Path, results: Results) -> None:
    """Write one line for each final run; measures as they are in `evaluation.json`."""
    keys = sorted({key for row in results.rows for key in row.settings})
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    head = ["condition", "method", "seed", *keys, *results.measures, "folder"]
    writer.writerow(map(as_cell, head))
    for row in results.rows:
        settings = [row.settings.get(key, "") for key in keys]
        values = row.values.values()
        cells = [row.condition, row.method, row.seed, *settings, *values, row.folder]
        writer.writerow(map(as_cell, cells))
    write_text(path, table.getvalue())
