"""Data sets of arrays: in memory, in an archive of `numpy.savez`, or scikit-learn's digits."""

import pathlib

import numpy as np
from jaxtyping import Int, UInt8
from numpy.typing import ArrayLike

from gca_jax.data import pictures, splits, tables
from gca_jax.data.dataset import Dataset, Numbers, Part, Source, named_values, number, unknown
from gca_jax.data.splits import hold_out

CHANNELS = (1, 3, 4)  # grey, RGB, RGB with opacity or infrared
KINDS = ("images", "labels", "domains")
KEYS = [*KINDS, *(f"test_{kind}" for kind in KINDS), "pretrain_images"]  # of an archive
HOLDS = (
    "an archive of numpy.savez with images [n, h, w, c] or [n, h, w], uint8 or floats in [0, 1], "
    f"and perhaps {', '.join(KEYS[1:])}"
)


def arrays(
    images: ArrayLike,
    labels: ArrayLike | None = None,
    domains: ArrayLike | None = None,
    *,
    test_images: ArrayLike | None = None,
    test_labels: ArrayLike | None = None,
    test_domains: ArrayLike | None = None,
    pretrain_images: ArrayLike | None = None,
    limit: int | None = None,
    name: str = "arrays",
) -> Dataset:
    """Make a data set of arrays: `build(config, dataset=arrays(images, labels))`.

    Images are uint8, or floats in [0, 1], which are rounded to multiples of 1/255. Labels and
    domains are integers or names, numbered in sorted order; `class_names` and `domain_names` of
    the data set keep the originals. An image whose label is -1 is of no known class: it is
    pretrained on, and no probe is fitted to it or tested on it.

    Args:
        images: [n, h, w, c] or [n, h, w], training images. Without `test_images`, a fifth of each
            class of each domain is held out as test images, drawn with a fixed seed.
        labels: [n]; None: unlabelled.
        domains: [n]; None: no domains.
        test_images: [m, h, w, c] or [m, h, w].
        test_labels: [m], if there are `labels`.
        test_domains: [m], if there are `domains`.
        pretrain_images: [p, h, w, c] or [p, h, w], unlabelled, to pretrain on instead of `images`.
        limit: Most images of each part, evenly spaced.
        name: Name in reports.

    Raises:
        ValueError: A wrong shape, dtype, length or range; the message names the argument.
    """
    pixels = as_bytes("images", images)
    test_pixels = None if test_images is None else as_bytes("test_images", test_images)
    pictures.few_levels(f"{name}: images", int(pixels.min()), int(pixels.max()))
    counts = len(pixels), None if test_pixels is None else len(test_pixels)
    class_names, y = _numbers("labels", labels, test_labels, counts)
    domain_names, d = _numbers("domains", domains, test_domains, counts)
    whole = Part(pixels, y[0], d[0])
    if test_pixels is None:
        known = _known(whole)
        few = whole.take(known)
        held_out = known[hold_out(len(known), few.domains, few.labels)[1]]
        test = whole.take(held_out)
        whole = whole.take(np.setdiff1d(np.arange(len(pixels)), held_out))
    else:
        test = Part(test_pixels, y[1], d[1])
    parts = [whole, test]
    if pretrain_images is not None:
        parts.append(Part(as_bytes("pretrain_images", pretrain_images)))
    if limit is not None:
        parts = [part.take(splits.evenly_spaced(len(part.images), limit)) for part in parts]
    whole, test, *others = parts
    known = _known(whole)
    if len(known) < len(whole.images):
        parts = [whole.take(known), test, *(others or [whole])]
    return Dataset.of(name, *parts, class_names=class_names, domain_names=domain_names)


def _known(part: Part) -> Int[np.ndarray, "k"]:
    """Select the images whose label is known; all of them where none has any."""
    everyone = np.arange(len(part.images))
    return everyone if part.labels is None else np.flatnonzero(part.labels >= 0)


def as_bytes(name: str, given: ArrayLike) -> UInt8[np.ndarray, "n h w c"]:
    """Convert images to uint8 [n, h, w, c]; arguments and errors as in `arrays`."""
    try:
        images = np.asarray(given)
    except ValueError as error:  # images of several sizes
        raise ValueError(f"{name} must be one array, all images of one size") from error
    if images.dtype != np.uint8 and not np.issubdtype(images.dtype, np.floating):
        remedy = "with" if images.dtype == bool else "0..255 with .astype(np.uint8), 0..1 with"
        raise ValueError(
            f"{name} must be uint8 in 0..255 or floats in [0, 1], got {images.dtype}: "
            f"convert {remedy} .astype(np.float32)"
        )
    if 0 in images.shape:
        raise ValueError(f"{name} must not be empty, got {list(images.shape)}")
    if images.ndim not in (3, 4):
        raise ValueError(f"{name} must be [n, h, w, c] or [n, h, w], got {list(images.shape)}")
    images = images if images.ndim == 4 else images[..., None]
    if images.shape[1] in CHANNELS and images.shape[3] not in CHANNELS:
        raise ValueError(
            f"{name} must have its channels last, got {list(images.shape)}: "
            "transpose [n, c, h, w] with .transpose(0, 2, 3, 1)"
        )
    if images.dtype == np.uint8:
        return images
    low, high = images.min(), images.max()
    if not np.isfinite([low, high]).all():
        raise ValueError(f"{name} must be finite, and hold NaN or infinite values: leave those out")
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"{name} are floats from {low:g} to {high:g}, they must lie in [0, 1]: "
            "divide them by the largest value that a pixel can have"
        )
    return np.rint(images * 255).astype(np.uint8)


def _numbers(
    kind: str, given: ArrayLike | None, test_given: ArrayLike | None, counts: tuple[int, int | None]
) -> tuple[tuple[str, ...] | None, list[Numbers]]:
    """Encode the labels or domains of training and test images as `number` does."""
    if given is None and test_given is None:
        return number(None, None)
    if given is None or (test_given is None) != (counts[1] is None):
        raise ValueError(
            f"training and test images must both have {kind}, or neither: give {kind} with images "
            f"and test_{kind} with test_images"
        )
    values = named_values(kind, given, counts[0])
    test_values = named_values(f"test_{kind}", test_given, counts[1])
    for name, part in ((kind, values), (f"test_{kind}", test_values)):
        left_out = 0 if part is None else int(unknown(part).sum())
        if part is not None and left_out and (name != "labels" or left_out == len(part)):
            raise ValueError(
                f"{name} has -1, not known, for {left_out} of {len(part)} images: leave "
                f"{'these images' if left_out < len(part) else name} out"
            )
    return number(values, test_values)


def load(name: str, row: Source, *, file: str | None = None, limit: int | None = None) -> Dataset:
    """Read an archive whose keys are arguments of `arrays`; "train_images" etc. are accepted."""
    if file is None:
        raise ValueError(f"name your file with --config.data.file=X.npz: {HOLDS}")
    path = pathlib.Path(file).expanduser()
    with tables.opened(path) as found:
        keys = {key: key.removeprefix("train_") or "images" for key in found.arrays}
        if len(set(keys.values())) < len(keys) or not {"images"} <= set(keys.values()) <= set(KEYS):
            raise ValueError(
                f"it has the keys {', '.join(keys) or 'of no array'} and must be {HOLDS}"
            )
        given = {argument: found.arrays[key] for key, argument in keys.items()}
    try:
        return arrays(**given, limit=limit, name=name)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def digits(name: str, row: Source, *, limit: int | None = None) -> Dataset:
    """Read scikit-learn's digits, with a fixed, stratified split of 360 test images."""
    from sklearn.datasets import load_digits  # takes most of a second
    from sklearn.model_selection import train_test_split

    raw = load_digits()
    images = np.round(raw.images * (255 / 16)).astype(np.uint8)
    train, test, labels, test_labels = train_test_split(
        images, raw.target, test_size=360, stratify=raw.target, random_state=0
    )
    return arrays(train, labels, test_images=test, test_labels=test_labels, limit=limit, name=name)
