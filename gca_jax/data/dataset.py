"""A data set, wherever it came from: images in memory or on disk, labels and domains if any."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, SupportsIndex, runtime_checkable

import numpy as np
from jaxtyping import Int, Int32, UInt8
from numpy.typing import ArrayLike

from gca_jax.data import pictures

RESIZE = 256 / 224  # shorter side over the centre cropped from it; torchvision's recipe

# None where images have none; Any, so that code for labelled data sets needs no assertions.
Numbers = Int32[np.ndarray, "n"] | Any


@runtime_checkable
class Images(Protocol):
    """A uint8 array [n, h, w, c] in 0..255, or what gives those of slices and arrays of rows."""

    @property
    def shape(self) -> tuple[int, ...]: ...  # noqa: D102
    def __len__(self) -> int: ...
    def __getitem__(self, rows: Any, /) -> UInt8[np.ndarray, "k h w c"]: ...


class ChangedError(ValueError):
    """A file is not as it was when its folder was scanned: no fault that a run may leave out."""


@runtime_checkable
class Records(Protocol):
    """Encoded pictures on disk, by position; each is the entry "image" of its record.

    A source that reads many records at once has `__getitems__` too.
    """

    def __len__(self) -> int: ...
    def __getitem__(self, position: int, /) -> Mapping[str, Any]: ...
    def place(self, position: int) -> str:
        """Name the file, or the row, of a record."""
        ...


@dataclasses.dataclass(frozen=True)
class Streamed:
    """Images of any size that stay on disk; picklable, so that workers can decode them.

    `images[rows]` gives the centre of each as it is evaluated: the shorter side resized to
    size * 256 / 224, then cropped to size x size.
    """

    records: Records
    positions: Int[np.ndarray, "n"]  # which records, in order
    size: int  # pixels of a side of `images[rows]`
    channels: int = 3

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, size, size, channels)."""
        return (len(self.positions), self.size, self.size, self.channels)

    @property
    def shorter_side(self) -> int:
        """Pixels of an image's shorter side before it is cropped."""
        return round(self.size * RESIZE)

    def __len__(self) -> int:
        return len(self.positions)

    def decode(self, i: SupportsIndex) -> UInt8[np.ndarray, "h w c"]:
        """Decode the whole of image i; the error of one that cannot be read names its file."""
        position = int(self.positions[i])
        try:
            return pictures.pixels(self.records[position]["image"], self.channels)
        except ChangedError:
            raise
        except Exception as error:  # ArrayRecord's and protobuf's have no class in common
            raise ValueError(f"{self.records.place(position)}: {error}") from error

    def __getitem__(self, rows: slice | Int[np.ndarray, "k"]) -> UInt8[np.ndarray, "k h w c"]:
        which = np.arange(len(self))[rows]
        if which.ndim != 1:
            raise TypeError(f"images are taken by a slice or an array of rows, got {rows!r}")

        def centre(i: SupportsIndex) -> UInt8[np.ndarray, "h w c"]:
            return pictures.centre(self.decode(i), self.size, self.shorter_side)

        out = np.empty((len(which), *self.shape[1:]), np.uint8)
        for k, image in enumerate(pictures.in_threads(centre, which.tolist())):
            out[k] = image
        return out


class Part(NamedTuple):
    """Images of a data set with their labels and domains, None where they have none."""

    images: Images
    labels: Numbers = None
    domains: Numbers = None

    def take(self, rows: Int[np.ndarray, "k"]) -> "Part":
        """Take some of the images, with their labels and domains; those on disk stay there."""
        images: Images
        if isinstance(self.images, Streamed):
            images = dataclasses.replace(self.images, positions=self.images.positions[rows])
        else:
            images = self.images[rows]
        return Part(images, *(None if of is None else of[rows] for of in self[1:]))


def named(parts: Mapping[str, Part]) -> dict[str, Any]:
    """Give images, labels and domains of parts as the attributes of a Dataset."""
    return {
        f"{name}_{kind}": value
        for name, part in parts.items()
        for kind, value in part._asdict().items()
    }


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set, split into training and test images; checked when it is made.

    Raises:
        ValueError: a wrong shape, dtype, length or number; the message names the attribute.
    """

    name: str  # as in `sources.SOURCES`, or any other
    train_images: Images  # [n, h, w, c] in 0..255
    train_labels: Numbers  # [n] int32 in 0..num_classes - 1; None where the set is unlabelled
    test_images: Images  # [m, h, w, c]; an unlabelled data set has them too
    test_labels: Numbers  # [m]; None if and only if `train_labels` is
    num_classes: int  # 0 where the data set is unlabelled
    class_names: tuple[str, ...] | None = None  # where the source has them
    train_domains: Numbers = None  # [n] int32 in 0..len(domain_names) - 1; None: images have none
    test_domains: Numbers = None  # [m]
    domain_names: tuple[str, ...] | None = None  # where the source has them
    # [p, h, w, c] to pretrain with; None in the constructor: the training set
    pretrain_images: Images = None  # type: ignore[assignment]
    pretrain_labels: Numbers = None  # [p]; None where these have no labels
    pretrain_domains: Numbers = None  # [p]

    def __post_init__(self):
        if self.pretrain_images is None:
            for kind in Part._fields:
                object.__setattr__(self, f"pretrain_{kind}", getattr(self, f"train_{kind}"))
        if (self.train_labels is None) != (self.test_labels is None):
            raise ValueError("train_labels and test_labels must both be given, or both be None")
        if self.labelled != (self.num_classes > 0):
            labels = "labels" if self.labelled else "no labels"
            raise ValueError(f"num_classes is {self.num_classes}, but there are {labels}")
        domains = None if self.domain_names is None else len(self.domain_names)
        for part in ("train", "test", "pretrain"):
            images = getattr(self, f"{part}_images")
            _check_images(f"{part}_images", images, self.train_images)
            for name, limit in ((f"{part}_labels", self.num_classes), (f"{part}_domains", domains)):
                _check_numbers(name, getattr(self, name), len(images), limit)

    @classmethod
    def of(
        cls,
        name: str,
        train: Part,
        test: Part,
        pretrain: Part | None = None,
        *,
        class_names: tuple[str, ...] | None = None,
        domain_names: tuple[str, ...] | None = None,
    ) -> "Dataset":
        """Join parts whose labels and domains are numbers of these names."""
        values = named({"train": train, "test": test, "pretrain": pretrain or train})
        values |= {"class_names": class_names, "domain_names": domain_names}
        return cls(name, num_classes=len(class_names or ()), **values)

    @property
    def labelled(self) -> bool:
        """Whether training and test images have labels, so that probes can be fitted."""
        return self.train_labels is not None


Reader = Callable[..., Dataset]
"""(name, row, **options of `config.data`) -> the data set."""


@dataclasses.dataclass(frozen=True)
class Source:
    """The reader of a known data set, and facts for it: a row of `sources.SOURCES`."""

    read: Reader
    splits: Mapping[str, str] = dataclasses.field(default_factory=dict)  # TFDS's names of the parts
    builder: str | None = None  # TFDS's name of the data set, if TFDS has it
    classes: int | None = None  # of a folder that is fetched by hand
    origin: str = ""  # and where it comes from


def _check_images(name: str, images: Images, others: Images) -> None:
    """Refuse what is not uint8 [n, h, w, c] with at least one image, of the others' h, w and c."""
    dtype, shape = getattr(images, "dtype", np.dtype(np.uint8)), getattr(images, "shape", ())
    if dtype != np.uint8 or len(shape) != 4 or 0 in shape:
        raise ValueError(f"{name} must be uint8 [n, h, w, c], n > 0; got {dtype} {list(shape)}")
    if shape[1:] != others.shape[1:]:
        sizes = (" x ".join(map(str, one[1:])) for one in (shape, others.shape))
        raise ValueError("{} are of {}, train_images of {}".format(name, *sizes))


def _check_numbers(name: str, numbers: Numbers, count: int, limit: int | None) -> None:
    """Refuse what is not int32 [count] in 0..limit - 1 (None: from 0)."""
    if numbers is None:
        return
    dtype, shape = getattr(numbers, "dtype", type(numbers).__name__), np.shape(numbers)
    if dtype != np.int32 or shape != (count,):
        raise ValueError(
            f"{name} must be int32 [{count}], one for each image; got {dtype} {list(shape)}"
        )
    low, high = numbers.min(), numbers.max()
    if low < 0 or (limit is not None and high >= limit):
        last = "" if limit is None else limit - 1
        raise ValueError(f"{name} must be in 0..{last}, got {low} to {high}")


def named_values(
    name: str, given: ArrayLike | None, count: int | None, each: str = "image"
) -> np.ndarray | None:
    """Check integers or names, one for each image or pair; None where none are given."""
    if given is None:
        return None
    values = np.asarray(given)
    if values.dtype.kind not in "iuU" or values.shape != (count,):
        raise ValueError(
            f"{name} must be integers or names [{count}], one for each {each}; got {values.dtype} "
            f"{list(values.shape)}"
        )
    return values if values.dtype.kind == "U" else values.astype(np.int64)


def number(
    *values: np.ndarray | Sequence[str] | None,
) -> tuple[tuple[str, ...] | None, list[Int32[np.ndarray, "_"] | None]]:
    """Number the integers or names of several parts together, in sorted order.

    Gives the numbered values as text, and the numbers of each part; None where there are none.
    """
    given = [np.asarray(part) for part in values if part is not None]
    if not given:
        return None, [None] * len(values)
    names, numbers = np.unique(np.concatenate(given), return_inverse=True)
    ends = np.cumsum([len(part) for part in given])
    parts = iter(np.split(numbers.astype(np.int32), ends))
    return tuple(map(str, names.tolist())), [None if v is None else next(parts) for v in values]
