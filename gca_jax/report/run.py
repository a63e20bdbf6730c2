"""The third of a run's three programs: tables and pictures of what it did."""

from pathlib import Path
from typing import Any

from gca_jax.report import figures, markdown
from gca_jax.report.reading import Run, read
from gca_jax.workdir import finite, write_json

DOTS_PER_INCH = 150


def write(workdir: str | Path) -> dict[str, Any]:
    """Writes `report.json`, `report.md` and `figures/*.png` from the files of a finished run.

    Args:
        workdir: Of a run that has been trained and evaluated.

    Returns:
        What is written to `report.json`.

    Raises:
        FileNotFoundError: There is no run, or it has not been evaluated.
        ValueError: The run has not finished, or its files do not belong together.
    """
    workdir = Path(workdir)
    run = read(workdir)
    report = summary(run)
    (workdir / "figures").mkdir(exist_ok=True)
    for name, draw in figures.drawn(run).items():
        draw(run).savefig(workdir / "figures" / f"{name}.png", dpi=DOTS_PER_INCH)
    (workdir / "report.md").write_text(markdown.render(report), encoding="utf-8")
    write_json(workdir / "report.json", finite(report))
    return report


def summary(run: Run) -> dict[str, Any]:
    """The numbers of a run as one dictionary, the content of `report.json`."""
    evaluation, training = run.evaluation, run.training
    return {
        "method": evaluation["method"],
        "seed": evaluation["seed"],
        "dataset": evaluation["dataset"]["name"],
        "accuracy": evaluation["accuracy"],
        "baselines": evaluation["baselines"],
        "alignment": evaluation["alignment"],
        "uniformity": evaluation["uniformity"],
        "effective_rank": evaluation["effective_rank"],
        "gradient_cosine_to_ince": evaluation["gradient_cosine_to_ince"],
        "corruptions": run.corruptions,
        "plan_within_class": _plan_within_class(run),
        "left_out": evaluation["left_out"],
        "train_seconds": training["train_seconds"],
        "images_per_second": training["images_per_second"],
        "device": training["device"],
        "steps": training["steps"],
        "parameters": training["parameters"],
        "draws": evaluation["draws"],
        "settings": evaluation["settings"],
        "split": evaluation["dataset"],
        "versions": evaluation["versions"],
        "config": run.config,
    }


def _plan_within_class(run: Run) -> dict[str, float | None] | None:
    if "plan" not in run.arrays:
        return None
    share, uniform = figures.within_class(run.arrays["plan"], run.arrays["plan_labels"])
    return {"share": share, "share_of_uniform_plan": uniform}
