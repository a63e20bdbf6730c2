"""Folders of pictures: splits, domains and classes from the names of subfolders.

In a labelled tree, the folder of a picture is its class, and all are equally deep:

    root/class/*
    root/split/class/*          split: train, test, val, or another name of `roots.split_of`
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
from collections import Counter

import numpy as np
from jaxtyping import Int

from gca_jax.check import counted
from gca_jax.data.dataset import number
from gca_jax.data.pictures import suffixes
from gca_jax.data.sources import roots
from gca_jax.data.sources.roots import SPLITS, Root, split_of
from gca_jax.data.splits import hold_out

ARRAY = ".npy"  # read too with other channels than RGB
SHOWN = 5  # names in a message

Names = tuple[str, ...]
State = tuple[int, int]
"""Bytes and modification time of a file."""


@dataclasses.dataclass(frozen=True)
class Tree:
    """Pictures [n] of a folder with their splits, domains and classes, or None."""

    name: str  # in messages
    root: pathlib.Path
    files: Names  # paths below root, sorted
    states: tuple[State | None, ...]  # None: it cannot be a picture, as `state` says
    splits: Names | None  # "train", "test" or "val", whatever their folders are called
    domains: Names | None
    classes: Names | None

    def path(self, row: int) -> pathlib.Path:
        """Return the path of a picture."""
        return self.root / self.files[row]

    def __str__(self) -> str:
        shown = [f"{self.name}: {counted(len(self.files), 'picture')}"]
        known = {"split": self.splits, "domain": self.domains, "class": self.classes}
        for kind, given in known.items():
            names = sorted(set(given or ()))
            listed = f" ({first_few(names)})" if names else ""
            shown.append(f"{counted(len(names) or 'no', kind)}{listed}")
        return ", ".join(shown)


def first_few(names: list[str]) -> str:
    """Name the first of them."""
    return ", ".join([*names[:SHOWN], *["..."] * (len(names) > SHOWN)])


def scan(
    root: str | os.PathLike[str],
    labelled: bool | None = None,
    domains: bool | None = None,
    option: str = "--config.data.root",
    arrays: bool = False,
    origin: str = "",
    skip: bool = False,
) -> Tree:
    """Find the pictures below a folder and derive splits, domains and classes.

    Every real folder is read once, whatever links to it. What is left out is printed.

    Args:
        root: The folder; or several, a pattern, or a picture, as `roots.find` has it.
        labelled: Whether folders are classes; None: unless pictures lie in root or its splits.
        domains: Whether folders of the first level, below splits, are domains; None: if a labelled
            tree is that deep.
        option: Flag that names the folder, for messages.
        arrays: Whether files .npy are pictures.
        origin: Where such a folder comes from, for messages.
        skip: Whether to leave out folders that cannot be listed; else the first is an error.

    Raises:
        ValueError: The folder or pictures are missing, or folders are ambiguous.
    """
    named = roots.find(root, option, origin)
    common = pathlib.Path(os.path.commonpath([each.folder for each in named]))
    alone = [start for each in named for start in each.starts] == [common]
    name = str(common if alone else root)
    walk = _walk(named, suffixes() + (ARRAY,) * arrays)
    if walk.closed and not skip:
        raise ValueError(
            f"{walk.closed[0]}: allow it to be read, move it elsewhere, or leave such folders out "
            "with --config.data.skip_unreadable"
        )
    if not walk.pictures:
        beside = f", but {_others(walk.others)}" if walk.others else ""
        raise ValueError(
            f"no pictures in {name} or below{beside}: put pictures there, in folders SPLIT/CLASS "
            "(SPLIT: train, test) or DOMAIN/CLASS if they have labels"
        )
    found = sorted(_facts(common, path) for path in walk.pictures)
    files = tuple(file for file, _ in found)
    levels = _levels(common, files, named)
    while len(named) == 1 and (top := _wrapper(levels, labelled, domains)):
        print(f"note: all pictures of {name} lie in its folder {top}, which is read in its place")
        levels = [level[1:] for level in levels]
    names = _names(common, files, levels, labelled, domains)
    walk.note(name, common)
    if names == (None, None, None):
        _note_splits(common, files)
    return Tree(name, common, files, tuple(state for _, state in found), *names)


def scan_any(root: str | os.PathLike[str], option: str, arrays: bool = False) -> Tree:
    """Find all pictures below a folder, with classes if its layout is that of a labelled tree.

    Raises:
        ValueError: There is no picture; the message names the flag `option`.
    """
    try:
        return scan(root, option=option, arrays=arrays, skip=True)
    except ValueError:  # a missing folder raises it again
        return scan(root, labelled=False, option=option, arrays=arrays, skip=True)


@dataclasses.dataclass
class _Walk:
    """What is below a folder and not hidden.

    Attributes:
        pictures: Files with one of the suffixes.
        folders: Folders that were read, as far as they are below the root or a link there.
        others: Number of other files by suffix.
        links: Links to folders that are read elsewhere, or to a folder above the root.
        closed: Folders that cannot be listed, with the reason.
    """

    pictures: list[pathlib.Path] = dataclasses.field(default_factory=list)
    folders: list[pathlib.Path] = dataclasses.field(default_factory=list)
    others: Counter[str] = dataclasses.field(default_factory=Counter)
    links: list[pathlib.Path] = dataclasses.field(default_factory=list)
    closed: list[str] = dataclasses.field(default_factory=list)

    def note(self, name: str, root: pathlib.Path) -> None:
        """Print what of a folder is not read."""
        if self.others:
            print(f"note: left out of {name}: {_others(self.others)}")
        if self.closed:
            print(f"note: left out of {name}: {first_few(self.closed)}")
        if self.links:
            listed = first_few([path.relative_to(root).as_posix() for path in self.links])
            print(
                f"note: left out of {name}: {counted(len(self.links), 'link')} to folders that are "
                f"read elsewhere, or to one above: {listed}"
            )
        with_pictures = {path.parent for path in self.pictures}
        filled = with_pictures.union(*(folder.parents for folder in with_pictures))
        empty = [
            folder.relative_to(root).as_posix()
            for folder in self.folders
            if folder not in filled and folder.parent in filled
        ]
        if empty:
            print(f"note: {name} has folders without a picture: {first_few(sorted(empty))}")


def _others(others: Counter[str]) -> str:
    """Write how many files of which suffix are no pictures."""
    shown = [f"{count} {suffix}" for suffix, count in others.most_common(SHOWN)]
    rest = others.total() - sum(count for _, count in others.most_common(SHOWN))
    hint = f" ({ARRAY} is read with --config.data.channels=C)" if ARRAY in others else ""
    return f"{', '.join(shown)}{f' and {rest} more' if rest else ''}{hint}"


def _walk(named: list[Root], endings: Names) -> _Walk:
    """Read every real folder that is named once: first without following links, then links."""
    found = _Walk()
    every = {start for root in named for start in root.starts}
    given = sorted(every, key=lambda path: (len(path.parts), path))  # the way without links first
    folders = {path for path in given if path.is_dir()}
    outer = [path for path in given if path in folders and folders.isdisjoint(path.parents)]
    links = [path for path in outer if path.is_symlink()]
    seen = {_identity(path) for path in {folder for path in outer for folder in path.parents}}

    def sort(path: pathlib.Path) -> None:
        if path.name.lower().endswith(endings):
            found.pictures.append(path)
        else:
            found.others[path.suffix.lower() or "without a suffix"] += 1

    def refused(error: OSError) -> None:
        found.closed.append(f"{error.filename} cannot be listed ({error.strerror})")

    starts = []
    for path in outer:
        if not path.is_symlink() and (identity := _identity(path)) not in seen:
            seen.add(identity)
            starts.append(path)
    while starts:
        for start in starts:
            for folder, below, names in os.walk(start, onerror=refused):
                here = pathlib.Path(folder)
                found.folders.append(here)
                kept = []
                for path in (here / name for name in below if not name.startswith(".")):
                    if path.is_symlink():
                        links.append(path)
                    elif (identity := _identity(path)) not in seen:
                        seen.add(identity)
                        kept.append(path.name)
                below[:] = kept
                for name in names:
                    if not name.startswith("."):
                        sort(here / name)
        starts = []
        for path in sorted(links):
            if (identity := _identity(path)) in seen:
                found.links.append(path)
            else:
                seen.add(identity)
                starts.append(path)
        links = []
    if listed := [path for path in given if path not in folders]:
        read = {_identity(path) for path in found.folders}
        places = {path.parent: _identity(path.parent) for path in listed}
        files = {(places[path.parent], path.name): path for path in reversed(listed)}
        for (place, _), path in files.items():
            if place not in read:
                sort(path)
    return found


def _identity(folder: pathlib.Path) -> State:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _facts(root: pathlib.Path, path: pathlib.Path) -> tuple[str, State | None]:
    """Return path below root, and state of a picture."""
    if os.fsencode(path).decode(errors="ignore") != str(path):
        if (encoding := sys.getfilesystemencoding()) != "utf-8":
            raise ValueError(
                f"{os.fsencode(path)!r}: your locale names files in {encoding}: set PYTHONUTF8=1"
            )
        raise ValueError(f"{os.fsencode(path)!r} is not UTF-8: rename it")
    try:
        known = state(path)
    except OSError:  # an unreadable picture like any other
        known = None
    return path.relative_to(root).as_posix(), known


def state(path: pathlib.Path) -> State:
    """Return the state of a file; raise OSError if it is none, as a link to nothing or a pipe."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError("is a pipe or a device, not a picture")
    return status.st_size, status.st_mtime_ns


def _levels(root: pathlib.Path, files: Names, named: list[Root]) -> list[list[str]]:
    """Return the folders of every file below that which is named."""
    depths = {len(each.folder.relative_to(root).parts) for each in named}
    if len(depths) == 1:
        (depth,) = depths
        return [name.split("/")[depth:-1] for name in files]
    tops = [f"{each.folder.relative_to(root).as_posix()}/" for each in named]
    below = (next(name[len(top) :] for top in tops if name.startswith(top)) for name in files)
    return [name.split("/")[:-1] for name in below]


def _wrapper(levels: list[list[str]], labelled: bool | None, domains: bool | None) -> str | None:
    """Return the one folder in which all others lie, where these mean nothing at their depth."""
    first = {level[0] if level else "" for level in levels}
    name = next(iter(first))
    if len(first) > 1 or not name or split_of(name):
        return None
    if labelled is not False and min(map(len, levels)) > 2:
        return name
    splits = all(len(level) > 1 and split_of(level[1]) for level in levels)
    return name if splits and not labelled and not domains else None


def _names(
    root: pathlib.Path,
    files: Names,
    levels: list[list[str]],
    labelled: bool | None,
    domains: bool | None,
) -> tuple[Names | None, Names | None, Names | None]:
    """Return split, domain and class of every file, each None if the tree has none."""
    first = {level[0] if level else "." for level in levels}
    kinds = {split_of(name) for name in first}
    are_splits = None not in kinds
    has_classes = labelled
    if has_classes is None:
        has_classes = any(len(level) != are_splits for level in levels)
    if has_classes:
        has_splits, has_domains = _labelled(root, files, levels, first, domains)
    else:
        depth, name = min((len(level), name) for level, name in zip(levels, files, strict=True))
        if domains and depth == 0:
            raise ValueError(
                f"config.data.domains is True, but {root / name} lies in no folder of a domain"
            )
        has_splits, has_domains = are_splits and depth > bool(domains), bool(domains)
    if has_classes and not has_splits and (domains if has_domains else labelled) is None:
        _refuse_splits(root, levels, has_domains)
    return (
        tuple(split_of(level[0]) or "" for level in levels) if has_splits else None,
        tuple(level[has_splits] for level in levels) if has_domains else None,
        tuple(level[-1] for level in levels) if has_classes else None,
    )


def _refuse_splits(root: pathlib.Path, levels: list[list[str]], has_domains: bool) -> None:
    """Refuse to take folders that are named as splits for classes or domains.

    That is offered for one class alone: else test pictures would be trained on.
    """
    for depth in range(len(levels[0])):
        names = {level[depth] for level in levels}
        kinds = {split_of(name) for name in names} - {None}
        if depth == 0 and kinds:
            remedy = "rename them all to train, test or val, or move the others elsewhere"
            if not has_domains and len(kinds) == 1:
                remedy = "if all are classes, say --config.data.labelled=True"
            listed = first_few(sorted(names, key=lambda name: (split_of(name) is None, name)))
            raise ValueError(f"{root} has folders of splits and others: {listed}; {remedy}")
        if len(kinds) > 1:
            raise ValueError(
                f"{root} has folders of splits below {first_few(sorted({x[0] for x in levels}))}: "
                "splits must be its first level, in which the others lie: SPLIT/CLASS"
            )


def _note_splits(root: pathlib.Path, files: Names) -> None:
    """Print which folders, of a tree read without any meaning of its folders, look like splits."""
    paths = {pathlib.PurePosixPath(name) for name in {name.rpartition("/")[0] for name in files}}
    folders = {folder for path in paths for folder in (path, *path.parents)}
    named = sorted(str(folder) for folder in folders if split_of(folder.name))
    if len({split_of(folder.name) for folder in folders} - {None}) > 1:
        print(
            f"note: {root} has folders that are named as splits, but not at its first level, and "
            f"all are read alike: {first_few(named)}"
        )


def _labelled(
    root: pathlib.Path, files: Names, levels: list[list[str]], first: set[str], domains: bool | None
) -> tuple[bool, bool]:
    """Tell whether a labelled tree has splits, and whether it has domains."""
    depth, names = len(levels[0]), ", ".join(sorted(first))
    deep = {level[0] for level in levels if len(level) > 1}
    if deep and (flat := first - deep) and all(map(split_of, first)):
        bare, whole = root / min(flat), root / min(deep)
        raise ValueError(
            f"the pictures of {bare} lie in no folder of a class, those of {whole} do: sort them "
            f"into {bare}/CLASS, name the classes of all in a table with "
            f"--config.data.labels=FILE.csv, or leave them out with --config.data.root={whole}, "
            "of which a fifth is then held out"
        )
    for file, level in zip(files, levels, strict=True):
        if len(level) != depth or not 1 <= depth <= 3:
            apart = "" if len(level) == depth else f", {root / files[0]} {depth}"
            raise ValueError(
                f"{root / file} lies {len(level)} folders deep{apart}: pictures with labels must "
                "all lie in SPLIT/CLASS, DOMAIN/CLASS, SPLIT/DOMAIN/CLASS or CLASS; those without "
                "are read with --config.data.labelled=False"
            )
    has_splits = all(map(split_of, first)) and depth > (2 if domains else 1)
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
        last = next((s for s in ("test", "val") if s in tree.splits), None)
        if "train" not in tree.splits or last is None:
            folders = {name.split("/")[0] for name in tree.files}
            alone = tree.name == str(tree.root) and all(map(split_of, folders))
            found = sorted(folders if alone else {*tree.splits})
            folder = f"={tree.root}/{found[0]}" if alone else " naming these folders themselves"
            raise ValueError(
                f"{tree.name} has only {found}: it needs a folder train and one of test, val; with "
                f"--config.data.root{folder} a fifth of what is there is held out"
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
