"""The programs of the command line, by name; those of a run meet only in its workdir."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Command:
    """What was typed.

    Attributes:
        config: of the run.
        workdir: its folder, where one is named.
        distributed: train together with the other processes of a cluster.
        archives: folder of what is downloaded already, for `prepare`.
    """

    config: Any
    workdir: str | None
    distributed: bool
    archives: str | None

    @property
    def folder(self) -> str:
        """The workdir, for programs that need one."""
        if self.workdir is None:
            raise ValueError("--workdir must have a value: the folder of the run")
        return self.workdir


# Each program imports what it needs when it runs, so that mistakes in flags are said at once.


def pretrain(command: Command) -> None:
    """Train an encoder."""
    from gca_jax.evaluation.probes import check_settings
    from gca_jax.training.loop import pretrain

    pretrain(command.config, command.folder, command.distributed, check_settings)


def evaluate(command: Command) -> None:
    """Judge the encoder."""
    from gca_jax.evaluation.run import evaluate

    folder = command.folder
    print("evaluating ...", flush=True)
    evaluate(folder)


def report(command: Command) -> None:
    """Write what was found as tables and pictures."""
    from gca_jax.report.run import write

    for name, accuracy in write(command.folder)["accuracy"].items():
        print(f"{name}: {accuracy:.1%}")
    print(f"report: {command.folder.rstrip('/')}/report.md")


def prepare(command: Command) -> None:
    """Make the data set ready to be read, once."""
    from gca_jax.data.sources.prepare import prepare

    prepare(command.config, command.archives)


def preview(command: Command) -> None:
    """Draw images beside their two views."""
    from gca_jax.report.preview import preview

    print(f"preview: {preview(command.config, command.workdir)}")


def corruptions(command: Command) -> None:
    """Judge a run on CIFAR-10 by CIFAR-10-C."""
    from gca_jax.evaluation.corruptions import evaluate_corruptions

    found = evaluate_corruptions(command.folder)
    for name, accuracies in found["accuracy"].items():
        print(f"{name}: {', '.join(f'{accuracy:.1%}' for accuracy in accuracies)}")
    for name, mean in found["mean"].items():
        print(f"mean, {name}: {mean:.1%} (clean images: {found['clean']:.1%})")


RUN = {"pretrain": pretrain, "evaluate": evaluate, "report": report}
"""What `--mode=all` does, in turn."""
PROGRAMS = {**RUN, "prepare": prepare, "preview": preview, "corruptions": corruptions}
