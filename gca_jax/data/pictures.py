"""Decoding pictures, of any number of channels too, and resizing them."""

import contextlib
import functools
import hashlib
import io
import itertools
import math
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np
import PIL.Image
import PIL.ImageOps
import PIL.ImageSequence
from jaxtyping import UInt8
from numpy.typing import NDArray

MODES = {1: "L", 3: "RGB"}
CHUNK = 1024  # pictures or records read at once
ARRAY = b"\x93NUMPY"  # first bytes of a .npy
BILINEAR = PIL.Image.Resampling.BILINEAR
# Formats that Pillow knows, and decodes with another program or not at all.
UNREAD = {"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"}
LAYERED = {"MPO", "PSD"}  # formats whose further frames are no pages: depth maps, layers
LARGE = 2**22  # pixels; smaller pictures are decoded whole
GAP = 4  # the shorter side of a reduced picture, in times of the size at which it is needed
ALONE = 2**24  # pixels; of larger pictures one is decoded at a time
CLAIMED = 2**26  # pixels that any file may claim
PER_BYTE = 32  # pixels that larger ones may have for each byte of the file
FEW_LEVELS = 32  # of 256, which a set should span
ROWS = 256  # of an array that are converted at once

A = TypeVar("A")
B = TypeVar("B")

_alone = threading.Lock()


@functools.cache
def formats() -> tuple[str, ...]:
    """Name the formats that are read: those that Pillow itself decodes."""
    PIL.Image.init()
    return tuple(name for name in PIL.Image.OPEN if name not in UNREAD)


@functools.cache
def suffixes() -> tuple[str, ...]:
    """List the suffixes of these formats."""
    known = PIL.Image.registered_extensions().items()
    return tuple(sorted(suffix for suffix, name in known if name in {*formats(), "MPO"}))


class Look(NamedTuple):
    """What a set's notes need to know of a picture."""

    low: int  # level
    high: int
    pages: int  # of which the first is read, unless they are the channels
    digest: str  # of its bytes


def look(encoded: bytes, image: UInt8[np.ndarray, "h w c"]) -> Look:
    """Look at a picture's bytes and what `pixels` decoded of them."""
    pages = 1
    if image.shape[2] in MODES and not encoded.startswith(ARRAY):
        with (
            contextlib.suppress(Exception),  # further pages are damaged
            PIL.Image.open(io.BytesIO(encoded), formats=formats()) as picture,
        ):
            if picture.format not in LAYERED:
                pages = getattr(picture, "n_frames", 1)
    digest = hashlib.sha256(encoded).hexdigest()[:16]
    return Look(int(image.min()), int(image.max()), pages, digest)


def few_levels(name: str, low: int, high: int) -> None:
    """Print a note if images of a set span few of the 256 levels."""
    if high - low < FEW_LEVELS:
        print(
            f"note: {name} span {high - low + 1} of 256 levels, {low} to {high}: if they are of "
            "another depth, such as 12 bits in 16 or a mask of 0 and 1, scale them first"
        )


def pixels(encoded: bytes, channels: int, side: int | None = None) -> UInt8[np.ndarray, "h w c"]:
    """Decode a picture's bytes, upright as a viewer shows it.

    Sixteen bits are scaled to eight, floats must lie in [0, 1]. As 1 or 3 channels, a picture is
    converted to grey or RGB, on white where it is transparent; .npy and other numbers of channels
    are for `decode`.

    Args:
        encoded: Bytes of the file.
        channels: c.
        side: Pixels of the shorter side at which the picture is needed. One of more than `LARGE`
            pixels is reduced by a whole factor, 8 at most, to a shorter side of `GAP * side` at
            least; JPEG while it is decoded.

    Raises:
        OSError: The bytes are no whole picture of this kind.
    """
    try:
        if channels not in MODES or encoded.startswith(ARRAY):
            return decode(encoded, channels)
        with _opened(encoded, side) as picture:
            mode, plain = MODES[channels], _plain(picture, side)
            image = np.asarray(plain if plain.mode == mode else plain.convert(mode))
    except PIL.UnidentifiedImageError as error:
        raise OSError("is no picture") from error  # Pillow names only a place in memory
    except MemoryError as error:
        raise OSError("is no picture, or takes more memory than there is") from error
    except (OSError, ValueError, SyntaxError, EOFError, PIL.Image.DecompressionBombError) as error:
        if type(error) is OSError:
            raise
        raise OSError(str(error).split("\n")[0]) from error  # from some broken files
    except Exception as error:  # decoders of broken files raise whatever their parsers do
        raise OSError("is no picture") from error
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
        found = _bands(encoded, channels)
    if found.ndim == 2:
        found = found[..., None]
    if found.ndim == 3 and found.shape[0] == channels != found.shape[2]:
        found = np.moveaxis(found, 0, 2)
    if found.ndim != 3 or found.shape[2] != channels or 0 in found.shape:
        raise ValueError(f"is {list(found.shape)}, not [h, w, {channels}] as data.channels has it")
    return _as_bytes(found)


@contextlib.contextmanager
def _opened(
    encoded: bytes, side: int | None = None, pages: int | None = None
) -> Iterator[PIL.Image.Image]:
    """Open a picture and load its first page, upright; JPEG at the scale that `side` needs.

    Raises:
        ValueError: It claims far more pixels than its bytes can hold, or has more than one page
            and not as many as `pages`.
    """
    with PIL.Image.open(io.BytesIO(encoded), formats=formats()) as picture:
        count = 1 if pages is None else getattr(picture, "n_frames", 1)
        if count not in (1, pages):
            raise ValueError(f"has {count} pages, not {pages} as data.channels has it")
        whole = math.prod(picture.size)
        if whole > LARGE and side is not None:
            picture.draft(None, (GAP * side, GAP * side))
        # A progressive JPEG is in memory as a whole before it is scaled.
        total = count * (whole if picture.info.get("progressive") else math.prod(picture.size))
        if total > max(CLAIMED, PER_BYTE * len(encoded)):
            raise ValueError(f"claims {total} pixels in {len(encoded)} bytes, which is no picture")
        with _alone if total > ALONE else contextlib.nullcontext():
            picture.load()
            with contextlib.suppress(Exception):  # viewers show pictures with damaged EXIF too
                PIL.ImageOps.exif_transpose(picture, in_place=True)
            yield picture


def _bands(encoded: bytes, channels: int) -> NDArray:
    """Read the bands of a picture, or the grey pages of a file of several, one a channel."""
    try:
        with _opened(encoded, pages=channels) as picture:
            if getattr(picture, "n_frames", 1) == 1:
                return _values(picture)
            size, pages = picture.size, []
            for page in PIL.ImageSequence.Iterator(picture):
                if len(page.getbands()) > 1 or sorted(page.size) != sorted(size):
                    raise ValueError(f"has {channels} pages, which are not grey or not of one size")
                pages.append(_values(page))
    except PIL.UnidentifiedImageError as error:
        raise OSError("is no picture that Pillow reads: save it as .npy [h, w, c]") from error
    return np.stack(pages, axis=2)


def _values(picture: PIL.Image.Image) -> NDArray:
    """Return a picture's values in the type that they have in its file."""
    values = np.asarray(picture)
    if picture.mode == "I" and picture.format == "PPM":  # which Pillow scales to sixteen bits
        return values.astype(np.uint16)
    return values


def _as_bytes(values: NDArray) -> UInt8[np.ndarray, "..."]:
    """Scale to eight bits, a few rows at a time, as their floats take eight times the memory."""
    if values.dtype == np.uint8:
        return values
    wide = values.dtype.kind == "u" and values.dtype.itemsize == 2  # in any order of bytes
    if not wide and values.dtype.kind != "f":
        raise ValueError(f"is of {values.dtype}, not of uint8, uint16 or floats in [0, 1]")
    if not wide:
        low, high = values.min(), values.max()
        if not (low >= 0 and high <= 1):  # nor NaN
            raise ValueError(f"has floats from {low:g} to {high:g}, they must lie in [0, 1]")
    scaled = np.empty(values.shape, np.uint8)
    for top in range(0, len(values), ROWS):
        rows = values[top : top + ROWS]
        scaled[top : top + ROWS] = np.rint(rows / 257 if wide else rows * 255)
    return scaled


def _plain(picture: PIL.Image.Image, side: int | None) -> PIL.Image.Image:
    """Scale grey to 8 bits, reduce a large picture, and lay transparency on white."""
    if picture.mode[0] in "IF":  # 16 bits, which Pillow would clip, integers or floats
        picture = PIL.Image.fromarray(_as_bytes(_values(picture)))
    if side is not None and math.prod(picture.size) > LARGE:
        if picture.mode in ("1", "P", "PA"):
            picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
        picture = picture.reduce(min(8, max(1, min(picture.size) // (GAP * side))))
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
