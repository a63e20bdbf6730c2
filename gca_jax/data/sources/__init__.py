"""Every data set by its name, from TFDS, a wheel, a folder or an archive of arrays.

Images of one size that fit in memory are read there as one uint8 array; all others stream from disk
as they are needed. The limit is `gca_jax.data.records.MEMORY_LIMIT`.
"""

from gca_jax import check
from gca_jax.data import memory
from gca_jax.data.dataset import Dataset, Reader, Shape, Source
from gca_jax.data.sources import folder, hub, imagenet100, tfds_sets


def _tfds(
    builder: str, shape: Shape, classes: int, read: Reader = tfds_sets.load, **images: int
) -> Source:
    """The row of a set of TFDS."""
    splits = {part: "unlabelled" if part == "pretrain" else part for part in images}
    return Source(read, shape, classes, images, splits, builder)


SOURCES = {
    # Alpaydin & Kaynak 1998, UCI; in scikit-learn's wheel.
    "digits": Source(memory.digits, (8, 8, 1), 10, {"train": 1437, "test": 360}),
    # Krizhevsky 2009; www.cs.toronto.edu/~kriz
    "cifar10": _tfds("cifar10", (32, 32, 3), 10, train=50_000, test=10_000),
    "cifar100": _tfds("cifar100", (32, 32, 3), 100, train=50_000, test=10_000),
    # Netzer et al. 2011; ufldl.stanford.edu/housenumbers
    "svhn": _tfds("svhn_cropped", (32, 32, 3), 10, train=73_257, test=26_032),
    # Coates, Ng & Lee 2011; ai.stanford.edu/~acoates/stl10
    "stl10": _tfds("stl10", (96, 96, 3), 10, train=5_000, test=8_000, pretrain=100_000),
    # Xiao, Rasul & Vollgraf 2017, arXiv 1708.07747; Zalando's bucket
    "fashion_mnist": _tfds("fashion_mnist", (28, 28, 1), 10, train=60_000, test=10_000),
    # Russakovsky et al. 2015, classes of Tian et al. 2020; by hand from image-net.org
    "imagenet100": Source(
        imagenet100.load,
        classes=100,
        images={"train": 126_689, "test": 5_000},
        splits={"train": "train", "test": "validation"},
        builder="imagenet2012",
    ),
    # Hendrycks & Dietterich 2019; zenodo.org/record/2535967; trained on CIFAR-10
    "cifar10_corrupted": _tfds(
        "cifar10_corrupted", (32, 32, 3), 10, tfds_sets.load_corrupted, train=50_000, test=10_000
    ),
    "pacs": Source(
        folder.load,
        shape=(227, 227, 3),
        classes=7,
        images={"all": 9_991},
        origin="Li et al. 2017, four domains; by hand from domaingeneralization.github.io",
    ),
    "icons": Source(
        folder.load,
        shape=(32, 32, 3),
        classes=6,
        origin="desktop icons of several themes; python -m benchmarks.icons makes it",
    ),
    "folder": Source(folder.load, origin="a folder of the user's"),
    "arrays": Source(memory.load),
    "hf": Source(hub.load, origin="the Hugging Face hub"),
}


def load(name: str, **options) -> Dataset:
    """Load the data set called `name`.

    Args:
        name: a key of `SOURCES`.
        **options: keyword arguments of the set's reader. All: `limit` (at most so many images of
            each part, evenly spaced). All but arrays and digits: `data_dir` (TFDS's folder; None:
            $TFDS_DATA_DIR or ~/tensorflow_datasets) and `skip_unreadable` (count images that cannot
            be read, instead of an error). imagenet100: `size`. cifar10_corrupted: `corruption` and
            `severity`. folder and pacs: `root`, `labelled_root`, `size`, `labelled`, `domains` and
            `held_out`. arrays: `file`. hf: `hub.load`'s.

    Raises:
        ValueError: an unknown name, an option that the set does not take, or a data set that is
            missing or broken; the message names the file and the command that prepares it.
    """
    row = find(name)
    check.keywords(f"data set {name}", row.read, options)
    return row.read(name, row, **options)


def find(name: str) -> Source:
    """The row of a data set; a ValueError if there is none of this name."""
    if name not in SOURCES:
        raise ValueError(f"unknown data set {name!r}; one of: {', '.join(SOURCES)}")
    return SOURCES[name]
