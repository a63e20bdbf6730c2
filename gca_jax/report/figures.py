"""The four pictures of a report.

Colours tell things apart for colour-blind readers too: Okabe and Ito's palette, viridis, and the
number of its class as the mark of an image.
"""

from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gca_jax.report.reading import Run

# Okabe and Ito's eight colours without yellow, which is too light on white, and three darker ones.
COLOURS = (
    *("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"),
    *("#56B4E9", "#000000", "#7F6A00", "#882255", "#777777"),
)
DENSITY_RANGE = (0.03, 30.0)
MOST_TICKS = 20
MOST_POINTS = 1_000


def training(run: Run) -> Figure:
    """Loss and learning rate over training."""
    figure = Figure(figsize=(7, 5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    epochs = column(run, "epoch")
    upper.plot(epochs, column(run, "loss"), color=COLOURS[0], linewidth=1.2)
    upper.set_ylabel("loss of a training batch")
    upper.set_title(f"{_name(run)}: training")
    lower.plot(epochs, column(run, "learning_rate"), color=COLOURS[3], linewidth=1.5)
    lower.set(ylabel="learning rate", xlabel="epoch")
    lower.set_ylim(bottom=0)
    for axes in (upper, lower):
        _plain(axes)
    return figure


def plan(run: Run) -> Figure:
    """The mean transport plan beside its target (the paper's Figure A4)."""
    labels, matrix, target = (run.arrays[name] for name in ("plan_labels", "plan", "target"))
    figure = Figure(figsize=(11, 5.5), layout="compressed")
    shades = mpl.colormaps["viridis"].with_extremes(bad="#d9d9d9")
    panels = figure.subplots(1, 2)
    for axes, title, values in (
        (panels[0], "mean transport plan", matrix),
        (panels[1], "target plan", target),
    ):
        density = np.ma.masked_equal(values / values.sum() * values.size, 0)
        image = axes.imshow(
            density, norm=LogNorm(*DENSITY_RANGE), cmap=shades, interpolation="nearest"
        )
        axes.set_title(f"{title}\n{_within_class(values, labels)}")
        _class_ticks(axes, labels, joint=len(values) == 2 * len(labels))
    bar = figure.colorbar(image, ax=panels, extend="both", shrink=0.9)
    bar.set_label("mass, in multiples of the uniform plan's\n(grey: none)")
    figure.suptitle(f"{_name(run)}: test images sorted by class")
    return figure


def within_class(
    matrix: Float[np.ndarray, "n n"], labels: np.ndarray
) -> tuple[float | None, float]:
    """Share of the mass off the positive pairs that joins images of one class.

    Args:
        matrix: A plan in either layout, `[b, b]` or `[2b, 2b]`.
        labels: Class of each image of the batch, `[b]`.

    Returns:
        The share, None where only positive pairs have mass; and what it is for a uniform plan.
    """
    views = len(matrix) // len(labels)
    image = np.tile(np.arange(len(labels)), views)
    others = image[:, None] != image[None]
    same = np.tile(labels, views)
    same = (same[:, None] == same[None]) & others
    mass = matrix[others].sum()
    share = float(matrix[same].sum() / mass) if mass > 0 else None
    return share, float(same.sum() / others.sum())


def alignment_uniformity(run: Run) -> Figure:
    """Alignment against uniformity over training, coloured by epoch."""
    figure = Figure(figsize=(6.5, 5), layout="constrained")
    axes = figure.subplots()
    every = -(-len(run.metrics) // MOST_POINTS)
    x, y, epochs = (column(run, name)[::every] for name in ("uniformity", "alignment", "epoch"))
    axes.plot(x, y, color="#bbbbbb", linewidth=0.6, zorder=1)
    points = axes.scatter(x, y, c=epochs, cmap="viridis", s=14, zorder=2)
    figure.colorbar(points, ax=axes, label="epoch")
    axes.scatter(
        run.evaluation["uniformity"],
        run.evaluation["alignment"],
        marker="*",
        s=170,
        color=COLOURS[3],
        edgecolor="black",
        linewidth=0.6,
        zorder=3,
        label="test split, end of training",
    )
    axes.set_xlabel("uniformity  log E exp(−2‖z − z′‖²)   (← more uniform)")
    axes.set_ylabel("alignment  E‖z′ − z″‖²   (↓ closer views)")
    axes.set_title(f"{_name(run)}: training batches")
    axes.legend(loc="best", frameon=True)
    _plain(axes)
    return figure


def plane(run: Run) -> Figure:
    """Test features in two dimensions, each image drawn as the number of its class."""
    figure = Figure(figsize=(6.5, 6), layout="constrained")
    axes = figure.subplots()
    points, labels = run.arrays["plane"], run.arrays["plane_labels"]
    classes = np.unique(labels)
    if len(classes) <= len(COLOURS):
        for index, label in enumerate(classes):
            x, y = points[labels == label].T
            axes.scatter(x, y, marker=f"${label}$", s=42, color=COLOURS[index], linewidth=0.2)
    else:
        shown = axes.scatter(points[:, 0], points[:, 1], c=labels, cmap="viridis", s=8)
        figure.colorbar(shown, ax=axes, label="class")
    axes.set(xticks=[], yticks=[], xlabel="t-SNE 1", ylabel="t-SNE 2")
    axes.set_title(f"{_name(run)}: encoder features of {len(points)} test images")
    return figure


# File names in the order in which the report shows them.
FIGURES: dict[str, Callable[[Run], Figure]] = {
    "training": training,
    "plan": plan,
    "alignment_uniformity": alignment_uniformity,
    "plane": plane,
}


def drawn(run: Run) -> dict[str, Callable[[Run], Figure]]:
    """The pictures for which the run has the numbers."""
    return {name: draw for name, draw in FIGURES.items() if name != "plan" or "plan" in run.arrays}


def column(run: Run, name: str) -> np.ndarray:
    """One quantity of the training log, NaN where a row lacks it or it was not finite.

    Raises:
        ValueError: No row has it.
    """
    values = [row[name] if name in row and row[name] is not None else np.nan for row in run.metrics]
    if np.isnan(values).all():
        raise ValueError(f"metrics.jsonl has no {name!r}: the run's log does not belong here")
    return np.asarray(values, float)


def _name(run: Run) -> str:
    return f"{run.evaluation['method']} on {run.evaluation['dataset']['name']}"


def _within_class(matrix: np.ndarray, labels: np.ndarray) -> str:
    share, uniform = within_class(matrix, labels)
    if share is None:
        return "all mass on the positive pairs"
    return f"off the positives {share:.0%} within class (uniform: {uniform:.0%})"


def _class_ticks(axes: Axes, labels: np.ndarray, joint: bool) -> None:
    """Labels blocks of one class, and the two views where both are on each side."""
    views = 2 if joint else 1
    starts = np.flatnonzero(np.diff(labels, prepend=labels[0] - 1))
    bounds = np.append(starts, len(labels))
    centres = (bounds[:-1] + bounds[1:] - 1) / 2
    every = -(-len(starts) // (MOST_TICKS // views))
    ticks = np.concatenate([view * len(labels) + centres[::every] for view in range(views)])
    axes.set_xticks(ticks, list(labels[starts][::every]) * views, fontsize=8)
    axes.set_yticks(ticks, list(labels[starts][::every]) * views, fontsize=8)
    axes.tick_params(length=0)
    if joint:
        for draw in (axes.axhline, axes.axvline):
            draw(len(labels) - 0.5, color="white", linewidth=1)
    sides = (
        ("first view, second view", "first view, second view")
        if joint
        else ("second view", "first view")
    )
    axes.set_xlabel(f"class; {sides[0]}")
    axes.set_ylabel(f"class; {sides[1]}")


def _plain(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.yaxis.set_major_locator(MaxNLocator(6))
