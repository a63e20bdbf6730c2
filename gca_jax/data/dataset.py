"""A data set of any source: images in memory or on disk, with labels and domains if it has any."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, SupportsIndex, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int, Int32, UInt8
from numpy.typing import ArrayLike

from gca_jax import check
from gca_jax.data import pictures

RESIZE = 256 / 224  # resized shorter side over centre crop; torchvision's recipe

# None for images without any; Any, so that code for labelled data sets needs no assertions.
Numbers = Int32[np.ndarray, "n"] | Any


@runtime_checkable
class Images(Protocol):
    """A uint8 array [n, h, w, c], or an object that returns one for a slice or array of rows."""

    @property
    def shape(self) -> tuple[int, ...]: ...  # noqa: D102
    def __len__(self) -> int: ...
    def __getitem__(self, rows: Any, /) -> UInt8[np.ndarray, "k h w c"]: ...


class ChangedError(ValueError):
    """A file has changed since its folder was scanned; `skip_unreadable` does not cover that."""


@runtime_checkable
class Records(Protocol):
    """Records on disk by position, whose entry "image" is an encoded picture.

    A source that reads many records at once has `__getitems__` too.
    """

    def __len__(self) -> int: ...
    def __getitem__(self, position: int, /) -> Mapping[str, Any]: ...
    def place(self, position: int) -> str:
        """Name the file or the row of a record, for messages."""


@dataclasses.dataclass(frozen=True)
class Streamed:
    """Images of any size that stay on disk; picklable, so that workers can decode them.

    `images[rows]` is the centre of each, for evaluation: the shorter side resized to
    size * 256 / 224, then cropped to size x size.
    """

    records: Records
    positions: Int[np.ndarray, "n"]  # in `records`
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

    def decode(self, i: SupportsIndex, side: int | None = None) -> UInt8[np.ndarray, "h w c"]:
        """Decode the whole of image i, of a shorter side that is needed at `side` pixels.

        Raises:
            ValueError: It is broken; the message names its file.
        """
        position = int(self.positions[i])
        try:
            return pictures.pixels(self.records[position]["image"], self.channels, side)
        except ChangedError:
            raise
        except Exception as error:  # ArrayRecord's and protobuf's have no class in common
            raise ValueError(f"{self.records.place(position)}: {error}") from error

    def __getitem__(self, rows: slice | Int[np.ndarray, "k"]) -> UInt8[np.ndarray, "k h w c"]:
        which = np.arange(len(self))[rows]
        if which.ndim != 1:
            raise TypeError(f"images are taken by a slice or an array of rows, got {rows!r}")

        def centre(i: SupportsIndex) -> UInt8[np.ndarray, "h w c"]:
            image = self.decode(i, self.shorter_side)
            return pictures.centre(image, self.size, self.shorter_side)

        out = np.empty((len(which), *self.shape[1:]), np.uint8)
        for k, image in enumerate(pictures.in_threads(centre, which.tolist())):
            out[k] = image
        return out


class Part(NamedTuple):
    """Images of a data set with their labels and domains, or None."""

    images: Images
    labels: Numbers = None
    domains: Numbers = None

    def take(self, rows: Int[np.ndarray, "k"]) -> "Part":
        """Select images with their labels and domains; streamed images stay on disk."""
        images: Images
        if isinstance(self.images, Streamed):
            images = dataclasses.replace(self.images, positions=self.images.positions[rows])
        else:
            images = self.images[rows]
        return Part(images, *(None if of is None else of[rows] for of in self[1:]))


def attributes(**parts: Part) -> dict[str, Any]:
    """Return images, labels and domains of parts under their names in `Dataset`."""
    return {f"{part}_{kind}": x for part in parts for kind, x in parts[part]._asdict().items()}


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set, split into training and test images; checked when it is made.

    Raises:
        ValueError: A wrong shape, dtype, length or range; the message names the attribute.
    """

    name: str  # any; as in `sources.SOURCES` for a known one
    train_images: Images  # [n, h, w, c] in 0..255
    train_labels: Numbers  # [n] int32 in 0..num_classes - 1; None: unlabelled
    test_images: Images  # [m, h, w, c]; an unlabelled data set has them too
    test_labels: Numbers  # [m]; None if and only if `train_labels` is
    num_classes: int  # 0: unlabelled
    class_names: tuple[str, ...] | None = None
    train_domains: Numbers = None  # [n] int32 in 0..len(domain_names) - 1
    test_domains: Numbers = None  # [m]
    domain_names: tuple[str, ...] | None = None
    # [p, h, w, c] to pretrain on; None in the constructor: the training images
    pretrain_images: Images = None  # type: ignore[assignment]
    # [p]; -1: not known, and the others are the training images, in their order
    pretrain_labels: Numbers = None
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
                low = -1 if name == "pretrain_labels" else 0
                _check_numbers(name, getattr(self, name), len(images), low, limit)
        if self.partly_labelled and np.sum(self.pretrain_labels >= 0) != len(self.train_images):
            raise ValueError(
                "pretrain_images without a label (-1) must stand beside the training images, which "
                "are those with one"
            )

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
        """Make a data set of parts whose labels and domains index the names."""
        values = attributes(train=train, test=test, pretrain=pretrain or train)
        values |= {"class_names": class_names, "domain_names": domain_names}
        return cls(name, num_classes=len(class_names or ()), **values)

    @property
    def labelled(self) -> bool:
        """Whether images have labels to fit probes to."""
        return self.train_labels is not None

    @property
    def partly_labelled(self) -> bool:
        """Whether some images to pretrain on have a label and others have none."""
        labels = self.pretrain_labels
        return labels is not None and bool(np.any(labels == -1))


Reader = Callable[..., Dataset]
"""(name, row, **options of `config.data`) -> the data set."""


@dataclasses.dataclass(frozen=True)
class Source:
    """A row of `sources.SOURCES`: a data set's reader and what that has to know."""

    read: Reader
    splits: Mapping[str, str] = dataclasses.field(default_factory=dict)  # TFDS's names, by part
    builder: str | None = None  # TFDS's name of the data set
    classes: int | None = None  # how many, of a folder downloaded by hand
    origin: str = ""  # where such a folder comes from


def _check_images(name: str, images: Images, others: Images) -> None:
    """Refuse images that are not uint8 [n, h, w, c], n > 0, with the h, w and c of the others."""
    dtype, shape = getattr(images, "dtype", np.dtype(np.uint8)), getattr(images, "shape", ())
    if dtype != np.uint8 or len(shape) != 4 or 0 in shape:
        raise ValueError(f"{name} must be uint8 [n, h, w, c], n > 0; got {dtype} {list(shape)}")
    if shape[1:] != others.shape[1:]:
        sizes = (" x ".join(map(str, one[1:])) for one in (shape, others.shape))
        raise ValueError("{} are of {}, train_images of {}".format(name, *sizes))


def _check_numbers(name: str, numbers: Numbers, count: int, lowest: int, limit: int | None) -> None:
    """Refuse labels or domains that are not int32 [count] in lowest..limit - 1 (None: any)."""
    if numbers is None:
        return
    dtype, shape = getattr(numbers, "dtype", type(numbers).__name__), np.shape(numbers)
    if dtype != np.int32 or shape != (count,):
        raise ValueError(
            f"{name} must be int32 [{count}], one for each image; got {dtype} {list(shape)}"
        )
    low, high = numbers.min(), numbers.max()
    if low < lowest or (limit is not None and high >= limit):
        last = "" if limit is None else limit - 1
        raise ValueError(f"{name} must be in {lowest}..{last}, got {low} to {high}")


def named_values(
    name: str, given: ArrayLike | None, count: int | None, each: str = "image"
) -> np.ndarray | None:
    """Check labels or domains: integers or names [count], one for each sample; None stays None."""
    if given is None:
        return None
    if np.ma.is_masked(given):
        check.numbers(name, given)
    values = np.asarray(given)
    if values.dtype.kind == "T" or (
        values.dtype.kind == "O" and all(isinstance(value, str) for value in values.flat)
    ):
        values = np.array(values.tolist(), str)
    if values.dtype.kind not in "iuU" or values.shape != (count,):
        raise ValueError(
            f"{name} must be integers or names [{count}], one for each {each}; got {values.dtype} "
            f"{list(values.shape)}: numpy.unique(values, return_inverse=True)[1] numbers others, "
            "and -1 marks what is not known"
        )
    return values


def unknown(values: np.ndarray) -> Bool[np.ndarray, "n"]:
    """Tell which labels are -1, not known; unsigned integers and names have none."""
    return values == -1 if values.dtype.kind == "i" else np.zeros(values.shape, bool)


def number(
    *values: np.ndarray | Sequence[str] | None,
) -> tuple[tuple[str, ...] | None, list[Int32[np.ndarray, "_"] | None]]:
    """Encode the integers or names of several parts as 0, 1, ... in sorted order.

    -1 of signed integers stays -1: not known.

    Returns:
        The values as text in the order of their numbers, None if no part has any; the numbers of
        each part, None for a part without.
    """
    given = [np.asarray(part) for part in values if part is not None]
    if not given:
        return None, [None] * len(values)
    if np.result_type(*given).kind == "f":  # which signed and unsigned integers have in common
        given_ids = np.concatenate([part.astype(object) for part in given])
    else:
        given_ids = np.concatenate(given)
    left_out = np.concatenate([unknown(part) for part in given])
    numbers = np.full(len(given_ids), -1, np.int32)
    names, numbers[~left_out] = np.unique(given_ids[~left_out], return_inverse=True)
    ends = np.cumsum([len(part) for part in given])
    parts = iter(np.split(numbers, ends))
    return tuple(map(str, names.tolist())), [None if v is None else next(parts) for v in values]
