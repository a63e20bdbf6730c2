"""Which images train and which test: a share held out, or validation images in their place."""

import dataclasses

import numpy as np
from jaxtyping import Int, Int32

from gca_jax import check
from gca_jax.data.dataset import Dataset, Part, Streamed, named

TEST_SHARE = 0.2  # of each class of each domain, where a data set has no test images of its own


def hold_out(
    count: int, *known: Int32[np.ndarray, "count"] | None
) -> tuple[Int[np.ndarray, "train"], Int[np.ndarray, "test"]]:
    """Draw `TEST_SHARE` of each group of images to test, at random but always the same.

    Groups are told apart by the numbers that are known, such as domains and labels.
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
    """Put a fixed, stratified `TEST_SHARE` of the training images in the place of the test images.

    They are neither trained nor pretrained with. The data set's own test images are not read, nor
    are their labels.
    """
    known = data.train_labels, data.train_domains
    fit, held_out = hold_out(len(data.train_images), *known)
    train = Part(data.train_images, *known)
    kept, test = (train.take(rows) for rows in (fit, held_out))
    pretrain = Part(data.pretrain_images, data.pretrain_labels, data.pretrain_domains)
    ours, theirs = pretrain.images, train.images
    if ours is theirs:
        pretrain = kept
    elif (
        isinstance(ours, Streamed)
        and isinstance(theirs, Streamed)
        and ours.records is theirs.records
    ):
        seen = np.isin(ours.positions, theirs.positions[held_out])
        pretrain = pretrain.take(np.flatnonzero(~seen))
    parts = {"train": kept, "test": test, "pretrain": pretrain}
    return dataclasses.replace(data, **named(parts))


def judged_by(data: Dataset, split: str) -> Dataset:
    """Give the data set with its evaluation split, test or validation, as its test images."""
    check.one_of("split", split, ("test", "validation"))
    return validation(data) if split == "validation" else data


def evenly_spaced(count: int, limit: int | None) -> Int[np.ndarray, "n"]:
    """Choose `limit` of `count` rows, from the first to the last; all where there are no more."""
    if limit is not None:
        check.at_least("limit", limit, 1)
    if limit is None or limit >= count:
        return np.arange(count)
    return np.unique(np.linspace(0, count - 1, limit).astype(np.int64))
