"""What a typed path names: a folder, several with commas between them, a pattern, or a picture."""

import functools
import glob
import os
import pathlib
import re
from typing import NamedTuple

SPLITS = {
    "train": ("train", "training", "trainval"),
    "test": ("test", "testing"),
    "val": ("val", "valid", "validation", "dev", "eval", "evaluation"),
}


class Root(NamedTuple):
    """A folder and what of it is read.

    Attributes:
        folder: Below it, the folders of a picture are its split, domain and class.
        starts: The folders, which are read whole, and files that are read; all in `folder`.
    """

    folder: pathlib.Path
    starts: list[pathlib.Path]


@functools.cache
def split_of(folder: str) -> str | None:
    """Return the split that a folder is named for, in any case: "train", "test", "val" or None.

    Also Training, test_set, val2017, dev-data and the like.
    """
    for split, names in SPLITS.items():
        known = rf"({'|'.join(names)})[ ._-]?(sets?|data|images|imgs|(19|20)\d\d)?"
        if re.fullmatch(known, folder, re.IGNORECASE):
            return split
    return None


def find(typed: str | os.PathLike[str], option: str, origin: str = "") -> list[Root]:
    """Find what a path names.

    What exists is taken as it is; else commas separate several paths, of which each may be a
    pattern of `glob`: what matches it is read, of the folder before its first wildcard. Where
    several folders are named as different splits, these are their splits.

    Args:
        typed: The path or paths.
        option: Flag that names them, for messages.
        origin: Where such a folder comes from, for messages.

    Raises:
        ValueError: One of them is missing, or lies in another.
    """
    parts = [os.fspath(typed)]
    if not os.path.lexists(os.path.expanduser(parts[0])):
        parts = parts[0].split(",")
    remedy = f"name yours with {option}=DIR{f' ({origin})' if origin else ''}"
    roots = [_root(part.strip(), remedy) for part in parts]
    folders = {root.folder for root in roots}
    for folder in folders:
        if above := folders.intersection(folder.parents):
            raise ValueError(f"{folder} lies in {above.pop()}, which is named too: leave out one")
    kinds = {split_of(folder.name) for folder in folders}
    if len(kinds - {None}) < 2:
        return roots
    if None in kinds:
        raise ValueError(f"{typed} has folders of splits and others: name either with {option}")
    return [Root(root.folder.parent, root.starts) for root in roots]


def _root(typed: str, remedy: str) -> Root:
    """Find what one path names."""
    path = pathlib.Path(typed).expanduser()
    if typed and path.is_dir():
        return Root(path.resolve(), [path.resolve()])
    if typed and os.path.lexists(path):
        folder = path.parent.resolve()
        return Root(folder, [folder / path.name])
    wild = [glob.escape(part) != part for part in path.parts]
    if not any(wild):
        raise ValueError(f"there is no folder {path.resolve() if typed else repr(typed)}; {remedy}")
    folder = pathlib.Path(*path.parts[: wild.index(True)]).resolve()
    pattern = os.path.join(*path.parts[wild.index(True) :])
    found = glob.glob(pattern, root_dir=folder, recursive=True)
    if not found:
        raise ValueError(f"nothing in {folder} matches {pattern}; {remedy}")
    return Root(folder, [folder / name for name in found])
