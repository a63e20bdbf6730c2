"""Pictures of any folder, decoded and resized as those of a run, where they lie."""

import io
import os
from typing import NamedTuple

import numpy as np
import PIL.Image
from jaxtyping import Int, UInt8

from gca_jax.data import records
from gca_jax.data.sources import tree
from gca_jax.data.sources.tree import Tree
from gca_jax.text import counted

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
            image = records.pixels((found.root / found.files[row]).read_bytes(), shape[2])
            return fit(image, shape, shorter_side)
        except (OSError, ValueError) as error:
            return error

    seen = dict(zip(rows.tolist(), records.in_threads(look, rows.tolist()), strict=True))
    images = {row: image for row, image in seen.items() if isinstance(image, np.ndarray)}
    faults = {found.files[row]: str(seen[row]) for row in seen.keys() - images.keys()}
    stacked = np.stack([*images.values()]) if images else np.empty((0, *shape), np.uint8)
    return Pictures(np.array([*images], np.int64), stacked, dict(sorted(faults.items())))


def fit(
    image: UInt8[np.ndarray, "rows columns c"], shape: tuple[int, ...], shorter_side: int
) -> UInt8[np.ndarray, "h w c"]:
    """Bring a picture to a shape: resized and cropped where that is a square."""
    if shape[0] == shape[1]:
        return records.centre(image, shape[0], shorter_side)
    if image.shape != shape:
        size, right = (" x ".join(map(str, s[:2])) for s in (image.shape, shape))
        raise ValueError(f"is of {size} pixels, not of {right}")
    return image


def describe(faults: dict[str, str], total: int) -> str:
    """Name the pictures that could not be read, in one line."""
    named = [f"{name} ({reason})" for name, reason in [*faults.items()][:NAMED]]
    more = f" and {len(faults) - NAMED} more" * (len(faults) > NAMED)
    return f"left out {len(faults)} of {total} pictures (unreadable): {', '.join(named)}{more}"


def sprite(images: UInt8[np.ndarray, "n h w c"], side: int, columns: int) -> bytes:
    """Make one PNG of all images in a grid, each shrunk until no side is longer than `side`."""
    if images.shape[3] not in records.MODES:  # which no screen shows: their mean, grey
        images = images.mean(axis=3, keepdims=True).astype(np.uint8)
    n, height, width, channels = images.shape
    scale = min(1.0, side / max(height, width))
    rows, cell = -(-n // columns), (max(1, round(width * scale)), max(1, round(height * scale)))
    sheet = PIL.Image.new(records.MODES[channels], (columns * cell[0], rows * cell[1]), "white")
    for i, image in enumerate(images):
        picture = PIL.Image.fromarray(image if channels == 3 else image[..., 0])
        if scale < 1:
            picture = picture.resize(cell, PIL.Image.Resampling.BILINEAR)
        sheet.paste(picture, (i % columns * cell[0], i // columns * cell[1]))
    file = io.BytesIO()
    sheet.save(file, "PNG", optimize=True)
    return file.getvalue()
