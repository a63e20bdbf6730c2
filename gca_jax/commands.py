"""The commands, by the name that --mode gives them: each is a recipe over one `RunFolder`."""

import contextlib
import os
import re
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ml_collections import ConfigDict

from gca_jax.check import counted
from gca_jax.config import AUTO, UNCHANGED, restore
from gca_jax.files import need_space
from gca_jax.studies.study import Study
from gca_jax.workdir import (
    Json,
    RunFolder,
    as_json,
    first_differences,
    flatten,
    other_parts,
    refuse_backslash,
)

if TYPE_CHECKING:
    from gca_jax.experiment import Experiment
    from gca_jax.studies.grid import Cell

THIS_STUDY = "this study's command"  # where none was typed


class Command(NamedTuple):
    """What was typed: the flags of `cli`, which says what each is for."""

    config: ConfigDict | Study
    workdir: str | None = None
    archives: str | None = None
    place: tuple[str | None, int | None, int | None] | None = None
    """Arguments of `distributed.join`; None: this process is alone."""
    jobs: int = 1
    seeds: str | None = None
    runs: str | None = None
    launcher: str = ""
    limit_minutes: float | None = None
    config_file: str = ""
    """The config's name and options, as `studies/table2:extreme`."""
    changed: Collection[str] = ()
    """Dotted keys of the config that were changed."""
    images: str | None = None
    out: str | None = None
    step: int | None = None
    """Of the checkpoint that is evaluated or written; None: the last one."""
    typed: str | None = None
    """The command line; None: there is none."""

    @property
    def folder(self) -> str:
        """Give the workdir, `runs/DATA-METHOD-SEED` or `runs/STUDY-OPTIONS` if none is named."""
        if self.workdir is None:
            return f"runs/{self.name}"
        if not self.workdir:
            raise ValueError("--workdir must have a value: the folder of the run")
        return os.path.expanduser(self.workdir)

    @property
    def name(self) -> str:
        """Name the run or the study, for a folder."""
        if isinstance(self.config, Study):
            path, _, options = self.config_file.partition(":")
            return "-".join([Path(path).stem or "study", *options.split(",")]).rstrip("-")
        seed = self.config.seed if self.seeds is None else f"seeds{self.seeds}"
        return f"{self.config.data.name}-{self.config.method}-{seed}"

    def file(self, *endings: str) -> Path:
        """Give --out, if it can be written and has one of these endings."""
        path = Path(self.out or "").expanduser()
        if path.suffix not in endings:
            raise ValueError(
                f"--out must name a file that ends in one of {', '.join(endings)}; got {self.out}"
            )
        if path.is_dir() or not path.parent.is_dir():
            fault = "is a folder" if path.is_dir() else f"is in no folder: make {path.parent} first"
            raise ValueError(f"--out={path} {fault}")
        need_space(path.parent)
        return path


def program() -> str:
    """Name this program as it was started, for a command line."""
    main = Path(sys.argv[0]).name
    return "python -m gca_jax" if main == "__main__.py" else f"python {main}"


# Each command imports what it needs when it runs, so that mistakes in flags are said at once.


def run(command: Command) -> None:
    """Train an encoder, evaluate it and report; the default."""
    join(command)
    from gca_jax import distributed

    config = chosen(command)
    folder = RunFolder.open(command.folder, config)  # refuses another run
    experiment = checked(config)
    with folder.keeping_lock():  # training takes it, once nothing is refused
        fit(experiment, folder, command.typed)
        with folder.locked(distributed.first()):  # which a finished run has not taken
            evaluate_run(experiment, folder)
            if distributed.first():
                write_report(folder)


def pretrain(command: Command) -> None:
    """Train an encoder."""
    join(command)
    from gca_jax.experiment import build

    config = chosen(command)
    folder = RunFolder.open(command.folder, config)
    if folder.state != "finished":  # the images of a finished run may be gone
        fit(build(config), folder, command.typed)  # which needs no labels


def evaluate(command: Command) -> None:
    """Evaluate the encoder of a run; with other settings or data, beside its own evaluation."""
    join(command)
    from gca_jax.evaluation.evaluate import check

    folder = RunFolder.open(command.folder)
    changed = changes(command, folder)
    experiment = changed_by(command, folder, changed) if changed else restored(command, folder)
    if changed and (known := folder.identity):
        identity = identity_as_split(experiment, folder)
        if not (parts := other_parts(known, identity)):  # its own, moved perhaps
            changed = {key: value for key, value in changed.items() if not key.startswith("data.")}
        elif any(key.startswith("data.") for key in changed):
            print(
                f"note: these are other data than {folder.path} was trained on ({parts}); samples "
                "that it was trained with are not looked for among them"
            )
        else:
            folder.refuse_other_data(identity)
    if changed:
        check(experiment)
    say(evaluate_run(experiment, folder, command.step, changed), folder)


def report(command: Command) -> None:
    """Write what was found as tables and pictures; of a folder of runs, one page over all.

    A run that was stopped before it was evaluated is evaluated first. With a study's config it is
    the study's report, of the runs that are there.
    """
    from gca_jax.report import runs

    path = Path(command.folder)
    if isinstance(command.config, Study) or command.seeds is not None:
        report_study(command, path)
        return
    if not (path / "config.json").exists() and (page := runs.write(path)):
        print(f"report: {page}")
        if (path / "runs").is_dir():
            print("note: this is a study; with its --config, the study's own report is written")
        return
    folder = RunFolder.open(path)
    if not folder.is_evaluated:
        step = folder.summary["steps"]
        print(f"the run has not been evaluated at step {step}: that comes first")
        evaluate_run(restored(command, folder), folder)
    write_report(folder)


def write_report(folder: RunFolder) -> None:
    """Write the report of an evaluated run, and say what it begins with."""
    from gca_jax.report.run import write

    say(write(folder), folder)
    print(f"report: {folder.path / 'report.md'}")


def report_study(command: Command, path: Path) -> None:
    """Write the report of a study from the runs that are there, and say how many are missing."""
    from gca_jax.report.study import write
    from gca_jax.studies.grid import refuse_other_runs
    from gca_jax.studies.results import resolve

    described, grid = described_by(command)
    refuse_other_runs(path, grid)
    runs = [run for _, _, run in resolve(described, grid, path)]
    missing = sum(run is None or not run.is_finished(path) for run in runs)
    if missing == len(runs):
        raise FileNotFoundError(f"no run of this study is done in {path}: --workdir=DIR names it")
    # The page names the command that does what is left.
    typed = re.sub(r" ?--?mode[= ]report", "", command.typed or "")
    mode = " --mode=study" if isinstance(command.config, Study) else ""
    print(f"report: {write(described, grid, path, typed + mode or THIS_STUDY)}")
    if missing:
        print(f"{missing} of {counted(len(runs), 'run')} missing: the report names them")


def described_by(command: Command) -> tuple[Study, "list[Cell]"]:
    """Make a study and its runs from its config, or from that of one run and --seeds."""
    from gca_jax.studies.grid import cells
    from gca_jax.studies.study import of_one, seeds

    if isinstance(command.config, Study):
        return command.config, cells(command.config)
    asked = seeds(command.seeds or "")
    described = of_one(command.config, asked, command.config_file, command.changed)
    return described, cells(described, command.config)


def prepare(command: Command) -> None:
    """Prepare the data set, once, so that it can be read."""
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
    """Evaluate a run on corrupted images."""
    join(command)
    from gca_jax.evaluation.corruptions import evaluate_corruptions

    folder = RunFolder.open(command.folder)
    experiment = restored(command, folder)
    need_images("corruptions", experiment.config)
    folder.need_space()
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
    api.write_features(api.load(command.folder, step=command.step), command.images, out)


def export(command: Command) -> None:
    """Write the encoder of a run in a format of other programs."""
    from gca_jax import export
    from gca_jax.api import load

    out = command.file(*export.FORMATS)
    export.write(load(command.folder, step=command.step), out)


def neighbours(command: Command) -> None:
    """Draw the nearest neighbours of a run's test images, or of the pictures in a folder."""
    from gca_jax.api import load
    from gca_jax.report import neighbours

    out, folder = command.file(".html"), RunFolder.open(command.folder)
    encoder = load(folder, step=command.step)
    if command.images:
        found = neighbours.of_folder(encoder, command.images)
    else:
        experiment = restored(command, folder)
        folder.refuse_other_data(experiment.identity)
        found = neighbours.of_tests(encoder, experiment.data.dataset)
    neighbours.write(found, out)


def study(command: Command) -> None:
    """Execute a grid of runs, or with --runs a part of it; report on the whole."""
    from gca_jax.report.study import write
    from gca_jax.studies.grid import part
    from gca_jax.studies.launch import execute

    own = None if command.runs is None else part(command.runs)
    described, grid = described_by(command)
    folder, typed = Path(command.folder), command.typed or THIS_STUDY
    refuse_backslash(folder)
    if folder.is_dir():
        need_space(folder)
    asked: Json = dict(
        jobs=command.jobs, limit_minutes=command.limit_minutes, launcher=command.launcher
    )
    if own is not None:  # others are at work: whoever ends last would have to report
        failed = execute(described, grid, folder, **asked, part=own)
        print(f"part {command.runs} is done: --mode=report writes the study's report")
    else:
        try:
            failed = execute(described, grid, folder, **asked)
        except KeyboardInterrupt:
            print(f"report of what is done: {write(described, grid, folder, typed)}")
            raise
        print(f"report: {write(described, grid, folder, typed)}")
    if failed:
        runs = counted(failed, "run")
        sys.exit(f"{runs} failed ({folder}/failed.json); the same command tries them again")


def status(command: Command) -> None:
    """Print where a run or a study stands; with --runs, where each run of a part does."""
    from gca_jax.report import status
    from gca_jax.studies.grid import part

    path = Path(command.folder)
    if command.runs is None:
        lines = status.status(path, command.config)
    else:
        lines = status.of_part(path, *described_by(command), part(command.runs))
    for line in lines:
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

        distributed.join(*command.place)


def chosen(command: Command) -> ConfigDict:
    """Return the config of the run; under `auto` that of the candidate which is best."""
    config: Any = command.config  # of a run: a study has another command
    if config.method != AUTO:
        return config
    from gca_jax.evaluation.evaluate import check
    from gca_jax.training import candidates

    return candidates.best(config, command.folder, command=command.typed, check=check)


def checked(config: ConfigDict) -> "Experiment":
    """Build an experiment that can be evaluated: what cannot be is not trained either."""
    from gca_jax.evaluation.evaluate import check
    from gca_jax.experiment import build

    experiment = build(config)
    check(experiment)
    return experiment


def fit(experiment: "Experiment", folder: RunFolder, typed: str | None) -> None:
    """Train, with the hooks that the config asks for."""
    from gca_jax.evaluation import online
    from gca_jax.training.train import train

    done = train(experiment, folder, online.hooks(experiment), typed)
    if "validation" in done and done["steps"]:
        step, found = (done["validation"][key] for key in ("step", "likelihood"))
        print(f"weights of step {step} of {done['steps']}, by validation pairs (ℓ = {found:.3f})")


def need_images(mode: str, config: ConfigDict) -> None:
    """Refuse a run on other data than images."""
    if config.data.kind != "images":
        raise ValueError(f"--mode={mode} is for runs on images, not on {config.data.kind}")


def restored(command: Command, folder: RunFolder) -> "Experiment":
    """Build the experiment of the run in the folder; settings that are typed must be its own."""
    from gca_jax.experiment import build

    config = restore(folder.config).lock()
    if command.config is None or "--config." not in (command.typed or ""):
        return build(config)
    if shown := first_differences(as_json(config), as_json(command.config), free=folder.free):
        raise ValueError(
            f"the run in {command.folder} is evaluated with its own settings ({shown}): leave out "
            "--config, or train another run with these"
        )
    return build(command.config)  # which may say where the data lie on this machine


def changes(command: Command, folder: RunFolder) -> Json:
    """Return the typed settings of the evaluation and its data that are not the run's own.

    Of a run whose data are known, what is typed of data counts in any case: other pictures may lie
    where its own did.
    """
    if command.config is None:
        return {}
    known = bool(folder.identity)
    own, asked = (dict(flatten(each)) for each in (folder.config, as_json(command.config)))
    return {
        key: asked[key]
        for key in command.changed
        if key.startswith(("evaluation.", "data."))
        and (asked[key] != own.get(key) or (known and key.startswith("data.")))
    }


def changed_by(command: Command, folder: RunFolder, changed: Json) -> "Experiment":
    """Build the experiment of the run in the folder with these settings changed and no others."""
    from gca_jax.experiment import build

    config = restore(folder.config)
    typed = dict(flatten(command.config))
    config.update_from_flattened_dict({key: typed[key] for key in changed})
    if re.search(r"--?config[= ]", command.typed or ""):
        others = first_differences(as_json(config), as_json(command.config), free=folder.free)
    else:  # the config that was changed is the default one
        others = ", ".join({*command.changed} - changed.keys() - folder.free)
    if others:
        raise ValueError(
            f"the run in {command.folder} may be evaluated with another evaluation.* or data.*, "
            f"not with other settings ({others}): leave those out, or train another run with them"
        )
    return build(config.lock())


def identity_as_split(experiment: "Experiment", folder: RunFolder) -> Json:
    """Identify data as the run splits them, whatever the split that they are evaluated on."""
    from gca_jax.experiment import build

    own, config = restore(folder.config).evaluation.split, experiment.config
    if config.evaluation.split == own:
        return experiment.identity
    if own == "test" and config.data.kind == "images":
        print(
            f"note: validation images are among those that {folder.path} was trained with: what is "
            "measured on them is no test"
        )
    as_own = config.copy_and_resolve_references()
    with as_own.unlocked():
        as_own.evaluation.split = own
    with contextlib.redirect_stdout(None):  # what it says has been said
        return build(as_own.lock()).identity


def evaluate_run(
    experiment: "Experiment",
    folder: RunFolder,
    step: int | None = None,
    changed: Mapping[str, object] = UNCHANGED,
) -> Json:
    """Evaluate a run, perhaps at another step or with other settings, and say what is skipped."""
    from gca_jax.evaluation.evaluate import evaluate

    folder.need_space()
    print("evaluating ...", flush=True)
    found = evaluate(experiment, folder, step, changed)
    for words in found["left_out"]:
        print(f"left out: {words}")
    return found


def say(found: Json, folder: RunFolder) -> None:
    """Print the shares that a reader looks for first."""
    from gca_jax.report.run import headline

    for name, share in headline(found, folder.config["data"]["kind"]).items():
        print(f"{name}: {share:.1%}")
