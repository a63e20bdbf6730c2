"""Folders of pictures: splits, domains and classes from the names of subfolders.

In a labelled tree, the folder of a picture is its class, and all are equally deep:

    root/class/*
    root/split/class/*          split: train, test, val or validation
    root/domain/class/*         as in PACS
    root/split/domain/class/*

An unlabelled tree has its pictures in root, or in folders of splits below it. With labelled=False
any tree is unlabelled: pictures at any depth, folders only for splits and, with domains=True,
domains.
"""

import dataclasses
import os
import pathlib
import stat
import sys
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int

from gca_jax.check import counted
from gca_jax.data.dataset import number
from gca_jax.data.splits import hold_out

SPLITS = ("train", "test", "val", "validation")
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
ARRAYS = (".npy",)  # read too with other channels than RGB
SHOWN = 5  # names of classes or domains in a message

Names = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Tree:
    """Pictures [n] of a folder with their splits, domains and classes, or None."""

    root: pathlib.Path
    files: Names  # paths below root, sorted
    states: tuple[tuple[int, int], ...]  # bytes and modification time
    splits: Names | None
    domains: Names | None
    classes: Names | None

    def path(self, row: int) -> pathlib.Path:
        """Return the path of a picture."""
        return self.root / self.files[row]

    def __str__(self) -> str:
        shown = [f"{self.root}: {counted(len(self.files), 'picture')}"]
        known = {"split": self.splits, "domain": self.domains, "class": self.classes}
        for kind, given in known.items():
            names = sorted(set(given or ()))
            more = ", ..." if len(names) > SHOWN else ""
            listed = f" ({', '.join(names[:SHOWN])}{more})" if names else ""
            shown.append(f"{counted(len(names) or 'no', kind)}{listed}")
        return ", ".join(shown)


def scan(
    root: str | os.PathLike[str],
    labelled: bool | None = None,
    domains: bool | None = None,
    option: str = "--config.data.root",
    arrays: bool = False,
    origin: str = "",
) -> Tree:
    """Find the pictures below a folder and derive splits, domains and classes.

    Args:
        root: The folder.
        labelled: Whether folders are classes; None: unless pictures lie in root or its splits.
        domains: Whether folders of the first level, below splits, are domains; None: if a labelled
            tree is that deep.
        option: Flag that names the folder, for messages.
        arrays: Whether files .npy are pictures.
        origin: Where such a folder comes from, for messages.

    Raises:
        ValueError: The folder or pictures are missing, or folders are ambiguous.
    """
    root = pathlib.Path(root).expanduser().resolve()
    if not root.is_dir():
        remedy = f"name yours with {option}=DIR{f' ({origin})' if origin else ''}"
        raise ValueError(f"there is no folder {root}; {remedy}")
    suffixes = SUFFIXES + ARRAYS * arrays
    every = [*_walk(root)]
    found = sorted(_facts(root, path) for path in every if path.name.lower().endswith(suffixes))
    if not found:
        raise ValueError(
            f"no {', '.join('*' + s for s in suffixes)} in {root} or below: put pictures there, in "
            "folders SPLIT/CLASS (SPLIT: train, test) or DOMAIN/CLASS if they have labels"
        )
    files = tuple(name for name, _, _ in found)
    names = _names(root, files, labelled, domains)
    if left := len(every) - len(found):
        print(
            f"note: left out {counted(left, '.npy file')} in {root}: they are pictures to runs "
            "with --config.data.channels=C"
        )
    return Tree(root, files, tuple((size, time) for _, size, time in found), *names)


def scan_any(root: str | os.PathLike[str], option: str, arrays: bool = False) -> Tree:
    """Find all pictures below a folder, with classes if its layout is that of a labelled tree.

    Raises:
        ValueError: There is no picture; the message names the flag `option`.
    """
    try:
        return scan(root, option=option, arrays=arrays)
    except ValueError:  # a missing folder raises it again
        return scan(root, labelled=False, option=option, arrays=arrays)


def _walk(root: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yield every picture or array below root that is not hidden."""
    for folder, folders, names in os.walk(root, followlinks=True):
        here = pathlib.Path(folder).resolve()
        folders[:] = [
            name
            for name in folders
            # A link to a parent would be walked without end.
            if not name.startswith(".") and not here.is_relative_to((here / name).resolve())
        ]
        for name in names:
            if name.lower().endswith(SUFFIXES + ARRAYS) and not name.startswith("."):
                yield pathlib.Path(folder, name)


def _facts(root: pathlib.Path, path: pathlib.Path) -> tuple[str, int, int]:
    """Return path below root, bytes and modification time of a picture."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path} is a pipe or a device, not a picture: remove it")
    if os.fsencode(path).decode(errors="ignore") != str(path):
        if (encoding := sys.getfilesystemencoding()) != "utf-8":
            raise ValueError(
                f"{os.fsencode(path)!r}: your locale names files in {encoding}: set PYTHONUTF8=1"
            )
        raise ValueError(f"{os.fsencode(path)!r} is not UTF-8: rename it")
    return path.relative_to(root).as_posix(), status.st_size, status.st_mtime_ns


def _names(
    root: pathlib.Path, files: Names, labelled: bool | None, domains: bool | None
) -> tuple[Names | None, Names | None, Names | None]:
    """Return split, domain and class of every file, each None if the tree has none."""
    levels = [name.split("/")[:-1] for name in files]
    first = {level[0] if level else "." for level in levels}
    has_classes = labelled
    if has_classes is None:
        has_classes = any(len(level) != (first <= set(SPLITS)) for level in levels)
    if has_classes:
        has_splits, has_domains = _labelled(root, files, levels, first, domains)
    else:
        depth, name = min((len(level), name) for level, name in zip(levels, files, strict=True))
        if domains and depth == 0:
            raise ValueError(
                f"config.data.domains is True, but {root / name} lies in no folder of a domain"
            )
        has_splits, has_domains = first <= set(SPLITS) and depth > bool(domains), bool(domains)
    key = "domains" if has_domains else "labelled"
    given = domains if has_domains else labelled
    if has_classes and not has_splits and given is None and first & set(SPLITS):
        raise ValueError(
            f"{root} has folders of splits and others: {', '.join(sorted(first))}; if all are "
            f"{'domains' if has_domains else 'classes'}, say --config.data.{key}=True"
        )
    return (
        tuple(level[0] for level in levels) if has_splits else None,
        tuple(level[has_splits] for level in levels) if has_domains else None,
        tuple(level[-1] for level in levels) if has_classes else None,
    )


def _labelled(
    root: pathlib.Path, files: Names, levels: list[list[str]], first: set[str], domains: bool | None
) -> tuple[bool, bool]:
    """Tell whether a labelled tree has splits, and whether it has domains."""
    depth, names = len(levels[0]), ", ".join(sorted(first))
    for name, level in zip(files, levels, strict=True):
        if len(level) != depth or not 1 <= depth <= 3:
            other = "" if len(level) == depth else f", {root / files[0]} {depth}"
            raise ValueError(
                f"{root / name} lies {len(level)} folders deep{other}: pictures with labels must "
                "all lie in SPLIT/CLASS, DOMAIN/CLASS, SPLIT/DOMAIN/CLASS or CLASS; those without "
                "are read with --config.data.labelled=False"
            )
    has_splits = first <= set(SPLITS) and depth > (2 if domains else 1)
    has_domains = depth - has_splits == 2
    if depth == 3 and not has_splits:
        raise ValueError(f"{root} must have folders named {', '.join(SPLITS)}; it has {names}")
    if domains is not None and domains != has_domains:
        raise ValueError(
            f"config.data.domains is {domains}, but {root} has "
            f"{'folders' if has_domains else 'no folders'} of domains: {names}"
        )
    return has_splits, has_domains


def split(
    tree: Tree, held_out: str | None = None
) -> tuple[Int[np.ndarray, "train"], Int[np.ndarray, "test"]]:
    """Return the rows of training and of test files.

    They follow the tree's splits; with `held_out`, this domain is the test set and left out of
    training; without both, `hold_out` draws the test files.
    """
    rows = np.arange(len(tree.files))
    if tree.splits is not None:
        last = next((s for s in SPLITS[1:] if s in tree.splits), None)
        if "train" not in tree.splits or last is None:
            found = sorted(set(tree.splits))
            raise ValueError(
                f"{tree.root} has only {found}: it needs a folder train and one of test, val; with "
                f"--config.data.root={tree.root}/{found[0]} a fifth of that folder is held out"
            )
        train, test = (rows[np.array(tree.splits) == name] for name in ("train", last))
    elif held_out is not None:
        train, test = rows, rows
    else:
        known = (number(kind)[1][0] for kind in (tree.domains, tree.classes))
        train, test = hold_out(len(rows), *known)
    if held_out is None:
        return train, test
    if tree.domains is None or held_out not in tree.domains:
        names = ", ".join(sorted(set(tree.domains or ()))) or "none"
        raise ValueError(f"there is no domain {held_out!r} to hold out; {tree.root} has {names}")
    out = np.array(tree.domains) == held_out
    return train[~out[train]], test[out[test]]


def apart(tree: Tree, other: Tree, rows: Int[np.ndarray, "n"]) -> Int[np.ndarray, "k"]:
    """Return the rows of the tree's training files that are not among `rows` of another tree.

    Training files are those in the folder train; all, if there is no such folder.
    """
    splits = np.array(tree.splits or ("train",) * len(tree.files))
    training = splits == "train" if "train" in splits else np.ones(len(splits), bool)
    taken = {f"{other.root}/{other.files[row]}" for row in rows}
    free = [f"{tree.root}/{name}" not in taken for name in tree.files]
    return np.flatnonzero(training & free)
