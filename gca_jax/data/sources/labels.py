"""Labels of pictures from a table, a row for each picture, in place of folders of classes."""

import csv
import dataclasses
import os
import pathlib
import posixpath
from collections.abc import Callable
from typing import NamedTuple

from gca_jax.check import counted
from gca_jax.data import tables
from gca_jax.data.sources.roots import split_of
from gca_jax.data.sources.tree import Tree, first_few

FLAG = "--config.data.labels"
KNOWN = ("label", "class")  # columns of labels, of which no other is asked for
BESIDE = ("split", "domain")  # columns that are read beside the label
LOOKED_AT = 100  # lines, to find the column of paths
UNLABELLED = ("", "-1")  # cells of pictures without a label

Find = Callable[[str], int | None]
"""The row of a picture in its tree by the path in a cell; None if it is not there."""


class _Table(NamedTuple):
    """Cells by the name of their column, and the number of each row's line."""

    path: pathlib.Path
    columns: dict[str, list[str]]
    lines: list[int]


def attach(found: Tree, typed: str, domains: bool | None = None, skip: bool = False) -> Tree:
    """Give pictures the classes that a table has for them; the others are left out and counted.

    The first line names the columns, unless it has a picture. The column of paths is the first
    that names pictures: below the tree's root, below the table's folder, or whole paths. A column
    `split` says which are for training and which for the test, a column `domain` their domains.

    Args:
        found: Pictures, read without classes.
        typed: FILE.csv, or FILE.csv:COLUMN where more than one column could be that of labels.
        domains: Whether a column `domain` is read; None: if there is one.
        skip: Whether to leave out and count rows whose picture is missing; else that is an error.

    Raises:
        ValueError: The table is missing or damaged, lacks a column, names a picture that is
            missing or gives one two labels, or its splits and those of the folders differ.
    """
    path, column = tables.split_key(typed)
    find = _finder(found, path)
    table, paths = _read(path, found, find)
    labels = table.columns[_of_labels(table, paths, column)]
    rows = [find(cell) for cell in table.columns[paths]]
    missing = [cell for cell, row in zip(table.columns[paths], rows, strict=True) if row is None]
    if missing:
        said = f"{counted(len(missing), 'row')} of a picture that is not in {found.root}"
        if not skip:
            raise ValueError(
                f"{path} has {said}: {first_few(missing)}; put them there, take these rows out, or "
                "have them left out by --config.data.skip_unreadable"
            )
        print(f"note: left out of {path}: {said}: {first_few(missing)}")
    line_of = _lines(table, rows, labels, found)
    if not line_of:
        raise ValueError(f"{path} has a label for none of the pictures in {found.root}")
    kept = sorted(line_of)
    if left := len(found.files) - len(kept):
        print(
            f"note: {left} of the {counted(len(found.files), 'picture')} in {found.root} have no "
            f"label in {path} and are left out"
        )
    beside: dict[str, tuple[str, ...] | None] = {}
    for name, own in (("split", found.splits), ("domain", found.domains)):
        beside[name] = None if own is None else tuple(own[row] for row in kept)
        if name in table.columns and not (name == "domain" and domains is False):
            cells = [table.columns[name][line_of[row]] for row in kept]
            numbers = [table.lines[line_of[row]] for row in kept]
            beside[name] = _beside(name, path, cells, numbers, beside[name])
    return dataclasses.replace(
        found,
        name=f"{found.name} ({path.name})",
        files=tuple(found.files[row] for row in kept),
        states=tuple(found.states[row] for row in kept),
        splits=beside["split"],
        domains=beside["domain"],
        classes=tuple(labels[line_of[row]] for row in kept),
    )


def _finder(found: Tree, table: pathlib.Path) -> Find:
    """Make the function that finds the picture which a cell names."""
    rows, folder = {name: row for row, name in enumerate(found.files)}, table.parent.resolve()

    def find(cell: str) -> int | None:
        slashed = cell.replace("\\", "/")
        for name in (cell, slashed, os.path.relpath(folder / slashed, found.root)):
            if (row := rows.get(posixpath.normpath(name))) is not None:
                return row
        return None

    return find


def _read(path: pathlib.Path, found: Tree, find: Find) -> tuple[_Table, str]:
    """Read a table, and find its column of paths."""
    if path.suffix.lower() != ".csv" or not path.is_file():
        fault = "is no .csv file" if path.exists() else "does not exist"
        raise ValueError(f"{path} {fault}: name a table of pictures and labels with {FLAG}=FILE")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            reader = csv.reader(file, delimiter=max(",;\t", key=first.count))
            read = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
    except (OSError, ValueError, csv.Error) as error:
        raise ValueError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    _, head = read[0] if read else (0, [])
    at = _of_paths([row for _, row in read[:LOOKED_AT]], find)
    if at is None:
        example = next((row[0] for _, row in read[1:] if row), "nothing")
        raise ValueError(
            f"{path} names no picture in {found.root}: a column must have their paths below that "
            f"folder, as {found.files[0]}; its first has {example}"
        )
    if find(head[at]) is None:
        read = read[1:]
    elif len(head) == 2:  # there is no first line of names
        head = ["path", "label"] if at == 0 else ["label", "path"]
    else:
        raise ValueError(
            f"{path} has {counted(len(head), 'column')} and no names for them: say in a first line "
            "which has the paths and which the labels"
        )
    if len({*head}) < len(head):
        raise ValueError(f"two columns of {path} have one name: {', '.join(head)}")
    for line, row in read:
        if len(row) != len(head):
            raise ValueError(
                f"line {line} of {path} has {counted(len(row), 'cell')}, and there are "
                f"{counted(len(head), 'column')}"
            )
    cells = zip(*(row for _, row in read), strict=True)
    columns = dict(zip(head, map(list, cells), strict=True))
    return _Table(path, columns, [line for line, _ in read]), head[at]


def _of_paths(rows: list[list[str]], find: Find) -> int | None:
    """Find the first column in which one of the rows names a picture."""
    for k in range(len(rows[0]) if rows else 0):
        if any(len(row) > k and find(row[k]) is not None for row in rows):
            return k
    return None


def _of_labels(table: _Table, paths: str, column: str | None) -> str:
    """Find the column of labels: as typed, else one that is called so, or the only one left."""
    others = [name for name in table.columns if name not in (paths, "", *BESIDE)]
    if column is not None:
        if column not in table.columns:
            raise ValueError(
                f"{table.path} has no column {column!r}, but {', '.join(table.columns)}: name one "
                f"of these with {FLAG}={table.path}:COLUMN"
            )
        return column
    known = [name for name in others if name.lower() in KNOWN] or others
    if len(known) != 1:
        there = f"the columns {', '.join(known)}" if known else f"no column beside {paths}"
        raise ValueError(
            f"{table.path} has {there}: name that of labels with {FLAG}={table.path}:COLUMN"
        )
    return known[0]


def _lines(table: _Table, rows: list[int | None], labels: list[str], found: Tree) -> dict[int, int]:
    """Return the place in the table of each picture's label; refuse a picture with two labels."""
    places: dict[int, int] = {}
    for place, (row, label) in enumerate(zip(rows, labels, strict=True)):
        if row is None or label in UNLABELLED:
            continue
        before = labels[places.setdefault(row, place)]
        if before != label:
            raise ValueError(
                f"line {table.lines[place]} of {table.path} gives {found.files[row]} the label "
                f"{label}, and line {table.lines[places[row]]} {before}: leave one of them"
            )
    return places


def _beside(
    name: str, path: pathlib.Path, cells: list[str], lines: list[int], own: tuple[str, ...] | None
) -> tuple[str, ...]:
    """Return splits or domains from their column; refuse cells that are none."""
    values = [split_of(cell) or "" if name == "split" else cell for cell in cells]
    if "" in values:
        k = values.index("")
        raise ValueError(f"line {lines[k]} of {path} has no {name}, but {cells[k]!r}")
    if name == "split":
        if "train" not in values or len({*values}) < 2:
            raise ValueError(
                f"the column split of {path} has only {', '.join(sorted({*cells}))}: it needs "
                "train and one of test, val; without the column a fifth is held out"
            )
        if own is not None and tuple(values) != own:
            raise ValueError(
                f"the column split of {path} and the folders of pictures name other splits: leave "
                "the column out"
            )
    return tuple(values)
