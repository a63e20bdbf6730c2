"""Data sets that are folders of pictures, PACS among them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Int

from gca_jax import check
from gca_jax.check import counted
from gca_jax.data import splits
from gca_jax.data.dataset import Dataset, Part, Source, Streamed, number
from gca_jax.data.sources import in_place, reading, tree
from gca_jax.data.sources.in_place import Files
from gca_jax.data.sources.labels import attach
from gca_jax.data.sources.tree import Tree

REMEDY = "Replace or delete the file"
SIZES = "Bring all to one size with --config.data.size=PIXELS"


def load(
    name: str,
    row: Source,
    *,
    root: str | None = None,
    labelled_root: str | None = None,
    labels: str | None = None,
    size: int | None = None,
    held_out: str | None = None,
    domains: bool | None = None,
    labelled: bool | None = None,
    data_dir: str | None = None,
    limit: int | None = None,
    skip_unreadable: bool = False,
    channels: int | None = None,
) -> Dataset:
    """Read a folder in place, as RGB or with `channels`.

    `gca_jax.data.sources.tree` describes its layout. At first use, all pictures are decoded once;
    `data_dir` keeps the result, the index. With a `labelled_root` for the probes, `root` is read
    without labels to pretrain on: all of it, or its folder train if it has splits, but no test
    picture of `labelled_root`. `labels` names a table in place of folders of classes, as
    `gca_jax.data.sources.labels` describes it; of `labelled_root`, if there is one.
    """
    if root is None:
        raise ValueError(f"{name} is a folder ({row.origin}): name it with --config.data.root=DIR")
    if channels is not None:
        check.at_least("channels", channels, 1)
    how = {"arrays": channels is not None, "origin": row.origin, "skip": skip_unreadable}
    trees = _scan(root, labelled_root, labels, labelled, domains, how)
    known = trees[-1].classes
    if row.classes is not None and known is not None and len(set(known)) != row.classes:
        raise ValueError(
            f"{trees[-1].root} has {counted(len(set(known)), 'class')}, {name} has {row.classes}: "
            "root must be the folder whose folders are the domains"
        )
    bands, readable, digests = 3 if channels is None else channels, [], []
    for found in trees:
        faults = reading.Faults(str(found.root), skip_unreadable, REMEDY)
        digests.append(np.array(in_place.check(found, bands, data_dir, faults, size)))
        readable.append(np.setdiff1d(np.arange(len(found.files)), [*faults.reasons]))
    # `check` has found all unreadable pictures: from here on, any fault is an error.
    faults = reading.Faults(str(trees[0].root), False, SIZES)
    records = [Files(found, digests=of) for found, of in zip(trees, digests, strict=True)]
    files = list(zip(records, readable, strict=True))
    form = reading.Form.of(files, size, bands, faults)
    class_names, classes = number(*(found.classes for found in trees))
    domain_names, numbers = number(*(found.domains for found in trees))

    def part(k: int, rows: Int[np.ndarray, "n"]) -> Part:
        records, good = files[k]
        rows, asked = np.intersect1d(rows, good), len(rows)
        if not len(rows):
            raise ValueError(
                f"none of the {asked} pictures of a part of {records.tree.root} can be read"
            )
        rows = rows[splits.evenly_spaced(len(rows), limit)]
        return reading.take(records, rows, form, faults, classes[k], numbers[k])

    train, test = tree.split(trees[0], held_out)
    parts = [part(0, train), part(0, test)]
    if labelled_root is not None:
        parts.append(part(1, tree.apart(trees[1], trees[0], test)))
    _say_what_for(trees, parts)
    if form.streamed:  # else images are compared in memory
        train_files, test_files, *others = (
            digests[k // 2][part.images.positions]
            for k, part in enumerate(parts)
            if isinstance(part.images, Streamed)
        )
        equal = np.isin(test_files, np.concatenate([train_files, *others]))
        splits.note_equal(name, int(equal.sum()), len(equal))
    return Dataset.of(name, *parts, class_names=class_names, domain_names=domain_names)


def _say_what_for(trees: list[Tree], parts: list[Part]) -> None:
    """Print how many pictures of which split serve for what, and which for nothing."""
    known = [each.splits or () for each in trees]
    tested = next((name for name in ("test", "val") if name in known[0]), None)
    taken = ["of train ", f"of {tested} ", ""] if known[0] else ["", "held out ", ""]
    uses = ["train with" if len(trees) == 1 else "fit probes to", "test on", "pretrain on"]
    said = [
        f"{len(part.images)} {split}to {use}"
        for part, split, use in zip(parts, taken, uses, strict=False)
    ]
    said += [
        f"{splits.count(name)} of {name} in {each.root} for nothing"
        for each, splits, read in zip(trees, known, (("train", tested), ("train",)), strict=False)
        for name in sorted({*splits}.difference(read))
        if "train" in splits
    ]
    print(f"pictures: {', '.join(said)}")


def _scan(
    root: str,
    labelled_root: str | None,
    labels: str | None,
    labelled: bool | None,
    domains: bool | None,
    how: Mapping[str, Any],
) -> list[Tree]:
    """Scan `labelled_root`, if given, and `root`; print their contents."""
    if labels is not None and labelled:
        raise ValueError("labelled is True, but labels names a table in place of folders")

    def with_labels(root: str, labelled: bool | None, **named: Any) -> Tree:
        if labels is None:
            return tree.scan(root, labelled, domains, **named, **how)
        found = tree.scan(root, False, domains, **named, **how)
        return attach(found, labels, domains, how["skip"])

    if labelled_root is None:
        found = with_labels(root, labelled)
        guessed = labelled is None and labels is None and found.classes is not None
        hint = "; if these folders are no classes, say --config.data.labelled=False"
        print(f"{found}{hint if guessed else ''}")
        return [found]
    if labelled:
        raise ValueError("labelled is True, but with labelled_root, root is read without labels")
    probed = with_labels(labelled_root, None, option="--config.data.labelled_root")
    if probed.classes is None:
        raise ValueError(f"{probed.root} is no labelled_root: its pictures are in no folder CLASS")
    trees = [probed, tree.scan(root, False, domains, **how)]
    print(f"pretraining on {trees[1]}; probes on {trees[0]}")
    return trees
