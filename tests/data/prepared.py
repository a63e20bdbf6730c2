"""Small data sets in the formats that the real ones have, for tests of the code that reads them."""

import contextlib
import io
import pathlib

import numpy as np
import PIL.Image
import tensorflow_datasets as tfds

SPLITS = {"stl10": {"unlabelled": 40}, "imagenet2012": {"train": 30, "validation": 12}}


def picture(rng, height, width, channels=3):
    """Random pixels, coarse enough that JPEG keeps most of them."""
    coarse = rng.integers(0, 256, (height // 4 + 1, width // 4 + 1, channels), dtype=np.uint8)
    return np.kron(coarse, np.ones((4, 4, 1), np.uint8))[:height, :width]


def encode(image, kind="png"):
    """The bytes of a PNG or JPEG file."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(image if image.shape[-1] == 3 else image[..., 0]).save(buffer, kind)
    return buffer.getvalue()


def npy(array):
    """The bytes of a .npy file."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def tiff(*pages):
    """The bytes of a TIFF of some pages."""
    first, *others = map(PIL.Image.fromarray, pages)
    file = io.BytesIO()
    first.save(file, "tiff", save_all=True, append_images=others)
    return file.getvalue()


def write_tfds(name, data_dir, sizes=None, labels=None, spoil=None, seed=0):
    """Write a set of TFDS as its own builder would, of random images, few of them.

    Args:
        name: TFDS's name, a configuration included, such as "cifar10_corrupted/snow_3".
        data_dir: folder of all sets.
        sizes: {split: images}; None: 30 train and 12 test, with stl10's and imagenet2012's splits.
        labels: (i) -> label of image i of a labelled split; None: i modulo the number of classes.
        spoil: {(split, i): bytes} to store instead of an encoded image.
        seed: of the pixels.

    Returns:
        {split: ([image, ...], [label, ...])} in the order of the keys, which is not the order on
        disk, and the folder of the set.
    """
    builder = tfds.builder(name, data_dir=str(data_dir))
    features, rng = builder.info.features, np.random.default_rng(seed)
    default = {"train": 30, "test": 12} | SPLITS.get(name, {})
    if name == "imagenet2012":
        default = SPLITS[name]
    written = {}

    def rows(split):
        images, found = written[split]
        for i, (image, label) in enumerate(zip(images, found, strict=True)):
            encoded = encode(image, features["image"].encoding_format or "png")
            encoded = encoded if spoil is None else spoil.get((split, i), encoded)
            known = {"id": f"{split}_{i:05d}", "file_name": f"{i}.JPEG", "coarse_label": i % 20}
            row = known | {"image": encoded, "label": label}
            yield i, {key: row[key] for key in features}

    for split, count in (sizes or default).items():
        height, width, channels = features["image"].shape
        shapes = [
            (height or rng.integers(40, 90), width or rng.integers(40, 90), channels)
            for _ in range(count)
        ]
        number = features["label"].num_classes
        written[split] = (
            [picture(rng, *shape) for shape in shapes],
            [
                -1 if split == "unlabelled" else i % number if labels is None else labels(i)
                for i in range(count)
            ],
        )
    builder._split_generators = lambda dl_manager: {split: rows(split) for split in written}
    with quiet():
        builder.download_and_prepare(file_format="array_record")
    return written, pathlib.Path(builder.data_path)


def write_folder(root, tree, size=(24, 24), seed=0):
    """Write a tree of picture files: {"train/cat": 5, "train/dog": 3, ...}.

    Args:
        root: where.
        tree: {folder below root: how many pictures}.
        size: (height, width) of all, or a list of them that is gone through in turn.
        seed: of the pixels.

    Returns:
        {path below root: the pixels}; every second picture is a JPEG file.
    """
    rng, written = np.random.default_rng(seed), {}
    sizes = size if isinstance(size, list) else [size]
    for folder, count in tree.items():
        (pathlib.Path(root) / folder).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            image = picture(rng, *sizes[len(written) % len(sizes)])
            kind, ending = ("png", "png") if i % 2 == 0 else ("jpeg", "jpg")
            encoded = encode(image, kind)
            name = f"{folder}/{i:04d}.{ending}"
            (pathlib.Path(root) / name).write_bytes(encoded)
            written[name] = np.asarray(PIL.Image.open(io.BytesIO(encoded)))
    return written


@contextlib.contextmanager
def quiet():
    """Keep TFDS's messages and bars out of a test's output."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
