"""CIFAR's archives for Python: what is read, and that no program in one is run."""

import pickle
import re

import numpy as np
import pytest

from gca_jax.data import sources
from tests.data import archives

TEN = [b"airplane", b"automobile", b"bird", b"cat", b"deer"]


def old_pickle(content):
    """Protocol 2, NumPy's module by the name that it had."""
    return pickle.dumps(content, protocol=2).replace(b"numpy._core", b"numpy.core")


def cifar10(path, **changes):
    rng = np.random.default_rng(0)
    content = {}
    for name in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"):
        data = rng.integers(0, 256, (10, 3072), dtype=np.uint8)
        content[name] = {b"data": data, b"labels": [k % 5 for k in range(10)]}
    content["batches.meta"] = {b"label_names": TEN}
    content |= changes
    members = {f"cifar-10-batches-py/{name}": old_pickle(x) for name, x in content.items()}
    archives.write_tar(path, members)
    return content


def test_cifar10_is_read_as_its_pickles_have_it(tmp_path):
    path = tmp_path / "cifar-10-python.tar.gz"
    content = cifar10(path)
    data = sources.load("cifar10", file=str(path), data_dir=None, skip_unreadable=False)
    assert data.name == "cifar10"
    assert data.class_names == tuple(name.decode() for name in TEN)
    for k, batch in enumerate([*content.values()][:6]):
        images = data.test_images if k == 5 else data.train_images[10 * k : 10 * k + 10]
        labels = data.test_labels if k == 5 else data.train_labels[10 * k : 10 * k + 10]
        assert labels.tolist() == batch[b"labels"]
        for channel in range(3):  # a plane of 32 rows for each
            plane = batch[b"data"][:, 1024 * channel : 1024 * channel + 1024]
            np.testing.assert_array_equal(images[..., channel], plane.reshape(-1, 32, 32))
    assert len(sources.load("arrays", file=str(path), limit=7).train_images) == 7


def test_cifar100_has_its_fine_labels(tmp_path):
    part = {
        b"data": np.zeros((4, 3072), np.uint8),
        b"fine_labels": [0, 1, 2, 2],
        b"coarse_labels": [0, 0, 0, 0],
    }
    meta = {b"fine_label_names": [b"apple", b"bed", b"sea"], b"coarse_label_names": [b"x"]}
    content = {"train": part, "test": part, "meta": meta}
    members = {f"cifar-100-python/{name}": old_pickle(x) for name, x in content.items()}
    archives.write_tar(tmp_path / "c.tgz", members)
    data = sources.load("cifar100", file=str(tmp_path / "c.tgz"))
    assert (data.name, data.class_names) == ("cifar100", ("apple", "bed", "sea"))
    assert data.train_labels.tolist() == [0, 1, 2, 2]


class Program:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_another_archive_is_one_line_and_no_program_in_it_is_run(tmp_path):
    path = tmp_path / "x.tar.gz"

    def refused(says):
        with pytest.raises(ValueError, match=re.escape(str(path)) + ".*" + says) as caught:
            sources.load("cifar10", file=str(path))
        assert len(str(caught.value).splitlines()) == 1

    refused("does not exist")
    path.write_bytes(b"no archive")
    refused("cannot be read as cifar-10-python")
    archives.write_tar(path, {"other/data_batch_1": b""})
    refused("it has no folder cifar-10-batches-py or cifar-100-python")
    cifar10(path, test_batch={b"data": Program(tmp_path / "harm")})
    refused("which is no array")
    assert not (tmp_path / "harm").exists()
    cifar10(path)
    path.write_bytes(path.read_bytes()[:-20000])
    refused("cannot be read as cifar-10-python")
    archives.write_tar(path, {"cifar-10-batches-py/test_batch": old_pickle({})})
    refused("it has no cifar-10-batches-py/data_batch_1")
