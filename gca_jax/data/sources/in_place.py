"""Pictures read in place, and the index of their folder.

The index, all that `data.data_dir` keeps of a folder, has size and time of each file, and its error
if it is unreadable, else what notes need to know of it. An unchanged file is not decoded again to
check it.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import re
from typing import NamedTuple

import numpy as np
import PIL
from tqdm import tqdm

from gca_jax import distributed
from gca_jax.data import pictures
from gca_jax.data.dataset import ChangedError
from gca_jax.data.sources import reading
from gca_jax.data.sources.tree import State, Tree, state
from gca_jax.files import read_json, write_text

READING = 2  # a number of its own for each way to read pictures, which an index depends on


class Entry(NamedTuple):
    """A file of an index: its state and, if unreadable, the error, else a look at it."""

    state: State
    fault: str | None
    look: pictures.Look | None


Entries = dict[str, Entry]
"""Entries by name."""


@dataclasses.dataclass(frozen=True)
class Files:
    """Files of a tree as `dataset.Records`; one that is no file is unreadable.

    Attributes:
        tree: The tree.
        fixed: Whether one that has changed since the scan is refused; else what is there is read.
        digests: Of the files' bytes, as `check` returns them; None: not known.
    """

    tree: Tree
    fixed: bool = True
    digests: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.tree.files)

    def __getitem__(self, row: int, /) -> dict[str, bytes]:
        path, known = self.tree.path(row), self.tree.states[row]
        if known is None or not self.fixed:
            state(path)  # raises OSError; opening a pipe would wait
        try:
            with path.open("rb") as file:
                now = os.fstat(file.fileno())
                if not self.fixed or (now.st_size, now.st_mtime_ns) == known:
                    return {"image": file.read()}
        except FileNotFoundError:
            if not self.fixed:
                raise
        # A batch would no longer be a function of seed and step.
        raise ChangedError(
            f"{path} was changed or removed after its folder was scanned: put it back, or leave "
            "the folder as it is now, and start again"
        )

    def place(self, row: int) -> str:
        """Name a file."""
        return str(self.tree.path(row))


def check(
    found: Tree, channels: int, data_dir: str | None, faults: reading.Faults, size: int | None
) -> list[str]:
    """Add unreadable pictures of a tree to `faults`; decode pictures that the index lacks.

    Prints a note if all pictures span few levels, and if some have more pages than are read.

    Returns:
        [n], digests of the files' bytes, empty of unreadable ones.

    Raises:
        ValueError: `faults` refuses a picture, or processes see different folders.
    """
    path, records = _path(found, channels, data_dir), Files(found)
    before, states = _read(path), dict(zip(found.files, found.states, strict=True))
    entries = {name: entry for name, entry in before.items() if entry.state == states.get(name)}
    known = [entries.get(name) for name in found.files]
    for row, entry in enumerate(known):
        if entry is not None and entry.fault is not None:
            faults.add(records, row, entry.fault)
    new = np.array([row for row, entry in enumerate(known) if entry is None], np.int64)
    if len(new) or len(entries) < len(before):

        def look(encoded: bytes) -> pictures.Look:
            return pictures.look(encoded, pictures.pixels(encoded, channels, size))

        seen = reading.decoded(records, new, look)
        bar = tqdm(seen, f"checking {found.root}", len(new), unit=" images", disable=None)
        try:
            for row, _, seen_there, error in bar:
                file = found.states[row]
                # A fault of the picture, not of the disk.
                if file is not None and getattr(error, "errno", None) is None:
                    fault = None if error is None else str(error)
                    entries[found.files[row]] = Entry(file, fault, seen_there)
                if error is not None:
                    faults.add(records, row, error)
        finally:  # keep what was decoded before a fault or Ctrl-C
            _write(path, entries)
    faults.report(np.arange(len(found.files)))
    _agree(found, faults)
    looks = {name: entry.look for name, entry in entries.items() if entry.look is not None}
    reading.note(str(found.root), looks)
    return [looks[name].digest if name in looks else "" for name in found.files]


def _path(found: Tree, channels: int, data_dir: str | None) -> pathlib.Path:
    """Return the index's path; note on copies of pictures that 0.2.0 left there."""
    default = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    folder = pathlib.Path(data_dir or default).expanduser() / "folder"
    called = re.sub("[^a-zA-Z0-9]+", "_", found.root.name)
    # A part of a folder has an index of its own: each keeps the entries of its pictures alone.
    what = found.root if found.name == str(found.root) else f"{found.root}, {found.name}"
    how = f"{what}, {channels} channels, {READING}, Pillow {PIL.__version__}"
    digest = hashlib.sha256(how.encode()).hexdigest()[:16]
    path = folder / f"{called}-{digest}.json"
    if not path.exists():
        for copy in folder.glob(f"{called}-*/1.0.0"):
            print(f"note: {copy.parent} is a copy of pictures that nothing needs: delete it")
    return path


def _read(path: pathlib.Path) -> Entries:
    """Read an index; a missing or damaged one is empty, and will be written again."""
    try:
        return {
            name: Entry((size, time), fault, look and pictures.Look(*look))
            for name, ((size, time), fault, look) in read_json(path).items()
        }
    except (OSError, AttributeError, TypeError, ValueError):
        return {}


def _write(path: pathlib.Path, entries: Entries) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(entries))
    except OSError as error:
        print(
            f"note: {path} cannot be written ({error}), so that each start decodes all pictures: "
            "name another folder with --config.data.data_dir=DIR"
        )


def _agree(found: Tree, faults: reading.Faults) -> None:
    """Raise ValueError unless all processes have the same pictures in the same order."""
    digest = hashlib.sha256(repr((found.files, sorted(faults.reasons))).encode()).digest()
    digests = distributed.gather(np.frombuffer(digest, np.uint8)[None])
    if (digests != digests[0]).any():
        raise ValueError(
            f"{found.root} is not the same in all {len(digests)} processes: give each the same "
            "pictures under the same names"
        )
