"""Order, batches and shards of the training set."""

import itertools

import numpy as np
import pytest

from gca_jax.data.batches import Batches, Order, permutation, steps_per_epoch

IMAGES = np.arange(103)


def take(n, start=0, groups=None, **options):
    order = Order(**{"size": 103, "batch_size": 10, "seed": 0, **options})
    return list(itertools.islice(Batches(IMAGES, groups).iterate(order, start), n))


def images(n, start=0, **options):
    return [batch.images for batch in take(n, start, **options)]


def test_an_epoch_sees_each_image_at_most_once_and_drops_the_rest():
    epochs = np.concatenate(images(20)).reshape(2, 100)
    for epoch in epochs:
        assert len(set(epoch.tolist())) == 100
    assert not np.array_equal(*epochs)
    left_out = [set(range(103)) - set(epoch.tolist()) for epoch in epochs]
    assert left_out[0] != left_out[1]


@pytest.mark.parametrize("start", [1, 9, 10, 27])
def test_batch_k_does_not_depend_on_where_the_run_started(start):
    np.testing.assert_array_equal(images(30)[start:], images(30 - start, start))


def test_seeds_differ():
    assert not np.array_equal(images(1, seed=0), images(1, seed=1))


@pytest.mark.parametrize("count", [2, 5])
def test_processes_share_each_batch_without_overlap(count):
    whole = images(12)
    parts = [images(12, process_index=p, process_count=count) for p in range(count)]
    for k in range(12):
        shares = [part[k] for part in parts]
        assert sum(len(set(share.tolist())) for share in shares) == 10
        np.testing.assert_array_equal(np.concatenate(shares), whole[k])


def test_groups_go_with_their_images():
    for batch in take(12, groups=IMAGES * 7 % 5):
        np.testing.assert_array_equal(batch.groups, batch.images * 7 % 5)
    assert take(1)[0].groups is None


def test_order_is_uniform():
    # Where image 0 lands over many epochs: a chi-square test over 20 positions.
    from scipy import stats

    places = [int(np.argmin(permutation(3, epoch, 20))) for epoch in range(4000)]
    assert stats.chisquare(np.bincount(places, minlength=20)).pvalue > 1e-3


def test_the_order_is_numpy_s_philox_keyed_by_seed_and_epoch():
    # Results of published runs rest on it.
    generator = np.random.Generator(np.random.Philox(key=np.array([5, 2], np.uint64)))
    np.testing.assert_array_equal(permutation(5, 2, 103), generator.permutation(103))


@pytest.mark.parametrize("size", [0, 104])
def test_batch_size_must_fit(size):
    with pytest.raises(ValueError, match=f"from 1 to 103, .* got {size}"):
        Order(103, size, seed=0)
    with pytest.raises(ValueError, match=f"from 1 to 103, .* got {size}"):
        steps_per_epoch(103, size)


def test_processes_must_divide_the_batch():
    with pytest.raises(ValueError, match="batch_size 10 must divide by 3 processes"):
        Order(103, 10, seed=0, process_count=3)
