"""Pictures of any folder, decoded and resized as those of a run, where they lie."""

import os
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from gca_jax.check import counted
from gca_jax.data import pictures
from gca_jax.data.sources import tree
from gca_jax.data.sources.tree import Tree

NAMED = 10  # unreadable pictures in a message


class Pictures(NamedTuple):
    """Some pictures of a tree.

    Attributes:
        rows: [k], which of the tree's files could be read.
        images: [k, h, w, c].
        faults: Why the others could not, by their names.
    """

    rows: Int[np.ndarray, "k"]
    images: UInt8[np.ndarray, "k h w c"]
    faults: dict[str, str]


def scan(root: str | os.PathLike[str], option: str, arrays: bool = False) -> Tree:
    """Find all pictures below a folder; their folders are classes where the tree looks like it.

    Files .npy are pictures with `arrays`; without, a line says how many were left out.

    Raises:
        ValueError: No picture is there; `option` is the flag that names the folder.
    """
    try:
        found = tree.scan(root, option=option, arrays=arrays)
    except ValueError:  # of a missing folder too, which is said again
        found = tree.scan(root, labelled=False, option=option, arrays=arrays)
    if found.left_out:
        left = counted(found.left_out, ".npy file")
        print(f"note: left out {left}: the run was not trained with --config.data.channels")
    return found


def read(
    found: Tree, rows: Int[np.ndarray, "n"], shape: tuple[int, ...], shorter_side: int
) -> Pictures:
    """Read pictures of a tree as images of one shape.

    Args:
        found: The tree.
        rows: [n], which of its files.
        shape: (h, w, c) to bring pictures to; where h is not w, they must have it.
        shorter_side: Pixels to which the shorter side is resized before the centre is cut out.
    """

    def look(row: int) -> UInt8[np.ndarray, "h w c"] | Exception:
        try:
            image = pictures.pixels((found.root / found.files[row]).read_bytes(), shape[2])
            return pictures.fit(image, shape, shorter_side)
        except (OSError, ValueError) as error:
            return error

    seen = dict(zip(rows.tolist(), pictures.in_threads(look, rows.tolist()), strict=True))
    images = {row: image for row, image in seen.items() if isinstance(image, np.ndarray)}
    faults = {found.files[row]: str(seen[row]) for row in seen.keys() - images.keys()}
    stacked = np.stack([*images.values()]) if images else np.empty((0, *shape), np.uint8)
    return Pictures(np.array([*images], np.int64), stacked, dict(sorted(faults.items())))


def describe(faults: dict[str, str], total: int) -> str:
    """Name the pictures that could not be read, in one line."""
    named = [f"{name} ({reason})" for name, reason in [*faults.items()][:NAMED]]
    more = f" and {len(faults) - NAMED} more" * (len(faults) > NAMED)
    return f"left out {len(faults)} of {total} pictures (unreadable): {', '.join(named)}{more}"
