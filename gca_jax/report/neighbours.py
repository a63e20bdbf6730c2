"""Pictures with the nearest neighbours of each, by the features of a trained encoder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Int32, UInt8

from gca_jax.data.dataset import Dataset, number
from gca_jax.data.sources import in_place
from gca_jax.data.splits import evenly_spaced
from gca_jax.evaluation.encoder import Encoder
from gca_jax.evaluation.nearest import nearest, two_dimensions

MOST_PICTURES = 1_000  # that a page holds
NEIGHBOURS = 8


class Group(NamedTuple):
    """Classes or domains: their names, and the number of each picture's [n]."""

    names: Sequence[str]
    numbers: Int32[np.ndarray, "n"]


class Neighbourhood(NamedTuple):
    """What a page shows.

    Attributes:
        title: Of the page.
        images: [n, h, w, c].
        names: [n], of the in_place.
        groups: Under "class" and "domain", where pictures have them.
        places: [n, 2], on the map.
        nearest: [n, k], the rows nearest to each by cosine similarity, the nearest first.
        across: [n, k], likewise among the pictures of other domains; None where there are none.
    """

    title: str
    images: UInt8[np.ndarray, "n h w c"]
    names: Sequence[str]
    groups: Mapping[str, Group]
    places: Float[np.ndarray, "n 2"]
    nearest: Int[np.ndarray, "n k"]
    across: Int[np.ndarray, "n j"] | None


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
        if numbers is not None
    }
    title = f"{encoder.config.method} on {data.name}: test images"
    names = [f"test image {row}" for row in rows]
    return find(encoder, data.test_images[rows], names, groups, title)


def of_folder(encoder: Encoder, folder: str | Path) -> Neighbourhood:
    """Find the neighbours of the pictures in a folder, evenly spaced where there are very many."""
    tree = in_place.scan(folder, "--images", encoder.reads_arrays)
    asked = evenly_spaced(len(tree.files), MOST_PICTURES)
    read = in_place.read(tree, asked, encoder.shape, encoder.shorter_side)
    if read.faults:
        print(f"note: {in_place.describe(read.faults, len(asked))}")
    groups = {}
    for kind, given in (("class", tree.classes), ("domain", tree.domains)):
        known, (numbers,) = number(given)
        if known is not None and numbers is not None:
            groups[kind] = Group(known, numbers[read.rows])
    names = [tree.files[row] for row in read.rows]
    title = f"{encoder.config.method}: pictures of {tree.root.name}"
    return find(encoder, read.images, names, groups, title)


def find(
    encoder: Encoder,
    images: UInt8[np.ndarray, "n h w c"],
    names: Sequence[str],
    groups: Mapping[str, Group],
    title: str,
) -> Neighbourhood:
    """Encode images, find the neighbours of each, and map all to the plane.

    Raises:
        ValueError: There are fewer than two in_place.
    """
    n = len(images)
    if n < 2:
        raise ValueError(f"neighbours need at least 2 pictures, got {n}")
    features, everyone = encoder.encode(images), np.arange(n)
    close, _ = nearest(features, everyone, min(NEIGHBOURS, n - 1))
    across = None
    if "domain" in groups:
        domains = groups["domain"].numbers
        others = n - np.bincount(domains).max()  # of the largest domain
        if others:
            across, _ = nearest(features, everyone, min(NEIGHBOURS, others), groups=domains)
    places = two_dimensions(features, encoder.config.seed)
    return Neighbourhood(title, images, names, groups, places, close, across)
