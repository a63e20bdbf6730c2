"""Draws augmented views of training images, and the corruptions of one test image."""

import pathlib

import jax
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure

from gca_jax.data import corruptions
from gca_jax.data.images import ImageData
from gca_jax.data.splits import evenly_spaced
from gca_jax.experiment import Experiment
from gca_jax.files import write_figure
from gca_jax.report.figures import image_grid

SHOWN = 10
ROWS = ("image", "view a", "view b")


def preview(experiment: Experiment, workdir: str | pathlib.Path | None = None) -> pathlib.Path:
    """Draw images that a run trains with, each above two views, into `preview_POLICY.png`."""
    name = experiment.config.augment.policy
    rows = examples(experiment.data, experiment.seed)
    figure = Figure(figsize=(8.2, 3.0), layout="compressed")
    for axes, row in zip(image_grid(figure, rows)[:, 0], ROWS, strict=True):
        axes.set_ylabel(row)
    figure.suptitle(f"{experiment.data.name}, policy {name}")
    return _save(figure, workdir, f"preview_{name}.png")


def preview_corruptions(
    experiment: Experiment, workdir: str | pathlib.Path | None = None
) -> pathlib.Path:
    """Draw a test image under every corruption into `corruptions.png`."""
    data = experiment.data.dataset
    row = int(experiment.seed % len(data.test_images))
    figure = corruption_sheet(data.test_images[row : row + 1], experiment.seed)
    figure.suptitle(f"{data.name}: test image {row}, corrupted", fontsize=10)
    return _save(figure, workdir, "corruptions.png")


def corruption_sheet(image: UInt8[np.ndarray, "1 h w c"], seed: int) -> Figure:
    """Draw an image as it is and under each corruption, a row for each, by severity."""
    kinds, severities = corruptions.names(image.shape[-1]), corruptions.SEVERITIES
    corrupted = [[corruptions.corrupt(image, kind, s, seed) for s in severities] for kind in kinds]
    rows = [np.concatenate([image, *each]) / 255 for each in corrupted]
    figure = Figure(figsize=(6.2, 0.85 * len(kinds) + 0.8), layout="compressed")
    panels = image_grid(figure, rows)
    for axes, kind in zip(panels[:, 0], kinds, strict=True):
        axes.set_ylabel(kind.replace("_", "\n"), rotation=0, ha="right", va="center", fontsize=8)
    for axes, words in zip(panels[0], ("clean", *severities), strict=True):
        axes.set_title(f"{words}", fontsize=8)
    return figure


def _save(figure: Figure, workdir: str | pathlib.Path | None, name: str) -> pathlib.Path:
    folder = pathlib.Path(workdir or ".").expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    write_figure(folder / name, figure, dpi=100)
    return folder / name


def examples(data: ImageData, seed: int) -> list[Float[np.ndarray, "n h w c"]]:
    """Give images from all over the set and their views, with values in [0, 1]."""
    rows, policy = evenly_spaced(len(data), SHOWN), data.policy
    pair = jax.jit(policy.views)(jax.random.key(seed), data.sample(rows, seed))
    mean, std = (np.array(x).reshape(1, 1, 1, -1) for x in (policy.mean, policy.std))
    views = [np.clip(np.asarray(view) * std + mean, 0, 1) for view in pair]
    return [data.images[rows] / 255, *views]
