"""Pictures of single test images and of classes: neighbours, a map, what is taken for what."""

from collections.abc import Callable
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gca_jax.report.figures import COLOURS, MOST_TICKS, kind_of, show_image, tick_names
from gca_jax.report.reading import Files

MOST_LETTERS = 16  # of a name above a small picture
MOST_NUMBERS = 12  # classes whose shares are written into their cells


def plane(run: Files) -> Figure:
    """Draw test features in two dimensions, by class and, where they have them, by domain."""
    kinds = {kind_of(run): run.arrays.get("plane_labels")}
    if "plane_domains" in run.arrays:
        kinds["domain"] = run.arrays["plane_domains"]
    figure = Figure(figsize=(6.5 * len(kinds), 6.4), layout="constrained")
    panels = figure.subplots(1, len(kinds), squeeze=False).flat
    for axes, (kind, numbers) in zip(panels, kinds.items(), strict=True):
        _map(figure, axes, run, kind, numbers)
        if len(kinds) > 1:
            axes.set_title(f"by {kind}", fontsize=10)
    points = len(run.arrays["plane"])
    figure.suptitle(f"{run.title}: encoder features of {points} test images", fontsize=11)
    return figure


def _map(figure: Figure, axes: Axes, run: Files, kind: str, numbers: np.ndarray | None) -> None:
    """Draw each image as the number of its class, or as a dot in the colour of its domain.

    Where there are too many for the palette, their numbers are a scale of colour.
    """
    points, known = run.arrays["plane"], np.unique([] if numbers is None else numbers)
    if numbers is None:
        axes.scatter(points[:, 0], points[:, 1], color=COLOURS[0], s=8)
    elif len(known) <= len(COLOURS):
        for index, number in enumerate(known.tolist()):
            x, y = points[numbers == number].T
            mark, size = (f"${number}$", 42) if kind == "class" else ("o", 14)
            shown = axes.scatter(x, y, marker=mark, s=size, color=COLOURS[index])
            shown.set(linewidth=0.2, label=run.name(kind, number))
        if run.named(kind):
            axes.legend(
                loc="upper center", bbox_to_anchor=(0.5, -0.05), ncols=4, fontsize=8, frameon=False
            )
    else:
        shown = axes.scatter(points[:, 0], points[:, 1], c=numbers, cmap="viridis", s=8)
        figure.colorbar(shown, ax=axes, label=kind)
    axes.set(xticks=[], yticks=[], xlabel="t-SNE 1", ylabel="t-SNE 2")


def nearest(run: Files, name: str = "nearest") -> Figure:
    """Draw a few test images, each beside the nearest ones; `nearest_across`: of other domains."""
    images = run.arrays[f"{name}_images"]
    numbers = {kind: run.arrays.get(f"{name}_{kind}s") for kind in ("label", "domain")}
    known = {kind: of for kind, of in numbers.items() if of is not None}
    similarities = run.evaluation[f"{name}_neighbours"]["similarities"]
    rows, columns = images.shape[:2]
    height = 1.35 + 0.15 * len(known)
    figure = Figure(figsize=(1.3 * columns, height * rows + 0.5), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False)
    for (row, column), axes in np.ndenumerate(panels):
        show_image(axes, images[row, column] / 255)
        words = [f"{similarities[row][column - 1]:.2f}" if column else "query"]
        for kind, of in known.items():
            words.append(_words(run, kind.replace("label", "class"), int(of[row, column])))
        axes.set_title("\n".join(words), fontsize=8)
        labels = known.get("label")
        if labels is not None and labels[row, column] != labels[row, 0]:
            axes.spines[:].set(visible=True, color=COLOURS[3], linewidth=2.5)
    where = " of other domains" * (name == "nearest_across")
    figure.suptitle(f"{run.title}: nearest test images{where}")
    return figure


def confusion(run: Files) -> Figure:
    """Draw the share of each class's test images that the linear probe takes for each class."""
    counts = run.arrays["confusion"]
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(7, 6), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    figure.colorbar(image, ax=axes, label="of the class's test images, %", shrink=0.9)
    if len(shares) <= MOST_NUMBERS:
        _write(axes, shares)
    shown = range(0, len(shares), -(-len(shares) // MOST_TICKS))
    tick_names(axes, shown, [run.name("class", number) for number in shown])
    axes.set(xlabel="taken for", ylabel="class")
    axes.set_title(f"{run.title}: linear probe, test images")
    return figure


FIGURES: dict[str, Callable[[Files], Figure]] = {
    "plane": plane,
    "nearest": nearest,
    "nearest_across": partial(nearest, name="nearest_across"),
    "confusion": confusion,
}
"""Pictures by their names, which results of an evaluation name too."""


def _write(axes: Axes, shares: np.ndarray) -> None:
    """Write shares that do not round to zero into their cells."""
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.5:
            colour = "white" if share > 50 else "black"
            axes.text(column, row, f"{share:.0f}", ha="center", va="center", color=colour, size=8)


def _words(run: Files, kind: str, number: int) -> str:
    """Name a class or a domain in a few letters, a number with what it is the number of."""
    name = run.name(kind, number)
    if not run.named(kind):
        return f"{kind} {name}"
    return name if len(name) <= MOST_LETTERS else f"{name[: MOST_LETTERS - 1]}…"
