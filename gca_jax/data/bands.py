"""Pictures of any number of channels, for which Pillow has no mode: arrays and stacks of grey."""

import io

import numpy as np
import PIL.Image
from jaxtyping import UInt8
from numpy.typing import NDArray

ARRAY = b"\x93NUMPY"  # how a .npy begins


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
