"""Writes the report of an evaluated run."""

import sys
from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import NamedTuple

from matplotlib.image import imread

from gca_jax.data.identity import in_words
from gca_jax.files import finite
from gca_jax.report import entries, figures, markdown, pairs
from gca_jax.training.log import show
from gca_jax.workdir import Json, RunFolder

FIGURES = figures.FIGURES | pairs.FIGURES
OF_LOG = ("alignment_uniformity",)
"""Pictures of results that are drawn from the log, which has no row where no step was trained."""


class Page(NamedTuple):
    """How runs on a kind of data are reported.

    Attributes:
        template: Of the page, rendered with the content of `report.json`.
        headline: Content of `report.json` or `evaluation.json` -> the main accuracies.
        tables: (content of `report.json`, run's folder) -> text of further files by name.
    """

    template: str
    headline: Callable[[Json], dict[str, float]]
    tables: Callable[[Json, RunFolder], Mapping[str, str]] = lambda report, folder: {}


PAGES: dict[str, Page] = {
    "images": Page("images.md", itemgetter("accuracy")),
    "pairs": Page("pairs.md", pairs.headline, pairs.tables),
    "own": Page("run.md", itemgetter("accuracy")),
}
"""Pages by `config.data.kind`."""


def write(folder: RunFolder) -> Json:
    """Write a run's `report.json`, `report.md`, `report.html` and `figures/*.png` from its files.

    `report.html` is the same page with its pictures inside. Of a run on pairs, `suspects.csv` too.
    TensorBoard's files get the pictures and the config.

    Args:
        folder: Of a run that has been evaluated; the page says so if training has not ended.

    Returns:
        What is written to `report.json`.

    Raises:
        FileNotFoundError: There is no run, or it has not been evaluated.
        ValueError: Its files do not belong together.
    """
    report = summary(folder)
    folder.need_space()
    page = PAGES[report["config"]["data"]["kind"]]
    names = ["training"] if folder.log else []
    names += (result["picture"] for result in report["results"])
    if "validation" in report and report["steps"]:
        names.append("validation")
    if report["corruptions"] is not None:
        names.append("corruptions")
    with figures.any_script():
        drawn = folder.write_figures(
            {name: FIGURES[name](report, folder) for name in names if name}
        )
    # TensorBoard's files and the page have them too.
    folder.need_space(4 * sum(path.stat().st_size for path in drawn.values()))
    show(folder, report["steps"], {name: imread(path) for name, path in drawn.items()})
    for name, text in page.tables(report, folder).items():
        folder.write_text(name, text)
    content = markdown.report(page.template, report)
    folder.write_text("report.md", content)
    folder.write_text("report.html", markdown.page(content, folder.path))
    folder.write_json("report.json", finite(report))
    return report


def headline(found: Json, kind: str) -> dict[str, float]:
    """Return the main accuracies of a run on one kind of data."""
    return PAGES[kind].headline(found)


def summary(folder: RunFolder) -> Json:
    """Collect the content of `report.json` from the files of an evaluated run."""
    evaluation, log = folder.evaluation, folder.path / "metrics.jsonl"
    if not log.exists():
        raise FileNotFoundError(f"{log} is missing: the run's log belongs to its report")
    steps = folder.summary["steps"]
    if not folder.log and steps:
        raise ValueError(f"{log} is empty: nothing was logged, so there is nothing to draw")
    report = {
        **{key: value for key, value in evaluation.items() if key != "step"},
        "dataset": evaluation["dataset"]["name"],
        "split": evaluation["dataset"],
        "corruptions": _corruptions(folder, evaluation["step"]) or evaluation.get("corruptions"),
        **folder.summary,
        **folder.tried,
        "config": folder.config,
        **({"data": in_words(identity)} if (identity := folder.identity) else {}),
    }
    results = entries.described(report)
    for result in results:
        if not steps and result["picture"] in OF_LOG:
            result["picture"] = ""
    return {**report, "results": results}


def _corruptions(folder: RunFolder, step: int) -> Json | None:
    """Read the accuracies on corruptions; None, with a note, if they are of another step."""
    found = folder.corruptions
    if found is None or found["step"] == step:
        return found
    print(
        f"left out: {folder.path / 'corruptions.json'} is of step {found['step']}, the run is "
        f"at step {step}; evaluate it again with --mode=corruptions",
        file=sys.stderr,
    )
    return None
