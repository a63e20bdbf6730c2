"""A folder of pictures: which classes, domains and splits its tree names.

Three shapes are known, each with one folder below the last name for every class:

    root/split/class/*.png      split: train, test, val or validation
    root/domain/class/*.png     the first level names domains, as in PACS
    root/split/domain/class/*   both
    root/class/*                neither
"""

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int, Int32

SPLITS = ("train", "test", "val", "validation")
SUFFIXES = (".png", ".jpg", ".jpeg")
TEST_SHARE = 0.2  # of each class of each domain, where the tree has no splits


@dataclasses.dataclass(frozen=True)
class Tree:
    """Pictures with what the names of their folders say.

    Attributes:
        root: the folder.
        files: [n] paths below it, sorted.
        bytes: [n] sizes of the files.
        class_names: sorted.
        labels: [n] in 0..len(class_names) - 1.
        domain_names: sorted; None where the tree has no domains.
        domains: [n].
        splits: [n] names; None where the tree has no splits.
        fingerprint: changes with the name, size or time of any file.
    """

    root: pathlib.Path
    files: tuple[str, ...]
    bytes: tuple[int, ...]
    class_names: tuple[str, ...]
    labels: Int32[np.ndarray, "n"]
    domain_names: tuple[str, ...] | None
    domains: Int32[np.ndarray, "n"] | None
    splits: tuple[str, ...] | None
    fingerprint: str


def scan(root: str | os.PathLike[str], domains: bool | None = None) -> Tree:
    """Read the tree.

    Args:
        root: the folder.
        domains: whether its first level (the second, below splits) names domains; None: found from
            the depth and the names: a first level of other names than `SPLITS` is of domains.

    Raises:
        ValueError: no folder, no pictures in it, or a tree of another shape.
    """
    root = pathlib.Path(root).expanduser().resolve()
    if not root.is_dir():
        raise ValueError(f"there is no folder {root}; name yours with --config.data.root=DIR")
    found = sorted(_pictures(root))
    if not found:
        raise ValueError(
            f"no {', '.join('*' + s for s in SUFFIXES)} in {root}: put the pictures into folders "
            "SPLIT/CLASS (SPLIT: train, test) or DOMAIN/CLASS below it"
        )
    files = tuple(name for name, _, _ in found)
    split, domain, label = _levels(root, files, domains)
    class_names, labels = np.unique(label, return_inverse=True)
    names, numbers = (None, None) if domain is None else np.unique(domain, return_inverse=True)
    shape = [domain is not None, split is not None]
    return Tree(
        root,
        files,
        tuple(size for _, size, _ in found),
        tuple(class_names.tolist()),
        labels.astype(np.int32),
        None if names is None else tuple(names.tolist()),
        None if numbers is None else numbers.astype(np.int32),
        None if split is None else tuple(split),
        hashlib.sha256(repr((shape, found)).encode()).hexdigest()[:16],
    )


def _pictures(root: pathlib.Path) -> Iterator[tuple[str, int, int]]:
    """(path below root, bytes, time of last change) of every picture; hidden files are none."""
    for folder, _, names in os.walk(root, followlinks=True):
        for name in names:
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                path = pathlib.Path(folder, name)
                status = path.stat()
                yield path.relative_to(root).as_posix(), status.st_size, status.st_mtime_ns


def _levels(
    root: pathlib.Path, files: tuple[str, ...], domains: bool | None
) -> tuple[list[str] | None, list[str] | None, list[str]]:
    """For every file its split, domain and class; None where the tree does not have it."""
    levels = [name.split("/")[:-1] for name in files]
    depth = len(levels[0])
    for name, level in zip(files, levels, strict=True):
        if len(level) != depth or not 1 <= depth <= 3:
            raise ValueError(
                f"{root / name} lies {len(level)} folders deep, {root / files[0]} {depth}: all "
                "pictures must lie in SPLIT/CLASS, DOMAIN/CLASS, SPLIT/DOMAIN/CLASS or CLASS"
            )
    first = sorted({level[0] for level in levels})
    has_splits = depth > 1 and set(first) <= set(SPLITS) and not (depth == 2 and domains)
    has_domains = depth - 1 - has_splits == 1
    if depth == 3 and not has_splits:
        raise ValueError(f"{root} must have folders named {', '.join(SPLITS)}; it has {first}")
    if domains is not None and domains != has_domains:
        raise ValueError(
            f"config.data.domains is {domains}, but {root} has "
            f"{'folders' if has_domains else 'no folders'} of domains: {', '.join(first)}"
        )
    if has_domains and not has_splits and domains is None and set(first) & set(SPLITS):
        raise ValueError(
            f"{root} has folders of splits and others: {', '.join(first)}; if all are domains, "
            "say --config.data.domains=True"
        )
    return (
        [level[0] for level in levels] if has_splits else None,
        [level[-2] for level in levels] if has_domains else None,
        [level[-1] for level in levels],
    )


def split(
    tree: Tree, held_out: str | None
) -> tuple[Int[np.ndarray, "train"], Int[np.ndarray, "test"]]:
    """Which files train and which test.

    Args:
        tree: from `scan`.
        held_out: name of a domain that is left out of training and is the test set. Without it the
            tree's own splits count; a tree that has none is split at random, always alike, a fifth
            of each class (of each domain) to test.

    Raises:
        ValueError: there is no such domain, or a split is missing.
    """
    rows = np.arange(len(tree.files))
    if tree.splits is None:
        train, test = (rows, rows) if held_out is not None else _random_split(tree)
    else:
        names = np.array(tree.splits)
        last = next((s for s in SPLITS[1:] if s in tree.splits), None)
        if "train" not in tree.splits or last is None:
            raise ValueError(
                f"{tree.root} has only {sorted(set(tree.splits))}: it needs a folder train and "
                "one of test, val"
            )
        train, test = rows[names == "train"], rows[names == last]
    if held_out is None:
        return train, test
    if tree.domains is None or tree.domain_names is None or held_out not in tree.domain_names:
        known = "none" if tree.domain_names is None else ", ".join(tree.domain_names)
        raise ValueError(f"there is no domain {held_out!r} to hold out; {tree.root} has {known}")
    out = tree.domains == tree.domain_names.index(held_out)
    return train[~out[train]], test[out[test]]


def _random_split(tree: Tree) -> tuple[Int[np.ndarray, "train"], Int[np.ndarray, "test"]]:
    """A fifth of every class of every domain to test."""
    groups = tree.labels.astype(np.int64)
    if tree.domains is not None:
        groups = groups + len(tree.class_names) * tree.domains
    rng, to_test = np.random.default_rng(0), np.zeros(len(groups), bool)
    for group in np.unique(groups):
        rows = rng.permutation(np.flatnonzero(groups == group))
        to_test[rows[: round(TEST_SHARE * len(rows))]] = True
    return np.flatnonzero(~to_test), np.flatnonzero(to_test)
