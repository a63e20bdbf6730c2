"""Pictures read in place, and the index of their folder.

The index, all that `data.data_dir` keeps of a folder, has size and time of each file, and the error
if it is unreadable. An unchanged file is not decoded again to check it.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import re

import numpy as np
from tqdm import tqdm

from gca_jax import distributed
from gca_jax.data.dataset import ChangedError
from gca_jax.data.sources import reading
from gca_jax.data.sources.tree import Tree
from gca_jax.files import read_json, write_text

Entries = dict[str, tuple[int, int, str | None]]
"""Bytes, modification time and, if unreadable, the error of each file, by name."""


@dataclasses.dataclass(frozen=True)
class Files:
    """Files of a tree as `dataset.Records`; one that has changed since the scan is refused."""

    tree: Tree

    def __len__(self) -> int:
        return len(self.tree.files)

    def __getitem__(self, row: int, /) -> dict[str, bytes]:
        path = self.tree.path(row)
        try:
            with path.open("rb") as file:
                now = os.fstat(file.fileno())
                if (now.st_size, now.st_mtime_ns) == self.tree.states[row]:
                    return {"image": file.read()}
        except FileNotFoundError:
            pass
        # A batch would no longer be a function of seed and step.
        raise ChangedError(
            f"{path} was changed or removed after its folder was scanned: put it back, or leave "
            "the folder as it is now, and start again"
        )

    def place(self, row: int) -> str:
        """Name a file."""
        return str(self.tree.path(row))


def check(found: Tree, channels: int, data_dir: str | None, faults: reading.Faults) -> None:
    """Add unreadable pictures of a tree to `faults`; decode pictures that the index lacks.

    Raises:
        ValueError: `faults` refuses a picture, or processes see different folders.
    """
    path, records = _path(found, channels, data_dir), Files(found)
    before, states = _read(path), dict(zip(found.files, found.states, strict=True))
    entries = {name: entry for name, entry in before.items() if entry[:2] == states.get(name)}
    known = [entries.get(name) for name in found.files]
    for row, entry in enumerate(known):
        if entry is not None and entry[2] is not None:
            faults.add(records, row, entry[2])
    new = np.array([row for row, entry in enumerate(known) if entry is None], np.int64)
    if len(new) or len(entries) < len(before):
        seen = reading.decoded(records, new, channels, np.shape)
        bar = tqdm(seen, f"checking {found.root}", len(new), unit=" images", disable=None)
        try:
            for row, _, _, error in bar:
                if getattr(error, "errno", None) is None:  # a fault of the picture, not the disk
                    fault = None if error is None else str(error)
                    entries[found.files[row]] = (*found.states[row], fault)
                if error is not None:
                    faults.add(records, row, error)
        finally:  # keep what was decoded before a fault or Ctrl-C
            _write(path, entries)
    faults.report(np.arange(len(found.files)))
    _agree(found, faults)


def _path(found: Tree, channels: int, data_dir: str | None) -> pathlib.Path:
    """Return the index's path; note on copies of pictures that 0.2.0 left there."""
    default = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    folder = pathlib.Path(data_dir or default).expanduser() / "folder"
    called = re.sub("[^a-zA-Z0-9]+", "_", found.root.name)
    digest = hashlib.sha256(f"{found.root}, {channels} channels".encode()).hexdigest()[:16]
    path = folder / f"{called}-{digest}.json"
    if not path.exists():
        for copy in folder.glob(f"{called}-*/1.0.0"):
            print(f"note: {copy.parent} is a copy of pictures that nothing needs: delete it")
    return path


def _read(path: pathlib.Path) -> Entries:
    """Read an index; a missing or damaged one is empty, and will be written again."""
    try:
        return {name: (size, time, fault) for name, (size, time, fault) in read_json(path).items()}
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
