"""One row of the table of data sets."""

import dataclasses
from collections.abc import Callable

from gca_jax.data.dataset import Dataset


@dataclasses.dataclass(frozen=True)
class Source:
    """The facts of a data set, its reader and its origin.

    Attributes:
        read: (name, row, **options of `config.data`) -> the data set.
        origin: who made it, and where it comes from.
        shape: (height, width, channels) of the images; None where they differ.
        classes: number of classes; None where it is the user's to choose.
        images: published number of images to "train", to "test" and perhaps to "pretrain" with.
        splits: TFDS's names of these parts.
        builder: TFDS's name of the data set; None where TFDS does not have it.
    """

    read: Callable[..., Dataset]
    origin: str
    shape: tuple[int | None, int | None, int] = (None, None, 3)
    classes: int | None = None
    images: dict[str, int] = dataclasses.field(default_factory=dict)
    splits: dict[str, str] = dataclasses.field(
        default_factory=lambda: {"train": "train", "test": "test"}
    )
    builder: str | None = None


def command(name: str, data_dir: str | None) -> str:
    """The command that prepares a set of TFDS."""
    folder = "" if data_dir is None else f" --config.data.data_dir={data_dir}"
    return f"python main.py --mode=prepare --config=configs/{name}.py{folder}"


def note_size(name: str, part: str, found: int, row: Source) -> None:
    """Print a note if a split has another number of images than was published."""
    if part in row.images and found != row.images[part]:
        print(f"note: {name} has {found} {part} images here, {row.images[part]} as published")
