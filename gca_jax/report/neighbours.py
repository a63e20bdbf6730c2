"""Writes a page of pictures with the nearest neighbours of each, by a trained encoder's features.

Pictures, style and script are all inside the page.
"""

import base64
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Int32, UInt8

from gca_jax.data.dataset import Dataset, number
from gca_jax.data.pictures import sprite
from gca_jax.data.sources import reading
from gca_jax.data.sources.in_place import Files
from gca_jax.data.sources.tree import scan_any
from gca_jax.data.splits import evenly_spaced
from gca_jax.evaluation.features import Encoder
from gca_jax.evaluation.knn import nearest_rows
from gca_jax.evaluation.nearest import two_dimensions
from gca_jax.files import replace
from gca_jax.report.figures import COLOURS, ON_PAGES
from gca_jax.report.markdown import html

MOST_PICTURES = 1_000  # that a page holds
NEIGHBOURS = 8
QUERIES = 24
SIDE = 48  # pixels of a picture's longer side


class Group(NamedTuple):
    """Classes or domains: their names, and the number of each picture's [n]."""

    names: Sequence[str]
    numbers: Int32[np.ndarray, "n"]


class Neighbourhood(NamedTuple):
    """Content of the page.

    Attributes:
        title: Of the page.
        images: [n, h, w, c].
        names: [n], of the pictures.
        groups: Under "class" and "domain", where pictures have them.
        places: [n, 2], on the map.
        near: [n, k], rows of each image's neighbours by cosine similarity, the nearest first:
            under "nearest" and, where there are any, "in other domains".
    """

    title: str
    images: UInt8[np.ndarray, "n h w c"]
    names: Sequence[str]
    groups: Mapping[str, Group]
    places: Float[np.ndarray, "n 2"]
    near: Mapping[str, Int[np.ndarray, "n _"]]

    @property
    def labels(self) -> list[str]:
        """Each picture's name with its class and domain."""
        of = [[f"{kind} {g.names[i]}" for i in g.numbers] for kind, g in self.groups.items()]
        return [", ".join(words) for words in zip(self.names, *of, strict=True)]

    @property
    def classes(self) -> Int32[np.ndarray, "n"]:
        """The class of each picture; all alike where they have none."""
        alike = np.zeros(len(self.images), np.int32)
        return self.groups["class"].numbers if "class" in self.groups else alike


def of_tests(encoder: Encoder, data: Dataset) -> Neighbourhood:
    """Find the neighbours of a run's test images, evenly spaced where there are very many."""
    rows = evenly_spaced(len(data.test_images), MOST_PICTURES)
    kinds = {
        "class": (data.class_names, data.test_labels),
        "domain": (data.domain_names, data.test_domains),
    }
    groups = {
        kind: Group(names or [*map(str, range(numbers.max() + 1))], numbers[rows])
        for kind, (names, numbers) in kinds.items()
        if numbers is not None and _tells_apart(kind, numbers[rows])
    }
    title = f"{encoder.config.method} on {data.name}: test images"
    names = [f"test image {row}" for row in rows]
    return find(encoder, data.test_images[rows], names, groups, title)


def of_folder(encoder: Encoder, folder: str | Path) -> Neighbourhood:
    """Find the neighbours of the pictures in a folder, evenly spaced where there are very many."""
    tree = scan_any(folder, "--images", encoder.reads_arrays)
    asked = evenly_spaced(len(tree.files), MOST_PICTURES)
    faults = reading.Faults(str(tree.root), skip=True, looks={})
    shape, shorter = encoder.shape, encoder.shorter_side
    rows, read = reading.read(Files(tree, fixed=False), asked, shape, faults, shorter_side=shorter)
    faults.report(asked)
    groups = {}
    for kind, given in (("class", tree.classes), ("domain", tree.domains)):
        known, (numbers,) = number(given)
        if known is not None and numbers is not None and _tells_apart(kind, numbers[rows]):
            groups[kind] = Group(known, numbers[rows])
    names = [tree.files[row] for row in rows]
    title = f"{encoder.config.method}: pictures of {tree.root.name}"
    return find(encoder, np.asarray(read.images), names, groups, title)


def _tells_apart(kind: str, numbers: Int[np.ndarray, "n"]) -> bool:
    """Tell whether pictures are shown by their class or domain: a single domain tells nothing."""
    return kind == "class" or len(np.unique(numbers)) > 1


def find(
    encoder: Encoder,
    images: UInt8[np.ndarray, "n h w c"],
    names: Sequence[str],
    groups: Mapping[str, Group],
    title: str,
) -> Neighbourhood:
    """Encode images, find the neighbours of each, and map all to the plane.

    Raises:
        ValueError: There are fewer than two pictures.
    """
    n = len(images)
    if n < 2:
        raise ValueError(f"neighbours need at least 2 pictures, got {n}")
    features, everyone = encoder.encode(images), np.arange(n)
    near = {"nearest": nearest_rows(features, everyone, min(NEIGHBOURS, n - 1))[1]}
    if "domain" in groups:
        domains = groups["domain"].numbers
        others = n - np.bincount(domains).max()  # of the largest domain
        if others:
            _, across = nearest_rows(features, everyone, min(NEIGHBOURS, others), domains)
            near["in other domains"] = across
    places = two_dimensions(features, encoder.config.seed)
    return Neighbourhood(title, images, names, groups, places, near)


def write(found: Neighbourhood, out: Path) -> None:
    """Write or overwrite a page."""
    page = render(found).encode()
    replace(out, lambda file: file.write(page))
    print(f"{out}: {len(found.images)} pictures, {len(page) / 1e6:,.2f} MB")


def render(found: Neighbourhood) -> str:
    """Render the page; its pictures lie in one sheet, row by row."""
    n, (h, w) = len(found.images), found.images.shape[1:3]
    columns = math.ceil(math.sqrt(n))
    height, width = (max(1, round(SIDE * side / max(h, w))) for side in (h, w))
    places = found.places - found.places.min(axis=0)
    classes = found.classes
    return html(
        "neighbours.html",
        found=found,
        labels=found.labels,
        classes=classes.tolist(),
        near={name: rows.tolist() for name, rows in found.near.items()},
        same={name: np.mean(classes[rows[:, 0]] == classes) for name, rows in found.near.items()},
        places=(100 * places / np.maximum(places.max(axis=0), 1e-9)).tolist(),  # % of the map
        aspect="{:.4f} / {:.4f}".format(*np.maximum(places.max(axis=0), 1e-9)),
        sheet=base64.b64encode(sprite(found.images, SIDE, columns)).decode(),
        columns=columns,
        rows=math.ceil(n / columns),
        width=width,
        height=height,
        rendering="pixelated" if max(h, w) < SIDE else "auto",
        palette=[ON_PAGES.get(colour, colour) for colour in COLOURS],
        queries=list(_queries(found)),
    )


def _queries(found: Neighbourhood) -> Iterator[tuple[str, float, list[int]]]:
    """Choose queries, evenly spaced over each class: its name, how often it is found, and rows."""
    there = np.unique(found.classes)
    shown = there[evenly_spaced(len(there), QUERIES)]
    for label in shown.tolist():
        members = np.flatnonzero(found.classes == label)
        same = np.mean(found.classes[found.near["nearest"][members, 0]] == label)
        rows = members[evenly_spaced(len(members), max(1, QUERIES // len(shown)))]
        name = found.groups["class"].names[label] if "class" in found.groups else ""
        yield name, float(same), rows.tolist()
