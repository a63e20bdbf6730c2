"""Encoder and, on top of it, projector and BYOL's predictor in one module."""

import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from gca_jax import check
from gca_jax.models import encoders, precision
from gca_jax.models.resnet import norm

Pair = tuple[Float[Array, "b d"], Float[Array, "b d"]]


class Embedded(NamedTuple):
    """Output of a network in training, for a batch of pairs.

    Attributes:
        pair: Embeddings of both sides.
        batch_stats: New batch statistics; {} without batch norm.
        features: Of both sides, where an encoder gives any; no gradient passes.
    """

    pair: Pair
    batch_stats: Any
    features: tuple[Array, ...] = ()


class Head(nn.Module):
    """Linear(hidden) - batch norm, if any - ReLU - Linear(dim).

    The projector of the published runs has neither batch norm nor biases. BYOL's (arXiv 2006.07733)
    has batch norm, and its predictor both.
    """

    hidden: int
    dim: int
    batch_norm: bool = False
    use_bias: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b f"], train: bool = False) -> Float[Array, "b d"]:
        """Project features, or predict the other view's embeddings from this one's."""
        x = nn.Dense(self.hidden, use_bias=self.use_bias, name="hidden")(x)
        if self.batch_norm:
            x = norm(train, "norm")(x)
        return nn.Dense(self.dim, use_bias=self.use_bias, name="out")(nn.relu(x))


class Network(nn.Module):
    """An encoder with a projector; `predictor_hidden` adds a predictor on top of it.

    `apply(variables, x)` gives embeddings, `method="encode"` features and `method="predict"`
    predictions from embeddings. Make one with `create`, which checks the settings and describes
    them.
    """

    encoder: nn.Module
    projector_hidden: int
    projector_dim: int
    predictor_hidden: int | None = None
    projector_batch_norm: bool = False
    dtype: str | None = None

    def setup(self):
        """Name the heads."""
        hidden, dim = self.projector_hidden, self.projector_dim
        self.projector = Head(hidden, dim, self.projector_batch_norm)
        if self.predictor_hidden is not None:
            self.predictor = Head(self.predictor_hidden, dim, batch_norm=True, use_bias=True)

    def __call__(self, x: Float[Array, "b ..."], train: bool = False) -> Float[Array, "b d"]:
        """Embed a batch; `train` lets batch norm use and update batch statistics."""
        return self.projector(self.encode(x, train), train)

    def encode_and_project(
        self, x: Float[Array, "b ..."], train: bool
    ) -> tuple[Float[Array, "b d"], Float[Array, "b f"]]:
        """Compute embeddings and features."""
        h = self.encode(x, train)
        return self.projector(h, train), h

    def encode(self, x: Float[Array, "b ..."], train: bool = False) -> Float[Array, "b f"]:
        """Compute the features of a batch: what evaluation sees."""
        own = getattr(self.encoder, "nnx_class", type(self.encoder))  # of flax.nnx.bridge.ToLinen
        takes_train = "train" in inspect.signature(own.__call__).parameters
        h = self.encoder(x, train=train) if takes_train else self.encoder(x)
        if h.ndim != 2:
            raise ValueError(
                f"the encoder {type(self.encoder).__name__} must give features [b, f]; "
                f"of inputs {list(x.shape)} it gives {list(h.shape)}"
            )
        return h

    def predict(self, z: Float[Array, "b d"], train: bool = False) -> Float[Array, "b d"]:
        """Predict the other view's embeddings."""
        return self.predictor(z, train)

    @nn.nowrap
    def embed(
        self, variables: Any, views: tuple[Array, Array], method: str = "encode_and_project"
    ) -> Embedded:
        """Embed both views in one pass with shared batch statistics, in the network's dtype."""
        return _embed(self, variables, views, method)

    @nn.nowrap
    def learned(self, variables: Any) -> Mapping[str, Any]:
        """Return the settings of the loss that the network learns: none."""
        return {}

    @nn.nowrap
    def blank(self, shape: tuple[int, ...]) -> tuple[Array]:
        """Make one sample of zeros of a shape, [h, w, c] of an image, as arguments of `touch`."""
        return (jnp.zeros((1, *shape)),)

    def touch(self, x: Float[Array, "b ..."]) -> Array:
        """Run every part once, so that `init(..., method="touch")` creates all variables."""
        z = self(x)
        return z if self.predictor_hidden is None else self.predict(z)


@partial(jax.jit, static_argnums=(0, 3))  # BYOL embeds twice: traced once for both networks
def _embed(network: Network, variables: Any, views: tuple[Array, Array], method: str) -> Embedded:
    variables, (a, b) = precision.cast(variables, views, network.dtype)
    # The views of an image stay neighbours: the device that holds it makes and embeds both, and no
    # pixel moves between devices.
    x = jnp.stack([a, b], axis=1).reshape(-1, *a.shape[1:])
    found, updates = network.apply(variables, x, train=True, method=method, mutable=["batch_stats"])
    found = found if isinstance(found, tuple) else (found,)
    sides = [precision.embedding(y.reshape(len(a), 2, -1)) for y in found]
    pair, *features = [(y[:, 0], y[:, 1]) for y in sides]
    return Embedded(pair, updates["batch_stats"], *jax.lax.stop_gradient(features))


def _usable(encoder: object) -> nn.Module:
    """Refuse what is no module, or one that cannot be an argument of a compiled function."""
    if not isinstance(encoder, nn.Module):
        kind = type(encoder).__name__
        raise ValueError(f"encoder must be a name or an instance of a Flax module, got a {kind}")
    try:
        hash(encoder)
    except TypeError as error:
        raise ValueError(
            f"the attributes of the encoder {type(encoder).__name__} must be hashable, "
            "such as tuples in place of lists"
        ) from error
    return encoder


def create(
    encoder: str | nn.Module = "resnet",
    *,
    projector_hidden: int,
    projector_dim: int,
    predictor_hidden: int | None = None,
    projector_batch_norm: bool = False,
    dtype: str | None = None,
    **settings: object,
) -> Network:
    """Make a `Network` from the `model` group of a config.

    Args:
        encoder: a key of `ENCODERS`, or a Flax module of your own: `__call__(x, train)` or
            `__call__(x)`, images [b, h, w, c] to features [b, f], no random layers, its attributes
            hashable (tuples, not lists); `flax.nnx.bridge.to_linen(Module, ...)` makes one of NNX.
        projector_hidden: width of the projector's hidden layer.
        projector_dim: size d of the embeddings.
        predictor_hidden: width of the predictor's hidden layer; None for no predictor.
        projector_batch_norm: whether the projector's hidden layer is followed by batch norm.
        dtype: "bfloat16" trains in it, with weights, batch statistics and the loss in float32; None
            is "float32". A module of your own follows where it computes in the dtype of its
            weights and inputs, as Flax's layers do.
        **settings: the named encoder's, all of them. A module stands in the place of the name and
            these settings, so they are not used beside it.

    Raises:
        ValueError: an unknown name, a setting too many or missing, a bad value, or a module that
            cannot be used.
    """
    sizes = dict(
        projector_hidden=projector_hidden,
        projector_dim=projector_dim,
        predictor_hidden=predictor_hidden,
    )
    for key, size in sizes.items():
        if size is not None:
            check.at_least(key, size, 1)
    precision.check(dtype)
    if isinstance(encoder, str):
        encoder = encoders.create(encoder, settings)
    heads = projector_hidden, projector_dim, predictor_hidden, projector_batch_norm, dtype
    return Network(_usable(encoder), *heads)
