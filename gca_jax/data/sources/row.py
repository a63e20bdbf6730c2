"""One row of the table of data sets."""

import dataclasses
from collections.abc import Callable

from gca_jax.data.dataset import Dataset

Reader = Callable[..., Dataset]
"""(name, row, **options of `config.data`) -> the data set."""
Shape = tuple[int | None, int | None, int]


@dataclasses.dataclass(frozen=True)
class Source:
    """The facts of a data set, and its reader."""

    read: Reader
    shape: Shape = (None, None, 3)  # (height, width, channels); None where images differ
    classes: int | None = None  # None where it is the user's to choose
    # Published number of images to "train", to "test" and perhaps to "pretrain" with.
    images: dict[str, int] = dataclasses.field(default_factory=dict)
    splits: dict[str, str] = dataclasses.field(default_factory=dict)  # TFDS's names of these parts
    builder: str | None = None  # TFDS's name of the data set, if TFDS has it
    origin: str = ""  # where a folder that is fetched by hand comes from


def command(name: str, data_dir: str | None) -> str:
    """The command that prepares a set of TFDS."""
    folder = "" if data_dir is None else f" --config.data.data_dir={data_dir}"
    return f"python main.py --mode=prepare --config=configs/{name}.py{folder}"


def note_size(name: str, part: str, found: int, row: Source) -> None:
    """Print a note if a split has another number of images than was published."""
    if part in row.images and found != row.images[part]:
        print(f"note: {name} has {found} {part} images here, {row.images[part]} as published")
