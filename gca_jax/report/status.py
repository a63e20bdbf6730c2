"""Where a run or a study stands, by the files in its folder: nothing is computed or written."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gca_jax.check import counted
from gca_jax.studies import ConfigDict, describe
from gca_jax.studies.execute import Session
from gca_jax.studies.grid import all_runs, cells, finished
from gca_jax.studies.results import read_failed
from gca_jax.workdir import checkpoints, read_json, read_log

SHOWN = 10  # runs of a kind that are named, so that all is one screen


def lines(folder: Path, config: ConfigDict) -> Iterator[str]:
    """Say where the run or the study in a folder stands.

    Args:
        folder: The workdir.
        config: The study's, with which the runs that have not begun are counted too; any other is
            not looked at.

    Raises:
        FileNotFoundError: There is neither a run nor a study in the folder.
    """
    if (folder / "runs").is_dir():
        yield from _study(folder, config)
    elif (folder / "config.json").exists():
        yield from _run(folder)
    else:
        raise FileNotFoundError(
            f"there is no run and no study in {folder}: --workdir=DIR names the folder of one"
        )


def _run(folder: Path) -> Iterator[str]:
    """Say what is done of a run, what it last logged and saved."""
    config = read_json(folder / "config.json")
    yield f"{folder}: {config['method']} on {config['data']['name']}, seed {config['seed']}"
    yield f"training    {_training(folder, config)}"
    row = _last_row(folder)
    if row is not None:
        loss, norm = (_number(row[name]) for name in ("loss", "gradient_norm"))
        yield f"loss        {loss} and gradient norm {norm} at step {row['step']}"
    saved = sorted(checkpoints(folder))
    yield f"checkpoint  {f'step {saved[-1]}' if saved else 'none yet'}"
    for name in ("evaluation", "report"):
        yield f"{name:<12}{'written' if (folder / f'{name}.json').exists() else 'not yet'}"


def _training(folder: Path, config: dict[str, Any]) -> str:
    """Say how many steps of how many are done, and when the last one was logged."""
    row, summary = _last_row(folder), folder / "training.json"
    if summary.exists() and (found := read_json(summary))["finished"]:
        return f"finished, {counted(found['steps'], 'step')} in {found['train_seconds']:.0f} s"
    if row is None:
        return "no step is logged yet"
    seconds = time.time() - (folder / "metrics.jsonl").stat().st_mtime
    return f"{progress(row, config)}, epoch {row['epoch']:.1f}, logged {_duration(seconds)} ago"


def progress(row: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Say at which step of how many a row of a run's log is."""
    per_epoch = round(row["step"] / row["epoch"])
    total = config["train"].get("steps") or config["train"]["epochs"] * per_epoch
    return f"step {row['step']} of {total} ({row['step'] / total:.0%})"


def _number(logged: float | None) -> str:
    """Write a number of a log, in which null is one that is not finite."""
    return "not finite" if logged is None else f"{logged:.5g}"


def _last_row(folder: Path) -> dict[str, Any] | None:
    path = folder / "metrics.jsonl"
    rows = read_log(path) if path.exists() else []
    return rows[-1][0] if rows else None


def _study(folder: Path, config: ConfigDict) -> Iterator[str]:
    """Count the runs of a study that are done, failed and under way; name the latter."""
    failed = {one["folder"]: one["error"] for one in read_failed(folder)}
    begun = sorted(path.parent for path in (folder / "runs").glob("*/*/*/config.json"))
    names = {path.relative_to(folder).as_posix(): path for path in begun}
    done = [name for name, path in names.items() if (path / "report.json").exists()]
    total = ""
    if describe.is_study(config):
        study = describe.read(config)
        grid = cells(study)
        done = [run.folder for run in all_runs(grid) if finished(folder, run)]
        number = Session(study, grid, folder).total
        left = number - len(done) - len(failed.keys() - set(done))
        total = f" of {number}, {left} left"
    unfinished = [name for name in names if name not in {*done, *failed}]
    yield f"{folder}: {counted(len(done), 'run')} done{total}, {len(failed)} failed"
    if not total:
        yield "the study's --config counts those that have not begun too"
    for name in unfinished[:SHOWN]:
        yield f"begun   {name}: {_training(names[name], read_json(names[name] / 'config.json'))}"
    for name, error in [*failed.items()][:SHOWN]:
        yield f"failed  {name}: {error}"
    for kind, number in (("begun", len(unfinished)), ("failed", len(failed))):
        if number > SHOWN:
            yield f"and {number - SHOWN} more that have {kind}"


def _duration(seconds: float) -> str:
    """Give a time as a reader would."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
