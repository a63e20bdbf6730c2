"""The programs of the command line, by name."""

import gc
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from ml_collections import ConfigDict

from gca_jax.check import counted
from gca_jax.studies.describe import is_study

if TYPE_CHECKING:
    from gca_jax.experiment import Experiment, Trainable


class Command(NamedTuple):
    """What was typed: the flags of `main.py`."""

    config: ConfigDict
    workdir: str | None = None
    archives: str | None = None
    place: tuple[str | None, int | None, int | None] | None = None
    """Where this process stands among several, `distributed.Place`; None: it is alone."""
    jobs: int = 1
    """Runs of a study at a time."""
    seeds: str | None = None
    """Seeds of a study of the config, as `study.seeds` reads them; None: there is one run."""
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
        if is_study(self.config):
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


# Each program imports what it needs when it runs, so that mistakes in flags are said at once.


def run(command: Command) -> None:
    """Train an encoder, judge it and report; the default."""
    from gca_jax import distributed

    experiment = pretrain(command) or _built(command)
    _judge(experiment, command.folder)
    if distributed.first():
        _report(command.folder)


def pretrain(command: Command) -> "Trainable | None":
    """Train an encoder.

    Returns:
        Its experiment; None if the folder holds the run trained to its end.
    """
    _join(command)
    from gca_jax.training.train import pretrain, trained_before
    from gca_jax.workdir import as_json

    folder = command.folder
    if trained_before(folder, as_json(command.config)) is not None:  # which refuses another run
        return None
    pretrain(experiment := _built(command), folder, command.typed)
    return experiment


def evaluate(command: Command) -> None:
    """Judge the encoder of a run."""
    _join(command)
    from gca_jax.report.run import headline

    for name, share in headline(_judge(_restored(command), command.folder)).items():
        print(f"{name}: {share:.1%}")


def report(command: Command) -> None:
    """Write what was found as tables and pictures; of a folder of runs, one page over all.

    A run that was stopped before it was evaluated is evaluated first.
    """
    from gca_jax.report import runs_page
    from gca_jax.report.reading import fault_of_evaluation
    from gca_jax.workdir import training_summary

    folder = Path(command.folder)
    if not (folder / "config.json").exists() and (page := runs_page.write(folder)):
        print(f"report: {page}")
        return
    if fault_of_evaluation(folder) is not None:
        step = training_summary(folder)["steps"]
        print(f"the run has not been evaluated at step {step}: that comes first")
        _judge(_restored(command), command.folder)
    _report(command.folder)


def _report(folder: str) -> None:
    from gca_jax.report.run import headline, write

    for name, share in headline(write(folder)).items():
        print(f"{name}: {share:.1%}")
    print(f"report: {folder.rstrip('/')}/report.md")


def prepare(command: Command) -> None:
    """Make the data set ready to be read, once."""
    from gca_jax.data.sources.prepare import prepare

    _refuse_pairs("prepare", command.config)
    prepare(command.config, command.archives)


def preview(command: Command) -> None:
    """Draw images beside their two views, and corruptions of one."""
    from gca_jax.experiment import build
    from gca_jax.report.preview import preview, preview_corruptions

    _refuse_pairs("preview", command.config)
    experiment = build(command.config)
    print(f"preview: {preview(experiment, command.workdir)}")
    print(f"corruptions: {preview_corruptions(experiment, command.workdir)}")


def corruptions(command: Command) -> None:
    """Judge a run on corrupted images."""
    _join(command)
    from gca_jax.evaluation.corruptions import evaluate_corruptions

    experiment = _restored(command)
    _refuse_pairs("corruptions", experiment.config)
    found = evaluate_corruptions(cast("Experiment", experiment), command.folder)
    for name, accuracies in found["accuracy"].items():
        print(f"{name}: {', '.join(f'{accuracy:.1%}' for accuracy in accuracies)}")
    for name, mean in found["mean"].items():
        print(f"mean, {name}: {mean:.1%} (clean images: {found['clean']:.1%})")


def embed(command: Command) -> None:
    """Write the features of all pictures in a folder."""
    from gca_jax import embed
    from gca_jax.data import tables
    from gca_jax.encoder import load

    out = command.file(*tables.WRITERS)
    if not command.images:
        raise ValueError("--images must have a value: a folder of pictures")
    embed.write(load(command.folder), command.images, out)


def export(command: Command) -> None:
    """Write the encoder of a run in a format of other programs."""
    from gca_jax import export
    from gca_jax.encoder import load

    endings = [f".{name}" for name in export.FORMATS]
    out = command.file() if command.format else command.file(*endings)
    name = command.format or out.suffix[1:]
    if name not in export.FORMATS:
        raise ValueError(f"unknown --format {name!r}; one of: {', '.join(export.FORMATS)}")
    export.write(load(command.folder), out, name)


def neighbours(command: Command) -> None:
    """Draw the nearest neighbours of a run's test images, or of the pictures in a folder."""
    from gca_jax.encoder import load
    from gca_jax.report import neighbours, neighbours_page

    out, encoder = command.file(".html"), load(command.folder)
    if command.images:
        found = neighbours.of_folder(encoder, command.images)
    else:
        data = cast("Experiment", _restored(command)).dataset
        found = neighbours.of_tests(encoder, data)
    neighbours_page.write(found, out)


def study(command: Command) -> None:
    """Do a grid of runs, and report on it."""
    from gca_jax.report.study import write
    from gca_jax.studies import describe
    from gca_jax.studies.execute import execute
    from gca_jax.studies.grid import cells
    from gca_jax.studies.study import of_one, seeds

    config, folder = command.config, Path(command.folder)
    if command.seeds is None:
        described = describe.read(config)
    else:
        described = of_one(config, seeds(command.seeds))
    grid = cells(described)
    typed = command.typed or "this study's command"
    try:
        failed = execute(described, grid, folder, one_run, command.jobs, command.limit_minutes)
    except KeyboardInterrupt:
        print(f"report of what is done: {write(described, grid, folder, typed)}")
        raise
    print(f"report: {write(described, grid, folder, typed)}")
    if failed:
        runs = counted(failed, "run")
        sys.exit(f"{runs} failed ({folder}/failed.json); the same command tries them again")


def status(command: Command) -> None:
    """Say where a run or a study stands."""
    from gca_jax.report.status import lines

    for line in lines(Path(command.folder), command.config):
        print(line)


def one_run(config: ConfigDict, folder: str) -> None:
    """Do one run of a study, as any other run, and leave no compiled programs in memory."""
    import jax

    run(Command(config, folder))
    jax.clear_caches()  # of which a run makes 25 MB that no other can use
    gc.collect()


PROGRAMS = {
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


def _join(command: Command) -> None:
    """Join the other processes, if there are any, before anything asks for devices."""
    folder = command.folder
    if command.place is not None:
        from gca_jax import distributed

        distributed.join(distributed.Place(*command.place), folder)


def _built(command: Command) -> "Trainable":
    """Build an experiment that can be evaluated when it is trained."""
    from gca_jax.evaluation.evaluate import check

    check(experiment := _build(command.config))
    return experiment


def _build(config: ConfigDict) -> "Trainable":
    """Build what a config describes: a run on images, or on pairs of two sets."""
    from gca_jax import experiment, pairs

    return pairs.build(config) if _is_pairs(config) else experiment.build(config)


def _is_pairs(config: ConfigDict) -> bool:
    """Tell a run on pairs from one on images."""
    return config.data.name == "pairs"


def _refuse_pairs(mode: str, config: ConfigDict) -> None:
    if _is_pairs(config):
        raise ValueError(f"--mode={mode} is for runs on images, not on pairs of two sets")


def _restored(command: Command) -> "Trainable":
    """Build the experiment of the run in the folder; settings that are typed must be its own."""
    from gca_jax.training.checkpoint import restore_config
    from gca_jax.workdir import as_json, first_differences, training_summary

    training_summary(Path(command.folder))
    config = restore_config(command.folder)
    typed = command.config is not None and "--config." in (command.typed or "")
    if typed and (shown := first_differences(as_json(config), as_json(command.config))):
        raise ValueError(
            f"the run in {command.folder} is judged with its own settings ({shown}): leave out "
            "--config, or train another run with these"
        )
    return _build(config)


def _judge(experiment: "Trainable", folder: str) -> dict[str, Any]:
    from gca_jax.evaluation.evaluate import evaluate

    print("evaluating ...", flush=True)
    found = evaluate(experiment, folder)
    for words in found["left_out"]:
        print(f"left out: {words}")
    return found
