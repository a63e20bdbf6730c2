"""A run in a folder, as the commands do it: opened, then trained in, judged, reported."""

from gca_jax.evaluation import evaluate as evaluation
from gca_jax.evaluation import online
from gca_jax.report import run as reports
from gca_jax.training import checkpoint, train
from gca_jax.workdir import RunFolder


def pretrain(experiment, path, command=None, hooks=()):
    """Train in a folder, with the hooks that the config asks for and others."""
    folder = RunFolder.open(path, experiment.record)
    return train.train(experiment, folder, [*online.hooks(experiment), *hooks], command)


def evaluate(experiment, path):
    """Judge the run in a folder."""
    return evaluation.evaluate(experiment, RunFolder.open(path))


def write(path):
    """Report on the run in a folder."""
    return reports.write(RunFolder.open(path))


def restore_variables(path, at=None):
    """Read the weights of the run in a folder, and their step."""
    return checkpoint.restore_variables(RunFolder(path), at)
