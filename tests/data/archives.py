"""Archives in the layouts that the data sets' authors publish, of random images, few of them."""

import gzip
import io
import pathlib
import tarfile

import numpy as np
import scipy.io
import tensorflow_datasets as tfds

from gca_jax.data.sources import imagenet100
from tests.data import prepared

RNG = np.random.default_rng(0)


def pixels(*shape):
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def write_tar(path, members):
    """Write {name: bytes}."""
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def cifar(count, *labels):
    """The binary version: labels, then the three planes."""
    rows = [bytes(i % n for n in labels) + pixels(3072).tobytes() for i in range(count)]
    return b"".join(rows)


def names(count):
    return "".join(f"name{i}\n" for i in range(count)).encode()


def cifar10(folder: pathlib.Path) -> None:
    parts = {f"data_batch_{k}.bin": cifar(20, 10) for k in range(1, 6)}
    parts |= {"test_batch.bin": cifar(20, 10), "batches.meta.txt": names(10)}
    members = {f"cifar-10-batches-bin/{name}": data for name, data in parts.items()}
    write_tar(folder / "cifar-10-binary.tar.gz", members)


def cifar100(folder: pathlib.Path) -> None:
    parts = {"train.bin": cifar(100, 20, 100), "test.bin": cifar(20, 20, 100)}
    parts |= {"coarse_label_names.txt": names(20), "fine_label_names.txt": names(100)}
    members = {f"cifar-100-binary/{name}": data for name, data in parts.items()}
    write_tar(folder / "cifar-100-binary.tar.gz", members)


def svhn(folder: pathlib.Path) -> None:
    for split, count in (("train", 100), ("test", 20), ("extra", 5)):
        labels = (np.arange(count) % 10 + 1).astype(np.uint8)[:, None]
        content = {"X": pixels(32, 32, 3, count), "y": labels}
        scipy.io.savemat(folder / f"{split}_32x32.mat", content)


def stl10(folder: pathlib.Path) -> None:
    parts = {"class_names.txt": names(10), "unlabeled_X.bin": pixels(30, 27648).tobytes()}
    for split, count in (("train", 100), ("test", 20)):
        parts[f"{split}_X.bin"] = pixels(count, 27648).tobytes()
        parts[f"{split}_y.bin"] = (np.arange(count) % 10 + 1).astype(np.uint8).tobytes()
    members = {f"stl10_binary/{name}": data for name, data in parts.items()}
    write_tar(folder / "stl10_binary.tar.gz", members)


def fashion_mnist(folder: pathlib.Path) -> None:
    """TFDS reads 60,000 and 10,000 images whatever the header says."""
    for split, count in (("train", 60_000), ("t10k", 10_000)):
        images, labels = np.zeros((count, 784), np.uint8), (np.arange(count) % 10).astype(np.uint8)
        images[:, :2] = labels[:, None]
        for name, data in (
            (f"{split}-images-idx3-ubyte.gz", bytes(16) + images.tobytes()),
            (f"{split}-labels-idx1-ubyte.gz", bytes(8) + labels.tobytes()),
        ):
            (folder / name).write_bytes(gzip.compress(data, compresslevel=1))


def cifar10_corrupted(folder: pathlib.Path) -> None:
    cifar10(folder)

    def npy(array):
        buffer = io.BytesIO()
        np.save(buffer, array)
        return buffer.getvalue()

    from tensorflow_datasets.image_classification import cifar10_corrupted as official

    members = {"CIFAR-10-C/labels.npy": npy(np.tile(np.arange(20) % 10, 5))}
    for name in official._FILENAMES:
        members[f"CIFAR-10-C/{name}"] = npy(pixels(100, 32, 32, 3))
    write_tar(folder / "CIFAR-10-C.tar", members)


def imagenet100_tars(folder: pathlib.Path) -> None:
    """A tar of tars to train, one of pictures to validate; TFDS knows the latter's labels."""

    def picture():
        return prepared.encode(prepared.picture(RNG, *RNG.integers(60, 120, 2)), "jpeg")

    known = tfds.builder("imagenet2012").info.features["label"].names
    chosen = [*imagenet100.class_list()[:20], *known[:2]]
    train = {}
    for wnid in chosen:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for k in range(5):
                data = picture()
                info = tarfile.TarInfo(f"{wnid}_{k}.JPEG")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        train[f"{wnid}.tar"] = buffer.getvalue()
    write_tar(folder / "ILSVRC2012_img_train.tar", train)
    validation = {f"ILSVRC2012_val_{k:08d}.JPEG": picture() for k in range(1, 301)}
    write_tar(folder / "ILSVRC2012_img_val.tar", validation)


ARCHIVES = {
    "cifar10": cifar10,
    "cifar100": cifar100,
    "svhn": svhn,
    "stl10": stl10,
    "fashion_mnist": fashion_mnist,
    "imagenet100": imagenet100_tars,
    "cifar10_corrupted": cifar10_corrupted,
}
