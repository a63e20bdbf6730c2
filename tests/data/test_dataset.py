"""What a Dataset refuses when it is made, and what it says of itself."""

import re

import numpy as np
import pytest

from gca_jax.data.dataset import Dataset, Part, number

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


def test_numbers_leave_minus_one_of_signed_integers_as_it_is():
    signed, unsigned = np.array([7, -1, -3, 7]), np.array([2**64 - 1, 7], np.uint64)
    names, (first, second, none) = number(signed, unsigned, None)
    assert names == ("-3", "7", str(2**64 - 1))
    assert (first.tolist(), second.tolist(), none) == ([1, -1, 0, 1], [2, 1], None)
    assert number(("-1", "a"))[0] == ("-1", "a")
    for kind in (np.int8, np.int16, np.int32, np.int64):
        assert number(np.array([-1, 100], kind))[1][0].tolist() == [-1, 0]


def test_images_without_a_label_stand_beside_the_training_images():
    labels = np.array([0, -1, 1, 2, 0, 1, 2, -1], np.int32)
    images = np.zeros((8, 4, 5, 3), np.uint8)
    data = Dataset(**GOOD, pretrain_images=images, pretrain_labels=labels)
    assert data.partly_labelled
    assert not Dataset(**GOOD).partly_labelled
    with pytest.raises(ValueError, match="must stand beside the training images"):
        Dataset(**GOOD, pretrain_images=images[:7], pretrain_labels=labels[:-1] * 0 - 1)
