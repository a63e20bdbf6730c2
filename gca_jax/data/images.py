"""Images as a kind of data: a data set and the policy that augments its images."""

import dataclasses
import itertools
from collections.abc import Collection, Generator
from functools import cached_property
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from gca_jax.data.batches import Batch, Order, taken
from gca_jax.data.dataset import Dataset, Images, Numbers, Streamed
from gca_jax.data.stream import needed_side, stream, two_crops
from gca_jax.data.views.augment import Augment

LARGEST_SIDE = 32  # of raw pixels as features; larger images are resized


def pixels(images: UInt8[np.ndarray, "b h w c"]) -> Float[np.ndarray, "b f"]:
    """Return pixels in [0, 1] as features, of large images after resizing to 32 x 32."""
    return np.asarray(flatten(np.asarray(images, np.float32) / 255))


def flatten(x: Float[Array | np.ndarray, "b h w c"]) -> Float[Array | np.ndarray, "b f"]:
    """Flatten images, large ones after resizing to 32 x 32."""
    b, h, w, c = x.shape
    if max(h, w) > LARGEST_SIDE:
        x = jax.image.resize(x, (b, LARGEST_SIDE, LARGEST_SIDE, c), "linear")
    return x.reshape(b, -1)


@dataclasses.dataclass(frozen=True, eq=False)
class ImageData:
    """Images to train and evaluate on; a `data.batches.Probed`.

    Attributes:
        dataset: Images, labels and domains.
        policy: Makes the two views of a batch.
        false_positive_rate: Share of a batch whose second view is of another image.
    """

    dataset: Dataset
    policy: Augment
    false_positive_rate: float = 0.0

    unit: ClassVar[str] = "images"
    raw_name: ClassVar[str] = "pixels"
    remedy: ClassVar[str] = "identity needs none: --config.target.name=identity"
    evaluations: ClassVar[tuple[str, ...]] = (
        "linear_few",
        "linear",
        "knn",
        "linear_online",
        "linear_sgd",
        "finetune",
        "finetune_best_on_test",
        "linear_domain",
        "linear_unseen_domain",
        "corruptions",
        "plan",
        "gradient_cosine",
        "views",
        "confusion",
        "nearest",
        "nearest_across",
        "plane",
    )

    @property
    def name(self) -> str:
        """Name of the data set."""
        return self.dataset.name

    @property
    def images(self) -> Images:
        """Images [n, h, w, c] to pretrain on."""
        return self.dataset.pretrain_images

    @property
    def train_inputs(self) -> Images:
        """Images that probes are fitted on."""
        return self.dataset.train_images

    @property
    def test_inputs(self) -> Images:
        """Images that probes are evaluated on."""
        return self.dataset.test_images

    raw = staticmethod(pixels)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape (h, w, c) of an image as the network sees it."""
        return self.images.shape[1:]

    @property
    def inputs(self) -> dict[str, Any]:
        """Return the shape of the images and the size to which pictures are resized for it."""
        shorter = getattr(self.images, "shorter_side", self.input_shape[0])  # `Streamed` has it
        return {"input_shape": list(self.input_shape), "shorter_side": shorter}

    @cached_property
    def info(self) -> dict[str, np.ndarray]:
        """Labels and domains of `images`, where they have any."""
        return _known(labels=self.dataset.pretrain_labels, domains=self.dataset.pretrain_domains)

    @property
    def classes(self) -> int:
        """Number of classes of the data set; 0 without labels."""
        return self.dataset.num_classes

    @property
    def test_info(self) -> dict[str, np.ndarray]:
        """Labels and domains of the test images, where they have any."""
        return _known(labels=self.dataset.test_labels, domains=self.dataset.test_domains)

    def example(self, size: int) -> jax.ShapeDtypeStruct:
        """Describe a batch: images [b, h, w, c], or two crops of each [b, 2, h, w, c]."""
        cropped = isinstance(self.images, Streamed) and self.policy.crop is not None  # on the host
        return jax.ShapeDtypeStruct((size, *(2,) * cropped, *self.input_shape), np.uint8)

    def batches(self, order: Order, start: int, takes: Collection[str] = ()) -> Generator[Batch]:
        """Yield this process's part of batch `start`, `start + 1`, ..., its `info` of `takes`."""
        if isinstance(self.images, Streamed):
            parts = stream(self.images, order, start, self.policy.crop)
        else:  # 3.5 million images of 32 x 32 pixels a second: a thread or queue would gain nothing
            parts = ((rows, self.images[rows]) for rows in map(order.rows, itertools.count(start)))
        for rows, part in parts:
            yield Batch(part, rows, taken(self.info, takes, rows))

    def sample(self, rows: Int[np.ndarray, "k"], seed: int) -> UInt8[np.ndarray, "..."]:
        """Return images as in a batch, random crops drawn with a seed."""
        images, crop = self.images, self.policy.crop
        if not isinstance(images, Streamed) or crop is None:
            return images[rows]
        rng, side = np.random.default_rng(seed), needed_side(images.size, crop)
        whole = (images.decode(row, side) for row in rows)
        return np.stack([two_crops(rng, image, images.size, crop) for image in whole])

    def views(self, key: PRNGKeyArray, inputs: Array) -> tuple[Array, Array]:
        """Augment images twice, and exchange a share of the second views."""
        one, other = self.policy.views(key, inputs)
        if self.false_positive_rate:
            other = exchange(jax.random.fold_in(key, 3), other, self.false_positive_rate)
        return one, other

    @property
    def plain(self) -> Any:
        """Function that normalises uint8 images without augmentation."""
        return self.policy.plain

    def describe(self) -> dict[str, Any]:
        """Return the name and sizes of the data set."""
        data = self.dataset
        return {
            "name": data.name,
            "train_images": len(data.train_images),
            "test_images": len(data.test_images),
            "pretrain_images": len(data.pretrain_images),
            "image_shape": list(data.train_images.shape[1:]),
            "classes": data.num_classes,
            "class_names": list(data.class_names or ()),
            "domain_names": list(data.domain_names or ()),
        }


def _known(**info: Numbers) -> dict[str, np.ndarray]:
    """Leave out None."""
    return {name: numbers for name, numbers in info.items() if numbers is not None}


def exchange(key: PRNGKeyArray, views: Array, share: float) -> Array:
    """Draw a share of the views [b, ...] at random and permute these cyclically."""
    drawn = jax.random.permutation(key, len(views))[: round(share * len(views))]
    return views.at[drawn].set(views[jnp.roll(drawn, 1)])
