"""Decodes pictures, of any number of channels too, and brings them to a size."""

import io
import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import PIL.Image
from jaxtyping import UInt8
from numpy.typing import NDArray

MODES = {1: "L", 3: "RGB"}
CHUNK = 1024  # pictures or records read at once
ARRAY = b"\x93NUMPY"  # how a .npy begins

A = TypeVar("A")
B = TypeVar("B")


def decode(encoded: bytes, channels: int) -> UInt8[np.ndarray, "h w c"]:
    """Decode a .npy [h, w, c], [c, h, w] or [h, w], or the bands or grey pages of a picture.

    Sixteen bits are scaled to eight, floats are in [0, 1].

    Raises:
        ValueError: Another number of channels, or values of another kind or range.
        OSError: Pillow cannot read the picture.
    """
    if encoded.startswith(ARRAY):
        found = np.load(io.BytesIO(encoded), allow_pickle=False)
    else:
        found = _bands(encoded)
    if found.ndim == 2:
        found = found[..., None]
    if found.ndim == 3 and found.shape[0] == channels != found.shape[2]:
        found = np.moveaxis(found, 0, 2)
    if found.ndim != 3 or found.shape[2] != channels or 0 in found.shape:
        raise ValueError(f"is {list(found.shape)}, not [h, w, {channels}] as data.channels has it")
    return _as_bytes(found)


def _bands(encoded: bytes) -> NDArray:
    """Read a picture's bands as they are, or the grey pages of a file of several, one a channel."""
    try:
        with PIL.Image.open(io.BytesIO(encoded)) as picture:
            pages = getattr(picture, "n_frames", 1)
            if pages == 1:
                return np.asarray(picture)
            stack = []
            for page in range(pages):
                picture.seek(page)
                stack.append(np.asarray(picture))
    except PIL.UnidentifiedImageError as error:
        raise OSError("is no picture that Pillow reads: save it as .npy [h, w, c]") from error
    if stack[0].ndim != 2 or len({page.shape for page in stack}) > 1:
        raise ValueError(f"has {pages} pages, which are not grey or not of one size")
    return np.stack(stack, axis=2)


def _as_bytes(values: NDArray) -> UInt8[np.ndarray, "h w c"]:
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.uint16:
        return np.rint(values / 257).astype(np.uint8)
    if values.dtype.kind != "f":
        raise ValueError(f"is of {values.dtype}, not of uint8, uint16 or floats in [0, 1]")
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= 1):  # nor NaN
        raise ValueError(f"has floats from {low:g} to {high:g}, they must lie in [0, 1]")
    return np.rint(values * 255).astype(np.uint8)


def resize(
    image: UInt8[np.ndarray, "h w c"], columns: int, rows: int
) -> UInt8[np.ndarray, "rows columns c"]:
    """Resize bilinearly, with antialiasing, each channel for itself."""
    if image.shape[2] == 3:
        picture = PIL.Image.fromarray(image)
        return np.asarray(picture.resize((columns, rows), PIL.Image.Resampling.BILINEAR))
    planes = (PIL.Image.fromarray(image[..., k]) for k in range(image.shape[2]))
    resized = (plane.resize((columns, rows), PIL.Image.Resampling.BILINEAR) for plane in planes)
    return np.stack([np.asarray(plane) for plane in resized], axis=2)


def pixels(encoded: bytes, channels: int) -> UInt8[np.ndarray, "h w c"]:
    """Decode a picture's bytes; an OSError says why they are no whole picture.

    Sixteen bits are scaled to eight, and transparent pixels show white. Other numbers of channels
    than 1 and 3, and arrays, are for `decode`.
    """
    try:
        if channels not in MODES or encoded.startswith(ARRAY):
            return decode(encoded, channels)
        with PIL.Image.open(io.BytesIO(encoded)) as picture:
            mode, plain = MODES[channels], _plain(picture)
            image = np.asarray(plain if plain.mode == mode else plain.convert(mode))
    except PIL.UnidentifiedImageError as error:
        raise OSError("is no picture") from error  # PIL names only a place in memory
    except (SyntaxError, ValueError, EOFError, PIL.Image.DecompressionBombError) as error:
        raise OSError(str(error)) from error  # what PIL raises for some broken files
    return image.reshape(*image.shape[:2], channels)


def _plain(picture: PIL.Image.Image) -> PIL.Image.Image:
    """Convert 16-bit grey to 8 bits, where Pillow clips, and composite transparency on white."""
    if picture.mode.startswith("I"):
        return PIL.Image.fromarray(np.rint(np.asarray(picture) / 257).astype(np.uint8))
    if not picture.has_transparency_data:
        return picture
    white = PIL.Image.new("RGBA", picture.size, "white")
    return PIL.Image.alpha_composite(white, picture.convert("RGBA"))


def centre(
    image: UInt8[np.ndarray, "h w c"], size: int, shorter: int
) -> UInt8[np.ndarray, "size size c"]:
    """Resize the shorter side to `shorter` pixels, then cut the centre of `size` x `size` out."""
    height, width, _ = image.shape
    scale = shorter / min(height, width)
    rows, columns = max(round(height * scale), size), max(round(width * scale), size)
    top, left = (rows - size) // 2, (columns - size) // 2
    return resize(image, columns, rows)[top : top + size, left : left + size]


def in_threads(function: Callable[[A], B], items: Iterable[A]) -> Iterator[B]:
    """Map in order, on all cores; PIL decodes without holding the interpreter.

    A pool takes at once all it is given, so it is given a chunk at a time.
    """
    rest = iter(items)
    with ThreadPoolExecutor() as pool:
        while chunk := list(itertools.islice(rest, CHUNK)):
            yield from pool.map(function, chunk)


def fit(
    image: UInt8[np.ndarray, "rows columns c"], shape: tuple[int, ...], shorter_side: int | None
) -> UInt8[np.ndarray, "h w c"]:
    """Bring a picture to a shape: resized and cropped to a square; else it must have the shape."""
    if shorter_side is not None and shape[0] == shape[1]:
        return centre(image, shape[0], shorter_side)
    if image.shape != shape:
        size, right = (" x ".join(map(str, s[:2])) for s in (image.shape, shape))
        raise ValueError(f"is of {size} pixels, not of {right}")
    return image


def sprite(images: UInt8[np.ndarray, "n h w c"], side: int, columns: int) -> bytes:
    """Make one PNG of all images in a grid, each shrunk until no side is longer than `side`."""
    if images.shape[3] not in MODES:  # which no screen shows: their mean, grey
        images = images.mean(axis=3, keepdims=True).astype(np.uint8)
    n, height, width, channels = images.shape
    scale = min(1.0, side / max(height, width))
    rows, cell = -(-n // columns), (max(1, round(width * scale)), max(1, round(height * scale)))
    sheet = PIL.Image.new(MODES[channels], (columns * cell[0], rows * cell[1]), "white")
    for i, image in enumerate(images):
        picture = PIL.Image.fromarray(image if channels == 3 else image[..., 0])
        if scale < 1:
            picture = picture.resize(cell, PIL.Image.Resampling.BILINEAR)
        sheet.paste(picture, (i % columns * cell[0], i // columns * cell[1]))
    file = io.BytesIO()
    sheet.save(file, "PNG", optimize=True)
    return file.getvalue()
