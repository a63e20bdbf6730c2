"""Which images: every data set by its name, from TFDS, a wheel or a folder.

Images of one size that fit in memory are read there as one uint8 array; all others stream from disk
as they are needed. The rule is `gca_jax.data.records.fits`.
"""

from gca_jax.data.dataset import Dataset
from gca_jax.data.sources import digits, folder, imagenet100, tfds_sets
from gca_jax.data.sources.row import Source

SPLITS = {"train": "train", "test": "test"}

SOURCES = {
    "digits": Source(
        digits.load,
        shape=(8, 8, 1),
        classes=10,
        images={"train": 1437, "test": 360},
        splits=SPLITS,
        builder="digits",
        origin="Alpaydin & Kaynak 1998, UCI; in scikit-learn's wheel",
    ),
    "cifar10": Source(
        tfds_sets.load,
        shape=(32, 32, 3),
        classes=10,
        images={"train": 50_000, "test": 10_000},
        splits=SPLITS,
        builder="cifar10",
        origin="Krizhevsky 2009; www.cs.toronto.edu/~kriz",
    ),
    "cifar100": Source(
        tfds_sets.load,
        shape=(32, 32, 3),
        classes=100,
        images={"train": 50_000, "test": 10_000},
        splits=SPLITS,
        builder="cifar100",
        origin="Krizhevsky 2009; www.cs.toronto.edu/~kriz",
    ),
    "svhn": Source(
        tfds_sets.load,
        shape=(32, 32, 3),
        classes=10,
        images={"train": 73_257, "test": 26_032},
        splits=SPLITS,
        builder="svhn_cropped",
        origin="Netzer et al. 2011; ufldl.stanford.edu/housenumbers",
    ),
    "stl10": Source(
        tfds_sets.load,
        shape=(96, 96, 3),
        classes=10,
        images={"train": 5_000, "test": 8_000, "pretrain": 100_000},
        splits=SPLITS | {"pretrain": "unlabelled"},
        builder="stl10",
        origin="Coates, Ng & Lee 2011; ai.stanford.edu/~acoates/stl10",
    ),
    "fashion_mnist": Source(
        tfds_sets.load,
        shape=(28, 28, 1),
        classes=10,
        images={"train": 60_000, "test": 10_000},
        splits=SPLITS,
        builder="fashion_mnist",
        origin="Xiao, Rasul & Vollgraf 2017, arXiv 1708.07747; Zalando's bucket",
    ),
    "imagenet100": Source(
        imagenet100.load,
        shape=(None, None, 3),
        classes=100,
        images={"train": 126_689, "test": 5_000},
        splits={"train": "train", "test": "validation"},
        builder="imagenet2012",
        origin="Russakovsky et al. 2015, classes of Tian et al. 2020; by hand from image-net.org",
    ),
    "cifar10_corrupted": Source(
        tfds_sets.load_corrupted,
        shape=(32, 32, 3),
        classes=10,
        images={"train": 50_000, "test": 10_000},
        splits=SPLITS,
        builder="cifar10_corrupted",
        origin="Hendrycks & Dietterich 2019; zenodo.org/record/2535967; trained on CIFAR-10",
    ),
    "pacs": Source(
        folder.load,
        shape=(227, 227, 3),
        classes=7,
        images={"all": 9_991},
        splits={},
        builder=None,
        origin="Li et al. 2017, four domains; by hand from domaingeneralization.github.io",
    ),
    "folder": Source(
        folder.load,
        shape=(None, None, 3),
        classes=None,
        images={},
        splits={},
        builder=None,
        origin="a folder of the user's",
    ),
}


def load(name: str, **options) -> Dataset:
    """Load the data set called `name`.

    Args:
        name: a key of `SOURCES`.
        **options: what that set takes. All: `data_dir` (TFDS's folder; None: $TFDS_DATA_DIR or
            ~/tensorflow_datasets), `limit` (at most so many images of each split, evenly spaced)
            and `skip_unreadable` (count images that cannot be read, instead of an error).
            imagenet100: `size`. cifar10_corrupted: `corruption` and `severity`. folder and pacs:
            `root`, `size`, `domains` and `held_out`.

    Raises:
        ValueError: an unknown name, or a data set that is missing or broken; the message names the
            file and the command that mends it.
        TypeError: an option that the set does not take.
    """
    row = find(name)
    return row.read(name, row, **options)


def find(name: str) -> Source:
    """The row of a data set.

    Raises:
        ValueError: there is none of this name.
    """
    if name not in SOURCES:
        raise ValueError(f"unknown data set {name!r}; one of: {', '.join(SOURCES)}")
    return SOURCES[name]
