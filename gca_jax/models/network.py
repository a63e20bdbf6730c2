"""Encoder, projector and, for BYOL, predictor in one module."""

from collections.abc import Sequence

from flax import linen as nn
from jaxtyping import Array, Float

from gca_jax.models.heads import Predictor, Projector
from gca_jax.models.resnet import BLOCKS, STEMS, ResNet


class Network(nn.Module):
    """An encoder with a projector; `predictor_hidden` adds a predictor on top of it.

    `apply(variables, x)` gives embeddings, `method="encode"` features and `method="predict"`
    predictions from embeddings. Make one with `create`, which checks the names.
    """

    stage_sizes: Sequence[int]
    block: str
    width: int
    stem: str
    projector_hidden: int
    projector_dim: int
    predictor_hidden: int | None = None

    def setup(self):
        """Name the parts."""
        self.encoder = ResNet(self.stage_sizes, self.block, self.width, self.stem)
        self.projector = Projector(self.projector_hidden, self.projector_dim)
        if self.predictor_hidden is not None:
            self.predictor = Predictor(self.predictor_hidden, self.projector_dim)

    def __call__(self, x: Float[Array, "b h w c"], train: bool = False) -> Float[Array, "b d"]:
        """Embeddings [b, d] of images; `train` lets batch norm use and update batch statistics."""
        return self.projector(self.encoder(x, train))

    def encode(self, x: Float[Array, "b h w c"], train: bool = False) -> Float[Array, "b f"]:
        """Features [b, f] of images: what evaluation sees."""
        return self.encoder(x, train)

    def predict(self, z: Float[Array, "b d"], train: bool = False) -> Float[Array, "b d"]:
        """Predictions [b, d] from embeddings."""
        return self.predictor(z, train)

    def touch(self, x: Float[Array, "b h w c"]) -> Array:
        """Run every part once, so that `init(..., method="touch")` creates all variables."""
        z = self(x)
        return z if self.predictor_hidden is None else self.predict(z)


def create(
    stage_sizes: Sequence[int],
    block: str,
    width: int,
    stem: str,
    projector_hidden: int,
    projector_dim: int,
    predictor_hidden: int | None = None,
) -> Network:
    """Make a `Network` from the `model` group of a config.

    Args:
        stage_sizes: blocks in each stage of the encoder.
        block: "basic" or "bottleneck".
        width: channels of the first stage.
        stem: "cifar" (3x3, no pooling) or "imagenet" (7x7 and max-pool).
        projector_hidden: width of the projector's hidden layer.
        projector_dim: size d of the embeddings.
        predictor_hidden: width of the predictor's hidden layer; None for no predictor.

    Raises:
        ValueError: a name that is not known, or a size below one.
    """
    for key, value, known in (("block", block, BLOCKS), ("stem", stem, STEMS)):
        if value not in known:
            raise ValueError(f"unknown {key} {value!r}; one of: {', '.join(known)}")
    sizes = {"width": width, "projector_hidden": projector_hidden, "projector_dim": projector_dim}
    if predictor_hidden is not None:
        sizes["predictor_hidden"] = predictor_hidden
    for key, size in sizes.items():
        if size < 1:
            raise ValueError(f"{key} must be at least 1, got {size}")
    if not stage_sizes or min(stage_sizes) < 1:
        raise ValueError(f"stage_sizes needs at least one block a stage, got {tuple(stage_sizes)}")
    return Network(
        tuple(stage_sizes), block, width, stem, projector_hidden, projector_dim, predictor_hidden
    )
