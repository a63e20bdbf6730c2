"""Neighbourhoods as one HTML page, complete in itself: pictures, style and script are inside."""

import base64
import dataclasses
import json
import math
from collections.abc import Iterator
from functools import cached_property
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from gca_jax.data.pictures import sprite
from gca_jax.data.splits import evenly_spaced
from gca_jax.files import replace
from gca_jax.report.figures import COLOURS
from gca_jax.report.neighbours import Group, Neighbourhood

QUERIES = 24
SIDE = 48  # pixels of a picture's longer side
MAP = 700  # units of the map's side


def write(found: Neighbourhood, out: Path) -> None:
    """Write or overwrite a page."""
    page = render(found).encode()
    replace(out, lambda file: file.write(page))
    print(f"{out}: {len(found.images)} pictures, {len(page) / 1e6:,.2f} MB")


def render(found: Neighbourhood) -> str:
    """Write the page."""
    page = _Page(found)
    height, width = page.size
    sheet = base64.b64encode(sprite(found.images, SIDE, page.columns)).decode()
    groups = found.groups.items()
    template = Path(__file__).with_name("neighbours.html").read_text(encoding="utf-8")
    return Template(template).substitute(
        title=escape(found.title),
        summary=page.summary(),
        width=width,
        height=height,
        sheet=sheet,
        sheet_width=page.columns * width,
        sheet_height=math.ceil(len(found.images) / page.columns) * height,
        rendering="pixelated" if max(found.images.shape[1:3]) < SIDE else "auto",
        colours="\n".join(line for kind, group in groups for line in _colours(kind, group)),
        shown=next(iter(found.groups), ""),
        map=" ".join(f"{side + 20:.0f}" for side in page.places.max(axis=0)),
        dots="\n".join(page.dots()),
        legends="\n".join(_legend(kind, group) for kind, group in groups),
        queries="\n".join(page.queries()),
        data=page.json(),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Page:
    """The parts of a page; its pictures lie in one sheet, row by row."""

    found: Neighbourhood

    @cached_property
    def columns(self) -> int:
        """Pictures in a row of the sheet."""
        return math.ceil(math.sqrt(len(self.found.images)))

    @cached_property
    def size(self) -> tuple[int, int]:
        """Height and width of a picture on the screen, in pixels."""
        h, w = self.found.images.shape[1:3]
        return max(1, round(SIDE * h / max(h, w))), max(1, round(SIDE * w / max(h, w)))

    @cached_property
    def near(self) -> dict[str, Int[np.ndarray, "n k"]]:
        """Rows of neighbours by what they are called."""
        rows = {"nearest": self.found.nearest, "in other domains": self.found.across}
        return {name: each for name, each in rows.items() if each is not None}

    def summary(self) -> str:
        """Say how often the nearest neighbour is of the same class."""
        start = f"{len(self.found.images)} pictures."
        if "class" not in self.found.groups:
            return start
        classes = self.found.groups["class"].numbers
        shares = [np.mean(classes[rows[:, 0]] == classes) for rows in self.near.values()]
        more = f", the nearest in other domains for {shares[1]:.1%}" if shares[1:] else ""
        return f"{start} The nearest neighbour is of the same class for {shares[0]:.1%}{more}."

    @cached_property
    def places(self) -> Float[np.ndarray, "n 2"]:
        """Places on the map, the longer side of which is `MAP`."""
        places = self.found.places - self.found.places.min(axis=0)
        return MAP * places / max(places.max(), 1e-9)

    def dots(self) -> Iterator[str]:
        """Draw the map's dots."""
        for i, (x, y) in enumerate(self.places):
            names = " ".join(f"{kind}{g.numbers[i]}" for kind, g in self.found.groups.items())
            yield f'<circle data-i="{i}" class="{names}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'

    def queries(self) -> Iterator[str]:
        """Write rows of a query and its neighbours, evenly spaced over each class."""
        everyone = np.arange(len(self.found.images))
        if "class" not in self.found.groups:
            yield from self._rows(everyone, QUERIES)
            return
        names, numbers = self.found.groups["class"]
        there = np.unique(numbers)
        shown = there[evenly_spaced(len(there), QUERIES)]
        for label in shown.tolist():
            members = everyone[numbers == label]
            same = np.mean(numbers[self.found.nearest[members, 0]] == label)
            share = f"<small>nearest neighbour of the same class: {same:.0%}</small>"
            yield f"<h3>{escape(names[label])} {share}</h3>"
            yield from self._rows(members, max(1, QUERIES // len(shown)))

    def _rows(self, members: Int[np.ndarray, "m"], count: int) -> Iterator[str]:
        for query in members[evenly_spaced(len(members), count)].tolist():
            for name, rows in self.near.items():
                others = "".join(self._picture(i, query) for i in rows[query].tolist())
                first = f'{self._picture(query, query)}<span class="arrow">→</span>'
                words = f"<small>{name}</small>" * (len(self.near) > 1)
                yield f'<div class="row">{words}{first}{others}</div>'

    def _picture(self, i: int, query: int) -> str:
        """Show a picture, in a frame if it is of another class than the query."""
        groups = self.found.groups
        words = [self.found.names[i], *(f"{k} {g.names[g.numbers[i]]}" for k, g in groups.items())]
        framed = "class" in groups and groups["class"].numbers[i] != groups["class"].numbers[query]
        (row, column), (height, width) = divmod(i, self.columns), self.size
        return (
            f'<i class="pic{" other" if framed else ""}" data-i="{i}" role="img" '
            f'title="{escape(", ".join(words))}" '
            f'style="background-position: -{column * width}px -{row * height}px"></i>'
        )

    def json(self) -> str:
        """Give the script what it needs."""
        groups = {
            kind: {"names": [*group.names], "numbers": group.numbers.tolist()}
            for kind, group in self.found.groups.items()
        }
        values: dict[str, Any] = {"names": [*self.found.names], "groups": groups}
        values["neighbours"] = {name: rows.tolist() for name, rows in self.near.items()}
        values |= {"columns": self.columns, "width": self.size[1], "height": self.size[0]}
        return json.dumps(values).replace("<", "\\u003c")  # so that no name ends the script


def _colour(index: int, count: int) -> str:
    """Choose a colour of the palette, or a hue where there are too many for it."""
    return COLOURS[index] if count <= len(COLOURS) else f"hsl({360 * index // count} 65% 45%)"


def _colours(kind: str, group: Group) -> Iterator[str]:
    """Colour the dots of a map that shows this kind of group, and the list of its names."""
    for i in range(len(group.names)):
        colour = _colour(i, len(group.names))
        yield f"svg.{kind} .{kind}{i} {{ fill: {colour}; }} b.{kind}{i} {{ background: {colour}; }}"


def _legend(kind: str, group: Group) -> str:
    """List the names of groups with their colours."""
    items = "".join(
        f'<li data-of="{kind}{i}"><b class="{kind}{i}"></b>{escape(name)}</li>'
        for i, name in enumerate(group.names)
    )
    return f'<ul class="legend" data-kind="{kind}"><li class="quiet">{kind}</li>{items}</ul>'
