"""The program that prepares a data set, once: TFDS unpacks, which alone needs TensorFlow."""

import hashlib
import importlib.util
import pathlib
import shutil
from collections.abc import Iterable
from functools import partial
from typing import Any

import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import resource

from gca_jax.check import counted
from gca_jax.data import records, sources
from gca_jax.data.dataset import Dataset, Source, Streamed
from gca_jax.data.sources import tfds_sets

MANUAL = ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar")  # 138 GB and 6 GB
INSTALL = "pip install gca-jax[prepare]   (in a checkout: pip install -e .[prepare])"


def prepare(config: Any, archives: str | None = None) -> None:
    """Prepare the data set of a config, unless it is there already; only its `data` is read.

    `archives` is a folder with the archives that would be downloaded, for machines without network.
    A ValueError says how to get what is missing: TensorFlow, an archive, the network or space.
    """
    data = {key: value for key, value in config.data.items() if key != "kind"}
    name = data["name"]
    row = sources.find(name)
    if row.builder is not None:
        _prepare_tfds(name, row, data, archives)
        if name == "cifar10_corrupted":
            return  # Its 95 sets are read one by one, each by its corruption and severity.
    print(describe(sources.load(**data)))


def _prepare_tfds(name: str, row: Source, data: dict[str, Any], archives: str | None) -> None:
    """Prepare one set of TFDS, or all of CIFAR-10-C with CIFAR-10."""
    wanted = [row.builder]
    if name == "cifar10_corrupted":
        kinds = [f"{c}_{s}" for c in tfds_sets.corruptions() for s in tfds_sets.SEVERITIES]
        wanted = ["cifar10", *(f"{row.builder}/{kind}" for kind in kinds)]
    make = {b: partial(tfds.builder, b, data_dir=data["data_dir"]) for b in wanted}
    todo = {b: builder for b in wanted if _is_needed(builder := make[b]())}
    if not todo:
        print(f"{name} is prepared in {make[wanted[-1]]().data_path}")
        return
    different = {builder.name: builder for builder in todo.values()}.values()
    root = pathlib.Path(next(iter(different)).data_dir_root)
    print(f"preparing {counted(len(todo), 'set')} in {root}:")
    _announce(root, different, archives)
    _hide_gpus()
    for builder in different:
        _place(builder, archives)
    for b in todo:
        _download_and_prepare(tfds_sets.start_anew(make[b]), archives)


def _is_needed(builder: Any) -> bool:
    """Whether a set must still be prepared; one that only TensorFlow can read is left alone."""
    fault = records.fault_of(builder)
    if fault is not None and "not array_record" in fault:
        raise ValueError(f"{fault}; name another folder with --config.data.data_dir=DIR")
    for left in builder.data_path.parent.glob(f"incomplete.*_{builder.data_path.name}"):
        print(f"note: {left} was left by a preparation that was cut off; it can be deleted")
    return fault is not None


def _announce(root: pathlib.Path, todo: Iterable[Any], archives: str | None) -> None:
    """Say what will be downloaded, how large it is and where it goes; a ValueError without room."""
    needed = 0
    for builder in todo:
        name = builder.name
        if name == "imagenet2012":
            folder = _by_hand(builder, archives)
            size = sum((folder / file).stat().st_size for file in MANUAL)
            print(f"  {name} from {folder}, {size / 1e9:,.0f} GB, prepared about as large again")
            needed += size
            continue
        for url, info in builder.url_infos.items():
            here = None if archives is None else _archive(url, archives)
            size = info.size if here is None else here.stat().st_size
            print(f"  {url}, {size / 1e6:,.1f} MB" + f", as {here}" * (here is not None))
            needed += 2 * size  # unpacked and prepared
    if archives is None:
        print("what is downloaded already, or elsewhere, is taken from a folder: --archives=DIR")
    print(f"archives are unpacked in {root / 'downloads'}, which can be deleted afterwards")
    free = shutil.disk_usage(next(p for p in (root, *root.parents) if p.exists())).free
    if free < needed:
        raise ValueError(
            f"{root} has {free / 1e9:,.1f} GB free and needs about {needed / 1e9:,.1f} GB; "
            "name another folder with --config.data.data_dir=DIR"
        )


def _by_hand(builder: Any, archives: str | None) -> pathlib.Path:
    """The folder of the archives that only a person can fetch."""
    folder = pathlib.Path(archives or pathlib.Path(builder.data_dir_root) / "downloads" / "manual")
    for file in MANUAL:
        if not (folder / file).exists():
            raise ValueError(
                f"there is no {folder / file}: register at https://image-net.org, download "
                f"{' and '.join(MANUAL)} by hand, and name their folder with --archives=DIR"
            )
    return folder


def _archive(url: str, archives: str) -> pathlib.Path:
    """The archive of a URL in the folder, by its own file name."""
    path = pathlib.Path(archives).expanduser() / url.rsplit("/", 1)[-1]
    if not path.exists():
        raise ValueError(f"there is no {path} (from {url}); put it there, or leave --archives out")
    return path.resolve()


def _hide_gpus() -> None:
    """Keep TensorFlow from taking a GPU's memory; a ValueError if there is no TensorFlow."""
    if importlib.util.find_spec("tensorflow") is None:
        raise ValueError(
            "preparing needs TensorFlow, once, to unpack what is downloaded (reading does not):\n"
            f"    {INSTALL}"
        )
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")


def _download_and_prepare(builder: Any, archives: str | None) -> None:
    """Let TFDS do it; if it cannot, a ValueError has its reason."""
    config = tfds.download.DownloadConfig()
    if builder.name == "imagenet2012":
        config.manual_dir = _by_hand(builder, archives)
    try:
        builder.download_and_prepare(file_format="array_record", download_config=config)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            "stopped; the same command goes on, with what has been downloaded whole"
        ) from None
    except Exception as error:  # the network's, TensorFlow's and TFDS's have no class in common
        raise ValueError(
            f"{builder.name} could not be prepared: {error}\nWithout a network, put the archives "
            "into a folder and name it with --archives=DIR"
        ) from error


def _place(builder: Any, archives: str | None) -> None:
    """Put archives where TFDS looks for what it has downloaded, with the notes it expects there.

    TFDS does not verify them again, so they are compared here. Other bytes are no error: a mirror
    may have compressed the same file anew.
    """
    if archives is None or builder.name == "imagenet2012":
        return
    folder = pathlib.Path(builder.data_dir_root) / "downloads" / builder.name
    folder.mkdir(parents=True, exist_ok=True)
    for url, info in builder.url_infos.items():
        archive = _archive(url, archives)
        with archive.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != info.checksum:
            print(f"note: {archive} differs from the one at {url}; it is used as it is")
        path = folder / resource.get_dl_fname(url, info.checksum)
        path.unlink(missing_ok=True)
        path.symlink_to(archive)
        resource.write_info_file(url, path, builder.name, archive.name, info)


def describe(dataset: Dataset) -> str:
    """One line: numbers and size of the images, classes, domains, and where the images are kept."""
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
