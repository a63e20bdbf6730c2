"""Streamed images: every batch a function of seed and step; crops by torchvision's definition."""

import itertools
import pickle
import threading
from functools import partial

import numpy as np
import pytest
from scipy import stats

from gca_jax.data.batches import Order
from gca_jax.data.dataset import Dataset, Part, Streamed
from gca_jax.data.images import ImageData
from gca_jax.data.stream import crop_box, cut, stream, two_crops
from gca_jax.data.views import augment
from tests.data import prepared

COUNT, SIZE = 23, 16
CROP = ((0.2, 1.0), (3 / 4, 4 / 3))


def noise(i):
    rng = np.random.default_rng(i)
    return rng.integers(0, 256, (*rng.integers(20, 40, 2), 3), dtype=np.uint8)


NOISE = [noise(i) for i in range(COUNT)]
RECORDS = [{"image": prepared.encode(image)} for image in NOISE]


class Records(list):
    """Records that have a place."""

    def place(self, position):
        return f"train-0.array_record, record {position}"


def take(n, start=0, records=RECORDS, crop=CROP, **options):
    images = Streamed(records, np.arange(COUNT), SIZE)
    order = Order(**{"size": COUNT, "batch_size": 6, "seed": 0, **options})
    batches = stream(images, order, start, crop, threads=2)
    return list(itertools.islice(batches, n))


@pytest.fixture(scope="module")
def unbroken():
    return take(8)  # three batches an epoch: into the third


def equal(left, right):
    for (rows, pixels), (others, theirs) in zip(left, right, strict=True):
        np.testing.assert_array_equal(rows, others)
        np.testing.assert_array_equal(pixels, theirs)


def test_batches_are_two_crops_of_each_image_of_the_order(unbroken):
    order = Order(COUNT, 6, seed=0)
    for step, (rows, pixels) in enumerate(unbroken):
        np.testing.assert_array_equal(rows, order.rows(step))
        assert pixels.shape == (6, 2, SIZE, SIZE, 3)
        assert pixels.dtype == np.uint8
        assert np.all(np.any(pixels[:, 0] != pixels[:, 1], axis=(1, 2, 3)))


def test_pixels_are_those_of_the_image_that_is_named():
    flat = [
        {"image": prepared.encode(np.full((30, 20, 3), 10 * i, np.uint8))} for i in range(COUNT)
    ]
    for rows, pixels in take(4, records=flat):
        np.testing.assert_array_equal(pixels, np.broadcast_to(
            (10 * rows).astype(np.uint8)[:, None, None, None, None], pixels.shape
        ))  # fmt: skip


def test_an_epoch_has_every_image_at_most_once(unbroken):
    for epoch in (unbroken[:3], unbroken[3:6]):
        rows = np.concatenate([rows for rows, _ in epoch])
        assert len(set(rows.tolist())) == 18


def test_an_epoch_of_the_whole_set_has_every_image_once():
    rows = np.concatenate([rows for rows, _ in take(1, batch_size=COUNT)])
    assert sorted(rows.tolist()) == list(range(COUNT))


@pytest.mark.parametrize("start", [1, 3, 5])
def test_a_resumed_run_sees_what_the_unbroken_one_sees(unbroken, start):
    equal(take(8 - start, start), unbroken[start:])


def test_two_processes_share_each_batch_and_are_together_one(unbroken):
    first, second = (take(8, process_index=p, process_count=2) for p in (0, 1))
    for (a, pixels_a), (b, pixels_b) in zip(first, second, strict=True):
        assert not set(a.tolist()) & set(b.tolist())
        assert len(pixels_a) == len(pixels_b) == 3
    both = [
        tuple(np.concatenate(parts) for parts in zip(*halves, strict=True))
        for halves in zip(first, second, strict=True)
    ]
    equal(both, unbroken)


def test_crops_are_drawn_anew_each_epoch_and_by_seed_and_image_alone(unbroken):
    def crops(batches):
        return {
            int(i): pair for rows, pixels in batches for i, pair in zip(rows, pixels, strict=True)
        }

    first, second = crops(unbroken[:3]), crops(unbroken[3:6])
    for i in first.keys() & second.keys():
        assert np.any(first[i] != second[i])
    for i, pair in crops(take(1, batch_size=COUNT)).items():
        if i in first:
            np.testing.assert_array_equal(pair, first[i])
    other = crops(take(3, seed=1))
    assert all(np.any(first[i] != other[i]) for i in first.keys() & other.keys())


def test_without_random_crops_the_centres_come():
    ((rows, pixels),) = take(1, crop=None)
    images = Streamed(RECORDS, np.arange(COUNT), SIZE)
    np.testing.assert_array_equal(pixels, images[rows])


def data(images, crop, labels=None):
    """Images as data, under a policy that begins with such a crop."""
    seen, names = Part(images, labels), None if labels is None else tuple("abcd")
    policy = augment.Augment(lambda key, x: (x, x), (0.5,), (0.5,), crop)
    return ImageData(Dataset.of("noise", seen, seen, class_names=names), policy)


def test_labels_go_with_the_crops(unbroken):
    images = Streamed(RECORDS, np.arange(COUNT), SIZE)
    labels = np.arange(COUNT, dtype=np.int32) % 4
    batches = data(images, CROP, labels).batches(Order(COUNT, 6, seed=0), 0, ("labels",))
    for (rows, pixels), batch in zip(unbroken[:2], batches, strict=False):
        np.testing.assert_array_equal(batch.inputs, pixels)
        np.testing.assert_array_equal(batch.rows, rows)
        np.testing.assert_array_equal(batch.info["labels"], rows % 4)
    batches.close()
    assert data(images, CROP).example(7).shape == (7, 2, SIZE, SIZE, 3)
    assert data(images, None).example(7).shape == (7, SIZE, SIZE, 3)
    assert data(np.zeros((5, 8, 8, 1), np.uint8), CROP).example(7).shape == (7, 8, 8, 1)


def test_a_broken_record_is_named_and_stops_the_run():
    broken = Records([*RECORDS[:9], {"image": RECORDS[9]["image"][:60]}, *RECORDS[10:]])
    with pytest.raises(ValueError, match=r"^train-0\.array_record, record 9: "):
        take(4, records=broken)


def test_threads_end_with_the_batches():
    def alive():
        return {t.name for t in threading.enumerate() if "grain" in t.name}

    before = alive()
    images = Streamed(RECORDS, np.arange(COUNT), SIZE)
    batches = stream(images, Order(COUNT, 6, seed=0), 0, CROP, threads=2)
    next(batches)
    working = alive() - before
    batches.close()
    for thread in threading.enumerate():
        if thread.name in working:
            thread.join(10)
    assert working
    assert not alive() - before


def test_what_threads_work_on_is_picklable():
    images = Streamed(RECORDS, np.arange(COUNT), SIZE)
    work = partial(cut, images, Order(COUNT, 6, seed=0), CROP)
    i, crops = pickle.loads(pickle.dumps(work))(26)
    j, same = work(26)
    assert i == j
    np.testing.assert_array_equal(crops, same)


def boxes(n, height, width, scale, ratio):
    rng = np.random.default_rng(0)
    return np.array([crop_box(rng, height, width, scale, ratio) for _ in range(n)])


def test_crops_have_torchvision_s_laws():
    top, left, rows, columns = boxes(2000, 1000, 2000, (0.1, 0.3), (3 / 4, 4 / 3)).T
    assert np.all((top >= 0) & (left >= 0) & (top + rows <= 1000) & (left + columns <= 2000))
    area, shape = rows * columns / 2e6, np.log(columns / rows)
    assert stats.kstest(area, stats.uniform(0.1, 0.2).cdf).pvalue > 1e-3
    low, high = np.log([3 / 4, 4 / 3])
    assert stats.kstest(shape, stats.uniform(low, high - low).cdf).pvalue > 1e-3
    for place in (top / (1000 - rows), left / (2000 - columns)):
        assert stats.kstest(place, stats.uniform(0, 1).cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((12, 100), (0, 42, 12, 16)),  # too wide: all rows, 12 * 4/3 columns
        ((100, 12), (42, 0, 16, 12)),  # too tall: 12 / (3/4) rows
        ((30, 30), (0, 0, 30, 30)),
    ],
)
def test_where_no_crop_fits_the_largest_at_the_centre_is_taken(size, box):
    assert crop_box(np.random.default_rng(0), *size, (1.5, 2), (3 / 4, 4 / 3)) == box


def triangle(length, size):
    """Weights [size, length] of bilinear resizing with antialiasing, in float64."""
    scale = length / size
    support = max(scale, 1)
    centre = (np.arange(size) + 0.5) * scale
    distance = np.abs(np.arange(length) + 0.5 - centre[:, None]) / support
    weights = np.maximum(1 - distance, 0)
    return weights / weights.sum(1, keepdims=True)


@pytest.mark.parametrize("size", [8, 16, 50])
def test_a_crop_is_cut_out_and_resized_with_antialiasing(size):
    image = NOISE[3]
    height, width = image.shape[:2]
    law = ((0.3, 0.3), (1, 2))
    crop = two_crops(np.random.default_rng(5), image, size, law)[0]
    top, left, rows, columns = crop_box(np.random.default_rng(5), height, width, *law)
    part = image[top : top + rows, left : left + columns].astype(np.float64)
    expected = np.einsum(
        "ah,bw,hwc->abc", triangle(rows, size), triangle(columns, size), part, optimize=True
    )
    np.testing.assert_allclose(crop, expected, atol=1.1)  # Pillow rounds each of two passes
