"""Every data set by its name, from TFDS, a wheel, a folder or an archive of arrays.

Images of one size that fit in memory are read there as one uint8 array; all others stream from disk
as they are needed. The rule is `gca_jax.data.records.fits`.
"""

from gca_jax.data.dataset import Dataset
from gca_jax.data.sources import arrays, digits, folder, imagenet100, tfds_sets
from gca_jax.data.sources.row import Source

SOURCES = {
    "digits": Source(
        digits.load,
        "Alpaydin & Kaynak 1998, UCI; in scikit-learn's wheel",
        shape=(8, 8, 1),
        classes=10,
        images={"train": 1437, "test": 360},
        builder="digits",
    ),
    "cifar10": Source(
        tfds_sets.load,
        "Krizhevsky 2009; www.cs.toronto.edu/~kriz",
        shape=(32, 32, 3),
        classes=10,
        images={"train": 50_000, "test": 10_000},
        builder="cifar10",
    ),
    "cifar100": Source(
        tfds_sets.load,
        "Krizhevsky 2009; www.cs.toronto.edu/~kriz",
        shape=(32, 32, 3),
        classes=100,
        images={"train": 50_000, "test": 10_000},
        builder="cifar100",
    ),
    "svhn": Source(
        tfds_sets.load,
        "Netzer et al. 2011; ufldl.stanford.edu/housenumbers",
        shape=(32, 32, 3),
        classes=10,
        images={"train": 73_257, "test": 26_032},
        builder="svhn_cropped",
    ),
    "stl10": Source(
        tfds_sets.load,
        "Coates, Ng & Lee 2011; ai.stanford.edu/~acoates/stl10",
        shape=(96, 96, 3),
        classes=10,
        images={"train": 5_000, "test": 8_000, "pretrain": 100_000},
        splits={"train": "train", "test": "test", "pretrain": "unlabelled"},
        builder="stl10",
    ),
    "fashion_mnist": Source(
        tfds_sets.load,
        "Xiao, Rasul & Vollgraf 2017, arXiv 1708.07747; Zalando's bucket",
        shape=(28, 28, 1),
        classes=10,
        images={"train": 60_000, "test": 10_000},
        builder="fashion_mnist",
    ),
    "imagenet100": Source(
        imagenet100.load,
        "Russakovsky et al. 2015, classes of Tian et al. 2020; by hand from image-net.org",
        classes=100,
        images={"train": 126_689, "test": 5_000},
        splits={"train": "train", "test": "validation"},
        builder="imagenet2012",
    ),
    "cifar10_corrupted": Source(
        tfds_sets.load_corrupted,
        "Hendrycks & Dietterich 2019; zenodo.org/record/2535967; trained on CIFAR-10",
        shape=(32, 32, 3),
        classes=10,
        images={"train": 50_000, "test": 10_000},
        builder="cifar10_corrupted",
    ),
    "pacs": Source(
        folder.load,
        "Li et al. 2017, four domains; by hand from domaingeneralization.github.io",
        shape=(227, 227, 3),
        classes=7,
        images={"all": 9_991},
    ),
    "folder": Source(folder.load, "a folder of the user's"),
    "arrays": Source(arrays.load, "arrays of the user's"),
}


def load(name: str, **options) -> Dataset:
    """Load the data set called `name`.

    Args:
        name: a key of `SOURCES`.
        **options: keyword arguments of the set's reader. All but arrays: `data_dir` (TFDS's folder;
            None: $TFDS_DATA_DIR or ~/tensorflow_datasets) and `skip_unreadable` (count images that
            cannot be read, instead of an error). All: `limit` (at most so many images of each part,
            evenly spaced). imagenet100: `size`. cifar10_corrupted: `corruption` and `severity`.
            folder and pacs: `root`, `labelled_root`, `size`, `labelled`, `domains` and `held_out`.
            arrays: `file`.

    Raises:
        ValueError: an unknown name, or a data set that is missing or broken; the message names the
            file and the command that prepares it.
        TypeError: an option that the set does not take.
    """
    row = find(name)
    return row.read(name, row, **options)


def find(name: str) -> Source:
    """The row of a data set; a ValueError if there is none of this name."""
    if name not in SOURCES:
        raise ValueError(f"unknown data set {name!r}; one of: {', '.join(SOURCES)}")
    return SOURCES[name]
