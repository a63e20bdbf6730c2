"""Every data set by its name, from TFDS, a wheel, a folder or an archive of arrays.

Images of one size that fit in memory are read there as one uint8 array; all others stream from disk
as they are needed. The limit is `gca_jax.data.sources.reading.MEMORY_LIMIT`.
"""

from gca_jax import check
from gca_jax.data import memory
from gca_jax.data.dataset import Dataset, Reader, Source
from gca_jax.data.sources import folder, hub, imagenet100, tfds_sets


def _tfds(builder: str, read: Reader = tfds_sets.load, **splits: str) -> Source:
    """Describe a set of TFDS, with its own names of splits that are not called train and test."""
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
    """Find the row of a data set; raise a ValueError if there is none of this name."""
    check.one_of("data set", name, SOURCES)
    return SOURCES[name]
