"""The commands, by the name that --mode gives them: each is a recipe over one `RunFolder`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ml_collections import ConfigDict

from gca_jax.check import counted
from gca_jax.studies.study import Study

if TYPE_CHECKING:
    from gca_jax.experiment import Experiment
    from gca_jax.workdir import Json, RunFolder


class Command(NamedTuple):
    """What was typed: the flags of `main.py`."""

    config: ConfigDict | Study
    workdir: str | None = None
    archives: str | None = None
    place: tuple[str | None, int | None, int | None] | None = None
    """Where this process stands among several, `distributed.Place`; None: it is alone."""
    jobs: int = 1
    """Runs of a study at a time."""
    seeds: str | None = None
    """Seeds of a study of the config, as `study.seeds` reads them; None: there is one run."""
    launcher: str = ""
    """What starts a run of a study elsewhere, such as `srun -n1 --gpus=1`; empty: here."""
    limit_minutes: float | None = None
    """After which a run of a study is stopped; None: never."""
    config_file: str = "study"
    """The config's file and words, as `configs/studies/table2.py:extreme`."""
    images: str | None = None
    """Folder of pictures."""
    out: str | None = None
    """File to write."""
    format: str | None = None
    """Format of that file, where its ending does not say it."""
    typed: str | None = None
    """The command line; None: there is none."""

    @property
    def folder(self) -> str:
        """Give the workdir, `runs/DATA-METHOD-SEED` or `runs/STUDY-WORDS` if none is named."""
        if self.workdir is None:
            return f"runs/{self.name}"
        if not self.workdir:
            raise ValueError("--workdir must have a value: the folder of the run")
        return self.workdir

    @property
    def name(self) -> str:
        """Name the run or the study, for a folder."""
        if isinstance(self.config, Study):
            path, _, words = self.config_file.partition(":")
            return "-".join([Path(path).stem, *words.split(",")]).rstrip("-")
        seed = self.config.seed if self.seeds is None else f"seeds{self.seeds}"
        return f"{self.config.data.name}-{self.config.method}-{seed}"

    def file(self, *endings: str) -> Path:
        """Give --out, if it can be written and has one of these endings (none: any)."""
        known = f" that ends in one of: {', '.join(endings)}" if endings else ""
        if not self.out:
            raise ValueError(f"--out must have a value: a file{known}")
        path = Path(self.out).expanduser()
        if endings and path.suffix not in endings:
            raise ValueError(f"--out={path} must be a file{known}")
        if path.is_dir() or not path.parent.is_dir():
            fault = "is a folder" if path.is_dir() else f"is in no folder: make {path.parent} first"
            raise ValueError(f"--out={path} {fault}")
        return path


def program() -> str:
    """Name this program as it was started, for a command line."""
    main = Path(sys.argv[0]).name
    return "python -m gca_jax" if main == "__main__.py" else f"python {main}"


# Each command imports what it needs when it runs, so that mistakes in flags are said at once.


def run(command: Command) -> None:
    """Train an encoder, judge it and report; the default."""
    join(command)
    from gca_jax import distributed
    from gca_jax.evaluation import online
    from gca_jax.evaluation.evaluate import check
    from gca_jax.experiment import build
    from gca_jax.training.train import train
    from gca_jax.workdir import RunFolder

    folder = RunFolder.open(command.folder, command.config)  # which refuses another run
    with folder.held(distributed.first()):
        experiment = build(command.config)
        check(experiment)  # what could not be evaluated is not trained
        train(experiment, folder, online.hooks(experiment), command.typed)
        judge(experiment, folder)
        if distributed.first():
            write_report(folder)


def pretrain(command: Command) -> None:
    """Train an encoder."""
    join(command)
    from gca_jax.evaluation import online
    from gca_jax.evaluation.evaluate import check
    from gca_jax.experiment import build
    from gca_jax.training.train import train
    from gca_jax.workdir import RunFolder

    folder = RunFolder.open(command.folder, command.config)
    if folder.state != "finished":
        experiment = build(command.config)
        check(experiment)
        train(experiment, folder, online.hooks(experiment), command.typed)


def evaluate(command: Command) -> None:
    """Judge the encoder of a run."""
    join(command)
    experiment, folder = restored(command)
    say(judge(experiment, folder), folder)


def report(command: Command) -> None:
    """Write what was found as tables and pictures; of a folder of runs, one page over all.

    A run that was stopped before it was evaluated is evaluated first.
    """
    from gca_jax.report import runs

    path = Path(command.folder)
    if not (path / "config.json").exists() and (page := runs.write(path)):
        print(f"report: {page}")
        return
    from gca_jax.workdir import RunFolder

    folder = RunFolder.open(path)
    if not folder.is_evaluated:
        step = folder.summary["steps"]
        print(f"the run has not been evaluated at step {step}: that comes first")
        experiment, folder = restored(command, folder)
        judge(experiment, folder)
    write_report(folder)


def write_report(folder: "RunFolder") -> None:
    """Write the report of an evaluated run, and say what it begins with."""
    from gca_jax.report.run import write

    say(write(folder), folder)
    print(f"report: {folder.path / 'report.md'}")


def prepare(command: Command) -> None:
    """Make the data set ready to be read, once."""
    from gca_jax.data.sources.prepare import prepare

    need_images("prepare", command.config)
    prepare(command.config, command.archives)


def preview(command: Command) -> None:
    """Draw images beside their two views, and corruptions of one."""
    from gca_jax.experiment import build
    from gca_jax.report.preview import preview, preview_corruptions

    need_images("preview", command.config)
    experiment = build(command.config)
    print(f"preview: {preview(experiment, command.workdir)}")
    print(f"corruptions: {preview_corruptions(experiment, command.workdir)}")


def corruptions(command: Command) -> None:
    """Judge a run on corrupted images."""
    join(command)
    from gca_jax.evaluation.corruptions import evaluate_corruptions

    experiment, folder = restored(command)
    need_images("corruptions", experiment.config)
    found = evaluate_corruptions(experiment, folder)
    for name, accuracies in found["accuracy"].items():
        print(f"{name}: {', '.join(f'{accuracy:.1%}' for accuracy in accuracies)}")
    for name, mean in found["mean"].items():
        print(f"mean, {name}: {mean:.1%} (clean images: {found['clean']:.1%})")


def embed(command: Command) -> None:
    """Write the features of all pictures in a folder."""
    from gca_jax import api
    from gca_jax.data import tables

    out = command.file(*tables.WRITERS)
    if not command.images:
        raise ValueError("--images must have a value: a folder of pictures")
    api.write_features(api.load(command.folder), command.images, out)


def export(command: Command) -> None:
    """Write the encoder of a run in a format of other programs."""
    from gca_jax import export
    from gca_jax.api import load

    endings = [f".{name}" for name in export.FORMATS]
    out = command.file() if command.format else command.file(*endings)
    name = command.format or out.suffix[1:]
    if name not in export.FORMATS:
        raise ValueError(f"unknown --format {name!r}; one of: {', '.join(export.FORMATS)}")
    export.write(load(command.folder), out, name)


def neighbours(command: Command) -> None:
    """Draw the nearest neighbours of a run's test images, or of the pictures in a folder."""
    from gca_jax.api import load
    from gca_jax.report import neighbours
    from gca_jax.workdir import RunFolder

    out, folder = command.file(".html"), RunFolder.open(command.folder)
    encoder = load(folder)
    if command.images:
        found = neighbours.of_folder(encoder, command.images)
    else:
        experiment, _ = restored(command, folder)
        found = neighbours.of_tests(encoder, experiment.data.dataset)
    neighbours.write(found, out)


def study(command: Command) -> None:
    """Do a grid of runs, and report on it."""
    from gca_jax.report.study import write
    from gca_jax.studies.grid import cells
    from gca_jax.studies.launch import execute
    from gca_jax.studies.study import of_one, seeds

    config, folder = command.config, Path(command.folder)
    if isinstance(config, Study):
        described, grid = config, cells(config)
    elif command.seeds is not None:
        described = of_one(config, seeds(command.seeds))
        grid = cells(described, config)
    else:
        raise ValueError("this config is of a run and not of a study; see docs/studies.md")
    typed = command.typed or "this study's command"
    try:
        failed = execute(
            described,
            grid,
            folder,
            jobs=command.jobs,
            limit_minutes=command.limit_minutes,
            launcher=command.launcher,
        )
    except KeyboardInterrupt:
        print(f"report of what is done: {write(described, grid, folder, typed)}")
        raise
    print(f"report: {write(described, grid, folder, typed)}")
    if failed:
        runs = counted(failed, "run")
        sys.exit(f"{runs} failed ({folder}/failed.json); the same command tries them again")


def status(command: Command) -> None:
    """Say where a run or a study stands."""
    from gca_jax.report import study

    for line in study.status(Path(command.folder), command.config):
        print(line)


COMMANDS = {
    "all": run,
    "pretrain": pretrain,
    "evaluate": evaluate,
    "report": report,
    "prepare": prepare,
    "preview": preview,
    "corruptions": corruptions,
    "study": study,
    "embed": embed,
    "export": export,
    "neighbours": neighbours,
    "status": status,
}

ALONE = ("prepare", "preview", "report", "study", "embed", "export", "neighbours", "status")
"""Commands of one process."""


def join(command: Command) -> None:
    """Join the other processes, if there are any, before anything asks for devices."""
    if command.place is not None:
        from gca_jax import distributed

        distributed.join(distributed.Place(*command.place), command.folder)


def need_images(mode: str, config: ConfigDict) -> None:
    """Refuse a run on other data than images."""
    if config.data.kind != "images":
        raise ValueError(f"--mode={mode} is for runs on images, not on {config.data.kind}")


def restored(command: Command, folder: "RunFolder | None" = None) -> "tuple[Experiment, RunFolder]":
    """Build the experiment of the run in the folder; settings that are typed must be its own."""
    from gca_jax.config import restore
    from gca_jax.experiment import build
    from gca_jax.workdir import RunFolder, as_json, first_differences

    folder = RunFolder.open(command.folder) if folder is None else folder
    config = restore(folder.config).lock()
    typed = command.config is not None and "--config." in (command.typed or "")
    if typed and (shown := first_differences(as_json(config), as_json(command.config))):
        raise ValueError(
            f"the run in {command.folder} is judged with its own settings ({shown}): leave out "
            "--config, or train another run with these"
        )
    return build(config), folder


def judge(experiment: "Experiment", folder: "RunFolder") -> "Json":
    """Evaluate a run, and say what is left out."""
    from gca_jax.evaluation.evaluate import evaluate

    print("evaluating ...", flush=True)
    found = evaluate(experiment, folder)
    for words in found["left_out"]:
        print(f"left out: {words}")
    return found


def say(found: "Json", folder: "RunFolder") -> None:
    """Print the shares that a reader looks for first."""
    from gca_jax.report.run import headline

    for name, share in headline(found, folder.config["data"]["kind"]).items():
        print(f"{name}: {share:.1%}")
