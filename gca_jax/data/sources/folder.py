"""Pictures in a folder of the user's, PACS among them."""

import re
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Int
from tqdm import tqdm

from gca_jax.data import pictures, records
from gca_jax.data.dataset import Dataset, Images, Streamed
from gca_jax.data.sources import builders, tree
from gca_jax.data.sources.row import Source

MEND = "Replace or delete the file"


def load(
    name: str,
    row: Source,
    *,
    root: str | None = None,
    size: int | None = None,
    held_out: str | None = None,
    domains: bool | None = None,
    data_dir: str | None = None,
    limit: int | None = None,
    skip_unreadable: bool = False,
) -> Dataset:
    """Read a folder, as RGB; `gca_jax.data.sources.tree` says which shapes of tree are known.

    At first use, and whenever a file in it has changed, the pictures are checked and copied into
    records in `data_dir`.

    Args:
        name: "folder" or "pacs".
        row: its row in the table.
        root: the folder.
        size: pixels of a side to bring all pictures to; None: they have one size.
        held_out: a domain that is the test set and not trained on.
        domains: whether the tree has domains; None: found from its depth.
        data_dir: TFDS's folder, where the records go.
        limit: at most so many images of each split.
        skip_unreadable: count pictures that cannot be read.

    Raises:
        ValueError: something about the folder is wrong; the message names the file.
    """
    if root is None:
        raise ValueError(f"{name} is a folder ({row.origin}): name it with --config.data.root=DIR")
    if size is not None and size < 1:
        raise ValueError(f"size must be at least 1 pixel, got {size}")
    found = tree.scan(root, domains)
    _check(name, row, found)
    builder = _prepared(found, data_dir, skip_unreadable)
    # Records are the readable files in the tree's order.
    unreadable = [int(i) for i in builder.info.metadata["unreadable"]]
    position = np.cumsum(~np.isin(np.arange(len(found.files)), unreadable)) - 1
    pixels = tuple(builder.info.metadata["first"][1:])
    if row.shape[0] is not None and pixels != row.shape[:2]:
        print(f"note: {name} has images of {pixels} pixels here, {row.shape[:2]} as published")
    read = _reader(found, builder, size, len(found.files) - len(unreadable))

    def part(rows: Int[np.ndarray, "n"]) -> tuple[Any, Any, Any]:
        rows = np.setdiff1d(rows, unreadable)
        rows = rows[records.take(len(rows), limit)]
        of = None if found.domains is None else found.domains[rows]
        return read(position[rows]), found.labels[rows], of

    train, test = (part(rows) for rows in tree.split(found, held_out))
    return Dataset(
        name,
        *train[:2],
        *test[:2],
        len(found.class_names),
        class_names=found.class_names,
        train_domains=train[2],
        test_domains=test[2],
        domain_names=found.domain_names,
    )


def _check(name: str, row: Source, found: tree.Tree) -> None:
    """Compare the tree with its row, where the data set is a known one."""
    if row.classes is not None and len(found.class_names) != row.classes:
        raise ValueError(
            f"{found.root} has {len(found.class_names)} classes, {name} has {row.classes}: root "
            "must be the folder whose folders are the domains"
        )
    if row.images and len(found.files) != row.images["all"]:
        print(f"note: {name} has {len(found.files)} images here, {row.images['all']} as published")


def _prepared(found: tree.Tree, data_dir: str | None, skip: bool) -> Any:
    """The folder's records, written now unless they are there."""
    called = re.sub("[^a-zA-Z0-9]+", "_", found.root.name)
    config = builders.FolderConfig(name=f"{called}-{found.fingerprint}", tree=found)
    make = partial(builders.Folder, data_dir=data_dir, config=config)
    builder = make()
    if records.fault_of(builder) is not None:
        config.rows, config.about = check_pictures(found, skip)
        print(f"copying {len(config.rows)} pictures of {found.root} to {builder.data_path}, once")
        for older in builder.data_path.parents[1].glob(f"{called}-*"):
            if older.name != config.name:
                print(f"note: {older} has another state of a folder {called}; it can be deleted")
        builder = builders.prepare(make)
    unreadable = builder.info.metadata["unreadable"]
    faults = records.Faults(str(found.root), skip, MEND)
    for i, reason in unreadable.items():
        faults.add(str(found.root / found.files[int(i)]), OSError(reason))
    faults.report(len(found.files))
    return builder


def check_pictures(found: tree.Tree, skip: bool) -> tuple[list[int], dict[str, Any]]:
    """Decode every picture once.

    Returns:
        The rows of the good ones, and {"unreadable": {row: why}, "first": its (path, h, w),
        "other": that of the first of another size, or None}.

    Raises:
        ValueError: one cannot be read and they are not skipped, or none can be.
    """
    faults = records.Faults(str(found.root), skip, MEND)
    unreadable, good, first, other = {}, [], None, None

    def look(name: str) -> tuple[int, ...] | Exception:
        try:
            return pictures.pixels((found.root / name).read_bytes(), channels=3).shape[:2]
        except OSError as error:
            return error

    seen = pictures.in_threads(look, found.files)
    bar = tqdm(seen, f"checking {found.root}", len(found.files), unit=" images", disable=None)
    for i, result in enumerate(bar):
        if isinstance(result, Exception):
            faults.add(str(found.root / found.files[i]), result)
            unreadable[str(i)] = str(result)
            continue
        good.append(i)
        first = first or (found.files[i], *result)
        if result != first[1:] and other is None:
            other = (found.files[i], *result)
    if not good:
        faults.report(len(found.files))
    return good, {"unreadable": unreadable, "first": first, "other": other}


def _reader(found: tree.Tree, builder: Any, size: int | None, count: int) -> Any:
    """(positions) -> images, in memory if they have one size and fit, else streamed.

    Raises:
        ValueError: they have several sizes and none is given.
    """
    first, height, width = builder.info.metadata["first"]
    other = builder.info.metadata["other"]
    if size is None and other is not None:
        name, rows, columns = other
        raise ValueError(
            f"{found.root / name} is of {rows} x {columns} pixels, {found.root / first} "
            f"of {height} x {width}: bring all to one size with --config.data.size=PIXELS"
        )
    shape = (height, width, 3) if size is None else (size, size, 3)
    source = records.source(builder, "+".join(sorted(builder.info.splits)))
    mend = f"Delete {builder.data_path}; it is written again from {found.root}"

    def read(positions: Int[np.ndarray, "n"]) -> Images:
        if not records.fits(count, shape):
            return Streamed(source, positions, shape[0])
        faults = records.Faults(str(found.root), False, mend)
        return records.read(source, positions, shape, faults, resize=size is not None)[0]

    if not records.fits(count, shape) and shape[0] != shape[1]:
        raise ValueError(f"{found.root} does not fit in memory: say --config.data.size=PIXELS")
    return read
