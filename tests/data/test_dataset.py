"""What a Dataset refuses when it is made, what it says of itself, and its validation images."""

import dataclasses
import re
from collections import Counter

import numpy as np
import pytest

from gca_jax.data import splits
from gca_jax.data.dataset import Dataset, Part, Streamed
from gca_jax.data.splits import judged_by, validation

IMAGES = np.zeros((6, 4, 5, 3), np.uint8)
LABELS = np.arange(6, dtype=np.int32) % 3
GOOD = dict(
    name="x",
    train_images=IMAGES,
    train_labels=LABELS,
    test_images=IMAGES[:2],
    test_labels=LABELS[:2],
    num_classes=3,
)


def test_the_training_set_is_the_one_to_pretrain_with_unless_said():
    data = Dataset(**GOOD, train_domains=LABELS)
    assert data.pretrain_images is IMAGES
    assert data.pretrain_labels is LABELS
    assert data.pretrain_domains is LABELS
    other = Dataset(**GOOD, pretrain_images=IMAGES[:2])
    assert other.pretrain_labels is None


def test_without_labels_there_are_no_classes():
    assert Dataset(**GOOD).labelled
    data = Dataset(**GOOD | dict(train_labels=None, test_labels=None, num_classes=0))
    assert not data.labelled
    assert len(data.test_images) == 2


def test_parts_are_joined_as_they_are():
    train, test = Part(IMAGES, LABELS, LABELS % 2), Part(IMAGES[:2], LABELS[:2], LABELS[:2] % 2)
    names = dict(class_names=("a", "b", "c"), domain_names=("d", "e"))
    data = Dataset.of("x", train, test, Part(IMAGES[:3]), **names)
    assert data.num_classes == 3
    assert (data.train_images, data.train_labels, data.train_domains) == train
    assert (data.test_images, data.test_labels, data.test_domains) == test
    assert len(data.pretrain_images) == 3
    assert data.pretrain_labels is data.pretrain_domains is None
    assert Dataset.of("x", Part(IMAGES), Part(IMAGES)).num_classes == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            dict(train_images=IMAGES / 2),
            "train_images must be uint8 [n, h, w, c], n > 0; got float",
        ),
        (dict(test_images=IMAGES[0]), "test_images must be uint8 [n, h, w, c], n > 0; got uint8"),
        (dict(pretrain_images=IMAGES[:0]), "pretrain_images must be uint8 [n, h, w, c], n > 0; go"),
        (dict(test_images=IMAGES[:2, 1:]), "test_images are of 3 x 5 x 3, train_images of 4 x 5 x"),
        (dict(train_labels=LABELS[:5]), "train_labels must be int32 [6], one for each image; got"),
        (dict(train_labels=LABELS.tolist()), "train_labels must be int32 [6], one for each image;"),
        (dict(test_labels=LABELS), "test_labels must be int32 [2], one for each image; got int32"),
        (dict(train_labels=LABELS.astype(int)), "train_labels must be int32 [6], one for each ima"),
        (dict(test_labels=LABELS[:2] + 2), "test_labels must be in 0..2, got 2 to 3"),
        (dict(train_labels=LABELS - 1), "train_labels must be in 0..2, got -1 to 1"),
        (dict(train_domains=LABELS, domain_names=("a",)), "train_domains must be in 0..0, got 0"),
        (dict(train_domains=-LABELS), "train_domains must be in 0.., got -2 to 0"),
        (dict(test_labels=None), "train_labels and test_labels must both be given, or both be No"),
        (dict(num_classes=0), "num_classes is 0, but there are labels"),
        (dict(train_labels=None, test_labels=None), "num_classes is 3, but there are no labels"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        Dataset(**GOOD | changes)
    assert len(str(caught.value).splitlines()) == 1


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
    again = [which(judged_by(data, "validation").test_images) for _ in range(2)]
    assert again[0] == again[1]
    assert judged_by(data, "test") is data
    with pytest.raises(ValueError, match="unknown split 'dev'; one of: test, validation"):
        judged_by(data, "dev")


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
    assert splits.evenly_spaced(360, 2_000).tolist() == list(range(360))
    chosen = splits.evenly_spaced(10_000, 2_000)
    assert len(chosen) == len(set(chosen)) == 2_000
    assert (chosen[0], chosen[-1]) == (0, 9_999)
    assert splits.evenly_spaced(360, 6).tolist() == [0, 71, 143, 215, 287, 359]
