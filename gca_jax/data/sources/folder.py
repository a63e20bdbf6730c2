"""Pictures in a folder of the user's, PACS among them."""

import dataclasses
import logging
import math
import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Int
from tqdm import tqdm

from gca_jax.check import counted
from gca_jax.data import pictures, records, splits
from gca_jax.data.dataset import Dataset, Images, Part, Source, Streamed, number
from gca_jax.data.sources import tfds_sets, tree
from gca_jax.data.sources.tree import Tree

REMEDY = "Replace or delete the file"


def load(
    name: str,
    row: Source,
    *,
    root: str | None = None,
    labelled_root: str | None = None,
    size: int | None = None,
    held_out: str | None = None,
    domains: bool | None = None,
    labelled: bool | None = None,
    data_dir: str | None = None,
    limit: int | None = None,
    skip_unreadable: bool = False,
    channels: int | None = None,
) -> Dataset:
    """Read a folder, as RGB or with `channels`.

    How its folders are understood is in `gca_jax.data.sources.tree`.

    At first use, and whenever a file in it has changed, the pictures are checked and copied into
    records in `data_dir`. Where the pictures of `labelled_root` serve the probes, root is read
    without labels and pretrained on: all of it, or its folder train if it has splits, but never a
    test picture of `labelled_root`.
    """
    if root is None:
        raise ValueError(f"{name} is a folder ({row.origin}): name it with --config.data.root=DIR")
    if channels is not None and channels < 1:
        raise ValueError(f"channels must be at least 1, got {channels}")
    bands = 3 if channels is None else channels
    trees = _scan(root, labelled_root, labelled, domains, row.origin, channels is not None)
    for found in trees:
        if found.left_out:
            left = f"{counted(found.left_out, '.npy file')} in {found.root}"
            print(f"note: left out {left}: --config.data.channels=C reads them as pictures")
    _check(name, row, trees[-1])
    copies = [_copy(found, data_dir, skip_unreadable, bands) for found in trees]
    size_found = copies[-1].sizes()[0][1]
    if row.shape[0] is not None and size_found != row.shape[:2]:
        print(f"note: {name} has images of {size_found} pixels here, {row.shape[:2]} as published")
    shape = (*_shape(copies, size), bands)
    count = sum(len(copy.readable) for copy in copies)
    streamed = count * math.prod(shape) > records.MEMORY_LIMIT
    class_names, labels = number(*(found.classes for found in trees))
    domain_names, numbers = number(*(found.domains for found in trees))

    def part(k: int, rows: Int[np.ndarray, "n"]) -> Part:
        rows = np.intersect1d(rows, copies[k].readable)
        rows = rows[splits.evenly_spaced(len(rows), limit)]
        known = (None if of is None else of[rows] for of in (labels[k], numbers[k]))
        return Part(_read(copies[k], rows, shape, streamed), *known)

    train, test = tree.split(trees[0], held_out)
    parts = [part(0, train), part(0, test)]
    if labelled_root is not None:
        parts.append(part(1, tree.apart(trees[1], trees[0], test)))
    return Dataset.of(name, *parts, class_names=class_names, domain_names=domain_names)


def _scan(
    root: str,
    labelled_root: str | None,
    labelled: bool | None,
    domains: bool | None,
    origin: str,
    arrays: bool,
) -> list[Tree]:
    """Scan the labelled folder, if there is one, and root; print what they have."""
    if labelled_root is None:
        found = tree.scan(root, labelled, domains, origin=origin, arrays=arrays)
        guessed = labelled is None and found.classes is not None
        hint = "; if these folders are no classes, say --config.data.labelled=False"
        print(f"{found}{hint if guessed else ''}")
        return [found]
    if labelled:
        raise ValueError("labelled is True, but with labelled_root, root is read without labels")
    probed = tree.scan(labelled_root, None, domains, "--config.data.labelled_root", arrays=arrays)
    if probed.classes is None:
        raise ValueError(f"{probed.root} is no labelled_root: its pictures are in no folder CLASS")
    trees = [probed, tree.scan(root, False, domains, origin=origin, arrays=arrays)]
    print(f"pretraining on {trees[1]}; probes on {trees[0]}")
    return trees


def _check(name: str, row: Source, found: Tree) -> None:
    """Compare the tree with its row, where the data set is a known one."""
    classes = row.classes if found.classes is None else len(set(found.classes))
    if row.classes is not None and classes != row.classes:
        raise ValueError(
            f"{found.root} has {counted(classes or 'no', 'class')}, {name} has {row.classes}: root "
            "must be the folder whose folders are the domains"
        )
    if row.images and len(found.files) != row.images["all"]:
        print(f"note: {name} has {len(found.files)} images here, {row.images['all']} as published")


@dataclasses.dataclass(eq=False)
class FolderConfig(tfds.core.BuilderConfig):
    """The pictures of a `Folder`, which of them to write, and facts to keep as JSON values."""

    tree: Tree | None = dataclasses.field(default=None, repr=False)
    rows: Sequence[int] = dataclasses.field(default=(), repr=False)
    about: dict[str, Any] = dataclasses.field(default_factory=dict)


class Folder(tfds.core.GeneratorBasedBuilder):
    """Pictures of a folder, as the bytes of their files, in the order of the tree.

    They are written in parts, because TFDS needs TensorFlow for a split above 1,000 MiB.
    """

    VERSION = tfds.core.Version("1.0.0")
    PART_BYTES = 2**29

    def _info(self) -> tfds.core.DatasetInfo:
        image = tfds.features.Image(shape=(None, None, 3))
        features = {"image": image, "file": tfds.features.Text()}
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            metadata=tfds.core.MetadataDict(self.builder_config.about),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        rows = np.array(self.builder_config.rows)
        part = np.cumsum(np.array(self.builder_config.tree.bytes)[rows]) // self.PART_BYTES
        return {
            f"part{k:05d}": self._generate_examples(rows[part == k].tolist())
            for k in np.unique(part)
        }

    def _generate_examples(self, rows: Sequence[int]) -> Iterator[tuple[int, dict[str, Any]]]:
        tree = self.builder_config.tree
        for row in rows:
            name = tree.files[row]
            yield row, {"image": (tree.root / name).read_bytes(), "file": name}


@dataclasses.dataclass(frozen=True)
class _Copy:
    """The readable pictures of a tree as records of a TFDS builder, in the tree's order."""

    tree: Tree
    builder: Any
    readable: Int[np.ndarray, "r"]  # rows of the tree that have a record, sorted

    def sizes(self) -> list[tuple[str, tuple[int, int]]]:
        """(path, (h, w)) of the first picture, and of the first of another size if there is one."""
        about = self.builder.info.metadata
        found = [about["first"]] + [about["other"]] * (about["other"] is not None)
        return [(f"{self.tree.root / name}", (height, width)) for name, height, width in found]


def _copy(found: Tree, data_dir: str | None, skip: bool, channels: int) -> _Copy:
    """Open the folder's records, which are written now unless they are there."""
    called = re.sub("[^a-zA-Z0-9]+", "_", found.root.name)
    of_bands = "" if channels == 3 else f"_{channels}"
    config = FolderConfig(name=f"{called}-{found.fingerprint}{of_bands}", tree=found)
    make = partial(_make, data_dir, config)
    builder = make()
    if records.fault_of(builder) is not None:
        config.rows, config.about = check_pictures(found, skip, channels)
        copied = counted(len(config.rows), "picture")
        print(f"copying {copied} of {found.root} to {builder.data_path}, once")
        for older in builder.data_path.parents[1].glob(f"{called}-*"):
            if older.name != config.name:
                print(f"note: {older} has another state of a folder {called}; it can be deleted")
        builder = tfds_sets.prepare(make)
    unreadable = builder.info.metadata["unreadable"]
    faults = records.Faults(str(found.root), skip, REMEDY)
    for i, reason in unreadable.items():
        faults.add(str(found.root / found.files[int(i)]), OSError(reason))
    faults.report(len(found.files))
    rows = np.arange(len(found.files))
    return _Copy(found, builder, np.setdiff1d(rows, [int(i) for i in unreadable]))


def _make(data_dir: str | None, config: FolderConfig) -> Folder:
    """Make the builder without TFDS's warning that the configuration is none of its own."""
    absl = logging.getLogger("absl")
    level = absl.level
    absl.setLevel(logging.ERROR)
    try:
        return Folder(data_dir=data_dir, config=config)
    finally:
        absl.setLevel(level)


def check_pictures(found: Tree, skip: bool, channels: int = 3) -> tuple[list[int], dict[str, Any]]:
    """Decode every picture once: the rows of the good ones, and what to keep beside the records.

    This is why rows are "unreadable", and (path, h, w) of the "first" and of one of "other" size.
    """
    faults = records.Faults(str(found.root), skip, REMEDY)
    unreadable, good = {}, []
    sizes: dict[tuple[int, ...], str] = {}  # with the first picture of each

    def look(name: str) -> tuple[int, ...] | Exception:
        try:
            return pictures.pixels((found.root / name).read_bytes(), channels).shape[:2]
        except OSError as error:
            return error

    seen = pictures.in_threads(look, found.files)
    bar = tqdm(seen, f"checking {found.root}", len(found.files), unit=" images", disable=None)
    for i, result in enumerate(bar):
        if isinstance(result, Exception):
            faults.add(str(found.root / found.files[i]), result)
            unreadable[str(i)] = str(result)
        else:
            good.append(i)
            sizes.setdefault(result, found.files[i])
    if not good:
        faults.report(len(found.files))
    first, other, *_ = [*((name, *size) for size, name in sizes.items()), None]
    return good, {"unreadable": unreadable, "first": first, "other": other}


def _shape(copies: list[_Copy], size: int | None) -> tuple[int, int]:
    """(h, w) to bring all pictures to; a ValueError if they have several sizes and no `size`."""
    if size is not None:
        if size < 1:
            raise ValueError(f"size must be at least 1 pixel, got {size}")
        return size, size
    (first, shape), *others = [found for copy in copies for found in copy.sizes()]
    for path, other in others:
        if other != shape:
            raise ValueError(
                f"{path} is of {other[0]} x {other[1]} pixels, {first} of {shape[0]} x {shape[1]}: "
                "bring all to one size with --config.data.size=PIXELS"
            )
    return shape


def _read(
    copy: _Copy, rows: Int[np.ndarray, "n"], shape: tuple[int, int, int], streamed: bool
) -> Images:
    """Rows of the tree at one size, in memory or streamed."""
    positions = np.searchsorted(copy.readable, rows)
    source = records.source(copy.builder, "+".join(sorted(copy.builder.info.splits)))
    if streamed and shape[0] != shape[1]:
        raise ValueError(f"{copy.tree.root} does not fit in memory: say --config.data.size=PIXELS")
    if streamed:
        return Streamed(source, positions, shape[0], shape[2])
    remedy = f"Delete {copy.builder.data_path}; it is written again from {copy.tree.root}"
    faults = records.Faults(str(copy.tree.root), False, remedy)
    # Without a size to resize to, `_shape` has seen that all have this one.
    return records.read(source, positions, shape, faults, resize=True)[0]
