"""Draws the figures of a run's report from `report.json` and the run's folder.

Colours tell things apart for colour-blind readers too: Okabe and Ito's palette, and viridis.
"""

import contextlib
import itertools
import re
import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Float, Num
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, get_font_names
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path
from matplotlib.ticker import MaxNLocator

from gca_jax.check import counted
from gca_jax.evaluation.plan import within_class
from gca_jax.report.entries import ENCODERS
from gca_jax.report.markdown import shortened, title
from gca_jax.workdir import Json, RunFolder

# Okabe and Ito's eight colours without yellow, which is too light on white, and three darker ones.
COLOURS = (
    *("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"),
    *("#56B4E9", "#000000", "#7F6A00", "#882255", "#777777"),
)
ON_PAGES = {"#000000": "var(--ink)", "#882255": "var(--plum)"}
"""Those too dark for a page in dark mode, and what `templates/style.css` has in their place."""
DENSITY_RANGE = (0.03, 30.0)
MOST_TICKS = 20
LONG_NAME = 2  # letters, which fit beside each other
MOST_LETTERS = 16  # of a name above a small picture
TICK_SIZE = 8  # points of names along an axis
MOST_LETTERS_OF_TICK = 30  # of a name along an axis or in a legend
MOST_NUMBERS = 12  # classes whose shares are written into their cells
MOST_POINTS = 1_000
CORRUPTIONS_A_ROW = 4
HIDDEN = re.compile("^_")
GLYPH = re.compile(r"Glyph (\d+) .*missing from")
SHOWN = 10  # letters without a font in a line
FALLBACKS = (
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans CJK TC", "Noto Sans CJK KR"),
    *("Source Han Sans", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "Droid Sans Fallback"),
    *("IPAGothic", "NanumGothic", "Hiragino Sans", "PingFang SC", "Apple SD Gothic Neo"),
    *("Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "Noto Sans Arabic", "Noto Sans Hebrew"),
    *("Noto Sans Devanagari", "Noto Sans Thai", "Noto Emoji", "Segoe UI Symbol", "Symbola"),
    *("Arial Unicode MS", "Unifont"),
)
"""Fonts of scripts that Matplotlib's own has no letters of."""


def training(report: Json, folder: RunFolder) -> Figure:
    """Draw loss and learning rate over training."""
    figure = Figure(figsize=(7, 5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    epochs, loss, rate = columns(folder, "epoch", "loss", "learning_rate")
    curve(upper, epochs, loss, color=COLOURS[0], linewidth=1.2)
    upper.set_ylabel("loss of a training batch")
    head(figure, report, ": training")
    curve(lower, epochs, rate, color=COLOURS[3], linewidth=1.5)
    lower.set(ylabel="learning rate", xlabel="epoch")
    lower.set_ylim(bottom=0)
    return figure


def plan(report: Json, folder: RunFolder) -> Figure:
    """Draw the mean transport plan beside its target (the paper's Figure A4)."""
    labels, matrix, target = (folder.arrays[name] for name in ("plan_labels", "plan", "target"))
    about = report.get("plan_of", {})  # of a plan by domains
    kind, part = about.get("kind", kind_of(report)), about.get("part", "test")
    mean = "transport plan of a batch" if about else "mean transport plan"
    names = [_name_in(report, kind, number, MOST_LETTERS_OF_TICK) for number in labels.tolist()]
    room = max(map(_inches, names))
    figure = Figure(figsize=(10.8 + room, 5.8 + room), layout="constrained")
    panels, drawn = figure.subplots(1, 2), {mean: matrix, "target plan": target}
    show_plans(figure, panels, [*drawn.values()])
    for axes, (words, values) in zip(panels, drawn.items(), strict=True):
        beside = textwrap.fill(within(values, labels, kind), 36)
        axes.set_title(f"{words}\n{beside}", fontsize=10)
        _class_ticks(axes, labels, names, kind, joint=len(values) == 2 * len(labels))
    panels[1].tick_params(labelleft=False)  # as beside the first
    head(figure, report, f": {part} images sorted by {kind}")
    return figure


def alignment_uniformity(report: Json, folder: RunFolder) -> Figure:
    """Draw alignment against uniformity over training, coloured by epoch."""
    figure = Figure(figsize=(6.5, 5), layout="constrained")
    axes = figure.subplots()
    x, y, epochs = columns(folder, "uniformity", "alignment", "epoch")
    every = -(-len(x) // MOST_POINTS)
    curve(axes, x[::every], y[::every], color="#bbbbbb", linewidth=0.6, zorder=1)
    points = axes.scatter(x[::every], y[::every], c=epochs[::every], cmap="viridis", s=14, zorder=2)
    figure.colorbar(points, ax=axes, label="epoch")
    end = report["uniformity"], report["alignment"]
    star = axes.scatter(*end, marker="*", s=170, color=COLOURS[3], edgecolor="black", zorder=3)
    star.set(linewidth=0.6, label="test split, end of training")
    axes.set_xlabel("uniformity  log E exp(−2‖z − z′‖²)   (← more uniform)")
    axes.set_ylabel("alignment  E‖z′ − z″‖²   (↓ closer views)")
    head(figure, report, ": training batches")
    axes.legend(loc="best", frameon=True)
    return figure


def corruptions(report: Json, folder: RunFolder) -> Figure:
    """Draw accuracy over severity, from clean images on, a panel for each corruption."""
    found = report["corruptions"]
    evaluated = {"trained": found, **found.get("baselines", {})}
    kinds = list(found["accuracy"])
    rows = -(-len(kinds) // CORRUPTIONS_A_ROW)
    figure = Figure(figsize=(9, 1.9 * rows + 0.7), layout="constrained")
    panels = figure.subplots(rows, CORRUPTIONS_A_ROW, sharex=True, sharey=True, squeeze=False)
    for axes, kind in itertools.zip_longest(panels.flat, kinds):
        if kind is None:
            axes.remove()
            continue
        for colour, (encoder, one) in zip(COLOURS, evaluated.items(), strict=False):
            shares = 100 * np.array([one["clean"], *one["accuracy"][kind]])
            look = dict(marker="o", markersize=3, color=colour, label=ENCODERS[encoder])
            curve(axes, np.arange(len(shares)), shares, None, **look)
        axes.set_title(kind.replace("_", " "), fontsize=9)
    figure.supxlabel("severity (0: clean)", fontsize=9)
    figure.supylabel("test accuracy, %", fontsize=9)
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=3)
    head(figure, report, ": corruptions", x=0.02, ha="left", fontsize=10)
    return figure


def plane(report: Json, folder: RunFolder) -> Figure:
    """Draw test features in two dimensions, by class and, where there are several, by domain."""
    kinds = {kind_of(report): folder.arrays.get("plane_labels")}
    domains = folder.arrays.get("plane_domains")
    if domains is not None and len(np.unique(domains)) > 1:
        kinds["domain"] = domains
    points = folder.arrays["plane"]
    figure = Figure(figsize=(6.5 * len(kinds), 6.4), layout="constrained")
    panels = figure.subplots(1, len(kinds), squeeze=False).flat
    for axes, (kind, numbers) in zip(panels, kinds.items(), strict=True):
        _map(axes, report, kind, points, numbers)
        if len(kinds) > 1:
            axes.set_title(f"by {kind}", fontsize=10)
    head(figure, report, f": encoder features of {len(points)} test images", fontsize=11)
    return figure


def _map(axes: Axes, report: Json, kind: str, x: np.ndarray, numbers: np.ndarray | None) -> None:
    """Draw each image as the number of its class, or as a dot in the colour of its domain.

    Where there are too many for the palette, their numbers are a scale of colour.
    """
    known = [] if numbers is None else np.unique(numbers).tolist()
    if len(known) > len(COLOURS):
        shown = axes.scatter(x[:, 0], x[:, 1], c=numbers, cmap="viridis", s=8)
        axes.figure.colorbar(shown, ax=axes, label=kind)
    elif not known:
        axes.scatter(x[:, 0], x[:, 1], color=COLOURS[0], s=8)
    else:
        names = [_name_in(report, kind, number, MOST_LETTERS_OF_TICK) for number in known]
        for number, name, colour in zip(known, names, COLOURS, strict=False):
            mark, size = (f"${number}$", 42) if kind == "class" else ("o", 14)
            a, b = x[numbers == number].T
            shown = axes.scatter(a, b, marker=mark, s=size, color=colour)
            shown.set(linewidth=0.2, label=name)
        if not all(name.isdigit() for name in names):
            axes.legend(
                loc="upper center",
                bbox_to_anchor=(0.5, -0.05),
                ncols=max(1, min(4, 64 // (8 + max(map(len, names))))),  # as many as have room
                fontsize=8,
                frameon=False,
            )
    axes.set(xticks=[], yticks=[], xlabel="t-SNE 1", ylabel="t-SNE 2")


def nearest(report: Json, folder: RunFolder, name: str = "nearest") -> Figure:
    """Draw a few test images, each beside the nearest ones; `nearest_across`: of other domains."""
    numbers = {kind: folder.arrays.get(f"{name}_{kind}s") for kind in ("label", "domain")}
    known = {kind: of for kind, of in numbers.items() if of is not None}
    similarities = report[f"{name}_neighbours"]["similarities"]
    images = folder.arrays[f"{name}_images"] / 255
    rows, columns = images.shape[:2]
    height = 1.35 + 0.15 * len(known)
    size = max(6.5, 1.3 * columns), height * rows + 0.5  # wide enough for a title
    figure = Figure(figsize=size, layout="constrained")
    for (row, column), axes in np.ndenumerate(image_grid(figure, images)):
        words = [f"{similarities[row][column - 1]:.2f}" if column else "query"]
        for kind, of in known.items():
            what, number = kind.replace("label", "class"), int(of[row, column])
            name = _name_in(report, what, number)
            words.append(f"{what} {name}" if name.isdigit() else name)
        axes.set_title("\n".join(words), fontsize=8)
        labels = known.get("label")
        if labels is not None and labels[row, column] != labels[row, 0]:
            axes.spines[:].set(visible=True, color=COLOURS[3], linewidth=2.5)
    where = " of other domains" * (name == "nearest_across")
    head(figure, report, f": nearest test images{where}")
    return figure


def confusion(report: Json, folder: RunFolder) -> Figure:
    """Draw the share of each class's test images that the linear probe takes for each class."""
    counts = folder.arrays["confusion"]
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(7, 6), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    figure.colorbar(image, ax=axes, label="of the class's test images, %", shrink=0.9)
    for (row, column), share in np.ndenumerate(shares if len(shares) <= MOST_NUMBERS else []):
        if share >= 0.5:  # else it rounds to zero
            colour = "white" if share > 50 else "black"
            axes.text(column, row, f"{share:.0f}", ha="center", va="center", color=colour, size=8)
    shown = range(0, len(shares), -(-len(shares) // MOST_TICKS))
    names = [_name_in(report, "class", number, MOST_LETTERS_OF_TICK) for number in shown]
    tick_names(axes, shown, names)
    axes.set(xlabel="taken for", ylabel="class")
    head(figure, report, ": linear probe, test images")
    return figure


DRAWN = (training, plan, alignment_uniformity, corruptions, plane, nearest, confusion)
FIGURES: dict[str, Callable[[Json, RunFolder], Figure]] = {
    **{draw.__name__: draw for draw in DRAWN},
    "nearest_across": partial(nearest, name="nearest_across"),
}
"""Pictures by their names, which results of an evaluation name too."""


def head(figure: Figure, report: Json, words: str, **look: Any) -> None:
    """Write the title of a run's picture over its whole width, in several lines if need be."""
    figure.suptitle(as_text(title(report, shortened) + words), wrap=True, **look)


def as_text(name: str) -> str:
    """Escape what Matplotlib would read as a formula."""
    return name.replace("$", r"\$")


def label(name: str, most: int = MOST_LETTERS_OF_TICK) -> str:
    """Write a name of the user's in a picture, in at most so many letters."""
    # A legend leaves out what begins with an underscore; the space has no width.
    return HIDDEN.sub("\N{ZERO WIDTH SPACE}_", as_text(shortened(name, most)))


@contextlib.contextmanager
def any_script() -> Iterator[None]:
    """Draw text with the fonts of other scripts that the system has; say once what none has."""
    known, missing = {*get_font_names()}, set()
    fonts = [*mpl.rcParams["font.family"], *(font for font in FALLBACKS if font in known)]

    def hear(message: Warning | str, *about: Any, **others: Any) -> None:
        if found := GLYPH.match(str(message)):
            missing.add(chr(int(found[1])))
        else:
            shown(message, *about, **others)

    with mpl.rc_context({"font.family": fonts}), warnings.catch_warnings():
        warnings.filterwarnings("always", GLYPH.pattern, UserWarning)
        shown, warnings.showwarning = warnings.showwarning, hear
        yield
    if missing:
        print(
            f"note: no font here has {counted(len(missing), 'letter')} of the names "
            f"({''.join(sorted(missing))[:SHOWN]}), so pictures show squares; one of the script, "
            "such as Noto Sans CJK, is taken once it is installed"
        )


def curve(
    axes: Axes,
    x: Num[np.ndarray, "k"],
    y: Float[np.ndarray, "k"],
    half: Float[np.ndarray, "k"] | None = None,
    **look: Any,
) -> Line2D:
    """Draw a curve on a light grid, and as a band its interval `y` ± `half` where one is known."""
    (line,) = axes.plot(x, y, **look)
    if half is not None:
        colour = line.get_color()
        axes.fill_between(x, y - half, y + half, color=colour, alpha=0.15, linewidth=0)
    plain(axes)
    return line


def image_grid(figure: Figure, images: Sequence | np.ndarray) -> np.ndarray:
    """Show images [h, w, c] in [0, 1] in rows and columns, and give their axes likewise.

    Other channels than RGB become grey.
    """
    panels = figure.subplots(len(images), len(images[0]), squeeze=False)
    for axes, image in zip(panels.flat, itertools.chain.from_iterable(images), strict=True):
        grey = np.broadcast_to(image.mean(-1, keepdims=True), (*image.shape[:2], 3))
        pixels = image if image.shape[-1] == 3 else grey
        axes.imshow(pixels, vmin=0, vmax=1, interpolation="nearest")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    return panels


def show_plans(figure: Figure, panels: Iterable[Axes], plans: Sequence[np.ndarray]) -> None:
    """Show plans [n, n] in multiples of the uniform one, grey without mass; hide other panels."""
    shades = mpl.colormaps["viridis"].with_extremes(bad="#d9d9d9")
    norm = LogNorm(*DENSITY_RANGE)
    panels = list(panels)
    for axes, matrix in itertools.zip_longest(panels, plans):
        axes.set_visible(matrix is not None)
        if matrix is not None:
            density = matrix / matrix.sum() * matrix.size
            shown = np.ma.masked_equal(density, 0)
            image = axes.imshow(shown, norm=norm, cmap=shades, interpolation="nearest")
    bar = figure.colorbar(image, ax=panels, extend="both", shrink=0.9)
    bar.set_label("mass, in multiples of the uniform plan's\n(grey: none)")


def within(plan: np.ndarray, labels: np.ndarray, kind: str = "class") -> str:
    """Describe the share of a plan's mass within a class or domain, off the positive pairs."""
    share, uniform = within_class(plan, labels)
    if share is None:
        return "all mass on the positive pairs"
    return f"off the positives {share:.0%} within {kind} (uniform: {uniform:.0%})"


def columns(folder: RunFolder, *names: str) -> list[Float[np.ndarray, "k"]]:
    """Read quantities of the training log, NaN where a row lacks one or it was not finite."""
    rows = folder.log
    found = [np.array([row.get(name) for row in rows], float) for name in names]
    for name, values in zip(names, found, strict=True):
        if np.isnan(values).all():
            raise ValueError(f"metrics.jsonl has no {name!r}: the run's log does not belong here")
    return found


def kind_of(report: Json) -> str:
    """Return how images are grouped, as in `Frozen.kinds`: by class or by domain."""
    return "class" if report["split"]["classes"] else "domain"


def name_of(report: Json, kind: str, number: int) -> str:
    """Name a "class" or a "domain"; by its number where it has no name."""
    names = report["split"].get(f"{kind}_names", [])
    return names[number] if names else str(number)


def _name_in(report: Json, kind: str, number: int, most: int = MOST_LETTERS) -> str:
    """Name a class or a domain in a picture, in at most so many letters."""
    return label(name_of(report, kind, number), most)


def _class_ticks(
    axes: Axes, labels: np.ndarray, names: Sequence[str], kind: str, joint: bool
) -> None:
    """Label blocks of one class, and the two views where both are on each side.

    `labels` and `names` are of the rows of one view.
    """
    views = 2 if joint else 1
    starts = np.flatnonzero(np.diff(labels, prepend=labels[0] - 1))
    bounds = np.append(starts, len(labels))
    centres = (bounds[:-1] + bounds[1:] - 1) / 2
    every = -(-len(starts) // (MOST_TICKS // views))
    ticks = np.concatenate([view * len(labels) + centres[::every] for view in range(views)])
    tick_names(axes, ticks, [names[start] for start in starts[::every]] * views)
    if joint:
        for draw in (axes.axhline, axes.axvline):
            draw(len(labels) - 0.5, color="white", linewidth=1)
    if joint:  # downwards, as rows are counted
        both = f"first view   ·   {kind}   ·   second view"
        axes.set_xlabel(both)
        axes.set_ylabel(both, rotation=270, va="top")
    else:
        axes.set(xlabel=f"{kind}; second view", ylabel=f"{kind}; first view")


def _inches(name: str) -> float:
    """Measure a name along an axis."""
    font = FontProperties(size=TICK_SIZE)
    return text_to_path.get_text_width_height_descent(name, font, ismath=False)[0] / 72


def tick_names(axes: Axes, ticks: Sequence[float] | np.ndarray, names: Sequence[str]) -> None:
    """Write the same names along both axes, upright below where they are long."""
    long = max(map(len, names)) > LONG_NAME
    axes.set_xticks(ticks, names, fontsize=TICK_SIZE, rotation=90 if long else 0)
    axes.set_yticks(ticks, names, fontsize=TICK_SIZE)
    axes.tick_params(length=0)


def plain(axes: Axes) -> None:
    """Draw axes without a box, on a light grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.yaxis.set_major_locator(MaxNLocator(6))
