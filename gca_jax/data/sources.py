"""Which images: every data set as uint8 arrays in memory, split into training and test set."""

import pathlib

import numpy as np

from gca_jax.data.dataset import Dataset


def digits() -> Dataset:
    """1,797 scanned digits of 8 x 8 pixels from scikit-learn's wheel: 1,437 to train, 360 to test.

    The split is stratified and always the same. Source: Alpaydin & Kaynak, UCI ML repository, 1998.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    raw = load_digits()
    images = np.round(raw.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = raw.target.astype(np.int32)
    train, test = train_test_split(
        np.arange(len(labels)), test_size=360, stratify=labels, random_state=0
    )
    return Dataset("digits", images[train], labels[train], images[test], labels[test], 10)


def cifar10(data_dir: str | None = None) -> Dataset:
    """CIFAR-10, 50,000 training and 10,000 test images of 32 x 32 pixels, as TFDS prepared it.

    Args:
        data_dir: TFDS's folder; None for its own choice, $TFDS_DATA_DIR or ~/tensorflow_datasets.

    Raises:
        ValueError: the data set is not there in a format that can be read without TensorFlow; the
            message says where it looked and how to prepare it.
    """
    return _tfds("cifar10", data_dir)


SOURCES = {"digits": digits, "cifar10": cifar10}


def load(name: str, **options) -> Dataset:
    """Load the data set called `name`.

    Args:
        name: a key of `SOURCES`.
        **options: what that data set's reader takes (`data_dir` for cifar10).

    Raises:
        ValueError: an unknown name, or a data set that is not on this machine.
    """
    if name not in SOURCES:
        raise ValueError(f"unknown data set {name!r}; one of: {', '.join(SOURCES)}")
    return SOURCES[name](**options)


def _tfds(name: str, data_dir: str | None) -> Dataset:
    """Read a TFDS data set with random access, which needs no TensorFlow."""
    import tensorflow_datasets as tfds

    builder = tfds.builder(name, data_dir=data_dir)
    where = pathlib.Path(builder.data_path)
    if not where.exists():
        raise ValueError(_how_to_get(name, "it is not in", where, data_dir))
    if builder.info.file_format.value != "array_record":
        raise ValueError(_how_to_get(name, "it is not array_record in", where, "DIR"))
    train, test = (_arrays(builder.as_data_source(split)) for split in ("train", "test"))
    return Dataset(name, *train, *test, builder.info.features["label"].num_classes)


def _arrays(source, chunk: int = 1024) -> tuple[np.ndarray, np.ndarray]:
    """All images and labels of a data source, in chunks: five times faster than one by one."""
    images, labels = [], []
    for start in range(0, len(source), chunk):
        for row in source.__getitems__(range(start, min(start + chunk, len(source)))):
            images.append(row["image"])
            labels.append(row["label"])
    return np.stack(images), np.asarray(labels, np.int32)


def _how_to_get(name: str, problem: str, where: pathlib.Path, data_dir: str | None) -> str:
    """One message: what is missing, where it was looked for, how to make it."""
    folder = "" if data_dir is None else f", data_dir={data_dir!r}"
    prepare = f"tfds.builder({name!r}{folder}).download_and_prepare(file_format='array_record')"
    return (
        f"data set {name} cannot be read: {problem} {where}. Prepare it once, with network; "
        "only that step, unpacking the download, needs TensorFlow:\n"
        "    pip install tensorflow-cpu\n"
        f'    python -c "import tensorflow_datasets as tfds; {prepare}"\n'
        "A folder other than TFDS's own ($TFDS_DATA_DIR or ~/tensorflow_datasets) is named with "
        "--config.data.data_dir=DIR."
    )
