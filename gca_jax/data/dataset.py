"""What a data set is, wherever it came from: images with labels, in memory or on disk."""

import dataclasses
from typing import Any, Protocol

import numpy as np
from jaxtyping import Int, Int32, UInt8

from gca_jax.data import pictures, records

RESIZE = 256 / 224  # of the shorter side, before the centre is cropped; torchvision's recipe


class Images(Protocol):
    """A uint8 array [n, h, w, c] in 0..255, or what behaves like one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, h, w, c)."""

    def __len__(self) -> int:
        """How many images there are."""

    def __getitem__(self, rows: Any, /) -> UInt8[np.ndarray, "k h w c"]:
        """The images of a slice, or of an array of row numbers."""


@dataclasses.dataclass(frozen=True)
class Streamed:
    """Images of any size that stay on disk; picklable, so that workers can decode them.

    As an array (`images[rows]`) they come at one size, the centre of each as it is evaluated:
    the shorter side resized to size * 256 / 224, then cropped. `decode` gives one as it is stored,
    for random crops.

    Attributes:
        records: a data source of TFDS whose records have the encoded image under "image".
        positions: [n] which records, in order.
        size: pixels of a side of `images[rows]`.
    """

    records: records.Records
    positions: Int[np.ndarray, "n"]
    size: int

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, size, size, 3)."""
        return (len(self.positions), self.size, self.size, 3)

    def __len__(self) -> int:
        return len(self.positions)

    def decode(self, i: int) -> UInt8[np.ndarray, "h w 3"]:
        """The whole of image i, in RGB.

        Raises:
            ValueError: its record cannot be read; the message says which.
        """
        position = int(self.positions[i])
        try:
            return pictures.pixels(self.records[position]["image"], channels=3)
        except Exception as error:  # ArrayRecord's and protobuf's have no class in common
            raise ValueError(f"{records.place(self.records, position)}: {error}") from error

    def __getitem__(self, rows: slice | Int[np.ndarray, "k"]) -> UInt8[np.ndarray, "k h w c"]:
        which = np.arange(len(self))[rows]
        if which.ndim != 1:
            raise TypeError(f"images are taken by a slice or an array of rows, got {rows!r}")

        def centre(i: int) -> UInt8[np.ndarray, "h w 3"]:
            return pictures.centre(self.decode(i), self.size, round(self.size * RESIZE))

        out = np.empty((len(which), *self.shape[1:]), np.uint8)
        for k, image in enumerate(pictures.in_threads(centre, which)):
            out[k] = image
        return out


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set, split into training and test set.

    Attributes:
        name: as in `sources.SOURCES`.
        train_images: [n, h, w, c] in 0..255.
        train_labels: [n] in 0..num_classes - 1.
        test_images: [m, h, w, c].
        test_labels: [m].
        num_classes: how many classes there are.
        class_names: of the labels, where the source has them.
        train_domains: [n] in 0..len(domain_names) - 1; None where images have no domain.
        test_domains: [m].
        domain_names: of the domains.
        pretrain_images: [p, h, w, c] to pretrain with; None in the constructor is the training set.
        pretrain_labels: [p]; None where these have no labels.
        pretrain_domains: [p].
    """

    name: str
    train_images: Images
    train_labels: Int32[np.ndarray, "n"]
    test_images: Images
    test_labels: Int32[np.ndarray, "m"]
    num_classes: int
    class_names: tuple[str, ...] | None = None
    train_domains: Int32[np.ndarray, "n"] | None = None
    test_domains: Int32[np.ndarray, "m"] | None = None
    domain_names: tuple[str, ...] | None = None
    pretrain_images: Images = None  # type: ignore[assignment]
    pretrain_labels: Int32[np.ndarray, "p"] | None = None
    pretrain_domains: Int32[np.ndarray, "p"] | None = None

    def __post_init__(self):
        if self.pretrain_images is None:
            for part in ("images", "labels", "domains"):
                object.__setattr__(self, f"pretrain_{part}", getattr(self, f"train_{part}"))
