"""Images that are held out for validation, and images taken at even spaces."""

import dataclasses
from collections import Counter

import numpy as np
import pytest

from gca_jax.data.dataset import Dataset, Streamed
from gca_jax.data.splits import evaluated_on, evenly_spaced, note_repeated, validation


class Unreadable:
    """Test images that nobody may look at."""

    shape, dtype = (9, 4, 5, 3), np.dtype(np.uint8)

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows):
        raise AssertionError("test images were read")


N = 50
NUMBERED = np.arange(N, dtype=np.uint8).reshape(N, 1, 1, 1) + np.zeros((N, 4, 5, 3), np.uint8)
CLASSES = (np.arange(N, dtype=np.int32) % 10 == 0).astype(np.int32)  # 5 of 50 are of class 1
DOMAINS = (np.arange(N, dtype=np.int32) >= 25).astype(np.int32)


def numbered(**changes):
    known = dict(train_labels=CLASSES, test_labels=np.zeros(9, np.int32), num_classes=2)
    parts = dict(train_images=NUMBERED, test_images=Unreadable(), **known)
    return Dataset(**dict(name="x", class_names=("a", "b"), **parts) | changes)


def which(images):
    return set(images[:, 0, 0, 0].tolist())


def test_validation_images_are_a_stratified_fifth_that_nothing_trains_with():
    data = numbered(train_domains=DOMAINS)
    found = validation(data)
    held_out = which(found.test_images)
    assert len(held_out) == 10 == len(found.test_images)
    assert which(found.train_images) == which(found.pretrain_images) == set(range(N)) - held_out
    rows = sorted(held_out)
    np.testing.assert_array_equal(found.test_labels, CLASSES[rows])
    np.testing.assert_array_equal(found.test_domains, DOMAINS[rows])
    groups = Counter(zip(CLASSES[rows].tolist(), DOMAINS[rows].tolist(), strict=True))
    shares = Counter(zip(CLASSES.tolist(), DOMAINS.tolist(), strict=True))
    assert groups == Counter({group: round(0.2 * count) for group, count in shares.items()})
    assert found.pretrain_labels is found.train_labels
    assert (found.name, found.num_classes, found.class_names) == ("x", 2, ("a", "b"))


def test_validation_images_are_always_alike_and_test_is_the_data_set_itself():
    data = numbered()
    again = [which(evaluated_on(data, "validation").test_images) for _ in range(2)]
    assert again[0] == again[1]
    assert evaluated_on(data, "test") is data
    with pytest.raises(ValueError, match="split must be one of test, validation; got 'dev'"):
        evaluated_on(data, "dev")


def test_images_to_pretrain_with_stay_where_they_are_others():
    other = np.zeros((7, 4, 5, 3), np.uint8)
    found = validation(numbered(pretrain_images=other))
    assert found.pretrain_images is other
    assert found.pretrain_labels is None


def test_without_labels_any_fifth_is_held_out():
    data = numbered(train_labels=None, test_labels=None, num_classes=0, class_names=None)
    found = validation(data)
    assert len(found.test_images) == 10
    assert found.test_labels is found.train_labels is None


def test_images_on_disk_stay_there():
    """No record is decoded; those to pretrain with, of the same records, lose the held-out ones."""
    records = [object()] * 60
    train = Streamed(records, np.arange(N)[::-1], 4)
    every = Streamed(records, np.arange(60), 4)
    sizes = dict(train_images=train, test_images=Streamed([], np.arange(9), 4))
    found = validation(numbered(**sizes, pretrain_images=every, pretrain_domains=None))
    held_out = set(found.test_images.positions)
    assert len(held_out) == 10
    assert set(found.train_images.positions) == set(range(N)) - held_out
    assert set(found.pretrain_images.positions) == set(range(60)) - held_out
    assert found.train_images.records is records
    numbers = dict(zip(train.positions.tolist(), CLASSES.tolist(), strict=True))
    assert [numbers[i] for i in found.test_images.positions] == found.test_labels.tolist()
    same = validation(numbered(**sizes))
    assert same.pretrain_images is same.train_images
    elsewhere = dataclasses.replace(every, records=list(records))
    assert validation(numbered(**sizes, pretrain_images=elsewhere)).pretrain_images is elsewhere


def test_evenly_spaced_images_are_all_or_so_many_from_the_first_to_the_last():
    assert evenly_spaced(360, 2_000).tolist() == list(range(360))
    chosen = evenly_spaced(10_000, 2_000)
    assert len(chosen) == len(set(chosen)) == 2_000
    assert (chosen[0], chosen[-1]) == (0, 9_999)
    assert evenly_spaced(360, 6).tolist() == [0, 71, 143, 215, 287, 359]


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        (dict(test_images=NUMBERED[:9] + 100), 0),
        (dict(test_images=NUMBERED[:9]), 9),
        (dict(test_images=NUMBERED, test_labels=CLASSES), 50),  # the very same array
        (dict(test_images=NUMBERED[:9] + 45), 5),
        (dict(test_images=NUMBERED[:9] + 100, pretrain_images=NUMBERED + 53), 3),
        (dict(test_images=NUMBERED[:9] + 45, pretrain_images=NUMBERED + 53), 6),
        (dict(), 0),  # images of the caller's, which are not all read here
    ],
)
def test_test_images_that_are_trained_with_are_counted(changes, count, capsys):
    data = numbered(**changes)
    note_repeated(data)
    said = f"note: x: {count} of {len(data.test_images)} test images equal images that are trained"
    out = capsys.readouterr().out
    assert out.startswith(said) if count else out == ""
