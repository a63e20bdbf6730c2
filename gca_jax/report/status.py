"""Reports the progress of a run or a study from the files in its folder.

Imports no Matplotlib: the command is run often and must start fast.
"""

import math
import statistics
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from gca_jax.check import counted, duration
from gca_jax.studies import ConfigDict, Study
from gca_jax.studies.grid import Cell, Part, Run, all_runs, cells, number_of_runs
from gca_jax.studies.results import read_failed, resolve
from gca_jax.workdir import RunFolder

RATES = 10  # rows of the log that say how fast a run is
SHOWN = 10  # runs of each kind, so that a status fits on one screen


def status(path: Path, config: ConfigDict | Study) -> Iterator[str]:
    """Yield lines on the progress of the run or study in a folder, which is only read.

    Args:
        path: The workdir.
        config: The study's, with which the runs that have not begun are counted too; any other is
            not looked at.

    Raises:
        FileNotFoundError: There is neither a run nor a study in the folder.
    """
    if (path / "runs").is_dir():
        yield from _study(path, config)
    elif (path / "config.json").exists():
        yield from _run(RunFolder(path))
    elif (path / "candidates").is_dir():
        for where in sorted((path / "candidates").iterdir()):
            yield f"candidate {where.name}: {training(RunFolder(where))}"
    else:
        raise FileNotFoundError(
            f"there is no run and no study in {path}: --workdir=DIR names the folder of one"
        )


def _study(path: Path, config: ConfigDict | Study) -> Iterator[str]:
    """Count the runs of a study that are done, failed and under way; name the latter."""
    failed = {one["folder"]: one["error"] for one in read_failed(path)}
    every = sorted(file.parent for file in (path / "runs").glob("*/*/*/config.json"))
    folders = {where.relative_to(path).as_posix(): RunFolder(where) for where in every}
    begun = {name: folder for name, folder in folders.items() if folder.begun}
    whole = {name: folder for name, folder in begun.items() if folder.damage is None}
    done = [name for name, folder in whole.items() if folder.is_complete]
    total = ""
    if isinstance(config, Study):
        grid = cells(config)
        done = [one.folder for one in all_runs(grid) if one.is_finished(path)]
        number = number_of_runs(config, grid)
        left = number - len(done) - len(failed.keys() - set(done))
        total = f" of {number}, {left} left"
    unfinished = [name for name in begun if name not in {*done, *failed}]
    yield f"{path}: {counted(len(done), 'run')} done{total}, {len(failed)} failed"
    if not total:
        yield "the study's --config counts those that have not begun too"
    for name in unfinished[:SHOWN]:
        yield f"begun   {name}: {training(begun[name])}"
    for name, error in [*failed.items()][:SHOWN]:
        yield f"failed  {name}: {error}"
    for kind, number in (("begun", len(unfinished)), ("failed", len(failed))):
        if number > SHOWN:
            yield f"and {number - SHOWN} more that have {kind}"


def of_part(path: Path, study: Study, grid: list[Cell], part: Part) -> Iterator[str]:
    """Yield a line on each run of a part of a study: its number, state and folder.

    A final run whose settings are not chosen yet is named by its condition, method and seed.
    """
    failed = {one["folder"] for one in read_failed(path)}
    for number, slot, run in resolve(study, grid, path, part):
        if run is None:
            first = slot.runs[0]
            name = f"{first.condition}, {first.method}, seed {first.seed}: settings not chosen yet"
            yield f"{number:<4} waits    {name}"
        else:
            yield f"{number:<4} {_state(path, run, failed):<8} {run.folder}"


def _state(path: Path, run: Run, failed: Collection[str]) -> str:
    """Describe where a run of a study stands, in a word."""
    folder = RunFolder(path / run.folder)
    if run.is_finished(path):
        return "done"
    if folder.is_locked:
        return "at work"
    if run.folder in failed:
        return "failed"
    return "begun" if folder.begun else "left"


def _run(folder: RunFolder) -> Iterator[str]:
    """Yield lines on what a run has done, last logged and saved."""
    if (fault := folder.damage) is not None:
        yield f"{folder.path}: damaged: {fault}"
        return
    config, rows = folder.config, folder.log
    name = f"{config['method']} on {config['data']['name']}, seed {config['seed']}"
    yield f"{folder.path}: {name}"
    yield f"training    {training(folder)}"
    if rows:
        last = [rows[-1].get(name) for name in ("loss", "gradient_norm")]
        loss, norm = ("not finite" if x is None else f"{x:.5g}" for x in last)  # null in the log
        yield f"loss        {loss} and gradient norm {norm} at step {rows[-1]['step']}"
    saved = sorted(folder.saved)
    yield f"checkpoint  {f'step {saved[-1]}' if saved else 'none yet'}"
    for name in ("evaluation", "report"):
        yield f"{name:<12}{'written' if folder.has(f'{name}.json') else 'not yet'}"


def training(folder: RunFolder) -> str:
    """Describe how many steps are done and when the last one was logged."""
    if (fault := folder.damage) is not None:
        return f"damaged: {fault}"
    if folder.has("training.json") and folder.summary["finished"]:
        steps, seconds = folder.summary["steps"], folder.summary["train_seconds"]
        return f"finished, {counted(steps, 'step')} in {seconds:.0f} s"
    rows = folder.log
    if not rows:
        return "no step is logged yet"
    seconds = round(time.time() - (folder.path / "metrics.jsonl").stat().st_mtime)
    where, ago = progress(rows[-1], folder.config), timedelta(seconds=max(seconds, 0))
    left = time_left(rows, folder.config)
    where += "" if left is None else f", {duration(left)} left"
    return f"{where}, epoch {rows[-1].get('epoch') or 0:.1f}, logged {ago} ago"


def time_left(rows: Sequence[Mapping[str, Any]], config: Mapping[str, Any]) -> float | None:
    """Estimate the seconds of training left, at the median rate of the last rows.

    None where no rate is logged. A run that was stopped has as much left once it goes on.
    """
    rates = [rate for row in rows[-RATES:] if (rate := row.get("images_per_second") or 0.0) > 0]
    batch_size = config["train"].get("batch_size")
    if not rates or not batch_size:
        return None
    steps = max(total_steps(rows[-1], config) - rows[-1]["step"], 0)
    seconds = steps * batch_size / statistics.median(rates)
    return seconds if math.isfinite(seconds) else None


def progress(row: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Describe the step of a log row as a share of all steps."""
    total = total_steps(row, config)
    return f"step {row['step']} of {total} ({row['step'] / total:.0%})"


def total_steps(row: Mapping[str, Any], config: Mapping[str, Any]) -> int:
    """Count the steps of a run, from a row of its log where the config counts epochs."""
    per_epoch = round(row["step"] / max(row.get("epoch") or row["step"], 1e-9))
    return config["train"].get("steps") or config["train"]["epochs"] * per_epoch or 1
