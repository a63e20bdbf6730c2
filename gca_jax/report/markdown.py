"""Renders `templates/`: Markdown pages, filled to lines of `WIDTH`, and HTML pages.

Names of the user's (classes, folders, methods of a study) are text in both.
"""

import base64
import json
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

import jinja2
import numpy as np
from markdown_it import MarkdownIt
from markdown_it.token import Token

from gca_jax.check import counted
from gca_jax.report.entries import ENCODERS
from gca_jax.workdir import Json

WIDTH = 100
HELD = "\N{NO-BREAK SPACE}"
"""Stands for a space at which no line ends, until the page is filled."""
SPECIAL = re.compile(r"[\\`*\[\]<>|#&~]|(?<![^\W_])_|_(?![^\W_])")
"""What Markdown would read as more than text; an underscore within a word is text anyway."""
BEGINS = re.compile(r" (?=[-+=]|\d+[.)])")
"""The space before what would begin a list or underline a heading at the start of a line."""
UNFILLED = ("#", "|", "![", "    ", "```")
"""Prefixes of Markdown blocks whose line breaks are kept."""
EXTREMES = 6  # rows from either end of a long table of classes
LONGEST_NAME = 32  # letters of a name in the title of a picture


@cache
def templates() -> jinja2.Environment:
    """Load the templates; only those of HTML are escaped, and a misspelled name is an error."""
    loaded = jinja2.Environment(
        loader=jinja2.PackageLoader("gca_jax.report"),
        autoescape=jinja2.select_autoescape(("html",)),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    loaded.policies["json.dumps_kwargs"] = {}  # keys stay in the order of the config
    loaded.filters |= {"mean": np.mean, "percent": percent, "sd_of_one": sd_of_one}
    loaded.filters |= {"line": line, "text": text}
    loaded.globals |= {"ENCODERS": ENCODERS, "counted": counted, "groups": groups}
    loaded.globals |= {"json": json.dumps, "scores": scores, "table": table}
    return loaded


def html(name: str, **values: object) -> str:
    """Render a template of HTML."""
    return templates().get_template(name).render(values)


def markdown(name: str, **values: object) -> str:
    """Render a template of Markdown: one blank line between blocks, paragraphs filled."""
    blocks = re.split(r"\n(?:[ ]*\n)+", templates().get_template(name).render(values).strip())
    return "\n\n".join(map(_fill, blocks)).replace(HELD, " ") + "\n"


def page(content: str, folder: Path) -> str:
    """Render Markdown as one HTML page, with the pictures of its folder inside."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(content)
    heads = [(one, inner) for one, inner in pairwise(tokens) if one.type == "heading_open"]
    for one, inner in heads:
        one.attrSet("id", re.sub(r"[^\w-]", "", inner.content.lower().replace(" ", "-")))
    for one in (inner for token in tokens for inner in token.children or []):
        if one.type == "image":
            one.attrSet("src", _embedded(folder, one))
    body = parser.renderer.render(tokens, parser.options, {})
    names = [piece.content for piece in heads[0][1].children or []] if heads else []
    return html("page.html", title="".join(names) or folder.name, body=body)


def _embedded(folder: Path, image: Token) -> str:
    """Give the content of a picture as an address; that of a picture elsewhere as it is."""
    picture = folder / (address := str(image.attrs["src"]))
    if not picture.is_file():
        return address
    return f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"


def text(name: object) -> str:
    """Escape a name, so that it is text in Markdown, on one line."""
    return BEGINS.sub(HELD, SPECIAL.sub(r"\\\g<0>", line(name)))


def line(words: object) -> str:
    """Write line breaks as spaces."""
    return " ".join(str(words).splitlines())


def _fill(block: str) -> str:
    """Fill a paragraph or the items of a list; a number stays beside its %."""
    if block.startswith(UNFILLED):
        return block
    indent = "  " if block.startswith("- ") else ""
    fill = textwrap.TextWrapper(
        WIDTH,
        subsequent_indent=indent,
        break_on_hyphens=False,  # a path stays in one piece
        break_long_words=False,
    ).fill
    held = block.replace(" %", f"{HELD}%")
    return "\n".join(fill(re.sub(r"[ \n]+", " ", item)) for item in re.split(r"\n(?=- )", held))


def report(template: str, report: Json) -> str:
    """Render the page of a run from the content of `report.json`."""
    probes = [result for result in report["results"] if result["accuracy"]]
    return markdown(template, report=report, probes=probes, title=title(report, text))


def title(report: Json, name: Callable[[str], str] = str) -> str:
    """Name a run by its method and its data; its own data by their folder or file.

    `name` is applied to each name that is the user's.
    """
    config = report["config"]
    data = config["data"] if "dataset" not in config.get("given", {}) else {}
    where = next((data[key] for key in ("root", "file", "path") if data.get(key)), None)
    words = name(report["dataset"])
    words += "" if where is None else f" {name(Path(where).name)}"
    held_out = f", domain {name(data['held_out'])} held out" if data.get("held_out") else ""
    return f"{name(report['method'])} on {words}{held_out}"


def shortened(name: str, most: int = LONGEST_NAME) -> str:
    """Cut out the middle of a name of more letters; line breaks become spaces."""
    name = " ".join(name.split())
    end = (most - 1) // 2
    return name if len(name) <= most else f"{name[: most - 1 - end]}…{name[-end:]}"


def scores(head: str, probes: Sequence[Json]) -> str:
    """Tabulate what each encoder scores in each probe, ± the deviation over draws of labels."""
    rows = []
    for name, words in ENCODERS.items():
        row = [words]
        for probe in probes:
            share, sd = probe["accuracy"].get(name), probe["sd"].get(name)
            spread = "" if sd is None else f" ± {percent(sd)}"
            row.append("–" if share is None else f"{percent(share)}{spread}")
        if any(name in probe["accuracy"] for probe in probes):
            rows.append(row)
    return table([head, *(text(probe["title"]) for probe in probes)], rows)


def groups(report: Json) -> list[str]:
    """Tabulate the trained encoder's accuracy by class and by domain, where it was measured.

    Of very many classes, those with the lowest and the highest accuracy.
    """
    tables = []
    for kind in ("class", "domain"):
        keys = {"all labels": f"per_{kind}", "unseen domain": f"per_unseen_{kind}"}
        columns = {f"linear, {of}": report[key] for of, key in keys.items() if report.get(key)}
        names, words = [*next(iter(columns.values()), {})], ""
        if len(names) > 2 * EXTREMES:
            words = f"\nThe {EXTREMES} lowest and the {EXTREMES} highest of {len(names)}.\n"
            names.sort(key=next(iter(columns.values())).__getitem__)
            names = names[:EXTREMES] + names[-EXTREMES:]
        each = columns.values()
        rows = [
            [text(name), *(percent(of[name]) if name in of else "" for of in each)]
            for name in names
        ]
        if rows:
            tables.append(table([kind, *columns], rows) + words)
    return tables


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def sd_of_one(share: float) -> float:
    """Give the standard deviation of whether one image is classified rightly."""
    return (share * (1 - share)) ** 0.5


def percent(share: float) -> str:
    """Write a share as a percentage with one decimal."""
    return f"{100 * share:.1f}"
