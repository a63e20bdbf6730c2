"""Train/test splits: held-out test images, validation images in place of test images, limits."""

import dataclasses

import numpy as np
from jaxtyping import Int, Int32

from gca_jax import check
from gca_jax.data.dataset import Dataset, Part, Streamed, attributes

TEST_SHARE = 0.2  # of each class of each domain


def hold_out(
    count: int, *known: Int32[np.ndarray, "count"] | None
) -> tuple[Int[np.ndarray, "train"], Int[np.ndarray, "test"]]:
    """Draw a test set, `TEST_SHARE` of each group of images, with a fixed seed.

    A group is the images with equal `known` values, such as domains and labels.
    """
    groups = np.zeros(count, np.int64)
    for numbers in known:
        if numbers is not None:
            groups = groups * (numbers.max() + 1) + numbers
    rng, to_test = np.random.default_rng(0), np.zeros(count, bool)
    for group in np.unique(groups):
        rows = rng.permutation(np.flatnonzero(groups == group))
        to_test[rows[: round(TEST_SHARE * len(rows))]] = True
    if not to_test.any():
        raise ValueError(
            f"{count} images are too few to hold out {TEST_SHARE:.0%} of each class and domain "
            "as test images: give more, or test images of their own"
        )
    return np.flatnonzero(~to_test), np.flatnonzero(to_test)


def validation(data: Dataset) -> Dataset:
    """Replace the test images by validation images, a stratified `TEST_SHARE` of the training set.

    They are left out of training and pretraining. Test images and labels are not read.
    """
    train = Part(data.train_images, data.train_labels, data.train_domains)
    fit, held_out = hold_out(len(train.images), train.labels, train.domains)
    kept, test = train.take(fit), train.take(held_out)
    pretrain = Part(data.pretrain_images, data.pretrain_labels, data.pretrain_domains)
    ours, theirs = pretrain.images, train.images
    if ours is theirs:
        pretrain = kept
    elif data.partly_labelled:
        seen = np.flatnonzero(pretrain.labels >= 0)[held_out]
        pretrain = pretrain.take(np.setdiff1d(np.arange(len(ours)), seen))
    elif (
        isinstance(ours, Streamed)
        and isinstance(theirs, Streamed)
        and ours.records is theirs.records
    ):
        seen = np.isin(ours.positions, theirs.positions[held_out])
        pretrain = pretrain.take(np.flatnonzero(~seen))
    return dataclasses.replace(data, **attributes(train=kept, test=test, pretrain=pretrain))


def evaluated_on(data: Dataset, split: str) -> Dataset:
    """Return the data set with its evaluation split, test or validation, as its test images."""
    check.one_of("split", split, ("test", "validation"))
    return validation(data) if split == "validation" else data


def note_repeated(data: Dataset) -> None:
    """Print how many test images equal one that is trained with, pixel by pixel, if any do.

    Images in memory are compared by hashes of 64 bits; 500 MiB take half a second.
    """
    parts = {id(x): x for x in (data.test_images, data.train_images, data.pretrain_images)}
    arrays = [images for images in parts.values() if isinstance(images, np.ndarray)]
    if len(arrays) < len(parts):
        return
    test, *trained = map(hashes, arrays)
    note_equal(data.name, int(np.isin(test, np.concatenate(trained or [test])).sum()), len(test))


def hashes(samples: np.ndarray) -> Int[np.ndarray, "n"]:
    """Hash each sample [n, ...] to 64 bits, equal ones alike, for comparisons in one process."""
    return np.array([hash(sample.tobytes()) for sample in samples], np.int64)


def note_equal(name: str, count: int, total: int) -> None:
    """Print how many of the test images are trained with too, if any are."""
    if count:
        print(
            f"note: {name}: {count} of {total} test images equal images that are trained with: "
            "what is measured on those is no test"
        )


def evenly_spaced(count: int, limit: int | None) -> Int[np.ndarray, "n"]:
    """Choose `limit` of `count` rows, evenly spaced from first to last; all if there are fewer."""
    if limit is not None:
        check.at_least("limit", limit, 1)
    if limit is None or limit >= count:
        return np.arange(count)
    return np.unique(np.linspace(0, count - 1, limit).astype(np.int64))
