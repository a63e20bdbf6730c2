"""Features and embeddings of many samples by a frozen network, in batches; an encoder to call."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, Shaped
from ml_collections import ConfigDict
from numpy.typing import ArrayLike

from gca_jax import distributed
from gca_jax.data.memory import as_bytes
from gca_jax.data.views.augment import Augment
from gca_jax.models import Network

Variables: TypeAlias = Mapping[str, Any]
"""`{"params": ..., "batch_stats": ...}`, as `Network.apply` takes them."""
Features: TypeAlias = Float[np.ndarray, "n f"]
Inputs: TypeAlias = Any
"""An array [n, ...], or anything with slices of one, such as images on disk."""
Batch: TypeAlias = Shaped[np.ndarray, "b ..."]
Prepare: TypeAlias = Callable[[Array], Float[Array, "b ..."]]
Encode: TypeAlias = Callable[[Batch], Float[Array | np.ndarray, "b f"]]
Pair: TypeAlias = tuple[Float[Array, "b d"], Float[Array, "b d"]]
MakeViews: TypeAlias = Callable[[PRNGKeyArray, Array], tuple[Array, Array]]
Embed: TypeAlias = Callable[[PRNGKeyArray, Batch], Pair]

SAMPLES_AT_ONCE = 512
FULL_SIZE = 64  # pixels of a side; of larger images fewer go through a network at once


def batch_size(shape: tuple[int, ...], most: int = SAMPLES_AT_ONCE) -> int:
    """Choose how many samples of a shape go through a network at once: fewer of large images."""
    places = math.prod(shape[:2]) if len(shape) == 3 else 1
    return max(1, min(most, most * FULL_SIZE**2 // places))


def batches(inputs: Inputs, size: int | None = None) -> Iterator[tuple[int, np.ndarray]]:
    """Yield this process's batches of the inputs with their indices, zero-padded to one size."""
    size = batch_size(inputs.shape[1:]) if size is None else size
    for index in distributed.share(-(-len(inputs) // size)):
        part = inputs[index * size : (index + 1) * size]
        yield index, np.pad(part, ((0, size - len(part)), *[(0, 0)] * (part.ndim - 1)))


def extract(
    encoders: Mapping[str, Encode], inputs: Inputs, size: int | None = None
) -> dict[str, Features]:
    """Extract float32 features of all inputs by several encoders, reading each once.

    They go through in batches of `size`; None: of `batch_size(shape)`. Of several processes each
    extracts its share, and all get all features.

    Raises:
        ValueError: There is no input, or `size` is below 1.
    """
    if len(inputs) < 1 or (size is not None and size < 1):
        raise ValueError(f"extract needs inputs and a size ≥ 1, got {len(inputs)} and {size}")
    parts: dict[str, list[np.ndarray]] = {name: [] for name in encoders}
    for _, batch in batches(inputs, size):
        for name, encode in encoders.items():
            parts[name].append(np.asarray(encode(batch), np.float32))
    return {
        name: distributed.gather(np.concatenate(part))[: len(inputs)]
        for name, part in parts.items()
    }


@partial(jax.jit, static_argnums=(0, 1))
def encode(
    network: Network, prepare: Prepare, variables: Variables, inputs: Shaped[Array, "b ..."]
) -> Float[Array, "b f"]:
    """Encode a batch by the network without its projector, in inference mode.

    Batch statistics are read, never written; `prepare` (`Augment.plain`) is hashable.
    """
    return network.bind(variables).encode(prepare(inputs), train=False)


@partial(jax.jit, static_argnums=(0, 1))
def embed(
    network: Network,
    make_views: MakeViews,
    variables: Variables,
    key: PRNGKeyArray,
    inputs: Shaped[Array, "b ..."],
) -> Pair:
    """Embed two augmented views (hashable) of a batch, in inference mode.

    The embeddings `(z_a, z_b)` are not normalised.
    """
    both = jnp.concatenate(make_views(key, inputs))  # one pass: half the time to compile
    z_a, z_b = jnp.split(network.bind(variables)(both, train=False), 2)
    return z_a, z_b


def embed_all(embed: Embed, inputs: Inputs, key: PRNGKeyArray, batch_size: int) -> Pair:
    """Embed two views of every sample, `[n, d]` each, in batches of one compiled size."""
    pairs = [
        embed(jax.random.fold_in(key, batch_size * index), batch)
        for index, batch in batches(inputs, batch_size)
    ]
    sides = (np.concatenate(side) for side in zip(*pairs, strict=True))
    z_a, z_b = (jnp.asarray(distributed.gather(side)[: len(inputs)]) for side in sides)
    return z_a, z_b


@dataclasses.dataclass(frozen=True, eq=False)
class Encoder:
    """A trained encoder; `encoder(images)` gives features [n, f].

    Attributes:
        config: The run's.
        network: Encoder and heads: `apply(variables, encoder.plain(images))` gives embeddings.
        variables: `params` and `batch_stats`.
        plain: Turns a batch (uint8 images) into the network's input.
        checked: Turns a caller's arrays into a batch, or raises.
        step: The training step that the variables are of.
        shape: (h, w, c) of an image.
        shorter_side: Pixels to which a picture's shorter side is resized before its centre of
            `shape` is cut out.
        policy: The augmentation of images; None of other data.
    """

    config: ConfigDict = dataclasses.field(repr=False)  # so that a notebook shows one line
    network: Network = dataclasses.field(repr=False)
    variables: Variables = dataclasses.field(repr=False)
    plain: Prepare = dataclasses.field(repr=False)
    checked: Callable[[ArrayLike], np.ndarray] = dataclasses.field(repr=False)
    step: int
    shape: tuple[int, ...]
    shorter_side: int
    policy: Augment | None = dataclasses.field(repr=False, default=None)

    def __call__(self, images: ArrayLike) -> Features:
        """Return the features [n, f] that the run's evaluation uses.

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
        """Return the features of checked inputs, such as uint8 images, which may be on disk."""
        few = 1 << (len(inputs) - 1).bit_length()  # so that few sizes are ever compiled
        return extract({"": self.features}, inputs, min(self.batch_size, few))[""]

    @property
    def reads_arrays(self) -> bool:
        """Whether .npy files are read as images: where the config sets the number of channels."""
        told = self.config.data.get("channels") is not None
        return told or self.shape[2] not in (1, 3)

    @property
    def batch_size(self) -> int:
        """How many images go through the network at once, at most."""
        return batch_size(self.shape)

    def features(self, inputs: Shaped[Array | np.ndarray, "b ..."]) -> Float[Array, "b f"]:
        """Give the features of one batch; this can be a part of a compiled function."""
        return encode(self.network, self.plain, self.variables, inputs)


def checked_images(shape: tuple[int, ...], images: ArrayLike) -> np.ndarray:
    """Return images as uint8; raise unless they have the encoder's `shape`."""
    x = as_bytes("images", images)
    if x.shape[1:] != shape:
        raise ValueError(
            f"the encoder was trained on images {list(shape)}, height, width and channels; got "
            f"{list(x.shape[1:])}"
        )
    return x
