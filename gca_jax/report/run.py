"""The third of a run's three programs: tables and pictures of what it did."""

from pathlib import Path

from matplotlib.image import imread

from gca_jax.report import classes, figures, markdown, pairs
from gca_jax.report.reading import Files, Json, read
from gca_jax.training.log import show
from gca_jax.workdir import finite, write_json

FIGURES = figures.FIGURES | classes.FIGURES | pairs.FIGURES


def write(workdir: str | Path) -> Json:
    """Write `report.json`, `report.md` and `figures/*.png` from the files of an evaluated run.

    Of a run on pairs, `suspects.csv` too. TensorBoard's files get the pictures and the config.

    Args:
        workdir: Folder of a run that has been evaluated; it says so if training has not ended.

    Returns:
        What is written to `report.json`.

    Raises:
        FileNotFoundError: There is no run, or it has not been evaluated.
        ValueError: Its files do not belong together.
    """
    workdir = Path(workdir)
    run = read(workdir)
    report = summary(run)
    (workdir / "figures").mkdir(exist_ok=True)
    pictures = ["training", *(result["picture"] for result in report["results"])]
    if run.corruptions is not None:
        pictures.append("corruptions")
    drawn = {name: workdir / "figures" / f"{name}.png" for name in pictures if name}
    for name, path in drawn.items():
        FIGURES[name](run).savefig(path, dpi=150)
    show(workdir, run.training["steps"], {name: imread(path) for name, path in drawn.items()})
    if "retrieval" in report:
        pairs.write_suspects(run, workdir / "suspects.csv")
    page = pairs.render(report) if "retrieval" in report else markdown.render(report)
    (workdir / "report.md").write_text(page, encoding="utf-8")
    write_json(workdir / "report.json", finite(report))
    return report


def headline(report: Json) -> dict[str, float]:
    """Choose the shares that are said when a report is written."""
    if "retrieval" not in report:
        return report["accuracy"]
    found = report["retrieval"]
    return {f"recall@1, {way.replace('_', ' ')}": found[way]["recall_1"] for way in pairs.WAYS}


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
