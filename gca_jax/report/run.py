"""The third of a run's three programs: tables and pictures of what it did."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from matplotlib.image import imread

from gca_jax.files import finite
from gca_jax.report import classes, figures, markdown, pairs
from gca_jax.report.reading import Files, read
from gca_jax.training.log import show
from gca_jax.workdir import Json, RunFolder

FIGURES = figures.FIGURES | classes.FIGURES | pairs.FIGURES


class Page(NamedTuple):
    """How runs on a kind of data are reported.

    Attributes:
        render: The content of `report.json` -> the page.
        headline: Likewise, or of `evaluation.json` -> the shares that are said first, by name.
        tables: A run -> further files, their text by name.
    """

    render: Callable[[Json], str]
    headline: Callable[[Json], dict[str, float]]
    tables: Callable[[Files], Mapping[str, str]] = lambda run: {}


PAGES: dict[str, Page] = {
    "images": Page(markdown.render, markdown.headline),
    "pairs": Page(pairs.render, pairs.headline, pairs.tables),
    "own": Page(markdown.render_own, markdown.headline),
}
"""Pages by `config.data.kind`."""


def write(folder: RunFolder) -> Json:
    """Write `report.json`, `report.md` and `figures/*.png` from the files of an evaluated run.

    Of a run on pairs, `suspects.csv` too. TensorBoard's files get the pictures and the config.

    Args:
        folder: Of a run that has been evaluated; the page says so if training has not ended.

    Returns:
        What is written to `report.json`.

    Raises:
        FileNotFoundError: There is no run, or it has not been evaluated.
        ValueError: Its files do not belong together.
    """
    run = read(folder)
    report, page = summary(run), PAGES[run.config["data"]["kind"]]
    names = ["training", *(result["picture"] for result in report["results"])]
    if run.corruptions is not None:
        names.append("corruptions")
    drawn = folder.write_figures({name: FIGURES[name](run) for name in names if name})
    show(folder, run.training["steps"], {name: imread(path) for name, path in drawn.items()})
    for name, text in page.tables(run).items():
        folder.write_text(name, text)
    folder.write_text("report.md", page.render(report))
    folder.write_json("report.json", finite(report))
    return report


def headline(found: Json, kind: str) -> dict[str, float]:
    """Choose the shares that are said when a report is written, of a kind of data."""
    return PAGES[kind].headline(found)


def summary(run: Files) -> Json:
    """Give the numbers of a run as one dictionary, the content of `report.json`."""
    return {
        **{key: value for key, value in run.evaluation.items() if key != "step"},
        "dataset": run.evaluation["dataset"]["name"],
        "split": run.evaluation["dataset"],
        "corruptions": run.corruptions,
        **run.training,
        "config": run.config,
    }
