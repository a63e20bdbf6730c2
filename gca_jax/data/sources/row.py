"""One row of the table of data sets."""

import dataclasses
from collections.abc import Callable

from gca_jax.data.dataset import Dataset


@dataclasses.dataclass(frozen=True)
class Source:
    """What a data set is like, and where it comes from.

    Attributes:
        read: (name, row, **options of `config.data`) -> the data set.
        shape: (height, width, channels); None where images differ.
        classes: how many; None: as many as the folder has.
        images: how many are published to "train", to "test" and perhaps to "pretrain" with; empty
            for a folder of the user's.
        splits: what TFDS calls these three; empty where the set is not in TFDS.
        builder: its name in TFDS, where it is there.
        origin: who made it, and where it comes from.
    """

    read: Callable[..., Dataset]
    shape: tuple[int | None, int | None, int]
    classes: int | None
    images: dict[str, int]
    splits: dict[str, str]
    builder: str | None
    origin: str


def command(name: str, data_dir: str | None) -> str:
    """What to type to prepare a set of TFDS."""
    folder = "" if data_dir is None else f" --config.data.data_dir={data_dir}"
    return f"python main.py --mode=prepare --config=configs/{name}.py{folder}"


def note_size(name: str, part: str, found: int, row: Source) -> None:
    """Print it where a split has not as many images as were published."""
    if part in row.images and found != row.images[part]:
        print(f"note: {name} has {found} {part} images here, {row.images[part]} as published")
