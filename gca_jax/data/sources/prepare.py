"""Prepares a data set, once: TFDS downloads and unpacks, which alone needs TensorFlow."""

import hashlib
import importlib.util
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import resource

from gca_jax.check import counted
from gca_jax.data import sources
from gca_jax.data.dataset import Dataset, Streamed
from gca_jax.data.sources import network, tfds_sets

MANUAL = ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar")
OFFLINE = "Without a network, put the archives into a folder and name it with --archives=DIR"
INSTALL = "pip install gca-jax[prepare]   (in a checkout: pip install -e .[prepare])"


def prepare(config: Any, archives: str | None = None) -> None:
    """Prepare the data set of `config.data`, unless it is prepared.

    Args:
        config: A run's config.
        archives: Folder of the archives that would be downloaded, for machines without network.

    Raises:
        ValueError: TensorFlow, an archive, the network or disk space is missing.
    """
    archives = None if archives is None else os.path.expanduser(archives)
    data = {key: value for key, value in config.data.items() if key != "kind"}
    name, builder = data["name"], sources.find(data["name"]).builder
    if builder is not None and data.get("file") is None:
        wanted = [builder]
        if name == "cifar10_corrupted":
            kinds = [f"{c}_{s}" for c in tfds_sets.corruptions() for s in tfds_sets.SEVERITIES]
            wanted = ["cifar10", *(f"{builder}/{kind}" for kind in kinds)]
        _prepare_tfds(name, wanted, data["data_dir"], archives)
        if name == "cifar10_corrupted":
            return  # its 95 sets are loaded one at a time, by corruption and severity
    print(describe(sources.load(**data)))


def _prepare_tfds(name: str, wanted: list[str], data_dir: str | None, archives: str | None) -> None:
    """Prepare sets of TFDS, which prints what it downloads, how much and where to."""
    data_dir = tfds_sets.expanded(data_dir)
    builders = {each: tfds.builder(each, data_dir=data_dir) for each in wanted}
    todo = {each: builder for each, builder in builders.items() if _is_needed(builder)}
    if not todo:
        print(f"{name} is prepared in {builders[wanted[-1]].data_path}")
        return
    root = next(iter(todo.values())).data_dir_root
    print(
        f"preparing {counted(len(todo), 'set')} in {root}; what is downloaded goes to "
        f"{root / 'downloads'}, which can be deleted afterwards, or is there: --archives=DIR"
    )
    by_name = {builder.name: builder for builder in todo.values()}.values()
    for builder in by_name:
        _place(builder, archives)
    _hide_gpus()
    for builder in by_name:
        _reach(builder)
    for each, builder in todo.items():
        if builder.data_path.exists():  # an incomplete set, which TFDS would take for complete
            print(f"{builder.name}: {tfds_sets.fault_of(builder)}; it is made again")
            shutil.rmtree(builder.data_path)
        _download_and_prepare(tfds.builder(each, data_dir=data_dir), archives)


def _is_needed(builder: Any) -> bool:
    """Tell whether a set must be prepared; raise ValueError for one that needs TensorFlow."""
    fault = tfds_sets.fault_of(builder)
    if fault is not None and "not array_record" in fault:
        raise ValueError(f"{fault}; name another folder with --config.data.data_dir=DIR")
    for left in builder.data_path.parent.glob(f"incomplete.*_{builder.data_path.name}"):
        print(f"note: {left} was left by a preparation that was cut off; it can be deleted")
    return fault is not None


def _hide_gpus() -> None:
    """Keep TensorFlow from allocating a GPU's memory; raise ValueError without TensorFlow."""
    if importlib.util.find_spec("tensorflow") is None:
        raise ValueError(
            "preparing needs TensorFlow, once, to unpack what is downloaded (reading does not):\n"
            f"    {INSTALL}"
        )
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")


def _download_and_prepare(builder: Any, archives: str | None) -> None:
    """Let TFDS prepare a set; raise ValueError with the reason if it fails."""
    # In a manual folder, TFDS would refuse a mirror's archives of the other sets; see `_place`.
    by_hand = archives if builder.name == "imagenet2012" else None
    config = tfds.download.DownloadConfig(manual_dir=by_hand)
    try:
        builder.download_and_prepare(file_format="array_record", download_config=config)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            "stopped; the same command goes on, with what has been downloaded whole"
        ) from None
    except Exception as error:  # of the network, TensorFlow or TFDS: no common base class
        raise ValueError(f"{builder.name} could not be prepared: {error}\n{OFFLINE}") from error


def _place(builder: Any, archives: str | None) -> None:
    """Link archives into TFDS's download cache, with the metadata files that it expects.

    TFDS does not verify them again, so checksums are compared here. A different one is no error: a
    mirror may have compressed the same file anew.
    """
    if builder.name == "imagenet2012":  # TFDS would leave out a split whose archive is missing
        folder = pathlib.Path(archives or builder.data_dir_root / "downloads" / "manual")
        for file in MANUAL:
            if not (folder / file).exists():
                raise ValueError(
                    f"there is no {folder / file}: register at https://image-net.org, download "
                    f"{' and '.join(MANUAL)} by hand, and name their folder with --archives=DIR"
                )
        return
    if archives is None:
        return
    for url, info, path in _downloads(builder):
        archive = pathlib.Path(archives).expanduser().resolve() / url.rsplit("/", 1)[-1]
        if not archive.exists():
            python = archive.with_name(archive.name.replace("-binary", "-python"))
            raise ValueError(
                f"there is no {archive} (from {url}); put it there, or leave --archives out"
                + f"; --config.data.file={python} is read as it is" * python.exists()
            )
        with archive.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        if digest != info.checksum:
            print(f"note: {archive} differs from the one at {url}; it is used as it is")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(archive)
        resource.write_info_file(url, path, builder.name, archive.name, info)


def _downloads(builder: Any) -> Iterator[tuple[str, Any, pathlib.Path]]:
    """Yield what a set downloads: address, size with checksum, and its place in TFDS's cache."""
    folder = pathlib.Path(builder.data_dir_root) / "downloads" / builder.name
    for url, info in builder.url_infos.items():
        yield url, info, folder / resource.get_dl_fname(url, info.checksum)


def _reach(builder: Any) -> None:
    """Raise ValueError if a file is to be downloaded whose host does not answer.

    TFDS would try for minutes.
    """
    if builder.name == "imagenet2012":
        return
    for url, _, path in _downloads(builder):
        if path.exists() or not url.startswith("http"):
            continue
        if (fault := network.fault_of(url)) is not None:
            raise ValueError(
                f"{builder.name} could not be prepared: {url} cannot be reached ({fault}). "
                + OFFLINE
            )


def describe(dataset: Dataset) -> str:
    """Describe numbers, size and classes of images in one line, and where they are."""
    images = dataset.train_images
    of_test = counted(len(dataset.test_images), "test image")
    parts = [counted(len(images), "training image"), of_test]
    if dataset.pretrain_images is not images:
        parts.insert(0, f"{counted(len(dataset.pretrain_images), 'image')} to pretrain with")
    size = " x ".join(map(str, images.shape[1:]))
    where = "streamed from disk" if isinstance(images, Streamed) else "in memory"
    classes = counted(dataset.num_classes, "class") if dataset.labelled else "no labels"
    if dataset.domain_names is not None:
        classes += f", domains {', '.join(dataset.domain_names)}"
    return f"{dataset.name}: {', '.join(parts)}, {size}, {classes}, {where}"
