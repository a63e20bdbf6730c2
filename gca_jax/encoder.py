"""`gca_jax.load`: what a run has trained, as a function of images."""

import dataclasses
from functools import partial
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Array, Float, UInt8
from ml_collections import ConfigDict
from numpy.typing import ArrayLike

from gca_jax import models
from gca_jax.data.dataset import Images
from gca_jax.data.memory import as_bytes
from gca_jax.data.views.augment import Augment
from gca_jax.evaluation import features
from gca_jax.evaluation.features import Features, Variables
from gca_jax.experiment import without_images
from gca_jax.training import checkpoint, step
from gca_jax.workdir import training_summary


@dataclasses.dataclass(frozen=True, eq=False)
class Encoder:
    """A trained encoder; `encoder(images)` gives features [n, f].

    Attributes:
        config: The run's.
        network: Encoder and heads: `apply(variables, policy.plain(images))` gives embeddings.
        variables: `params` and `batch_stats`.
        policy: Its `plain` turns uint8 images into what the network takes.
        step: The training step that the variables are of.
        shape: (h, w, c) of an image.
        shorter_side: Pixels to which a picture's shorter side is resized before its centre of
            `shape` is cut out.
    """

    config: ConfigDict = dataclasses.field(repr=False)  # so that a notebook shows one line
    network: models.Network = dataclasses.field(repr=False)
    variables: Variables = dataclasses.field(repr=False)
    policy: Augment = dataclasses.field(repr=False)
    step: int
    shape: tuple[int, ...]
    shorter_side: int

    def __call__(self, images: ArrayLike) -> Features:
        """Give the features that the run's evaluation sees.

        Many images go through the network in batches of one size, which is compiled once. The
        remainder of a batch is filled up.

        Args:
            images: [n, h, w, c] or [n, h, w], uint8 or floats in [0, 1]; these are rounded to
                multiples of 1/255, as in training.

        Raises:
            ValueError: Another shape, dtype or range than the images that the run was trained on.
        """
        x = as_bytes("images", images)
        if x.shape[1:] != self.shape:
            raise ValueError(
                f"the encoder was trained on images {list(self.shape)}, height, width and "
                f"channels; got {list(x.shape[1:])}"
            )
        return self.encode(x)

    def encode(self, images: Images) -> Features:
        """Give the features of uint8 images of the right shape, which may lie on disk."""
        few = 1 << (len(images) - 1).bit_length()  # so that few sizes are ever compiled
        return features.extract({"": self.features}, images, min(self.batch_size, few))[""]

    @property
    def reads_arrays(self) -> bool:
        """Whether files .npy are pictures to it: where the run was told a number of channels."""
        data = self.config.data
        told = "channels" in data and data.channels is not None
        return told or self.shape[2] not in (1, 3)

    @property
    def batch_size(self) -> int:
        """How many images go through the network at once, at most."""
        return features.batch_size(self.shape)

    def features(self, images: UInt8[Array | np.ndarray, "b h w c"]) -> Float[Array, "b f"]:
        """Give the features of one batch; this can be a part of a compiled function."""
        encode = partial(features.encode, self.network, self.policy.plain, self.variables)
        return encode(images)


def load(workdir: str | Path, *, encoder: object = None) -> Encoder:
    """Load the encoder of a run from its last checkpoint; its data set is not needed.

    Args:
        workdir: Folder of the run.
        encoder: The Flax module that the run was built with, where it was built with one.

    Raises:
        FileNotFoundError: There is no run or no checkpoint in `workdir`.
        ValueError: The run is on pairs, or has another encoder.
    """
    training = training_summary(Path(workdir))
    config = checkpoint.restore_config(workdir)
    if config.data.name == "pairs":
        raise ValueError(
            f"{workdir} is a run on pairs, whose two encoders gca_jax.align(a, b) gives"
        )
    given = config.given.get("encoder") if "given" in config else None
    if given is not None and encoder is None:
        raise ValueError(
            f"{workdir} was built in Python with an encoder of its own: from Python, "
            f"gca_jax.load({str(workdir)!r}, encoder={given}(...)) loads it"
        )
    if "input_shape" not in training:
        raise ValueError(
            f"{workdir} was trained by an earlier version, which did not write down the shape of "
            f'the images: add "input_shape": [HEIGHT, WIDTH, CHANNELS] to {workdir}/training.json'
        )
    shape = tuple(training["input_shape"])
    network, policy = without_images(config, encoder)
    variables, at = checkpoint.restore_variables(workdir)
    if encoder is not None:
        drawn = step.init_variables.eval_shape(network, jax.random.key(0), shape)
        shapes, others = (jax.tree.map(lambda x: x.shape, each) for each in (variables, drawn))
        if shapes != others:
            raise ValueError(f"the weights in {workdir} are not of the encoder {encoder}")
    shorter = training.get("shorter_side", shape[0])
    return Encoder(config, network, variables, policy, at, shape, shorter)
