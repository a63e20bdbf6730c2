"""The programs of the command line, by name."""

import gc
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from ml_collections import ConfigDict

if TYPE_CHECKING:
    from gca_jax.experiment import Experiment, Trainable


class Command(NamedTuple):
    """What was typed: the flags of `main.py`."""

    config: ConfigDict
    workdir: str | None = None
    archives: str | None = None
    place: tuple[str | None, int | None, int | None] | None = None
    """Where this process stands among several, `processes.Place`; None: it is alone."""
    jobs: int = 1
    """Runs of a study at a time."""
    seeds: str | None = None
    """Seeds of a study of the config, as `study_seeds` reads them; None: there is one run."""

    @property
    def folder(self) -> str:
        """Give the workdir to programs that need one."""
        if not self.workdir:
            raise ValueError("--workdir must have a value: the folder of the run")
        return self.workdir


# Each program imports what it needs when it runs, so that mistakes in flags are said at once.


def run(command: Command) -> None:
    """Train an encoder, judge it and report: one experiment, built once."""
    from gca_jax import processes

    experiment = pretrain(command) or _built(command)
    _judge(experiment, command.folder)
    if processes.first():
        report(command)


def pretrain(command: Command) -> "Trainable | None":
    """Train an encoder; None if the folder holds the run trained to its end."""
    _join(command)
    from gca_jax.training.loop import pretrain, trained_before
    from gca_jax.workdir import as_json

    folder = command.folder
    if trained_before(folder, as_json(command.config)) is not None:  # which refuses another run
        return None
    pretrain(experiment := _built(command), folder)
    return experiment


def evaluate(command: Command) -> None:
    """Judge the encoder of a run."""
    _join(command)
    _judge(_restored(command.folder), command.folder)


def report(command: Command) -> None:
    """Write what was found as tables and pictures."""
    from gca_jax.report.run import headline, write

    for name, share in headline(write(command.folder)).items():
        print(f"{name}: {share:.1%}")
    print(f"report: {command.folder.rstrip('/')}/report.md")


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

    experiment = _restored(command.folder)
    _refuse_pairs("corruptions", experiment.config)
    found = evaluate_corruptions(cast("Experiment", experiment), command.folder)
    for name, accuracies in found["accuracy"].items():
        print(f"{name}: {', '.join(f'{accuracy:.1%}' for accuracy in accuracies)}")
    for name, mean in found["mean"].items():
        print(f"mean, {name}: {mean:.1%} (clean images: {found['clean']:.1%})")


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
    typed = shlex.join(["python", *sys.argv])
    try:
        failed = execute(described, grid, folder, one_run, command.jobs)
    except KeyboardInterrupt:
        print(f"report of what is done: {write(described, grid, folder, typed)}")
        raise
    print(f"report: {write(described, grid, folder, typed)}")
    if failed:
        sys.exit(f"{failed} runs failed ({folder}/failed.json); the same command tries them again")


def status(command: Command) -> None:
    """Say where a run or a study stands."""
    from gca_jax.status import lines

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
    "status": status,
}

ALONE = ("prepare", "preview", "report", "study", "status")


def _join(command: Command) -> None:
    """Join the other processes, if there are any, before anything asks for devices."""
    folder = command.folder
    if command.place is not None:
        from gca_jax import processes

        processes.join(processes.Place(*command.place), folder)


def _built(command: Command) -> "Trainable":
    """Build an experiment that can be evaluated when it is trained."""
    from gca_jax.evaluation.run import check

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


def _restored(folder: str) -> "Trainable":
    """Build the experiment of the run in a folder."""
    from gca_jax.training.checkpoint import restore_config
    from gca_jax.workdir import training_summary

    training_summary(Path(folder))
    return _build(restore_config(folder))


def _judge(experiment: "Trainable", folder: str) -> None:
    from gca_jax.evaluation.run import evaluate

    print("evaluating ...", flush=True)
    for words in evaluate(experiment, folder)["left_out"]:
        print(f"left out: {words}")
