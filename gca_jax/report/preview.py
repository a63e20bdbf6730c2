"""A sheet of images beside their two views, to see what a policy does before it is trained with."""

import pathlib

import jax
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from gca_jax.data.batches import Batches
from gca_jax.data.views.augment import Augment
from gca_jax.evaluation.splits import evenly_spaced
from gca_jax.experiment import Experiment
from gca_jax.report.figures import show_image

SHOWN = 10
ROWS = ("image", "view a", "view b")


def preview(experiment: Experiment, workdir: str | pathlib.Path | None = None) -> pathlib.Path:
    """Draw images that a run trains with, each above two views, into `preview_POLICY.png`."""
    name, policy = experiment.config.augment.policy, experiment.policy
    figure = sheet(examples(experiment.batches, policy, experiment.seed))
    figure.suptitle(f"{experiment.dataset.name}, policy {name}")
    folder = pathlib.Path(workdir or ".")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"preview_{name}.png"
    figure.savefig(path, dpi=100)
    return path


def examples(batches: Batches, policy: Augment, seed: int) -> list[Float[np.ndarray, "n h w c"]]:
    """Give images from all over the set and their views, with values in [0, 1]."""
    rows = evenly_spaced(len(batches.images), SHOWN)
    pair = jax.jit(policy.views)(jax.random.key(seed), batches.sample(rows, seed))
    mean, std = (np.array(x).reshape(1, 1, 1, -1) for x in (policy.mean, policy.std))
    views = [np.clip(np.asarray(view) * std + mean, 0, 1) for view in pair]
    return [batches.images[rows] / 255, *views]


def sheet(rows: list[Float[np.ndarray, "n h w c"]]) -> Figure:
    """Draw one row of pictures for each list of images, named as in `ROWS`."""
    figure = Figure(figsize=(8.2, 3.0), layout="compressed")
    panels = figure.subplots(len(rows), len(rows[0]), squeeze=False)
    for line, images, name in zip(panels, rows, ROWS, strict=True):
        line[0].set_ylabel(name)
        for axes, image in zip(line, images, strict=True):
            show_image(axes, image)
    return figure
