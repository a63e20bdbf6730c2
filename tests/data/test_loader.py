"""Order, batches and shards of the training set."""

import itertools

import numpy as np
import pytest

from gca_jax.data import loader

IMAGES = np.arange(103)


def take(n, **options):
    defaults = dict(batch_size=10, seed=0, start=0)
    return list(itertools.islice(loader.batches(IMAGES, **{**defaults, **options}), n))


def test_an_epoch_sees_each_image_at_most_once_and_drops_the_rest():
    epochs = np.concatenate(take(20)).reshape(2, 100)
    for epoch in epochs:
        assert len(set(epoch.tolist())) == 100
    assert not np.array_equal(*epochs)
    left_out = [set(range(103)) - set(epoch.tolist()) for epoch in epochs]
    assert left_out[0] != left_out[1]


@pytest.mark.parametrize("start", [1, 9, 10, 27])
def test_batch_k_does_not_depend_on_where_the_run_started(start):
    np.testing.assert_array_equal(take(30)[start:], take(30 - start, start=start))


def test_seeds_differ():
    assert not np.array_equal(take(1, seed=0), take(1, seed=1))


@pytest.mark.parametrize("count", [2, 5])
def test_processes_share_each_batch_without_overlap(count):
    whole = take(12)
    parts = [take(12, process_index=p, process_count=count) for p in range(count)]
    for k in range(12):
        shares = [part[k] for part in parts]
        assert sum(len(set(share.tolist())) for share in shares) == 10
        np.testing.assert_array_equal(np.concatenate(shares), whole[k])


def test_order_is_uniform():
    # Where image 0 lands over many epochs: a chi-square test over 20 positions.
    from scipy import stats

    places = [int(np.argmin(loader.permutation(3, epoch, 20))) for epoch in range(4000)]
    assert stats.chisquare(np.bincount(places, minlength=20)).pvalue > 1e-3


@pytest.mark.parametrize("size", [0, 104])
def test_batch_size_must_fit(size):
    with pytest.raises(ValueError, match=f"from 1 to 103, .* got {size}"):
        next(loader.batches(IMAGES, batch_size=size, seed=0, start=0))


def test_processes_must_divide_the_batch():
    with pytest.raises(ValueError, match="batch_size 10 must divide by 3 processes"):
        next(loader.batches(IMAGES, batch_size=10, seed=0, start=0, process_count=3))
