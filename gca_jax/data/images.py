"""Images as a kind of data: a data set, and the policy that makes two views of its images."""

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
from gca_jax.data.stream import stream, two_crops
from gca_jax.data.views.augment import Augment

LARGEST_SIDE = 32  # of an image whose pixels are features


@dataclasses.dataclass(frozen=True, eq=False)
class ImageData:
    """Images to train with and to evaluate on; a `data.batches.Probed`.

    Attributes:
        dataset: Images, labels and domains.
        policy: Makes the two views of a batch.
        wrong_positives: False-positive rate: share of second views that are of another image.
    """

    dataset: Dataset
    policy: Augment
    wrong_positives: float = 0.0

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
        """Name the data set."""
        return self.dataset.name

    @property
    def images(self) -> Images:
        """Give the images that are trained with."""
        return self.dataset.pretrain_images

    @property
    def train_inputs(self) -> Images:
        """Give the images that probes are fitted to."""
        return self.dataset.train_images

    @property
    def test_inputs(self) -> Images:
        """Give the images that probes are evaluated on."""
        return self.dataset.test_images

    def __len__(self) -> int:
        return len(self.images)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of an image as the network sees it, (h, w, c)."""
        return self.images.shape[1:]

    @property
    def inputs(self) -> dict[str, Any]:
        """Describe the images, and how pictures of other sizes are brought to theirs."""
        shorter = getattr(self.images, "shorter_side", self.input_shape[0])  # of those on disk
        return {"input_shape": list(self.input_shape), "shorter_side": shorter}

    @cached_property
    def info(self) -> dict[str, np.ndarray]:
        """Labels and domains of the images that are trained with, where they have any."""
        return _known(labels=self.dataset.pretrain_labels, domains=self.dataset.pretrain_domains)

    @property
    def classes(self) -> int:
        """Number of classes, of which a part of the images may lack some; 0 without labels."""
        return self.dataset.num_classes

    @property
    def test_info(self) -> dict[str, np.ndarray]:
        """Labels and domains of the test images, likewise."""
        return _known(labels=self.dataset.test_labels, domains=self.dataset.test_domains)

    @property
    def _pairs_of_crops(self) -> bool:
        """Whether a batch has two random crops of each image, cut on the host."""
        return isinstance(self.images, Streamed) and self.policy.crop is not None

    def example(self, size: int) -> jax.ShapeDtypeStruct:
        """Describe a batch: images [b, h, w, c], or pairs of crops [b, 2, h, w, c]."""
        pair = (2,) if self._pairs_of_crops else ()
        return jax.ShapeDtypeStruct((size, *pair, *self.input_shape), np.uint8)

    def batches(self, order: Order, start: int, takes: Collection[str] = ()) -> Generator[Batch]:
        """Yield this process's part of batch `start` (0, or where a run goes on), ..."""
        if isinstance(self.images, Streamed):
            parts = stream(self.images, order, start, self.policy.crop)
        else:  # 3.5 million images of 32 x 32 pixels a second: a thread or queue would gain nothing
            parts = ((rows, self.images[rows]) for rows in map(order.rows, itertools.count(start)))
        for rows, part in parts:
            yield Batch(part, rows, taken(self.info, takes, rows))

    def sample(self, rows: Int[np.ndarray, "k"], seed: int) -> UInt8[np.ndarray, "..."]:
        """Give chosen images as a batch has them, their crops drawn from a seed."""
        if not isinstance(self.images, Streamed) or self.policy.crop is None:
            return self.images[rows]
        rng, whole = np.random.default_rng(seed), map(self.images.decode, rows)
        size, crop = self.images.size, self.policy.crop
        return np.stack([two_crops(rng, image, size, crop) for image in whole])

    def views(self, key: PRNGKeyArray, inputs: Array) -> tuple[Array, Array]:
        """Augment images twice; a share of the second views changes places where one is asked."""
        one, other = self.policy.views(key, inputs)
        if self.wrong_positives:
            other = exchange(jax.random.fold_in(key, 3), other, self.wrong_positives)
        return one, other

    @property
    def plain(self) -> Any:
        """Function of uint8 images that gives what the network takes, unaugmented."""
        return self.policy.plain

    @property
    def raw(self) -> Any:
        """Function of uint8 images that gives their pixels as features."""
        return pixels

    def describe(self) -> dict[str, Any]:
        """Give the name and the sizes of the training and the evaluation split."""
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
    """Leave out what images do not have."""
    return {name: numbers for name, numbers in info.items() if numbers is not None}


def exchange(key: PRNGKeyArray, views: Array, share: float) -> Array:
    """Pass on a share of the views `[b, ...]`, drawn at random, each to the next that was drawn."""
    drawn = jax.random.permutation(key, len(views))[: round(share * len(views))]
    return views.at[drawn].set(views[jnp.roll(drawn, 1)])


def pixels(images: UInt8[np.ndarray, "b h w c"]) -> Float[np.ndarray, "b f"]:
    """Take the images themselves as features, in [0, 1]; large ones are shrunk to 32 x 32."""
    return np.asarray(flatten(np.asarray(images, np.float32) / 255))


def flatten(x: Float[Array | np.ndarray, "b h w c"]) -> Float[Array | np.ndarray, "b f"]:
    """Lay the pixels of each image in a row, of large ones those of 32 x 32."""
    b, h, w, c = x.shape
    if max(h, w) > LARGEST_SIDE:
        x = jax.image.resize(x, (b, LARGEST_SIDE, LARGEST_SIDE, c), "linear")
    return x.reshape(b, -1)
