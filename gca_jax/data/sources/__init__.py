"""Data sets by name: of TFDS, of the Hugging Face hub, folders, archives of arrays, digits.

Images of one size that fit in memory are read into one uint8 array; all others stream from disk.
The limit is `gca_jax.data.sources.reading.MEMORY_LIMIT`.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

from gca_jax import check
from gca_jax.data import memory
from gca_jax.data.dataset import Dataset, Reader, Source
from gca_jax.data.sources import cifar, folder, hub, imagenet100, tfds_sets

# Keys that name other images than a file's.
OTHERS = ("root", "labelled_root", "labels", "path", "corruption")


def _tfds(builder: str, read: Reader = tfds_sets.load, **splits: str) -> Source:
    """Describe a set of TFDS; `splits` renames those not called train and test."""
    return Source(read, {"train": "train", "test": "test", **splits}, builder)


SOURCES = {
    # Alpaydin & Kaynak 1998, UCI; in scikit-learn's wheel.
    "digits": Source(memory.digits),
    # Krizhevsky 2009; www.cs.toronto.edu/~kriz
    "cifar10": _tfds("cifar10"),
    "cifar100": _tfds("cifar100"),
    # Netzer et al. 2011; ufldl.stanford.edu/housenumbers
    "svhn": _tfds("svhn_cropped"),
    # Coates, Ng & Lee 2011; ai.stanford.edu/~acoates/stl10
    "stl10": _tfds("stl10", pretrain="unlabelled"),
    # Xiao, Rasul & Vollgraf 2017, arXiv 1708.07747; Zalando's bucket
    "fashion_mnist": _tfds("fashion_mnist"),
    # Russakovsky et al. 2015, classes of Tian et al. 2020; by hand from image-net.org
    "imagenet100": _tfds("imagenet2012", imagenet100.load, test="validation"),
    # Hendrycks & Dietterich 2019; zenodo.org/record/2535967; trained on CIFAR-10
    "cifar10_corrupted": _tfds("cifar10_corrupted", tfds_sets.load_corrupted),
    "pacs": Source(
        folder.load,
        classes=7,
        origin="Li et al. 2017, four domains; by hand from domaingeneralization.github.io",
    ),
    "icons": Source(
        folder.load,
        classes=6,
        origin="desktop icons of several themes; python -m scripts.icons makes it",
    ),
    "folder": Source(folder.load, origin="a folder of the user's"),
    "arrays": Source(memory.load),
    "hf": Source(hub.load),
}


def load(name: str, **options) -> Dataset:
    """Load the data set `name`.

    Args:
        name: A key of `SOURCES`.
        **options: Keyword arguments of the set's reader. All: `limit` (most images of each part,
            evenly spaced), `file` (an archive of arrays, or CIFAR's for Python, in place of the
            set). All but arrays, digits and hf: `data_dir` (TFDS's folder; None: $TFDS_DATA_DIR or
            ~/tensorflow_datasets). All but arrays and digits: `skip_unreadable` (leave out and
            count unreadable images, instead of an error). imagenet100: `size`. cifar10_corrupted:
            `corruption`, `severity`. Folders: those of `folder.load`. hf: those of `hub.load`.

    Raises:
        ValueError: An unknown name, an option that the set does not take, or a data set that is
            missing or broken; the message names the file and the command that prepares it.
    """
    row = find(name)
    if (file := options.get("file")) is not None:
        return _of_file(name, row, pathlib.Path(file).expanduser(), options)
    if row.read is not memory.load:
        options.pop("file", None)
    check.keywords(f"data set {name}", row.read, options)
    return row.read(name, row, **options)


def _of_file(name: str, row: Source, path: pathlib.Path, options: Mapping[str, Any]) -> Dataset:
    """Read a file in place of the data set that a config names; its recipe is not the data's."""
    check.keywords(f"data set {name}", row.read, {k: x for k, x in options.items() if k != "file"})
    for key in OTHERS:
        if options.get(key) is not None:
            raise ValueError(f"file and {key} name two data sets: {name} takes one of them")
    limit = options.get("limit")
    if path.name.endswith(cifar.SUFFIXES):
        data = cifar.load(path, limit)
    else:
        data = memory.load("arrays", row, file=str(path), limit=limit)
    shape = data.train_images.shape[1:]
    for key, value in (("size", shape[0]), ("channels", shape[2])):
        if options.get(key) not in (None, value):
            raise ValueError(
                f"the images of {path} are {' x '.join(map(str, shape))}, and {key} is "
                f"{options[key]}: --config.data.{key}={value}"
            )
    return data


def find(name: str) -> Source:
    """Look up a row of `SOURCES`; raise ValueError for an unknown name."""
    check.one_of("data set", name, SOURCES)
    return SOURCES[name]
