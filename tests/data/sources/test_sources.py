"""Every data set, in its real format with few images, read by the code that reads the real one."""

import hashlib
import io
import pickle
import sys

import numpy as np
import PIL.Image
import pytest
import tensorflow_datasets as tfds
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from gca_jax.data import sources
from gca_jax.data.dataset import Streamed
from gca_jax.data.sources import imagenet100, tfds_sets
from tests.data import prepared

FIXED = {  # our names, with TFDS's
    "cifar10": "cifar10",
    "cifar100": "cifar100",
    "svhn": "svhn_cropped",
    "stl10": "stl10",
    "fashion_mnist": "fashion_mnist",
}


def assert_same(images, labels, written):
    """Both hold the same images with the same labels, in any order (TFDS shuffles)."""

    def rows(pairs):
        return sorted((np.asarray(image).tobytes(), int(label)) for image, label in pairs)

    assert rows(zip(images, labels, strict=True)) == rows(zip(*written, strict=True))


def test_digits_are_scikit_learns_in_the_order_of_its_split():
    data = sources.load("digits")
    raw = load_digits()
    train, test = train_test_split(
        np.arange(1797), test_size=360, stratify=raw.target, random_state=0
    )
    for images, labels, rows in (
        (data.train_images, data.train_labels, train),
        (data.test_images, data.test_labels, test),
    ):
        assert images.dtype == np.uint8
        assert labels.dtype == np.int32
        # 17 grey levels of the scanner.
        np.testing.assert_array_equal(images[..., 0], np.round(raw.images[rows] * (255 / 16)))
        np.testing.assert_array_equal(labels, raw.target[rows])
    assert data.num_classes == 10
    assert data.pretrain_images is data.train_images
    share = np.bincount(data.test_labels) / np.bincount(raw.target)
    assert np.abs(share - 360 / 1797).max() < 0.005


def test_unknown_name_lists_the_right_ones():
    with pytest.raises(ValueError, match="data set must be one of arrays, cifar10"):
        sources.load("mnist")


@pytest.fixture
def without_tensorflow(monkeypatch):
    """Importing TensorFlow fails, also where another test has imported it."""
    for name in [name for name in sys.modules if name.split(".")[0] == "tensorflow"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorflow", None)


@pytest.mark.parametrize("name", FIXED)
def test_a_set_of_tfds_is_read_without_tensorflow(name, tmp_path, request):
    written, where = prepared.write_tfds(FIXED[name], tmp_path)
    request.getfixturevalue("without_tensorflow")
    data = sources.load(name, data_dir=str(tmp_path))
    features = tfds.builder_from_directory(where).info.features
    assert data.num_classes == features["label"].num_classes
    assert data.train_images.shape == (30, *features["image"].shape)
    assert data.train_labels.dtype == np.int32
    assert_same(data.train_images, data.train_labels, written["train"])
    assert_same(data.test_images, data.test_labels, written["test"])


def test_stl10_pretrains_on_its_unlabelled_split(tmp_path):
    written, _ = prepared.write_tfds("stl10", tmp_path, {"train": 5, "test": 4, "unlabelled": 20})
    data = sources.load("stl10", data_dir=str(tmp_path))
    assert data.pretrain_images.shape == (20, 96, 96, 3)
    assert data.pretrain_labels is None
    images, _ = written["unlabelled"]
    assert_same(data.pretrain_images, np.zeros(20), (images, np.zeros(20)))


def test_every_corruption_and_severity_of_cifar10(tmp_path):
    names = tfds_sets.corruptions()
    configs = {c.name for c in tfds.builder_cls("cifar10_corrupted").BUILDER_CONFIGS}
    assert {f"{name}_{severity}" for name in names for severity in range(1, 6)} == configs
    assert len(names) == 19
    train, _ = prepared.write_tfds("cifar10", tmp_path)
    for severity in (1, 5):
        kind = f"cifar10_corrupted/snow_{severity}"
        test, _ = prepared.write_tfds(kind, tmp_path, {"test": 9}, seed=severity)
        data = sources.load(
            "cifar10_corrupted", corruption="snow", severity=severity, data_dir=str(tmp_path)
        )
        assert_same(data.train_images, data.train_labels, train["train"])
        assert_same(data.test_images, data.test_labels, test["test"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(corruption="rain", severity=1), "corruption must be one of brightness, "),
        (dict(corruption="snow", severity=6), "severity must be from 1 to 5, got 6"),
    ],
)
def test_no_such_corruption(options, message):
    with pytest.raises(ValueError, match=message):
        sources.load("cifar10_corrupted", **options)


def test_class_list_of_imagenet100():
    text = "\n".join(imagenet100.class_list()) + "\n"
    # Of imagenet100.txt in HobbitLong/CMC at 7b227be0b10ef4e526c72af07664f5079ed9ee09.
    assert hashlib.sha256(text.encode()).hexdigest() == (
        "79f3f1552ccc478ce24bd934b4573625db584ddc1f4643ae23c994a94cb11397"
    )
    ids = imagenet100.class_list()
    assert len(set(ids)) == len(ids) == 100
    assert set(ids) <= set(tfds.builder("imagenet2012").info.features["label"].names)


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    """Forty pictures, every second of one of the hundred classes; the folder and its content."""
    folder = tmp_path_factory.mktemp("imagenet")
    names = tfds.builder("imagenet2012").info.features["label"].names
    inside = [names.index(wnid) for wnid in imagenet100.class_list()]
    outside = sorted(set(range(1000)) - set(inside))

    def label(i):
        return (inside if i % 2 == 0 else outside)[i]

    sizes = {"train": 40, "validation": 10}
    written, where = prepared.write_tfds("imagenet2012", folder, sizes, label)
    return folder, where, written


def pictures_of(split):
    """{decoded JPEG: label among the hundred} of the pictures that belong to them."""
    images, labels = split
    names = tfds.builder("imagenet2012").info.features["label"].names
    kept = {}
    for image, label in zip(images, labels, strict=True):
        if names[label] in imagenet100.class_list():
            stored = np.asarray(PIL.Image.open(io.BytesIO(prepared.encode(image, "jpeg"))))
            kept[stored.tobytes()] = imagenet100.class_list().index(names[label])
    return kept


def test_imagenet100_streams_its_hundred_classes(imagenet):
    folder, _, written = imagenet
    data = sources.load("imagenet100", data_dir=str(folder), size=32)
    assert data.class_names == imagenet100.class_list()
    for images, labels, split in (
        (data.train_images, data.train_labels, "train"),
        (data.test_images, data.test_labels, "validation"),
    ):
        assert isinstance(images, Streamed)
        expected = pictures_of(written[split])
        found = {images.decode(i).tobytes(): int(label) for i, label in enumerate(labels.tolist())}
        assert found == expected
        assert images.shape == (len(expected), 32, 32, 3)


@pytest.mark.usefixtures("unchecked")
def test_streamed_images_as_an_array(imagenet):
    images = sources.load("imagenet100", data_dir=str(imagenet[0]), size=32).train_images
    rows = np.array([3, 0, 3])
    assert images[rows].shape == (3, 32, 32, 3)
    np.testing.assert_array_equal(images[rows][0], images[rows][2])
    np.testing.assert_array_equal(images[2:4], images[np.array([2, 3])])
    # torchvision's Resize(256) and CenterCrop(224), at a seventh of their size.
    picture = PIL.Image.fromarray(images.decode(0))
    shorter = round(32 * 256 / 224)
    width, height = picture.size
    if width < height:
        width, height = shorter, round(height * shorter / width)
    else:
        width, height = round(width * shorter / height), shorter
    resized = np.asarray(picture.resize((width, height), PIL.Image.Resampling.BILINEAR))
    top, left = (height - 32) // 2, (width - 32) // 2
    np.testing.assert_array_equal(images[:1][0], resized[top : top + 32, left : left + 32])
    copy = pickle.loads(pickle.dumps(images))
    np.testing.assert_array_equal(copy[rows], images[rows])
    with pytest.raises(TypeError, match="by a slice or an array of rows, got 3"):
        images[3]


def test_imagenet_is_searched_once(imagenet, monkeypatch):
    first = sources.load("imagenet100", data_dir=str(imagenet[0]))
    monkeypatch.delattr(imagenet100, "_search")
    again = sources.load("imagenet100", data_dir=str(imagenet[0]))
    np.testing.assert_array_equal(first.train_labels, again.train_labels)
    for index in imagenet[1].glob("imagenet100-*.npz"):
        index.write_bytes(b"")  # a spoilt one is no obstacle, but is made again
    with pytest.raises(NameError, match="_search"):
        sources.load("imagenet100", data_dir=str(imagenet[0]))


def test_limit_takes_images_evenly_spaced(imagenet):
    everything, few = sources.load("digits"), sources.load("digits", limit=3)
    rows = [0, 718, 1436]
    np.testing.assert_array_equal(few.train_images, everything.train_images[rows])
    np.testing.assert_array_equal(few.train_labels, everything.train_labels[rows])
    assert len(few.test_images) == 3
    assert len(sources.load("digits", limit=10_000).test_labels) == 360
    streamed = sources.load("imagenet100", data_dir=str(imagenet[0]), limit=2)
    assert len(streamed.train_images) == len(streamed.train_labels) == 2
    with pytest.raises(ValueError, match="limit must be an integer >= 1, got 0"):
        sources.load("digits", limit=0)


def test_an_option_that_a_set_does_not_take():
    with pytest.raises(ValueError, match=r"^data set cifar10 takes no held_out; it takes data_"):
        sources.load("cifar10", held_out="sketch")
