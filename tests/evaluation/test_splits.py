import numpy as np
import pytest

from gca_jax.evaluation import splits

LABELS = np.repeat(np.arange(10), np.arange(30, 40)).astype(np.int32)


def test_a_draw_is_class_balanced_without_replacement_and_repeats():
    chosen = splits.draw(LABELS, 10, seed=3, index=4)
    assert len(np.unique(chosen)) == 100
    assert np.bincount(LABELS[chosen]).tolist() == [10] * 10
    np.testing.assert_array_equal(chosen, splits.draw(LABELS, 10, seed=3, index=4))


@pytest.mark.parametrize("other", [{"seed": 4, "index": 4}, {"seed": 3, "index": 5}])
def test_another_seed_or_index_is_another_draw(other):
    chosen = splits.draw(LABELS, 10, seed=3, index=4)
    assert set(chosen) != set(splits.draw(LABELS, 10, **other))


def test_a_class_with_fewer_images_gives_all_to_a_draw():
    chosen = splits.draw(LABELS, 35, seed=0, index=0)
    assert np.bincount(LABELS[chosen]).tolist() == [*range(30, 35), *[35] * 5]
    assert len(np.unique(chosen)) == len(chosen)
    assert splits.fewer(LABELS, 32) == {0: 30, 1: 31}


def test_hold_out_is_a_partition_with_each_class_in_proportion():
    fit, held_out = splits.hold_out(LABELS, 0.2, seed=0)
    assert sorted([*fit, *held_out]) == list(range(len(LABELS)))
    shares = np.bincount(LABELS[held_out]) / np.bincount(LABELS)
    assert np.abs(shares - 0.2).max() < 1 / 30


def test_nothing_is_held_out_of_a_class_too_small_to_share():
    """The other classes are held out as if it was not there."""
    labels = np.array([0] * 20 + [2] + [1] * 20)
    fit, held_out = splits.hold_out(labels, 0.2, seed=0)
    assert sorted([*fit, *held_out]) == [*range(41)]
    assert np.bincount(labels[held_out]).tolist() == [4, 4]
    others = np.delete(np.arange(41), 20)
    _, alone = splits.hold_out(labels[others], 0.2, seed=0)
    assert held_out.tolist() == others[alone].tolist()
    assert splits.too_small(labels, 0.2).tolist() == [2]
    assert splits.can_hold_out(labels, 0.2)


def test_fewer_than_two_classes_to_hold_out_are_refused():
    with pytest.raises(ValueError, match=r"fewer than two classes .* hold out 20% of them"):
        splits.hold_out(np.array([0] * 20 + [1]), 0.2, seed=0)


def test_a_class_with_one_image_is_in_the_fit_of_every_fold():
    labels = np.array([0] * 10 + [1] * 10 + [2])
    folds = splits.folds(labels, 0.1, seed=0)
    assert len(folds) == 10
    assert sorted(np.concatenate([held_out for _, held_out in folds])) == [*range(20)]
    for fit, held_out in folds:
        assert sorted([*fit, *held_out]) == [*range(21)]
        assert 20 in fit


def test_folds_hold_out_every_image_once_and_every_class_alike():
    labels = np.repeat(np.arange(10), 10)
    folds = splits.folds(labels, 0.2, seed=0)
    assert len(folds) == 5
    assert sorted(np.concatenate([held_out for _, held_out in folds])) == list(range(100))
    for fit, held_out in folds:
        assert not set(fit) & set(held_out)
        assert np.bincount(labels[held_out]).tolist() == [2] * 10


def test_folds_are_fewer_where_a_class_has_few_images():
    assert len(splits.folds(np.repeat(np.arange(3), 2), 0.2, seed=0)) == 2


def test_the_most_per_class_fill_the_batch_or_the_smallest_class():
    labels = np.repeat(np.arange(5), 9)
    assert splits.most_per_class(labels, 20) == 4
    assert splits.most_per_class(labels, 1000) == 9
    assert splits.most_per_class(labels, 2) == 1


def test_images_without_a_class_are_not_drawn_nor_held_out():
    labels = np.array([-1, 0, 1, 0, 1, -1, 1, 0])
    assert set(labels[splits.draw(labels, 2, 0, 0)]) == {0, 1}
    with pytest.raises(ValueError, match="leave out images of -1"):
        splits.hold_out(labels, 0.5, 0)
