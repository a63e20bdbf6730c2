"""Geometry of one image [h, c, w]: affine map, crops, flip, erasing.

Each row holds its colour planes one after the other, so that a resized crop runs over contiguous
memory. At strength zero every function returns the image unchanged.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

Image = Float[Array, "h c w"]
Range = tuple[float, float]
Box = tuple[Array | float, Array | float, Array | float, Array | float]
"""Top, left, rows and columns of a rectangle of whole pixels, as floats."""


def random_affine(
    key: PRNGKeyArray, image: Image, *, rotation: float, shift: float, scale: float, shear: float
) -> Image:
    """Rotate, shift, scale and shear about the centre; bilinear, zero outside.

    All are uniform: the angle in +-rotation degrees, the shift along each axis in +-shift pixels,
    the logarithm of the factor in +-scale (above zero enlarges), horizontal shear in +-shear.
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
    """Interpolate at `inverse @ (pixel - centre - move) + centre`; zero outside the image."""
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
    crop_scale: Range,
    crop_ratio: Range,
    flip_probability: float = 0.0,
) -> Image:
    """Apply torchvision's RandomResizedCrop at the image's own size (bilinear).

    The area relative to the image's is uniform in crop_scale, the aspect ratio (width over height)
    log-uniform in crop_ratio. A flip costs nothing here.
    """
    height, _, width = image.shape
    k_box, k_flip = jax.random.split(key)
    low, high = crop_ratio
    crop, fits = random_rectangle(
        k_box, (height, width), crop_scale, (1 / high, 1 / low), largest=(height, width)
    )
    # torchvision's fallback, the largest central crop of a legal ratio: all of a square image.
    aspect = jnp.clip(width / height, low, high)
    rows = jnp.minimum(height, jnp.round(width / aspect))
    columns = jnp.minimum(width, jnp.round(height * aspect))
    centre = jnp.floor((height - rows) / 2), jnp.floor((width - columns) / 2), rows, columns
    box = jax.tree.map(lambda drawn, other: jnp.where(fits, drawn, other), crop, centre)
    return resize(image, box, jax.random.uniform(k_flip) < flip_probability)


def resize(image: Image, box: Box, mirrored: Bool[Array, ""] | bool = False) -> Image:
    """Enlarge a rectangle of whole pixels to the image's size as PyTorch's `interpolate` does.

    New columns are a matrix product of the old ones (on XLA's CPU backend, gathering the two with
    weight takes ten times as long); a new row interpolates the two old rows around it.
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
    size: int, start: Array | float, length: Array | float, mirrored: Bool[Array, ""] | bool = False
) -> Float[Array, "size"]:
    """Return the position in the crop, in fractions of a pixel, of each new pixel."""
    place = jnp.arange(size)
    place = jnp.where(mirrored, size - 1 - place, place)
    new = (place + 0.5) * (length / size) - 0.5
    return start + jnp.clip(new, 0, length - 1)


def random_second_crop(
    key: PRNGKeyArray,
    image: Image,
    *,
    recrop_probability: float,
    recrop_scale: Range,
    crop_ratio: Range,
) -> Image:
    """Apply a random resized crop with a probability."""
    k_coin, k_crop = jax.random.split(key)
    cropped = random_resized_crop(k_crop, image, crop_scale=recrop_scale, crop_ratio=crop_ratio)
    return jnp.where(jax.random.uniform(k_coin) < recrop_probability, cropped, image)


def random_crop(key: PRNGKeyArray, image: Image, *, strong_crop_side: float) -> Image:
    """Crop to a share of each side, rounded down, as torchvision's RandomCrop; resize back."""
    height, _, width = image.shape
    rows, columns = (max(1, int(n * strong_crop_side)) for n in (height, width))
    draws = jax.random.uniform(key, (2,))
    top = jnp.floor(draws[0] * (height - rows + 1))
    left = jnp.floor(draws[1] * (width - columns + 1))
    return resize(image, (top, left, jnp.float32(rows), jnp.float32(columns)))


def random_flip(key: PRNGKeyArray, image: Image, *, flip_probability: float) -> Image:
    """Mirror left and right, with a probability."""
    return jnp.where(jax.random.uniform(key) < flip_probability, image[:, :, ::-1], image)


def random_erasing(
    key: PRNGKeyArray, image: Image, *, erase_probability: float, erase_area: Range
) -> Image:
    """Apply torchvision's RandomErasing with value zero, with a probability.

    The rectangle's area relative to the image's is uniform in `erase_area`.
    """
    height, _, width = image.shape
    k_coin, k_box = jax.random.split(key)
    (top, left, rows, columns), fits = random_rectangle(
        k_box, (height, width), erase_area, ratio=(0.3, 3.3), largest=(height - 1, width - 1)
    )
    y, x = jnp.arange(height)[:, None], jnp.arange(width)[None, :]
    inside = ((y >= top) & (y < top + rows)) & ((x >= left) & (x < left + columns))
    erase = jax.random.bernoulli(k_coin, erase_probability) & fits
    return jnp.where((inside & erase)[:, None, :], 0.0, image)


def random_rectangle(
    key: PRNGKeyArray, size: tuple[int, int], area: Range, ratio: Range, largest: tuple[int, int]
) -> tuple[Box, Bool[Array, ""]]:
    """Draw torchvision's rectangle of whole pixels, and whether any of its ten tries fits.

    The area relative to the image's is uniform, height over width log-uniform; the first try of at
    most `largest` rows and columns is placed uniformly.
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
    # Four arrays: with one, XLA's CPU backend would recompute the rectangle in every pixel.
    return (top, left, rows, columns), fits.any()
