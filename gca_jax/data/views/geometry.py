"""Geometry of one image [h, c, w]: affine map, crops, flip, erasing.

Each row holds its colour planes one after the other, so that a resized crop runs over contiguous
memory.

Functions draw from one key and take their strength as arguments; at strength zero each returns the
image as it is. Batches are made with `jax.vmap`.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

Image = Float[Array, "h c w"]
Box = tuple[Array, Array, Array, Array]
"""Top, left, rows and columns of a rectangle of whole pixels, as floats."""


def random_affine(
    key: PRNGKeyArray, image: Image, *, rotation: float, shift: float, scale: float, shear: float
) -> Image:
    """Rotate, shift, scale and shear about the centre; bilinear, zero outside.

    Args:
        key: random key.
        image: [h, c, w].
        rotation: angle is uniform in +-rotation degrees.
        shift: each axis moves by a uniform number of pixels in +-shift.
        scale: the factor is e^u, u uniform in +-scale; above one enlarges.
        shear: horizontal shear is uniform in +-shear.
    """
    draws = jax.random.uniform(key, (5,), minval=-1.0, maxval=1.0)
    angle = draws[0] * rotation * (math.pi / 180)
    factor, slant = jnp.exp(draws[1] * scale), draws[2] * shear
    move = draws[3:] * shift
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    # Source pixel of each output pixel, rows (y, x): the inverse of rotation . shear . scale.
    inverse = jnp.stack([jnp.stack([cos, -sin]), jnp.stack([sin - slant * cos, cos + slant * sin])])
    return sample(image, inverse / factor, move)


def sample(image: Image, inverse: Float[Array, "2 2"], move: Float[Array, "2"]) -> Image:
    """Bilinear values at `inverse @ (pixel - centre - move) + centre`; zero outside the image."""
    height, _, width = image.shape
    centre = jnp.array([(height - 1) / 2, (width - 1) / 2])
    grid = jnp.stack(jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij"))
    offset = grid.reshape(2, -1) - (centre + move)[:, None]
    source = (inverse @ offset + centre[:, None]).reshape(2, height, width)

    def plane(values):
        return jax.scipy.ndimage.map_coordinates(values, list(source), order=1, mode="constant")

    return jax.vmap(plane, in_axes=1, out_axes=1)(image)


def random_resized_crop(
    key: PRNGKeyArray,
    image: Image,
    *,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    flip: float = 0.0,
) -> Image:
    """torchvision's RandomResizedCrop to the image's own size (bilinear; crops only ever grow).

    Args:
        key: random key.
        image: [h, c, w].
        scale: range of the crop's area as a part of the image's, uniform.
        ratio: range of its width over its height, log-uniform.
        flip: probability of mirroring left and right; it costs nothing here.
    """
    height, _, width = image.shape
    k_box, k_flip = jax.random.split(key)
    crop, fits = random_rectangle(
        k_box, (height, width), scale, (1 / ratio[1], 1 / ratio[0]), largest=(height, width)
    )
    # torchvision's fallback, the largest central crop of a legal ratio: all of a square image.
    aspect = jnp.clip(width / height, ratio[0], ratio[1])
    rows = jnp.minimum(height, jnp.round(width / aspect))
    columns = jnp.minimum(width, jnp.round(height * aspect))
    centre = jnp.floor((height - rows) / 2), jnp.floor((width - columns) / 2), rows, columns
    box = jax.tree.map(lambda drawn, other: jnp.where(fits, drawn, other), crop, centre)
    return resize(image, box, jax.random.uniform(k_flip) < flip)


def resize(image: Image, box: Box, mirrored: Bool[Array, ""] | bool = False) -> Image:
    """A rectangle of whole pixels, enlarged to the image's size as PyTorch's `interpolate` does.

    New columns are a matrix product of the old ones (on XLA's CPU backend, picking the two that
    count takes ten times as long); a new row is made of the two old rows around it.
    """
    height, _, width = image.shape
    top, left, rows, columns = box
    source = _source(width, left, columns, mirrored)
    weights = jnp.maximum(0, 1 - jnp.abs(source[None, :] - jnp.arange(width)[:, None]))
    wide = jnp.dot(image.reshape(-1, width), weights, precision="highest").reshape(image.shape)
    source = _source(height, top, rows)
    above = jnp.floor(source)
    below = jnp.minimum(above + 1, top + rows - 1)
    above_row, below_row = (
        jnp.take(wide, row.astype(jnp.int32), axis=0, mode="clip") for row in (above, below)
    )
    return above_row + (source - above)[:, None, None] * (below_row - above_row)


def _source(
    size: int, start: Array, length: Array, mirrored: Bool[Array, ""] | bool = False
) -> Float[Array, "size"]:
    """The old pixel, with its fraction, that lies under each new one; within the crop."""
    place = jnp.arange(size)
    place = jnp.where(mirrored, size - 1 - place, place)
    new = (place + 0.5) * (length / size) - 0.5
    return start + jnp.clip(new, 0, length - 1)


def random_second_crop(
    key: PRNGKeyArray,
    image: Image,
    *,
    probability: float,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> Image:
    """A random resized crop, applied with a probability.

    Args:
        key: random key.
        image: [h, c, w].
        probability: how often an image is cropped.
        scale: as `random_resized_crop`.
        ratio: likewise.
    """
    k_coin, k_crop = jax.random.split(key)
    cropped = random_resized_crop(k_crop, image, scale=scale, ratio=ratio)
    return jnp.where(jax.random.uniform(k_coin) < probability, cropped, image)


def random_crop(key: PRNGKeyArray, image: Image, *, side: float) -> Image:
    """torchvision's RandomCrop to a part of the side (rounded down), resized back.

    Args:
        key: random key.
        image: [h, c, w].
        side: part of each side that is left, in (0, 1].
    """
    height, _, width = image.shape
    rows, columns = (max(1, int(n * side)) for n in (height, width))
    draws = jax.random.uniform(key, (2,))
    top = jnp.floor(draws[0] * (height - rows + 1))
    left = jnp.floor(draws[1] * (width - columns + 1))
    return resize(image, (top, left, jnp.float32(rows), jnp.float32(columns)))


def random_flip(key: PRNGKeyArray, image: Image, *, probability: float) -> Image:
    """Mirror left and right."""
    return jnp.where(jax.random.uniform(key) < probability, image[:, :, ::-1], image)


def random_erasing(
    key: PRNGKeyArray,
    image: Image,
    *,
    probability: float,
    area: tuple[float, float],
    ratio: tuple[float, float] = (0.3, 3.3),
) -> Image:
    """torchvision's RandomErasing with value zero: one rectangle is blackened.

    Args:
        key: random key.
        image: [h, c, w].
        probability: how often a rectangle is erased.
        area: range of the rectangle's area as a part of the image's, uniform.
        ratio: range of its height over its width, log-uniform.
    """
    height, _, width = image.shape
    k_coin, k_box = jax.random.split(key)
    (top, left, rows, columns), fits = random_rectangle(
        k_box, (height, width), area, ratio, largest=(height - 1, width - 1)
    )
    y, x = jnp.arange(height)[:, None], jnp.arange(width)[None, :]
    inside = ((y >= top) & (y < top + rows)) & ((x >= left) & (x < left + columns))
    erase = jax.random.bernoulli(k_coin, probability) & fits
    return jnp.where((inside & erase)[:, None, :], 0.0, image)


def random_rectangle(
    key: PRNGKeyArray,
    size: tuple[int, int],
    area: tuple[float, float],
    ratio: tuple[float, float],
    largest: tuple[int, int],
) -> tuple[Box, Bool[Array, ""]]:
    """torchvision's rectangle of whole pixels: the first of ten tries that fits into the image.

    Args:
        key: random key.
        size: height and width of the image.
        area: range of the rectangle's area as a part of the image's, uniform.
        ratio: range of its height over its width, log-uniform.
        largest: rows and columns it may have.

    Returns:
        The rectangle, uniformly placed, and whether any of the ten fits.
    """
    height, width = size
    draws = jax.random.uniform(key, (22,))  # one call: each costs a third of a second to compile
    pixels = height * width * (area[0] + (area[1] - area[0]) * draws[:10])
    low, high = jnp.log(ratio[0]), jnp.log(ratio[1])
    tall = jnp.exp(low + (high - low) * draws[10:20])
    rows, columns = jnp.round(jnp.sqrt(pixels * tall)), jnp.round(jnp.sqrt(pixels / tall))
    fits = (rows > 0) & (rows <= largest[0]) & (columns > 0) & (columns <= largest[1])
    first = jnp.argmax(fits)
    rows, columns = rows[first], columns[first]
    top = jnp.floor(draws[20] * (height - rows + 1))
    left = jnp.floor(draws[21] * (width - columns + 1))
    # Four arrays: of one, XLA's CPU backend would compute the rectangle anew in every pixel.
    return (top, left, rows, columns), fits.any()
