"""Geometry against SciPy, its law, and NumPy transcriptions of torchvision and PyTorch.

References take images [h, w, c], the project's functions [h, c, w].
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage, stats

from gca_jax.data.views import geometry

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(0)
NONE = dict(rotation=0.0, shift=0.0, scale=0.0, shear=0.0)


def planes(image):
    """From [h, w, c] to [h, c, w], or back."""
    return jnp.asarray(image).swapaxes(-1, -2)


def blob(size=65, angle=0.0, long=9.0, wide=3.0):
    """An elongated Gaussian whose long axis points `angle` from the x axis."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    along, across = (
        x * np.cos(angle) + y * np.sin(angle),
        y * np.cos(angle) - x * np.sin(angle),
    )
    return np.exp(-0.5 * ((along / long) ** 2 + (across / wide) ** 2)).astype(np.float32)[..., None]


def moments(images):
    """Centre (y, x) from the middle, and covariance, of each [n, h, w, 1] taken as a density."""
    size = images.shape[1]
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    p = images[..., 0] / images.sum((1, 2, 3))[:, None, None]
    cy, cx = (p * y).sum((1, 2)), (p * x).sum((1, 2))
    yy, xx, xy = [(p * m).sum((1, 2)) for m in (y * y, x * x, x * y)]
    return cy, cx, yy - cy**2, xx - cx**2, xy - cx * cy


@jax.jit  # compiled once for all laws
def affine_of(keys, image, strength):
    return jax.vmap(lambda k: geometry.random_affine(k, image, **strength))(keys)


def affine(image, n=1000, **strength):
    keys = jax.random.split(jax.random.key(0), n)
    return np.asarray(planes(affine_of(keys, planes(image), {**NONE, **strength})), np.float64)


def follows(values, low, high, slack=0.0):
    """Within [low, high] and uniform there."""
    assert values.min() >= low - slack
    assert values.max() <= high + slack
    assert stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > 1e-3


@pytest.mark.usefixtures("unchecked")
def test_shift_law():
    cy, cx, *_ = moments(affine(blob(long=5.0), shift=4.0))
    follows(cy, -4, 4, 0.05)
    follows(cx, -4, 4, 0.05)
    assert abs(np.corrcoef(cy, cx)[0, 1]) < 0.1


@pytest.mark.usefixtures("unchecked")
def test_rotation_law():
    _, _, yy, xx, xy = moments(affine(blob(), rotation=20.0))
    follows(np.degrees(0.5 * np.arctan2(2 * xy, xx - yy)), -20, 20, 0.2)


@pytest.mark.usefixtures("unchecked")
def test_scale_law():
    _, _, yy, xx, _ = moments(affine(blob(long=5.0, wide=5.0), scale=0.25))
    base = moments(np.float64(blob(long=5.0, wide=5.0))[None])
    follows(0.25 * np.log((yy * xx) / (base[2] * base[3])), -0.25, 0.25, 0.01)


@pytest.mark.usefixtures("unchecked")
def test_shear_is_horizontal_and_follows_its_law():
    _, _, yy, _, xy = moments(affine(blob(long=5.0, wide=5.0), shear=0.2))
    follows(xy / yy, -0.2, 0.2, 0.005)


def test_sample_is_scipy_bilinear():
    image = RNG.random((9, 7, 2)).astype(np.float32)
    inverse, move = np.array([[0.9, -0.3], [0.25, 1.1]]), np.array([0.4, -1.3])
    centre = np.array([4.0, 3.0])
    offset = centre - inverse @ (centre + move)
    expected = np.stack(
        [
            ndimage.affine_transform(plane, inverse, offset, order=1, mode="grid-constant")
            for plane in np.moveaxis(image, -1, 0)
        ],
        axis=-1,
    )
    out = jax.jit(geometry.sample)(planes(image), jnp.float32(inverse), jnp.float32(move))
    np.testing.assert_allclose(planes(out), expected, atol=1e-5)


def reference_resize(crop, height, width):
    """PyTorch's bilinear `interpolate` with align_corners=False, pixel by pixel."""
    rows, columns, _ = crop.shape
    out = np.zeros((height, width, crop.shape[2]))
    for p in range(height):
        for q in range(width):
            y = max((p + 0.5) * rows / height - 0.5, 0)
            x = max((q + 0.5) * columns / width - 0.5, 0)
            y0, x0 = int(y), int(x)
            y1, x1 = min(y0 + 1, rows - 1), min(x0 + 1, columns - 1)
            dy, dx = y - y0, x - x0
            out[p, q] = (1 - dy) * ((1 - dx) * crop[y0, x0] + dx * crop[y0, x1]) + dy * (
                (1 - dx) * crop[y1, x0] + dx * crop[y1, x1]
            )
    return out


@jax.jit  # compiled once for all boxes
def resize(image, box, mirrored):
    return geometry.resize(image, tuple(box), mirrored)


@pytest.mark.parametrize("box", [(0, 0, 12, 10), (3, 2, 5, 7), (11, 9, 1, 1), (0, 4, 12, 2)])
def test_resize_is_pytorch_interpolate(box):
    image = RNG.random((12, 10, 3)).astype(np.float32)
    top, left, rows, columns = box
    expected = reference_resize(image[top : top + rows, left : left + columns], 12, 10)
    for mirrored, flipped in ((False, expected), (True, np.fliplr(expected))):
        out = planes(resize(planes(image), jnp.array(box, jnp.float32), mirrored))
        np.testing.assert_allclose(out, flipped, atol=2e-6)


def reference_rectangle(rng, size, area, ratio, largest):
    """torchvision's get_params: ten tries at area and ratio, then a uniform place."""
    for _ in range(10):
        target = size[0] * size[1] * rng.uniform(*area)
        tall = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        rows, columns = round(math.sqrt(target * tall)), round(math.sqrt(target / tall))
        if 0 < rows <= largest[0] and 0 < columns <= largest[1]:
            top = rng.integers(0, size[0] - rows + 1)
            left = rng.integers(0, size[1] - columns + 1)
            return top, left, rows, columns
    return None


@pytest.mark.parametrize(
    ("size", "area", "ratio", "largest"),
    [
        ((32, 32), (0.08, 1.0), (3 / 4, 4 / 3), (32, 32)),
        ((8, 8), (0.03, 0.15), (0.3, 3.3), (7, 7)),
        ((20, 30), (0.3, 0.9), (0.3, 3.3), (19, 29)),
    ],
)
def test_rectangles_are_drawn_as_torchvision_draws_them(size, area, ratio, largest):
    rng = np.random.default_rng(1)
    expected = [reference_rectangle(rng, size, area, ratio, largest) for _ in range(6000)]
    expected = np.array([box for box in expected if box is not None])
    keys = jax.random.split(jax.random.key(0), 6000)
    draw = jax.jit(
        jax.vmap(lambda k: geometry.random_rectangle(k, size, area, ratio, largest=largest))
    )
    boxes, fits = draw(keys)
    boxes = np.stack(boxes, axis=1)[np.asarray(fits)]
    assert abs(len(boxes) - len(expected)) < 40
    assert np.all(boxes[:, 0] + boxes[:, 2] <= size[0])
    assert np.all(boxes[:, 1] + boxes[:, 3] <= size[1])
    for ours, theirs in zip(boxes.T, expected.T, strict=True):
        counts = np.array([np.bincount(v.astype(int), minlength=40) for v in (ours, theirs)])
        counts = counts[:, counts.sum(0) > 20]
        assert stats.chi2_contingency(counts).pvalue > 1e-4


def test_crop_falls_back_to_the_centre_when_nothing_fits():
    # All the area of a 4 x 12 image at ratio 1 asks for 7 rows: the central 4 x 4 is left.
    image = RNG.random((4, 12, 1)).astype(np.float32)
    crop = partial(geometry.random_resized_crop, crop_scale=(1.0, 1.0), crop_ratio=(1.0, 1.0))
    out = jax.jit(crop)(jax.random.key(0), planes(image))
    np.testing.assert_allclose(planes(out), reference_resize(image[:, 4:8], 4, 12), atol=1e-5)


def many(function, n=2000):
    """What a function of a key gives for many keys, as one array [n, h, w, c]."""
    images = jax.jit(jax.vmap(function))(jax.random.split(jax.random.key(0), n))
    return np.asarray(planes(images))


def test_crops_have_the_area_and_ratio_of_their_law():
    # The slopes of two ramps tell how much of the image a crop shows.
    y, x = np.meshgrid(np.arange(64.0), np.arange(64.0), indexing="ij")
    image = planes(np.float32(np.stack([y, x], axis=-1)))
    out = many(
        lambda k: geometry.random_resized_crop(
            k, image, crop_scale=(0.1, 0.5), crop_ratio=(0.8, 1.25)
        )
    )
    rows = (out[:, 40, 32, 0] - out[:, 24, 32, 0]) * 4
    columns = (out[:, 32, 40, 1] - out[:, 32, 24, 1]) * 4
    # Rounding to whole pixels moves an area of 0.1 (20 x 20 pixels) by up to a twentieth of it.
    area, ratio = rows * columns / 64**2, np.log(columns / rows)
    assert stats.kstest(area, stats.uniform(0.1, 0.4).cdf).statistic < 0.035
    # Whole pixels make some ratios, one above all, too likely for that test.
    most, error = np.log(1.25), 1 / np.sqrt(len(ratio))
    assert abs(ratio).max() < most + 0.05
    assert abs(ratio.mean()) < 4 * error * most / np.sqrt(3)
    assert abs(ratio.std() / (most / np.sqrt(3)) - 1) < 4 * error * np.sqrt(0.2)


def test_second_crop_has_its_probability():
    image = planes(RNG.random((8, 8, 3)).astype(np.float32))
    out = many(
        lambda k: geometry.random_second_crop(
            k, image, recrop_probability=0.8, recrop_scale=(0.2, 0.2), crop_ratio=(0.75, 4 / 3)
        )
    )
    kept = np.isclose(out, planes(image)).all((1, 2, 3))
    assert abs(kept.mean() - 0.2) < 0.036  # four standard deviations


def test_strong_crop_shows_each_window_equally_often():
    # 96 / 224 of 8 pixels are 3: six places on each axis.
    image = RNG.random((8, 8, 3)).astype(np.float32)
    windows = np.stack(
        [
            reference_resize(image[y : y + 3, x : x + 3], 8, 8).ravel()
            for y in range(6)
            for x in range(6)
        ]
    )
    out = many(lambda k: geometry.random_crop(k, planes(image), strong_crop_side=96 / 224), 3600)
    distance = np.abs(out.reshape(3600, 1, -1) - windows).max(-1)
    assert distance.min(1).max() < 2e-6
    assert stats.chisquare(np.bincount(distance.argmin(1), minlength=36)).pvalue > 1e-3


@pytest.mark.parametrize(
    "flip",
    [
        partial(geometry.random_flip, flip_probability=0.4),
        partial(
            geometry.random_resized_crop,
            crop_scale=(1.0, 1.0),
            crop_ratio=(1.0, 1.0),
            flip_probability=0.4,
        ),
    ],
)
def test_flip(flip):
    image = RNG.random((5, 5, 2)).astype(np.float32)
    out = many(lambda k: flip(k, planes(image)))
    mirrored = np.isclose(out, np.fliplr(image), atol=1e-6).all((1, 2, 3))
    kept = np.isclose(out, image, atol=1e-6).all((1, 2, 3))
    assert np.all(mirrored ^ kept)
    assert abs(mirrored.mean() - 0.4) < 0.044  # four standard deviations


def test_flip_does_not_depend_on_the_crop():
    # The ramp's direction tells the flip, its slope the crop's width.
    image = planes(np.float32(np.tile(np.arange(32.0), (32, 1))[:, :, None]))
    out = many(
        lambda k: geometry.random_resized_crop(
            k, image, crop_scale=(0.2, 1), crop_ratio=(1, 1), flip_probability=0.5
        )
    )
    slope = out[:, 16, 20, 0] - out[:, 16, 12, 0]
    assert stats.ks_2samp(slope[slope > 0], -slope[slope < 0]).pvalue > 1e-3


@pytest.mark.parametrize(
    ("side", "probability", "area"), [(8, 0.5, (0.03, 0.15)), (32, 1.0, (0.1, 0.33))]
)
def test_erasing_blackens_one_rectangle(side, probability, area):
    image = jnp.ones((side, 1, side))
    out = many(
        lambda k: geometry.random_erasing(k, image, erase_probability=probability, erase_area=area),
        4000,
    )
    black = out[..., 0] == 0
    some = black.any((1, 2))
    assert abs(some.mean() - probability) < 0.032
    # A rectangle is the outer product of the rows and the columns it touches.
    rows, columns = black.any(2), black.any(1)
    np.testing.assert_array_equal(black, rows[:, :, None] & columns[:, None, :])
    for lines in (rows, columns):  # without gaps
        assert np.all((np.diff(lines.astype(int), axis=1) == 1).sum(1) <= 1)
    # As torchvision erases: of the tries, those that fit.
    rng = np.random.default_rng(1)
    boxes = [
        reference_rectangle(rng, (side, side), area, (0.3, 3.3), (side - 1, side - 1))
        for _ in range(4000)
    ]
    expected = [box[2] * box[3] / side**2 for box in boxes if box is not None]
    assert stats.ks_2samp(black[some].mean((1, 2)), expected).pvalue > 1e-3
