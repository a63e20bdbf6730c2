"""Vision transformers (Dosovitskiy et al., arXiv 2010.11929) of DeiT's sizes, for any image size.

Blocks are pre-norm with biases on queries, keys and values, as DeiT's (arXiv 2012.12877). The
features are the mean of all patches, which does as well as a class token (Beyer et al., "Better
plain ViT baselines", arXiv 2205.01580) and leaves no token that is no patch. Weights start as MoCo
v3's do (Chen et al., arXiv 2104.02057): Glorot uniform, each of queries, keys and values on its
own. There is no batch norm and nothing random: training and evaluation are one function.
"""

from functools import partial

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from gca_jax import check

Tokens = Float[Array, "b n w"]

SIZES: dict[str, dict[str, int]] = {
    "Ti": dict(width=192, depth=12, heads=3),
    "S": dict(width=384, depth=12, heads=6),
}
"""DeiT's names."""
POSITIONS = ("sincos", "learned")
MLP_RATIO = 4
dense = partial(nn.Dense, kernel_init=nn.initializers.xavier_uniform())


class Block(nn.Module):
    """Attention, then a perceptron, each on normalised tokens and added to them."""

    heads: int

    @nn.compact
    def __call__(self, x: Tokens) -> Tokens:
        """Transform tokens."""
        width = x.shape[-1]
        y = nn.LayerNorm(name="norm1")(x)
        attention = nn.MultiHeadDotProductAttention(
            self.heads, kernel_init=nn.initializers.xavier_uniform(), name="attention"
        )
        x = x + attention(y)
        y = nn.LayerNorm(name="norm2")(x)
        y = nn.gelu(dense(MLP_RATIO * width, name="hidden")(y), approximate=False)
        return x + dense(width, name="out")(y)


class ViT(nn.Module):
    """A vision transformer that ends in the mean of its patches.

    Attributes:
        width: channels of a token.
        depth: number of blocks.
        heads: number of attention heads; they share the width equally.
        patch: pixels of a patch's side; it must divide both sides of the images.
        positions: one of `POSITIONS`: "sincos" is fixed and takes images of any size, "learned"
            has weights, which are for images of one size.
    """

    width: int
    depth: int
    heads: int
    patch: int
    positions: str = "sincos"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b f"]:
        """Compute features, one for each channel of a token."""
        x = dense(self.width, name="patches")(to_patches(x, self.patch))
        rows, columns = x.shape[1:3]
        fixed = self.positions == "sincos"
        at = sincos(rows, columns, self.width) if fixed else self.learned(rows, columns)
        x = x + at.astype(x.dtype)  # fixed positions are float32, and would widen bfloat16
        x = x.reshape(x.shape[0], rows * columns, self.width)
        for index in range(self.depth):
            x = Block(self.heads, name=f"block{index}")(x)
        return jnp.mean(nn.LayerNorm(name="norm")(x), axis=1)

    def learned(self, rows: int, columns: int) -> Float[Array, "1 rows columns w"]:
        """Return a weight for each patch and channel, of images of one size."""
        shape = 1, rows, columns, self.width
        if self.has_variable("params", "positions"):
            known: tuple[int, ...] = self.get_variable("params", "positions").shape
            if known != shape:
                was, now = (f"{s[1] * self.patch} x {s[2] * self.patch}" for s in (known, shape))
                raise ValueError(f"learned positions for images of {was} pixels got some of {now}")
        return self.param("positions", nn.initializers.normal(0.02), shape)


def to_patches(x: Float[Array, "b h w c"], patch: int) -> Float[Array, "b rows columns p"]:
    """Cut images into patches, the pixels of each in a row."""
    b, height, width, channels = x.shape
    if height % patch or width % patch:
        raise ValueError(
            f"patch must divide the image's sides, {height} x {width} pixels; got {patch}"
        )
    rows, columns = height // patch, width // patch
    x = x.reshape(b, rows, patch, columns, patch, channels).swapaxes(2, 3)
    return x.reshape(b, rows, columns, -1)


def sincos(rows: int, columns: int, width: int) -> Float[Array, "1 rows columns w"]:
    """Tabulate MoCo v3's positions: sines and cosines of column and row, `width` / 4 of each."""
    quarter = width // 4
    frequencies = 10_000.0 ** (-np.arange(quarter) / quarter)
    y, x = (np.multiply.outer(np.arange(n), frequencies) for n in (rows, columns))
    parts = np.sin(x)[None], np.cos(x)[None], np.sin(y)[:, None], np.cos(y)[:, None]
    grid = [np.broadcast_to(part, (rows, columns, quarter)) for part in parts]
    return jnp.asarray(np.concatenate(grid, axis=-1)[None], jnp.float32)


def create(*, width: int, depth: int, heads: int, patch: int, positions: str) -> ViT:
    """Make an encoder from its settings, `ViT`'s attributes."""
    check.one_of("positions", positions, POSITIONS)
    for key, size in dict(width=width, depth=depth, heads=heads, patch=patch).items():
        check.at_least(key, size, 1)
    if width % heads:
        raise ValueError(f"width must divide by heads, {heads}; got {width}")
    if positions == "sincos" and width % 4:
        raise ValueError(f"width must divide by 4 for sincos positions, got {width}")
    return ViT(width, depth, heads, patch, positions)


def settings(side: int) -> dict[str, object]:
    """Describe ViT-Ti in 49 to 196 patches, and a smaller one for images of a few pixels."""
    if side < 16:
        return dict(width=64, depth=4, heads=4, patch=2, positions="sincos")
    patch = 4 if side <= 32 else 8 if side <= 96 else 16
    return dict(**SIZES["Ti"], patch=patch, positions="sincos")


def smoke(settings: dict[str, object]) -> dict[str, object]:
    """Shrink a network to one narrow block."""
    return {**settings, "width": 16, "depth": 1, "heads": 2}
