"""Encoded pictures to pixels, and to one size."""

import io
import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import PIL.Image
from jaxtyping import UInt8

MODES = {1: "L", 3: "RGB"}
CHUNK = 1024

A = TypeVar("A")
B = TypeVar("B")


def pixels(encoded: bytes, channels: int) -> UInt8[np.ndarray, "h w c"]:
    """Decode PNG or JPEG bytes; an OSError says why they are no whole picture."""
    try:
        with PIL.Image.open(io.BytesIO(encoded)) as picture:
            mode = MODES[channels]
            image = np.asarray(picture if picture.mode == mode else picture.convert(mode))
    except PIL.UnidentifiedImageError as error:
        raise OSError("is no picture") from error  # PIL names only a place in memory
    except (SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:
        raise OSError(str(error)) from error  # what PIL raises for some broken files
    return image.reshape(*image.shape[:2], channels)


def centre(
    image: UInt8[np.ndarray, "h w c"], size: int, shorter: int
) -> UInt8[np.ndarray, "size size c"]:
    """Resize the shorter side to `shorter` pixels, then cut the centre of `size` x `size` out."""
    height, width, channels = image.shape
    scale = shorter / min(height, width)
    rows, columns = max(round(height * scale), size), max(round(width * scale), size)
    picture = PIL.Image.fromarray(image if channels == 3 else image[..., 0])
    picture = picture.resize((columns, rows), PIL.Image.Resampling.BILINEAR)
    top, left = (rows - size) // 2, (columns - size) // 2
    cropped = np.asarray(picture.crop((left, top, left + size, top + size)))
    return cropped.reshape(size, size, channels)


def in_threads(function: Callable[[A], B], items: Iterable[A]) -> Iterator[B]:
    """Map in order, on all cores; PIL decodes without holding the interpreter.

    A pool takes at once all it is given, so it is given a chunk at a time.
    """
    rest = iter(items)
    with ThreadPoolExecutor() as pool:
        while chunk := list(itertools.islice(rest, CHUNK)):
            yield from pool.map(function, chunk)
