"""Decoding pictures, of any number of channels too, and resizing them."""

import io
import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import PIL.Image
import PIL.ImageSequence
from jaxtyping import UInt8
from numpy.typing import NDArray

MODES = {1: "L", 3: "RGB"}
CHUNK = 1024  # pictures or records read at once
ARRAY = b"\x93NUMPY"  # first bytes of a .npy
BILINEAR = PIL.Image.Resampling.BILINEAR

A = TypeVar("A")
B = TypeVar("B")


def pixels(encoded: bytes, channels: int) -> UInt8[np.ndarray, "h w c"]:
    """Decode a picture's bytes.

    Sixteen bits are scaled to eight. As 1 or 3 channels, a picture is converted to grey or RGB, on
    white where it is transparent; .npy and other numbers of channels are for `decode`.

    Raises:
        OSError: The bytes are no whole picture of this kind.
    """
    try:
        if channels not in MODES or encoded.startswith(ARRAY):
            return decode(encoded, channels)
        with PIL.Image.open(io.BytesIO(encoded)) as picture:
            mode, plain = MODES[channels], _plain(picture)
            image = np.asarray(plain if plain.mode == mode else plain.convert(mode))
    except PIL.UnidentifiedImageError as error:
        raise OSError("is no picture") from error  # Pillow names only a place in memory
    except (SyntaxError, ValueError, EOFError, PIL.Image.DecompressionBombError) as error:
        raise OSError(str(error)) from error  # Pillow raises these for some broken files
    return image.reshape(*image.shape[:2], channels)


def decode(encoded: bytes, channels: int) -> UInt8[np.ndarray, "h w c"]:
    """Decode a .npy [h, w, c], [c, h, w] or [h, w], or the bands or grey pages of a picture.

    Sixteen bits are scaled to eight, floats are in [0, 1].

    Raises:
        ValueError: Another number of channels, or values of another type or range.
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
    """Read the bands of a picture, or the grey pages of a file of several, one a channel."""
    try:
        with PIL.Image.open(io.BytesIO(encoded)) as picture:
            if getattr(picture, "n_frames", 1) == 1:
                return np.asarray(picture)
            pages = [np.asarray(page) for page in PIL.ImageSequence.Iterator(picture)]
    except PIL.UnidentifiedImageError as error:
        raise OSError("is no picture that Pillow reads: save it as .npy [h, w, c]") from error
    if pages[0].ndim != 2 or len({page.shape for page in pages}) > 1:
        raise ValueError(f"has {len(pages)} pages, which are not grey or not of one size")
    return np.stack(pages, axis=2)


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


def _plain(picture: PIL.Image.Image) -> PIL.Image.Image:
    """Scale 16-bit grey to 8 bits, which Pillow would clip, and lay transparency on white."""
    if picture.mode.startswith("I"):
        return PIL.Image.fromarray(np.rint(np.asarray(picture) / 257).astype(np.uint8))
    if not picture.has_transparency_data:
        return picture
    white = PIL.Image.new("RGBA", picture.size, "white")
    return PIL.Image.alpha_composite(white, picture.convert("RGBA"))


def resize(
    image: UInt8[np.ndarray, "h w c"], columns: int, rows: int
) -> UInt8[np.ndarray, "rows columns c"]:
    """Resize bilinearly with antialiasing, each channel separately."""

    def resized(picture: NDArray) -> NDArray:
        return np.asarray(PIL.Image.fromarray(picture).resize((columns, rows), BILINEAR))

    if image.shape[2] == 3:
        return resized(image)
    return np.stack([resized(plane) for plane in np.moveaxis(image, 2, 0)], axis=2)


def centre(
    image: UInt8[np.ndarray, "h w c"], size: int, shorter: int
) -> UInt8[np.ndarray, "size size c"]:
    """Resize the shorter side to `shorter` pixels, then crop the centre to `size` x `size`."""
    height, width, _ = image.shape
    scale = shorter / min(height, width)
    rows, columns = max(round(height * scale), size), max(round(width * scale), size)
    top, left = (rows - size) // 2, (columns - size) // 2
    return resize(image, columns, rows)[top : top + size, left : left + size]


def fit(
    image: UInt8[np.ndarray, "rows columns c"], shape: tuple[int, ...], shorter_side: int | None
) -> UInt8[np.ndarray, "h w c"]:
    """Resize and crop a picture to a square `shape`; raise ValueError if another shape differs."""
    if shorter_side is not None and shape[0] == shape[1]:
        return centre(image, shape[0], shorter_side)
    if image.shape != shape:
        size, right = (" x ".join(map(str, s[:2])) for s in (image.shape, shape))
        raise ValueError(f"is of {size} pixels, not of {right}")
    return image


def in_threads(function: Callable[[A], B], items: Iterable[A]) -> Iterator[B]:
    """Map in order, on all cores; Pillow decodes without holding the interpreter's lock."""
    rest = iter(items)
    with ThreadPoolExecutor() as pool:
        while chunk := list(itertools.islice(rest, CHUNK)):  # a pool reads all items at once
            yield from pool.map(function, chunk)


def sprite(images: UInt8[np.ndarray, "n h w c"], side: int, columns: int) -> bytes:
    """Draw images in a grid, each shrunk to at most `side` pixels a side, and encode it as PNG."""
    if images.shape[3] not in MODES:  # which no screen shows: their mean, grey
        images = images.mean(axis=3, keepdims=True).astype(np.uint8)
    n, height, width, channels = images.shape
    scale = min(1.0, side / max(height, width))
    rows, cell = -(-n // columns), (max(1, round(width * scale)), max(1, round(height * scale)))
    sheet = PIL.Image.new(MODES[channels], (columns * cell[0], rows * cell[1]), "white")
    for i, image in enumerate(images):
        picture = PIL.Image.fromarray(image if channels == 3 else image[..., 0])
        if scale < 1:
            picture = picture.resize(cell, BILINEAR)
        sheet.paste(picture, (i % columns * cell[0], i // columns * cell[1]))
    file = io.BytesIO()
    sheet.save(file, "PNG", optimize=True)
    return file.getvalue()
