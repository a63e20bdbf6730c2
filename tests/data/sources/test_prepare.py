"""Preparing: what is said beforehand, what is not redone, and TFDS's own builders where it can."""

import hashlib
import importlib.util
import re
import types
import urllib.error
import urllib.request

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download.checksums import UrlInfo

from gca_jax.data import memory, sources
from gca_jax.data.sources import prepare
from tests.data import archives, prepared


def config(name, data_dir, **data):
    data = {"name": name, "data_dir": str(data_dir), **data}
    return types.SimpleNamespace(data=data)


@pytest.fixture
def without_tensorflow(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "tensorflow" else find(name)
    )


@pytest.mark.usefixtures("without_tensorflow")
def test_it_says_what_it_would_prepare_and_that_tensorflow_is_missing(tmp_path, capsys):
    for name, count in (("cifar10", "1 set"), ("cifar10_corrupted", "96 sets")):
        with pytest.raises(ValueError, match=re.escape("pip install gca-jax[prepare]")):
            prepare.prepare(config(name, tmp_path / "new"))
        out = capsys.readouterr().out
        assert f"preparing {count} in {tmp_path}/new" in out
        assert "--archives=DIR" in out
    assert not (tmp_path / "new").exists()


@pytest.mark.usefixtures("without_tensorflow")
def test_what_is_prepared_is_left_alone(tmp_path, capsys):
    _, where = prepared.write_tfds("cifar10", tmp_path)
    before = {path: path.stat().st_mtime_ns for path in where.iterdir()}
    prepare.prepare(config("cifar10", tmp_path))
    assert {path: path.stat().st_mtime_ns for path in where.iterdir()} == before
    out = capsys.readouterr().out
    assert f"cifar10 is prepared in {where}" in out
    assert "30 training images, 12 test images, 32 x 32 x 3, 10 classes, in memory" in out
    # Half of it is not taken for the whole.
    next(where.glob("*-test.*")).unlink()
    (where.parent / f"incomplete.ABCDEF_{where.name}").mkdir()
    with pytest.raises(ValueError, match="needs TensorFlow"):
        prepare.prepare(config("cifar10", tmp_path))
    assert "was left by a preparation that was cut off" in capsys.readouterr().out


def test_another_format_is_not_written_over(tmp_path):
    _, where = prepared.write_tfds("cifar10", tmp_path)
    info = where / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    with pytest.raises(ValueError, match=r"name another folder with --config.data.data_dir"):
        prepare.prepare(config("cifar10", tmp_path))
    assert len(list(where.iterdir())) == 4


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("svhn", "test_32x32.mat"),
        ("imagenet100", "ILSVRC2012_img_val.tar"),
    ],
)
def test_a_missing_archive_is_named(name, file, tmp_path):
    archives.ARCHIVES[name](tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(ValueError, match=re.escape(f"there is no {tmp_path / file}")):
        prepare.prepare(config(name, tmp_path / "data"), archives=str(tmp_path))


def test_imagenet_says_where_it_is_to_be_had(tmp_path):
    with pytest.raises(ValueError, match=r"downloads/manual/.*register at https://image-net.org"):
        prepare.prepare(config("imagenet100", tmp_path))


def test_tfds_takes_a_placed_archive_for_its_download(tmp_path, capsys):
    archives.svhn(tmp_path)
    builder = tfds.builder("svhn_cropped", data_dir=str(tmp_path / "data"))
    for _ in range(2):  # a second time, too
        prepare._place(builder, str(tmp_path))
    assert "train_32x32.mat differs from the one at" in capsys.readouterr().out
    manager = builder._make_download_manager(
        download_dir=None, download_config=tfds.download.DownloadConfig()
    )
    with prepared.quiet():  # no network here: it would fail
        paths = manager.download({url: url for url in builder.url_infos})
    for url, path in paths.items():
        name = url.rsplit("/", 1)[-1]
        assert path.read_bytes() == (tmp_path / name).read_bytes()


def test_an_archive_like_the_published_one_is_not_remarked_on(tmp_path, capsys):
    (tmp_path / "x.tar").write_bytes(b"content")
    known = UrlInfo(7, hashlib.sha256(b"content").hexdigest(), "x.tar")
    builder = types.SimpleNamespace(
        name="some", data_dir_root=tmp_path / "data", url_infos={"http://a.b/x.tar": known}
    )
    prepare._place(builder, str(tmp_path))
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("without_tensorflow")
def test_digits_and_folders_need_no_tensorflow(tmp_path, capsys):
    prepare.prepare(types.SimpleNamespace(data={"name": "digits"}))
    assert "1437 training images, 360 test images, 8 x 8 x 1" in capsys.readouterr().out
    tree = {"art/cat": 5, "art/dog": 5, "photo/cat": 5, "photo/dog": 5}
    prepared.write_folder(tmp_path / "pictures", tree)
    root = str(tmp_path / "pictures")
    prepare.prepare(config("folder", tmp_path, root=root, held_out="art"))
    out = capsys.readouterr().out
    assert "10 training images, 10 test images, 24 x 24 x 3" in out
    assert "2 classes, domains art, photo, in memory" in out


def test_one_image_and_one_class_are_in_the_singular():
    image = np.zeros((1, 4, 4), np.uint8)
    data = memory.arrays(image, [0], test_images=image, test_labels=[0])
    said = "arrays: 1 training image, 1 test image, 4 x 4 x 1, 1 class, in memory"
    assert prepare.describe(data) == said


@pytest.mark.slow
@pytest.mark.parametrize("name", archives.ARCHIVES)
def test_tfds_prepares_archives_of_the_published_layout(name, tmp_path, capsys):
    pytest.importorskip("tensorflow", reason="pip install -e .[prepare]")
    archives.ARCHIVES[name](tmp_path)
    options = dict(size=32) if name == "imagenet100" else {}
    with prepared.quiet():
        prepare.prepare(config(name, tmp_path / "data", **options), archives=str(tmp_path))
    if name == "cifar10_corrupted":
        options = dict(corruption="fog", severity=3)
    data = sources.load(name, data_dir=str(tmp_path / "data"), **options)
    assert len(data.train_images) == (60_000 if name == "fashion_mnist" else 100)
    assert len(np.unique(data.train_labels)) == {"cifar100": 100, "imagenet100": 20}.get(name, 10)
    if name == "stl10":
        assert len(data.pretrain_images) == 30
    if name == "fashion_mnist":
        np.testing.assert_array_equal(data.train_images[:, 0, 0, 0], data.train_labels)


def test_a_host_that_does_not_answer_is_said_at_once(tmp_path, monkeypatch):
    """TFDS would ask for minutes. What has been downloaded is not asked for."""
    known = {f"http://a.b/{name}.tar": UrlInfo(7, "0" * 64, name) for name in "xy"}
    builder = types.SimpleNamespace(name="some", data_dir_root=tmp_path, url_infos=known)
    asked = []

    def answer(request, timeout):
        assert timeout <= 10
        asked.append((request.get_method(), request.full_url))
        raise error

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    error = urllib.error.URLError("Name or service not known")
    says = r"http://a\.b/x\.tar cannot be reached \(Name or service.*--archives=DIR"
    with pytest.raises(ValueError, match=says):
        prepare._reach(builder)
    assert asked == [("HEAD", "http://a.b/x.tar")]
    ((_, _, first), _) = prepare._downloads(builder)
    first.parent.mkdir(parents=True)
    first.touch()
    error = urllib.error.HTTPError("http://a.b/y.tar", 405, "not allowed", None, None)
    prepare._reach(builder)
    assert asked[1:] == [("HEAD", "http://a.b/y.tar")]
