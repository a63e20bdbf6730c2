"""The pictures of a report.

Colours tell things apart for colour-blind readers too: Okabe and Ito's palette, and viridis.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from gca_jax.evaluation.plan import within_class
from gca_jax.evaluation.result import ENCODERS
from gca_jax.report.reading import Files

# Okabe and Ito's eight colours without yellow, which is too light on white, and three darker ones.
COLOURS = (
    *("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"),
    *("#56B4E9", "#000000", "#7F6A00", "#882255", "#777777"),
)
DENSITY_RANGE = (0.03, 30.0)
MOST_TICKS = 20
LONG_NAME = 2  # letters, which fit beside each other
MOST_POINTS = 1_000
CORRUPTIONS_A_ROW = 4


def training(run: Files) -> Figure:
    """Draw loss and learning rate over training."""
    figure = Figure(figsize=(7, 5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    epochs = column(run, "epoch")
    upper.plot(epochs, column(run, "loss"), color=COLOURS[0], linewidth=1.2)
    upper.set_ylabel("loss of a training batch")
    upper.set_title(f"{run.title}: training")
    lower.plot(epochs, column(run, "learning_rate"), color=COLOURS[3], linewidth=1.5)
    lower.set(ylabel="learning rate", xlabel="epoch")
    lower.set_ylim(bottom=0)
    for axes in (upper, lower):
        plain(axes)
    return figure


def plan(run: Files) -> Figure:
    """Draw the mean transport plan beside its target (the paper's Figure A4)."""
    labels, matrix, target = (run.arrays[name] for name in ("plan_labels", "plan", "target"))
    about = run.evaluation.get("plan_of", {})  # of a plan by domains
    kind, part = about.get("kind", kind_of(run)), about.get("part", "test")
    mean = "transport plan of a batch" if about else "mean transport plan"
    figure = Figure(figsize=(11, 5.5), layout="compressed")
    panels = figure.subplots(1, 2)
    drawn = ((mean, matrix), ("target plan", target))
    for axes, (title, values) in zip(panels, drawn, strict=True):
        image = show_plan(axes, values)
        axes.set_title(f"{title}\n{_within_class(values, labels, kind)}")
        _class_ticks(axes, labels, run, kind, joint=len(values) == 2 * len(labels))
    scale_of_plans(figure, image, panels)
    figure.suptitle(f"{run.title}: {part} images sorted by {kind}")
    return figure


def alignment_uniformity(run: Files) -> Figure:
    """Draw alignment against uniformity over training, coloured by epoch."""
    figure = Figure(figsize=(6.5, 5), layout="constrained")
    axes = figure.subplots()
    every = -(-len(run.metrics) // MOST_POINTS)
    x, y, epochs = (column(run, name)[::every] for name in ("uniformity", "alignment", "epoch"))
    axes.plot(x, y, color="#bbbbbb", linewidth=0.6, zorder=1)
    points = axes.scatter(x, y, c=epochs, cmap="viridis", s=14, zorder=2)
    figure.colorbar(points, ax=axes, label="epoch")
    end = run.evaluation["uniformity"], run.evaluation["alignment"]
    star = axes.scatter(*end, marker="*", s=170, color=COLOURS[3], edgecolor="black", zorder=3)
    star.set(linewidth=0.6, label="test split, end of training")
    axes.set_xlabel("uniformity  log E exp(−2‖z − z′‖²)   (← more uniform)")
    axes.set_ylabel("alignment  E‖z′ − z″‖²   (↓ closer views)")
    axes.set_title(f"{run.title}: training batches")
    axes.legend(loc="best", frameon=True)
    plain(axes)
    return figure


def corruptions(run: Files) -> Figure:
    """Draw accuracy over severity, from clean images on, a panel for each corruption."""
    found = run.corruptions
    assert found is not None
    judged = {"trained": found, **found.get("baselines", {})}
    kinds = list(found["accuracy"])
    rows = -(-len(kinds) // CORRUPTIONS_A_ROW)
    figure = Figure(figsize=(9, 1.9 * rows + 0.7), layout="constrained")
    panels = figure.subplots(rows, CORRUPTIONS_A_ROW, sharex=True, sharey=True, squeeze=False)
    for axes, kind in itertools.zip_longest(panels.flat, kinds):
        if kind is None:
            axes.remove()
            continue
        for colour, (encoder, one) in zip(COLOURS, judged.items(), strict=False):
            shares = 100 * np.array([one["clean"], *one["accuracy"][kind]])
            axes.plot(shares, marker="o", markersize=3, color=colour, label=ENCODERS[encoder])
        axes.set_title(kind.replace("_", " "), fontsize=9)
        plain(axes)
    figure.supxlabel("severity (0: clean)", fontsize=9)
    figure.supylabel("test accuracy, %", fontsize=9)
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=3)
    figure.suptitle(f"{run.title}: corruptions", x=0.02, ha="left", fontsize=10)
    return figure


FIGURES: dict[str, Callable[[Files], Figure]] = {
    "training": training,
    "plan": plan,
    "alignment_uniformity": alignment_uniformity,
    "corruptions": corruptions,
}
"""Pictures by their names, which results of an evaluation name too."""


def show_plan(axes: Axes, matrix: Float[np.ndarray, "n n"]) -> AxesImage:
    """Show a plan in multiples of the uniform one, grey where it has no mass."""
    density = np.ma.masked_equal(matrix / matrix.sum() * matrix.size, 0)
    shades = mpl.colormaps["viridis"].with_extremes(bad="#d9d9d9")
    return axes.imshow(density, norm=LogNorm(*DENSITY_RANGE), cmap=shades, interpolation="nearest")


def scale_of_plans(figure: Figure, image: AxesImage, panels: Iterable[Axes]) -> None:
    """Draw the scale of colours beside panels of `show_plan`."""
    bar = figure.colorbar(image, ax=panels, extend="both", shrink=0.9)
    bar.set_label("mass, in multiples of the uniform plan's\n(grey: none)")


def show_image(axes: Axes, image: Float[np.ndarray, "h w c"]) -> None:
    """Show the pixels of an image in [0, 1] as they are; other channels than RGB become grey."""
    grey = image.mean(-1, keepdims=True)
    pixels = image if image.shape[-1] == 3 else np.broadcast_to(grey, (*image.shape[:2], 3))
    axes.imshow(pixels, vmin=0, vmax=1, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def column(run: Files, name: str) -> np.ndarray:
    """Read one quantity of the training log, NaN where a row lacks it or it was not finite."""
    values = [row[name] if name in row and row[name] is not None else np.nan for row in run.metrics]
    if np.isnan(values).all():
        raise ValueError(f"metrics.jsonl has no {name!r}: the run's log does not belong here")
    return np.asarray(values, float)


def kind_of(run: Files) -> str:
    """Name what images are told apart by, as `Frozen.kinds` has it."""
    return "class" if run.evaluation["dataset"]["classes"] else "domain"


def _within_class(matrix: np.ndarray, labels: np.ndarray, kind: str) -> str:
    share, uniform = within_class(matrix, labels)
    if share is None:
        return "all mass on the positive pairs"
    return f"off the positives {share:.0%} within {kind} (uniform: {uniform:.0%})"


def _class_ticks(axes: Axes, labels: np.ndarray, run: Files, kind: str, joint: bool) -> None:
    """Label blocks of one class, and the two views where both are on each side."""
    views = 2 if joint else 1
    starts = np.flatnonzero(np.diff(labels, prepend=labels[0] - 1))
    bounds = np.append(starts, len(labels))
    centres = (bounds[:-1] + bounds[1:] - 1) / 2
    every = -(-len(starts) // (MOST_TICKS // views))
    ticks = np.concatenate([view * len(labels) + centres[::every] for view in range(views)])
    tick_names(
        axes, ticks, [run.name(kind, label) for label in labels[starts][::every].tolist()] * views
    )
    if joint:
        for draw in (axes.axhline, axes.axvline):
            draw(len(labels) - 0.5, color="white", linewidth=1)
    axes.set_xlabel(f"{kind}; {'first view, ' * joint}second view")
    axes.set_ylabel(f"{kind}; first view{', second view' * joint}")


def tick_names(axes: Axes, ticks: Sequence[float] | np.ndarray, names: Sequence[str]) -> None:
    """Write the same names along both axes, upright below where they are long."""
    long = max(map(len, names)) > LONG_NAME
    axes.set_xticks(ticks, names, fontsize=8, rotation=90 if long else 0)
    axes.set_yticks(ticks, names, fontsize=8)
    axes.tick_params(length=0)


def plain(axes: Axes) -> None:
    """Draw axes without a box, on a light grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.yaxis.set_major_locator(MaxNLocator(6))
