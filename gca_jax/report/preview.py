"""A sheet of images beside their two views, to see what a policy does before it is trained with."""

import pathlib
from typing import Any

import jax
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from gca_jax.data import sources
from gca_jax.data.batches import stream
from gca_jax.data.dataset import Images, Streamed
from gca_jax.data.views import augment

SHOWN = 10
ROWS = ("image", "view a", "view b")


def preview(config: Any, workdir: str | pathlib.Path | None = None) -> pathlib.Path:
    """Draw images of a config's training set, each above two views by the config's policy.

    Args:
        config: as `configs/cifar10.py` makes it; its groups `data` and `augment` and its seed.
        workdir: folder for the picture, made if it is not there; None: the current one.

    Returns:
        Where the picture is: preview_POLICY.png.

    Raises:
        ValueError: a data set that is not there, or a policy that does not fit it.
    """
    policy = augment.make(**config.augment)
    data = sources.load(**config.data)
    images, views_a, views_b = examples(data.pretrain_images, policy, config.seed)
    figure = sheet([images, views_a, views_b])
    figure.suptitle(f"{data.name}, policy {config.augment.policy}")
    folder = pathlib.Path(workdir or ".")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"preview_{config.augment.policy}.png"
    figure.savefig(path, dpi=100)
    return path


def examples(
    images: Images, policy: augment.Augment, seed: int
) -> tuple[Float[np.ndarray, "n h w c"], ...]:
    """Images from all over the set and their views, with values in [0, 1]."""
    rows = np.linspace(0, len(images) - 1, min(SHOWN, len(images))).astype(int)
    shown = images[rows]
    batch = shown
    if isinstance(images, Streamed) and policy.crop is not None:
        rng, size = np.random.default_rng(seed), images.shape[1]
        batch = np.stack([stream.two_crops(rng, images.decode(i), size, policy.crop) for i in rows])
    a, b = jax.jit(policy.views)(jax.random.key(seed), batch)
    mean, std = (np.array(x).reshape(1, 1, 1, -1) for x in (policy.mean, policy.std))
    return (shown / 255, *(np.clip(np.asarray(view) * std + mean, 0, 1) for view in (a, b)))


def sheet(rows: list[Float[np.ndarray, "n h w c"]]) -> Figure:
    """One row of pictures for each list of images, named as in `ROWS`."""
    figure = Figure(figsize=(8.2, 3.0), layout="compressed")
    panels = figure.subplots(len(rows), len(rows[0]), squeeze=False)
    for line, images, name in zip(panels, rows, ROWS, strict=True):
        line[0].set_ylabel(name)
        for axes, image in zip(line, images, strict=True):
            # Pixels are shown as they are; a single channel becomes a grey picture.
            axes.imshow(
                np.broadcast_to(image, (*image.shape[:2], 3)),
                vmin=0,
                vmax=1,
                interpolation="nearest",
            )
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
    return figure
