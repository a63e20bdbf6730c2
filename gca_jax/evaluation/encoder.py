"""A trained encoder as a function of samples."""

import dataclasses
from collections.abc import Callable
from functools import partial

import numpy as np
from jaxtyping import Array, Float, Shaped
from ml_collections import ConfigDict
from numpy.typing import ArrayLike

from gca_jax import models
from gca_jax.data.memory import as_bytes
from gca_jax.data.views.augment import Augment
from gca_jax.evaluation import features
from gca_jax.evaluation.features import Features, Inputs, Prepare, Variables


@dataclasses.dataclass(frozen=True, eq=False)
class Encoder:
    """A trained encoder; `encoder(images)` gives features [n, f].

    Attributes:
        config: The run's.
        network: Encoder and heads: `apply(variables, encoder.plain(images))` gives embeddings.
        variables: `params` and `batch_stats`.
        plain: Turns a batch (uint8 images) into what the network takes.
        checked: Turns what a caller gives into a batch, or refuses it.
        step: The training step that the variables are of.
        shape: (h, w, c) of an image.
        shorter_side: Pixels to which a picture's shorter side is resized before its centre of
            `shape` is cut out.
        policy: The augmentation of images; None of other data.
    """

    config: ConfigDict = dataclasses.field(repr=False)  # so that a notebook shows one line
    network: models.Network = dataclasses.field(repr=False)
    variables: Variables = dataclasses.field(repr=False)
    plain: Prepare = dataclasses.field(repr=False)
    checked: Callable[[ArrayLike], np.ndarray] = dataclasses.field(repr=False)
    step: int
    shape: tuple[int, ...]
    shorter_side: int
    policy: Augment | None = dataclasses.field(repr=False, default=None)

    def __call__(self, images: ArrayLike) -> Features:
        """Give the features that the run's evaluation sees.

        Many images go through the network in batches of one size, which is compiled once. The
        remainder of a batch is filled up.

        Args:
            images: [n, h, w, c] or [n, h, w], uint8 or floats in [0, 1]; these are rounded to
                multiples of 1/255, as in training. Of other data what their `plain` takes.

        Raises:
            ValueError: Another shape, dtype or range than the images that the run was trained on.
        """
        return self.encode(self.checked(images))

    def encode(self, inputs: Inputs) -> Features:
        """Give the features of checked inputs, such as uint8 images, which may lie on disk."""
        few = 1 << (len(inputs) - 1).bit_length()  # so that few sizes are ever compiled
        return features.extract({"": self.features}, inputs, min(self.batch_size, few))[""]

    @property
    def reads_arrays(self) -> bool:
        """Whether files .npy are pictures to it: where the run was told a number of channels."""
        told = self.config.data.get("channels") is not None
        return told or self.shape[2] not in (1, 3)

    @property
    def batch_size(self) -> int:
        """How many images go through the network at once, at most."""
        return features.batch_size(self.shape)

    def features(self, inputs: Shaped[Array | np.ndarray, "b ..."]) -> Float[Array, "b f"]:
        """Give the features of one batch; this can be a part of a compiled function."""
        encode = partial(features.encode, self.network, self.plain, self.variables)
        return encode(inputs)


def checked_images(shape: tuple[int, ...], images: ArrayLike) -> np.ndarray:
    """Give uint8 images of the shape that an encoder was trained on, or refuse others."""
    x = as_bytes("images", images)
    if x.shape[1:] != shape:
        raise ValueError(
            f"the encoder was trained on images {list(shape)}, height, width and channels; got "
            f"{list(x.shape[1:])}"
        )
    return x
