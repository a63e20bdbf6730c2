"""Data sets of arrays: dtypes, shapes, numbering, the images held out, and what is refused."""

import re

import jax.numpy as jnp
import numpy as np
import pytest

from gca_jax import data, ot
from gca_jax.data import splits

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (60, 6, 5, 3), dtype=np.uint8)
LABELS = np.repeat([7, -2, 7, 30], 15)
DOMAINS = np.tile(["b", "a", "b"], 20)


def rows_of(images):
    """Which of `IMAGES` these are; random images are all different."""
    known = {image.tobytes(): row for row, image in enumerate(IMAGES)}
    return np.array([known[image.tobytes()] for image in images])


def test_a_fifth_of_each_class_of_each_domain_is_held_out():
    made = data.arrays(IMAGES, LABELS, DOMAINS)
    train, test = rows_of(made.train_images), rows_of(made.test_images)
    assert sorted([*train, *test]) == list(range(60))
    kinds, counts = np.unique(LABELS * 10 + (DOMAINS == "b"), return_counts=True)
    held_out = (LABELS * 10 + (DOMAINS == "b"))[test]
    for kind, count in zip(kinds, counts, strict=True):
        assert np.sum(held_out == kind) == round(count / 5)
    np.testing.assert_array_equal(rows_of(data.arrays(IMAGES, LABELS, DOMAINS).test_images), test)
    # Numbers follow the order of the originals, which the names keep.
    assert made.class_names == ("-2", "7", "30")
    assert made.domain_names == ("a", "b")
    assert made.num_classes == 3
    originals = np.array([-2, 7, 30])
    np.testing.assert_array_equal(originals[made.train_labels], LABELS[train])
    np.testing.assert_array_equal(originals[made.test_labels], LABELS[test])
    np.testing.assert_array_equal(np.array(["a", "b"])[made.test_domains], DOMAINS[test])


def test_without_labels_a_fifth_is_held_out_too():
    made = data.arrays(IMAGES)
    assert not made.labelled
    assert made.num_classes == 0
    assert made.train_labels is made.test_labels is made.class_names is made.domain_names is None
    assert (len(made.train_images), len(made.test_images)) == (48, 12)
    assert sorted(rows_of([*made.train_images, *made.test_images])) == list(range(60))


def test_test_images_of_their_own():
    made = data.arrays(
        IMAGES[:40], LABELS[:40], test_images=IMAGES[40:], test_labels=LABELS[40:], name="mine"
    )
    assert made.name == "mine"
    np.testing.assert_array_equal(made.train_images, IMAGES[:40])
    np.testing.assert_array_equal(made.test_images, IMAGES[40:])
    assert made.class_names == ("-2", "7", "30")  # 30 is a label of test images alone
    np.testing.assert_array_equal(np.array([-2, 7, 30])[made.test_labels], LABELS[40:])


def test_images_to_pretrain_with_have_no_labels():
    made = data.arrays(IMAGES[:30], LABELS[:30], pretrain_images=IMAGES[30:], limit=5)
    assert len(made.train_images) == len(made.train_labels) == len(made.test_labels) == 5
    assert made.pretrain_labels is None
    evenly = np.linspace(30, 59, 5).astype(int)
    np.testing.assert_array_equal(rows_of(made.pretrain_images), evenly)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_floats_in_0_to_1_become_the_bytes_that_they_came_from(dtype):
    given = (IMAGES / 255).astype(dtype)
    made = data.arrays(given, test_images=jnp.asarray(given))
    np.testing.assert_array_equal(made.train_images, IMAGES)
    np.testing.assert_array_equal(made.test_images, IMAGES)
    assert made.train_images.dtype == made.test_images.dtype == np.uint8


def test_grey_images_need_no_axis_for_their_channel():
    made = data.arrays(IMAGES[..., 0], test_images=IMAGES[:1, :, :, :1])
    assert made.train_images.shape == (60, 6, 5, 1)
    np.testing.assert_array_equal(made.train_images[..., 0], IMAGES[..., 0])


def test_four_or_five_channels_that_are_last_are_taken():
    for shape in ((9, 4, 6, 4), (9, 6, 4, 5), (9, 3, 6, 1)):
        assert data.arrays(np.zeros(shape, np.uint8)).train_images.shape[1:] == shape[1:]


def test_images_that_span_few_levels_are_said(capsys):
    data.arrays(IMAGES // 16, name="mine")
    said = "note: mine: images span 16 of 256 levels, 0 to 15: if they are of another depth"
    assert said in capsys.readouterr().out
    data.arrays(IMAGES)
    assert capsys.readouterr().out == ""


def test_bytes_are_not_copied():
    made = data.arrays(IMAGES, test_images=IMAGES)
    assert np.shares_memory(made.train_images, IMAGES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            dict(images=IMAGES.astype(int)),
            "images must be uint8 in 0..255 or floats in [0, 1], got",
        ),
        (dict(images=IMAGES * 1.0), "images are floats from 0 to 255, they must lie in [0, 1]"),
        (dict(images=IMAGES / 255 - 0.5), "images are floats from -0.5 to 0.5, they must lie in ["),
        (dict(images=np.full((9, 4, 4), np.nan)), "images must be finite, and hold NaN or infinit"),
        (dict(images=IMAGES > 100), "got bool: convert with .astype(np.float32)"),
        (dict(images=IMAGES[0, 0]), "images must be [n, h, w, c] or [n, h, w], got [5, 3]"),
        (dict(images=IMAGES[:0]), "images must not be empty, got [0, 6, 5, 3]"),
        (dict(images=[IMAGES[0], IMAGES[1, 1:]]), "images must be one array, all images of one s"),
        (dict(images=IMAGES.transpose(0, 3, 1, 2)), "images must have its channels last, got [60,"),
        (dict(images=np.zeros((9, 1, 6, 5), np.uint8)), "channels last, got [9, 1, 6, 5]: transp"),
        (dict(images=np.zeros((9, 4, 6, 5), np.uint8)), "channels last, got [9, 4, 6, 5]: transp"),
        (
            dict(test_images=np.zeros((9, 4, 6, 5), np.uint8)),
            "test_images must have its channels l",
        ),
        (
            dict(labels=LABELS[:-1]),
            "labels must be integers or names [60], one for each image; got",
        ),
        (dict(labels=LABELS * 1.0), "labels must be integers or names [60], one for each image; g"),
        (dict(labels=LABELS[:, None]), "labels must be integers or names [60], one for each image"),
        (dict(domains=["a"]), "domains must be integers or names [60], one for each image; got <U"),
        (dict(test_labels=LABELS), "training and test images must both have labels, or neither"),
        (dict(test_images=IMAGES, domains=DOMAINS), "training and test images must both have doma"),
        (dict(labels=LABELS, test_labels=LABELS), "training and test images must both have labels"),
        (dict(test_images=IMAGES[:, 1:]), "test_images are of 5 x 5 x 3, train_images of 6 x 5 x"),
        (dict(labels=np.arange(60)), "60 images are too few to hold out 20% of each class and dom"),
        (dict(limit=0), "limit must be an integer >= 1, got 0"),
    ],
)
def test_a_mistake_is_one_line(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        data.arrays(**{"images": IMAGES} | arguments)
    assert len(str(caught.value).splitlines()) == 1


def test_images_without_a_label_are_pretrained_on_and_neither_fitted_nor_tested():
    known = np.arange(60) % 3 > 0
    labels = np.where(known, LABELS, -1)
    made = data.arrays(IMAGES, labels, DOMAINS)
    assert made.class_names == ("-2", "7", "30")
    train, test, pretrain = map(
        rows_of, (made.train_images, made.test_images, made.pretrain_images)
    )
    np.testing.assert_array_equal(np.sort(np.r_[train, test]), np.flatnonzero(known))
    np.testing.assert_array_equal(np.sort(np.r_[pretrain, test]), np.arange(60))
    own = np.array([-2, 7, 30, -1])  # the last is that of -1
    np.testing.assert_array_equal(own[made.train_labels], labels[train])
    np.testing.assert_array_equal(own[made.pretrain_labels], labels[pretrain])
    # What a step's target sees: a sample without a label has its positive pair alone.
    target = ot.target.classes(made.pretrain_labels)
    same = labels[pretrain][:, None] == labels[pretrain]
    same &= known[pretrain] | np.eye(len(pretrain), dtype=bool)
    np.testing.assert_allclose(target.matrix, same / same.sum(), rtol=1e-5)
    judged = splits.validation(made)
    left = rows_of(judged.pretrain_images)
    assert not np.isin(rows_of(judged.test_images), left).any()
    assert (~known[left]).sum() == (~known).sum()
    few = data.arrays(IMAGES, labels, limit=20)
    np.testing.assert_array_equal(few.pretrain_labels[few.pretrain_labels >= 0], few.train_labels)


def test_an_unknown_test_label_or_domain_is_refused():
    labels = np.where(np.arange(60) == 3, -1, LABELS)
    for given, message in (
        (dict(labels=LABELS, test_images=IMAGES, test_labels=labels), "test_labels has -1, not kn"),
        (dict(domains=labels), "domains has -1, not known, for 1 of 60 images: leave these images"),
        (dict(labels=np.full(60, -1)), "labels has -1, not known, for 60 of 60 images: leave labe"),
    ):
        with pytest.raises(ValueError, match=message):
            data.arrays(IMAGES, **given)
