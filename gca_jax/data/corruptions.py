"""Common corruptions of images at five severities, made on the fly for any data set.

All but `occlusion` are those of CIFAR-10-C, formulae and constants: D. Hendrycks and T. Dietterich,
"Benchmarking neural network robustness to common corruptions and perturbations", ICLR 2019 (their
make_cifar_c.py). Corruptions that need a picture of frost or another image library (snow, fog,
glass and motion blur, ...) are left out. Values are rounded to uint8, where the authors' code
truncates.

The authors' lengths are in pixels of 32 x 32 images. On larger images they are multiplied by
side/32, rounded to a whole number: a blur then covers the same share of the scene, and a disk keeps
its shape on the pixel grid. On smaller ones they are not shrunk, for the same reason; but on 8 x 8
digits a radius of 1.5 pixels would be a fifth of the image. So images whose side is at most 21
pixels are enlarged to about 32 by repeating pixels, blurred, and averaged back. `pixelate` keeps a
share of the pixels; of 8 x 8 they are 7, 7, 6, 6 and 5 a side, whose errors do not grow in order.
Noise, colours and JPEG's blocks of eight pixels have no length to scale.
"""

import io
import math
import zlib
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from scipy import ndimage

from gca_jax import check

Pixels: TypeAlias = UInt8[np.ndarray, "n h w c"]
Unit: TypeAlias = Float[np.ndarray, "n h w c"]
Corruption: TypeAlias = Callable[[Unit, Any, np.random.Generator], Unit]

SEVERITIES = (1, 2, 3, 4, 5)
SIDE = 32  # pixels, for which the authors' lengths are meant
GREY = 0.5  # of an occlusion: it stands out against black and white backgrounds alike


def corrupt(images: Pixels, name: str, severity: int, seed: int, part: int = 0) -> Pixels:
    """Corrupt images; the same arguments give the same pixels.

    The random numbers depend on name, seed and part, not on the severity: an image at two
    severities differs by strength alone.

    Args:
        images: [n, h, w, c], grey or RGB; n may be 0, in one of many processes.
        name: A key of `CORRUPTIONS`.
        severity: 1 to 5.
        seed: From 0.
        part: Index, from 0, of this part of a larger set.

    Raises:
        ValueError: An unknown corruption or severity, or a number of channels it does not support.
    """
    if name not in CORRUPTIONS:
        raise ValueError(f"unknown corruption {name!r}; one of: {', '.join(CORRUPTIONS)}")
    if severity not in SEVERITIES:
        raise ValueError(f"severity must be from 1 to 5, got {severity}")
    check.at_least("seed", seed, 0)
    channels = images.shape[-1]
    if name not in names(channels):
        raise ValueError(f"{name} cannot be applied to images of {channels} channels")
    if not len(images):
        return images
    rng = np.random.default_rng([seed, zlib.crc32(name.encode()), part])
    function, constants = CORRUPTIONS[name]
    return _pixels(function(images / 255.0, constants[severity - 1], rng))


def names(channels: int) -> tuple[str, ...]:
    """Name the corruptions of images with so many channels.

    Raises:
        ValueError: They are neither grey nor RGB.
    """
    if channels not in (1, 3):
        raise ValueError(f"corruptions are of grey or RGB images, these have {channels} channels")
    return tuple(name for name in CORRUPTIONS if channels == 3 or name not in COLOUR)


def gaussian_noise(x: Unit, c: float, rng: np.random.Generator) -> Unit:
    """Add normal noise: x + c·N(0, 1)."""
    return x + c * rng.standard_normal(x.shape)


def shot_noise(x: Unit, c: float, rng: np.random.Generator) -> Unit:
    """Count photons: Poisson(c·x) / c."""
    return rng.poisson(c * x) / c


def impulse_noise(x: Unit, c: float, rng: np.random.Generator) -> Unit:
    """Set a share c of all values to 0 or 1, each with probability 1/2."""
    drawn, salt = rng.random(x.shape), rng.random(x.shape) < 0.5
    return np.where(drawn < c, salt, x)


def speckle_noise(x: Unit, c: float, rng: np.random.Generator) -> Unit:
    """Add noise in proportion to the value: x + c·x·N(0, 1)."""
    return x + c * x * rng.standard_normal(x.shape)


def defocus_blur(x: Unit, c: tuple[float, float], rng: np.random.Generator) -> Unit:
    """Convolve with an antialiased disk of c = (radius, its smoothing), at 32 pixels."""
    from scipy import signal  # takes as long to import as jax

    def blur(mosaic: Unit, scale: int) -> Unit:
        kernel = _disk(c[0] * scale, c[1] * scale, scale)
        margin = len(kernel) // 2
        padding = ((0, 0), (margin, margin), (margin, margin), (0, 0))
        padded = np.pad(mosaic, padding, mode="reflect")
        return signal.fftconvolve(padded, kernel[None, :, :, None], mode="valid", axes=(1, 2))

    return _at_32_pixels(x, blur)


def gaussian_blur(x: Unit, c: float, rng: np.random.Generator) -> Unit:
    """Convolve with a Gaussian of standard deviation c, at 32 pixels."""

    def blur(mosaic: Unit, scale: int) -> Unit:
        sd = (0, c * scale, c * scale, 0)
        return ndimage.gaussian_filter(mosaic, sd, mode="nearest", truncate=4.0)

    return _at_32_pixels(x, blur)


def brightness(x: Unit, c: float, rng: np.random.Generator) -> Unit:
    """Add c to the value of HSV, the largest channel; hue and saturation stay."""
    value = x.max(axis=-1, keepdims=True)
    brighter = np.minimum(value + c, 1.0)
    return np.where(value > 0, x * brighter / np.where(value > 0, value, 1.0), brighter)


def contrast(x: Unit, c: float, rng: np.random.Generator) -> Unit:
    """Shrink the differences from the mean of each channel of an image by the factor c."""
    mean = x.mean(axis=(1, 2), keepdims=True)
    return mean + c * (x - mean)


def saturate(x: Unit, c: tuple[float, float], rng: np.random.Generator) -> Unit:
    """Change the saturation S of HSV to a·S + b, c = (a, b).

    A grey pixel has hue 0, so that an added saturation makes it red.
    """
    a, b = c
    value = x.max(axis=-1, keepdims=True)
    below = value - x  # V·S in the lowest channel
    saturation = below.max(axis=-1, keepdims=True) / np.where(value > 0, value, 1.0)
    wanted = np.clip(a * saturation + b, 0.0, 1.0)
    coloured = saturation > 0
    red = value * np.array([0.0, 1.0, 1.0])
    return value - wanted * np.where(coloured, below / np.where(coloured, saturation, 1.0), red)


def pixelate(x: Unit, c: float, rng: np.random.Generator) -> Unit:
    """Shrink to the share c of each side, at 32 pixels, averaging over boxes; enlarge again."""
    _, height, width, _ = x.shape
    share = c / _scale(min(height, width))
    size = max(1, int(width * share)), max(1, int(height * share))

    def change(image: Image.Image) -> Image.Image:
        small = image.resize(size, Image.Resampling.BOX)
        return small.resize((width, height), Image.Resampling.BOX)

    return _each(x, change)


def jpeg_compression(x: Unit, c: int, rng: np.random.Generator) -> Unit:
    """Compress by JPEG with quality c, as Pillow does by default."""

    def change(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=c)
        return Image.open(file)

    return _each(x, change)


def occlusion(x: Unit, c: float, rng: np.random.Generator) -> Unit:
    """Cover a share c of the area with a grey rectangle at a random place; our own.

    It has the proportions of the image; its sides are rounded to pixels.
    """
    n, height, width, _ = x.shape
    tall, wide = (max(1, round(math.sqrt(c) * side)) for side in (height, width))
    where = rng.random((2, n))
    tops = np.floor(where[0] * (height - tall + 1)).astype(int)[:, None]
    lefts = np.floor(where[1] * (width - wide + 1)).astype(int)[:, None]
    rows, columns = np.arange(height)[None], np.arange(width)[None]
    in_rows = (rows >= tops) & (rows < tops + tall)
    in_columns = (columns >= lefts) & (columns < lefts + wide)
    hidden = in_rows[:, :, None, None] & in_columns[:, None, :, None]
    return np.where(hidden, GREY, x)


CORRUPTIONS: dict[str, tuple[Corruption, tuple[Any, Any, Any, Any, Any]]] = {
    "gaussian_noise": (gaussian_noise, (0.04, 0.06, 0.08, 0.09, 0.10)),
    "shot_noise": (shot_noise, (500, 250, 100, 75, 50)),
    "impulse_noise": (impulse_noise, (0.01, 0.02, 0.03, 0.05, 0.07)),
    "speckle_noise": (speckle_noise, (0.06, 0.10, 0.12, 0.16, 0.20)),
    "defocus_blur": (defocus_blur, ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))),
    "gaussian_blur": (gaussian_blur, (0.4, 0.6, 0.7, 0.8, 1.0)),
    "brightness": (brightness, (0.05, 0.10, 0.15, 0.20, 0.30)),
    "contrast": (contrast, (0.75, 0.5, 0.4, 0.3, 0.15)),
    # The first two take colour away, the others add it.
    "saturate": (saturate, ((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2))),
    "pixelate": (pixelate, (0.95, 0.9, 0.85, 0.75, 0.65)),
    "jpeg_compression": (jpeg_compression, (80, 65, 58, 50, 40)),
    "occlusion": (occlusion, (0.1, 0.2, 0.3, 0.4, 0.5)),
}
"""(images [n, h, w, c] in [0, 1], c, rng) -> corrupted images, and c of each severity, by name."""
COLOUR = ("saturate",)  # leave grey images as they are


def _pixels(x: Unit) -> Pixels:
    return np.round(255 * np.clip(x, 0, 1)).astype(np.uint8)


def _scale(side: int) -> int:
    """Return how many pixels of such an image count as one of the authors'."""
    return max(1, round(side / SIDE))


def _at_32_pixels(x: Unit, blur: Callable[[Unit, int], Unit]) -> Unit:
    """Blur images with lengths multiplied by a scale; small ones enlarged to about 32 pixels."""
    n, height, width, c = x.shape
    side = min(height, width)
    block = max(1, round(SIDE / side))  # one pixel from a side of 22 on
    blurred = blur(x.repeat(block, 1).repeat(block, 2), _scale(side * block))
    return blurred.reshape(n, height, block, width, block, c).mean(axis=(2, 4))


def _disk(radius: float, smoothing: float, reach: int) -> Float[np.ndarray, "k k"]:
    """Make a disk that sums to one, smoothed by a Gaussian that is cut off after `reach` pixels.

    The authors' reach is one pixel.
    """
    half = math.floor(radius) + reach
    offsets = np.arange(-half, half + 1)
    inside = (offsets[:, None] ** 2 + offsets**2 <= radius**2).astype(float)
    taps = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * smoothing**2))
    smooth = np.outer(taps, taps) / taps.sum() ** 2
    return ndimage.convolve(inside / inside.sum(), smooth, mode="constant")


def _each(x: Unit, change: Callable[[Image.Image], Image.Image]) -> Unit:
    """Change images one by one with Pillow."""
    images = _pixels(x)
    grey = images.shape[-1] == 1
    pictures = (Image.fromarray(image[..., 0] if grey else image) for image in images)
    return np.stack([np.asarray(change(picture)) for picture in pictures]).reshape(x.shape) / 255.0
