"""The report of a study: tables, a file of all numbers, pictures; also of one that was stopped."""

import csv
import io
import platform
from importlib.metadata import version
from pathlib import Path

from gca_jax.files import finite, write_figure, write_json, write_text
from gca_jax.report import runs_page, study_figures, study_page, study_relations
from gca_jax.studies.grid import Cell
from gca_jax.studies.results import Results, collect
from gca_jax.studies.statistics import Measured, analyse, as_json
from gca_jax.studies.study import Study
from gca_jax.workdir import Json

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "scipy", "scikit-learn")


def write(study: Study, grid: list[Cell], workdir: Path, command: str) -> Path:
    """Write `study.md`, `study.json`, `study.csv`, `figures/*.png` from what is finished.

    And `index.html`, over all runs, trials too.

    Args:
        study: What was to be found out.
        grid: Its runs, from `grid.cells`.
        workdir: The study's folder.
        command: What was typed.

    Returns:
        The page's path.
    """
    results = collect(study, grid, workdir)
    measured = analyse(study, results, workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    content = _content(study, grid, results, measured, command)
    write_json(workdir / "study.json", finite(content, nan=None))
    _write_rows(workdir / "study.csv", results)
    pictures = study_figures.draw(study, results, measured, workdir) if results.rows else {}
    if study.correlate and results.rows:
        pictures["correlation"] = study_relations.correlation(study, results)
    plans = study_relations.plans(study, results, workdir) if study.plans else None
    if plans is not None:
        pictures["plans"] = plans
    (workdir / "figures").mkdir(exist_ok=True)
    for name, figure in pictures.items():
        write_figure(workdir / "figures" / f"{name}.png", figure)
    page = study_page.render(study, grid, results, measured, command, [*pictures])
    path = workdir / "study.md"
    write_text(path, page)
    runs_page.write(workdir)
    return path


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
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["condition", "method", "seed", *keys, *results.measures, "folder"])
    for row in results.rows:
        settings = [row.settings.get(key, "") for key in keys]
        values = row.values.values()
        writer.writerow([row.condition, row.method, row.seed, *settings, *values, row.folder])
    write_text(path, text.getvalue())
