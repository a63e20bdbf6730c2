"""All runs below a folder as one HTML page, complete in itself: `index.html`."""

import math
from collections.abc import Iterator
from html import escape
from pathlib import Path
from string import Template
from urllib.parse import quote

from gca_jax.check import counted
from gca_jax.files import write_text
from gca_jax.report.figures import COLOURS
from gca_jax.report.runs import ALWAYS, CURVES, Run, collect, studies, value, varied

WIDTH, HEIGHT, MARGIN = 420, 240, 44  # units of a panel's curves, and the room of its axes
LONG = 20  # characters of a setting that a column shows for certain
BELOW_ONE = ("alignment", "uniformity", "effective_rank", "train_seconds")  # no shares


def write(folder: Path) -> Path | None:
    """Write or overwrite `index.html`; None where there is no run below the folder."""
    runs = collect(folder)
    if not runs:
        return None
    page = render(folder.resolve().name, runs, studies(folder, runs))
    return write_text(folder / "index.html", page)


def render(name: str, runs: list[Run], pages: list[str]) -> str:
    """Write the page."""
    template = Path(__file__).with_name("overview.html").read_text(encoding="utf-8")
    settings = varied(runs)
    colours = _colours(runs)
    unfinished = sum(not run.finished for run in runs)
    words = counted(len(runs), "run")
    words += f", {unfinished} of them unfinished." if unfinished else "."
    others = any(not near for near in settings.values())
    links = ", ".join(f'<a href="{quote(page)}">{escape(page)}</a>' for page in pages)
    return Template(template).substitute(
        title=escape(f"Runs in {name}"),
        summary=words + (f" Studies: {links}." if links else ""),
        more="" if others else "hidden",
        head="".join(_head(runs, settings)),
        rows="\n".join(_row(i, run, runs, settings, colours[i]) for i, run in enumerate(runs)),
        panels="\n".join(filter(None, (_panel(key, runs, colours) for key in CURVES))),
    )


def _colours(runs: list[Run]) -> list[str]:
    """Colour runs by themselves where the palette has enough, else by method and data set."""
    groups = [run.folder for run in runs]
    if len(runs) > len(COLOURS):
        groups = ["".join(run.settings.get(key, "") for key in ALWAYS[:2]) for run in runs]
    names = list(dict.fromkeys(groups))
    return [COLOURS[names.index(group) % len(COLOURS)] for group in groups]


def _measures(runs: list[Run]) -> list[str]:
    """List the names of results, accuracies first."""
    names = dict.fromkeys(name for run in runs for name in run.results)
    return sorted(names, key=lambda name: name in BELOW_ONE)


def _head(runs: list[Run], settings: dict[str, bool]) -> Iterator[str]:
    """Write the head of the table."""
    fixed = dict.fromkeys(("run", "method", "data", "seed"), True)
    for name, near in {**fixed, **settings}.items():
        yield f'<th scope="col"{_more(near)}><button>{escape(name)}</button></th>'
    yield '<th scope="col"><button>state</button></th>'
    for name in _measures(runs):
        unit = "" if name in BELOW_ONE else ", %"
        shown = name.replace("train_seconds", "training, s").replace("_", " ")
        yield f'<th scope="col" class="number"><button>{escape(shown)}{unit}</button></th>'


def _more(near: bool) -> str:
    """Mark a column that is shown on demand."""
    return "" if near else ' class="more"'


def _row(i: int, run: Run, runs: list[Run], settings: dict[str, bool], colour: str) -> str:
    """Write a run as a row of the table."""
    link = f"{run.folder}/{run.page}" if run.page else f"{run.folder}/"
    cells = [
        f'<th scope="row"><b style="background: {colour}"></b>'
        f'<a href="{quote(link)}">{escape(run.folder)}</a></th>'
    ]
    shown = {**dict.fromkeys(ALWAYS, True), **settings}
    cells += [_setting(value(run, key), near) for key, near in shown.items()]
    cells.append(f"<td>{escape(run.state)}</td>")
    cells += [_number(run, name) for name in _measures(runs)]
    kind = "" if run.finished else ' class="unfinished"'
    return f'<tr data-run="{i}"{kind}>{"".join(cells)}</tr>'


def _setting(words: str, near: bool) -> str:
    """Write a setting; what a long one has beyond its column is under the pointer."""
    title = f' title="{escape(words)}"' if len(words) > LONG else ""
    return f'<td class="setting{"" if near else " more"}"{title}>{escape(words)}</td>'


def _number(run: Run, name: str) -> str:
    """Write a result; an accuracy below that of raw pixels is marked."""
    if name not in run.results:
        return '<td class="number"></td>'
    number, pixels = run.results[name], run.pixels.get(name)
    if name in BELOW_ONE:
        text = f"{number:.3f}" if name != "train_seconds" else f"{number:.0f}"
        return f'<td class="number" data-value="{number}">{text}</td>'
    below = pixels is not None and number < pixels
    title = "" if pixels is None else f' title="raw pixels: {100 * pixels:.1f} %"'
    kind = "number below" if below else "number"
    return f'<td class="{kind}" data-value="{number}"{title}>{100 * number:.1f}</td>'


def _panel(key: str, runs: list[Run], colours: list[str]) -> str | None:
    """Draw one quantity of all runs over epochs; None where no run has it."""
    points = [point for run in runs for point in run.curves.get(key, [])]
    if not points:
        return None
    right = max(x for x, _ in points) or 1.0
    low, high = min(y for _, y in points), max(y for _, y in points)
    height = high - low or 1.0

    def place(x: float, y: float) -> str:
        return f"{WIDTH * x / right:.1f},{HEIGHT * (high - y) / height:.1f}"

    lines = [
        f'<polyline data-run="{i}" style="stroke: {colour}" points="'
        f'{" ".join(place(x, y) for x, y in run.curves[key])}"><title>{escape(run.folder)}</title>'
        "</polyline>"
        for i, (run, colour) in enumerate(zip(runs, colours, strict=True))
        if run.curves.get(key)
    ]
    axes = [_tick(WIDTH * x / right, HEIGHT + 16, "middle", x) for x in _ticks(0, right)]
    for y in _ticks(low, high):
        at = HEIGHT * (high - y) / height
        axes.append(f'<path d="M0 {at:.1f}H{WIDTH}"/>{_tick(-6, at + 4, "end", y)}')
    box = f"{-MARGIN} -10 {WIDTH + MARGIN + 10} {HEIGHT + 46}"
    words = f'<text x="{WIDTH / 2}" y="{HEIGHT + 33}" text-anchor="middle">epoch</text>'
    drawn = "\n".join([*axes, words, *lines])
    return f'<figure><svg viewBox="{box}">{drawn}</svg><figcaption>{key}</figcaption></figure>'


def _tick(x: float, y: float, anchor: str, number: float) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{number:g}</text>'


def _ticks(low: float, high: float) -> list[float]:
    """Choose a few round numbers of a range."""
    rough = (high - low) / 5 or 1.0
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(m * size for m in (1, 2, 5, 10) if m * size >= rough)
    first = math.ceil(low / step)
    return [round(k * step, 10) for k in range(first, math.floor(high / step) + 1)]
