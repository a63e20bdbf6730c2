"""Common corruptions of images at five severities, made on the fly for any data set.

All but `occlusion` are those of CIFAR-10-C, formulae and constants: D. Hendrycks and T. Dietterich,
"Benchmarking neural network robustness to common corruptions and perturbations", ICLR 2019 (their
make_cifar_c.py). Those that need a picture of frost or another image library (snow, fog, glass and
motion blur, ...) are left out. Values are rounded to uint8, where the authors' code truncates.

The authors' blurs and boxes have lengths in pixels of 32 x 32 images. On larger images they are
multiplied by side/32, rounded to a whole number: a blur then takes the same share of the scene, and
a disk on the grid of pixels keeps its shape (of radius 0.9, say, it would be one pixel, and
severity 4 weaker than 3). On smaller ones they are not shrunk, for the same reason; but on 8 x 8
digits a radius of 1.5 pixels would be a fifth of the image. So images whose side is at most 21
pixels are blurred as the mosaic that they are: each pixel a block, blurred at about 32 pixels,
averaged over the blocks again. `pixelate` leaves a share of the pixels; of 8 x 8 they are 7, 7, 6,
6 and 5 a side, whose errors do not grow in order. Noise, colours and JPEG's blocks of eight pixels
have no length to be scaled.
"""

import io
import math
import zlib
from collections.abc import Callable, Sequence
from typing import TypeAlias, TypeVar

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from scipy import ndimage

Pixels: TypeAlias = UInt8[np.ndarray, "n h w c"]
Unit: TypeAlias = Float[np.ndarray, "n h w c"]
Mosaic: TypeAlias = Float[np.ndarray, "n mh mw c"]
Constant = TypeVar("Constant")
Corruption: TypeAlias = Callable[[Pixels, int, np.random.Generator], Pixels]

SEVERITIES = (1, 2, 3, 4, 5)
SIDE = 32  # pixels, for which the authors' lengths are meant
GREY = 0.5  # of what occludes: it stands out against black and white backgrounds alike


def corrupt(images: Pixels, name: str, severity: int, seed: int, part: int = 0) -> Pixels:
    """Corrupt images; the same arguments give the same pixels.

    The random numbers of a corruption are those of its name, the seed and the part, whatever the
    severity: an image at two severities differs by strength alone.

    Args:
        images: [n, h, w, c], grey or RGB; none is a part that one of many processes may have.
        name: A key of `CORRUPTIONS`.
        severity: 1 to 5.
        seed: From 0.
        part: Which part of a larger set these images are, from 0.

    Raises:
        ValueError: An unknown corruption or severity, or channels that it cannot be applied to.
    """
    if name not in CORRUPTIONS:
        raise ValueError(f"unknown corruption {name!r}; one of: {', '.join(CORRUPTIONS)}")
    if severity not in SEVERITIES:
        raise ValueError(f"severity must be from 1 to 5, got {severity}")
    channels = images.shape[-1]
    if name not in names(channels):
        raise ValueError(f"{name} cannot be applied to images of {channels} channels")
    if not len(images):
        return images
    rng = np.random.default_rng([seed, zlib.crc32(name.encode()), part])
    return CORRUPTIONS[name](images, severity, rng)


def names(channels: int) -> tuple[str, ...]:
    """Name the corruptions of images with so many channels.

    Raises:
        ValueError: They are neither grey nor RGB.
    """
    if channels not in (1, 3):
        raise ValueError(f"corruptions are of grey or RGB images, these have {channels} channels")
    return tuple(name for name in CORRUPTIONS if channels == 3 or name not in COLOUR)


def gaussian_noise(images: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Add normal noise: x + c·N(0, 1)."""
    x, c = _unit(images), _at(severity, 0.04, 0.06, 0.08, 0.09, 0.10)
    return _pixels(x + c * rng.standard_normal(x.shape))


def shot_noise(images: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Count photons: Poisson(c·x) / c."""
    x, c = _unit(images), _at(severity, 500, 250, 100, 75, 50)
    return _pixels(rng.poisson(c * x) / c)


def impulse_noise(images: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Make a share c of all values 0 or 1, either with probability 1/2."""
    c = _at(severity, 0.01, 0.02, 0.03, 0.05, 0.07)
    drawn, salt = rng.random(images.shape), rng.random(images.shape) < 0.5
    return np.where(drawn < c, np.where(salt, 255, 0), images).astype(np.uint8)


def speckle_noise(images: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Add noise in proportion to the value: x + c·x·N(0, 1)."""
    x, c = _unit(images), _at(severity, 0.06, 0.10, 0.12, 0.16, 0.20)
    return _pixels(x + c * x * rng.standard_normal(x.shape))


def defocus_blur(images: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Convolve with an antialiased disk of radius r: (r, its smoothing) below, at 32 pixels."""
    from scipy import signal  # takes as long to import as jax

    radius, smoothing = _at(severity, (0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))
    mosaic, scale, block = _mosaic(images)
    kernel = _disk(radius * scale, smoothing * scale, scale)
    margin = len(kernel) // 2
    padded = np.pad(mosaic, ((0, 0), (margin, margin), (margin, margin), (0, 0)), mode="reflect")
    blurred = signal.fftconvolve(padded, kernel[None, :, :, None], mode="valid", axes=(1, 2))
    return _pixels(_averaged(blurred, block))


def gaussian_blur(images: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Convolve with a Gaussian of standard deviation c, at 32 pixels."""
    mosaic, scale, block = _mosaic(images)
    c = _at(severity, 0.4, 0.6, 0.7, 0.8, 1.0) * scale
    blurred = ndimage.gaussian_filter(mosaic, (0, c, c, 0), mode="nearest", truncate=4.0)
    return _pixels(_averaged(blurred, block))


def brightness(images: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Add c to the value of HSV, the largest channel; hue and saturation stay."""
    x, c = _unit(images), _at(severity, 0.05, 0.10, 0.15, 0.20, 0.30)
    value = x.max(axis=-1, keepdims=True)
    brighter = np.minimum(value + c, 1.0)
    return _pixels(np.where(value > 0, x * brighter / np.where(value > 0, value, 1.0), brighter))


def contrast(images: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Shrink the differences from the mean of each channel of an image by the factor c."""
    x, c = _unit(images), _at(severity, 0.75, 0.5, 0.4, 0.3, 0.15)
    mean = x.mean(axis=(1, 2), keepdims=True)
    return _pixels(mean + c * (x - mean))


def saturate(images: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Change the saturation of HSV to a·S + b; the severities take colour away and then add it.

    A grey pixel has hue 0, so that an added saturation makes it red.
    """
    a, b = _at(severity, (0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2))
    x = _unit(images)
    value = x.max(axis=-1, keepdims=True)
    below = value - x  # V·S in the lowest channel
    saturation = below.max(axis=-1, keepdims=True) / np.where(value > 0, value, 1.0)
    wanted = np.clip(a * saturation + b, 0.0, 1.0)
    coloured = saturation > 0
    red = value * np.array([0.0, 1.0, 1.0])
    return _pixels(
        value - wanted * np.where(coloured, below / np.where(coloured, saturation, 1.0), red)
    )


def pixelate(images: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Shrink to the share c of each side, at 32 pixels, averaging over boxes; enlarge again."""
    c = _at(severity, 0.95, 0.9, 0.85, 0.75, 0.65)
    _, height, width, _ = images.shape
    boxes = c / _scale(min(height, width))
    size = max(1, int(width * boxes)), max(1, int(height * boxes))

    def change(image: Image.Image) -> Image.Image:
        small = image.resize(size, Image.Resampling.BOX)
        return small.resize((width, height), Image.Resampling.BOX)

    return _each(images, change)


def jpeg_compression(images: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Compress by JPEG with quality c, as Pillow does by default."""
    c = _at(severity, 80, 65, 58, 50, 40)

    def change(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=c)
        return Image.open(file)

    return _each(images, change)


def occlusion(images: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Hide a share of 10, 20, ... 50 % of the area by grey, at a random place; our own.

    What hides has the proportions of the image, so that it is a square on square images; its sides
    are rounded to pixels.
    """
    n, height, width, _ = images.shape
    side = math.sqrt(_at(severity, 0.1, 0.2, 0.3, 0.4, 0.5))
    tall, wide = max(1, round(side * height)), max(1, round(side * width))
    where = rng.random((2, n))
    tops = np.floor(where[0] * (height - tall + 1)).astype(int)[:, None]
    lefts = np.floor(where[1] * (width - wide + 1)).astype(int)[:, None]
    rows, columns = np.arange(height)[None], np.arange(width)[None]
    in_rows = (rows >= tops) & (rows < tops + tall)
    in_columns = (columns >= lefts) & (columns < lefts + wide)
    hidden = in_rows[:, :, None, None] & in_columns[:, None, :, None]
    return np.where(hidden, np.uint8(round(255 * GREY)), images)


CORRUPTIONS: dict[str, Corruption] = {
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "impulse_noise": impulse_noise,
    "speckle_noise": speckle_noise,
    "defocus_blur": defocus_blur,
    "gaussian_blur": gaussian_blur,
    "brightness": brightness,
    "contrast": contrast,
    "saturate": saturate,
    "pixelate": pixelate,
    "jpeg_compression": jpeg_compression,
    "occlusion": occlusion,
}
"""(images uint8 [n, h, w, c], severity 1 to 5, random numbers) -> corrupted images, by name."""
COLOUR = ("saturate",)  # which leave grey images as they are


def _at(severity: int, *constants: Constant) -> Constant:
    return constants[severity - 1]


def _unit(images: Pixels) -> Unit:
    return images / 255.0


def _pixels(unit: Unit) -> Pixels:
    return np.round(255 * np.clip(unit, 0, 1)).astype(np.uint8)


def _scale(side: int) -> int:
    """Give the authors' unit of length in pixels of such images."""
    return max(1, round(side / SIDE))


def _mosaic(images: Pixels) -> tuple[Mosaic, int, int]:
    """Enlarge small images by whole blocks; give the authors' unit of length there, and the block.

    Of a side of 22 pixels or more the block is one pixel.
    """
    side = min(images.shape[1:3])
    block = max(1, round(SIDE / side))
    return _unit(images).repeat(block, 1).repeat(block, 2), _scale(side * block), block


def _averaged(mosaic: Mosaic, block: int) -> Unit:
    """Average over blocks."""
    n, height, width, c = mosaic.shape
    parts = mosaic.reshape(n, height // block, block, width // block, block, c)
    return parts.mean(axis=(2, 4))


def _disk(radius: float, smoothing: float, reach: int) -> Float[np.ndarray, "k k"]:
    """Make a disk that sums to one, smoothed by a Gaussian which is cut off after `reach` pixels.

    The authors' reach is one pixel.
    """
    half = math.floor(radius) + reach
    offsets = np.arange(-half, half + 1)
    inside = (offsets[:, None] ** 2 + offsets**2 <= radius**2).astype(float)
    taps = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * smoothing**2))
    smooth = np.outer(taps, taps) / taps.sum() ** 2
    return ndimage.convolve(inside / inside.sum(), smooth, mode="constant")


def _each(images: Pixels, change: Callable[[Image.Image], Image.Image]) -> Pixels:
    """Change images one by one as Pillow's."""
    grey = images.shape[-1] == 1
    changed: Sequence[np.ndarray] = [
        np.asarray(change(Image.fromarray(image[..., 0] if grey else image))) for image in images
    ]
    return np.stack(changed).reshape(images.shape)
