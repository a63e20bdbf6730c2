"""Residual networks (He et al., 2016), as torchvision defines them, for small and large images.

Padding is equal on both sides, the bottleneck's stride sits on its 3x3 convolution, convolutions
start from the normal fan-out initialisation. Every residual branch starts with its batch-norm scale
at one: with zeros an untrained network would be a subsampler of pixels, and the comparison with a
random encoder would flatter every method.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from gca_jax import check
from gca_jax.models.convolution import convolve

start = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def conv(features: int, kernel: int, stride: int, name: str) -> nn.Conv:
    """Make a square convolution without bias, padded by half its kernel on each side."""
    options: dict[str, Any] = dict(
        use_bias=False, kernel_init=start, conv_general_dilated=convolve, name=name
    )
    # Explicit: "SAME" pads a strided convolution on one side alone, which torchvision does not.
    return nn.Conv(features, (kernel, kernel), stride, kernel // 2, **options)


def norm(train: bool, name: str) -> nn.BatchNorm:
    """Make batch norm, its momentum PyTorch's; under `jit` its mean is of the global batch."""
    return nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5, name=name)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut; `width` channels out."""

    width: int
    stride: int = 1
    expansion = 1

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h2 w2 c2"]:
        """Transform feature maps; a stride of 2 halves their side."""
        y = nn.relu(norm(train, "norm1")(conv(self.width, 3, self.stride, "conv1")(x)))
        y = norm(train, "norm2")(conv(self.width, 3, 1, "conv2")(y))
        return nn.relu(y + shortcut(x, y.shape[-1], self.stride, train))


class BottleneckBlock(nn.Module):
    """1x1, 3x3 (strided), 1x1 convolutions around a shortcut; `4 * width` channels out."""

    width: int
    stride: int = 1
    expansion = 4

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h2 w2 c2"]:
        """Transform feature maps; a stride of 2 halves their side."""
        y = nn.relu(norm(train, "norm1")(conv(self.width, 1, 1, "conv1")(x)))
        y = nn.relu(norm(train, "norm2")(conv(self.width, 3, self.stride, "conv2")(y)))
        y = norm(train, "norm3")(conv(self.width * self.expansion, 1, 1, "conv3")(y))
        return nn.relu(y + shortcut(x, y.shape[-1], self.stride, train))


def shortcut(x: Array, channels: int, stride: int, train: bool) -> Array:
    """Return the input, or its 1x1 projection where the block changes its shape."""
    if stride == 1 and x.shape[-1] == channels:
        return x
    return norm(train, "norm_shortcut")(conv(channels, 1, stride, "conv_shortcut")(x))


def cifar_stem(x: Array, width: int, train: bool) -> Array:
    """Apply one 3x3 convolution and no pooling, for images of 32 pixels and less."""
    return nn.relu(norm(train, "norm_stem")(conv(width, 3, 1, "conv_stem")(x)))


def imagenet_stem(x: Array, width: int, train: bool) -> Array:
    """Apply a strided 7x7 convolution and a strided 3x3 max-pool: one quarter of the side."""
    x = nn.relu(norm(train, "norm_stem")(conv(width, 7, 2, "conv_stem")(x)))
    return nn.max_pool(x, (3, 3), strides=(2, 2), padding=[(1, 1), (1, 1)])


BLOCKS: dict[str, type[nn.Module]] = {"basic": BasicBlock, "bottleneck": BottleneckBlock}
STEMS: dict[str, Callable] = {"cifar": cifar_stem, "imagenet": imagenet_stem}


class ResNet(nn.Module):
    """A residual network that ends in a global mean, or in class scores with `num_classes`.

    Attributes:
        stage_sizes: number of blocks in each stage; every stage after the first halves the side and
            doubles the width.
        block: a key of `BLOCKS`.
        width: channels of the first stage.
        stem: a key of `STEMS`.
        num_classes: size of a linear head on the mean; None for features alone.
    """

    stage_sizes: Sequence[int]
    block: str = "basic"
    width: int = 64
    stem: str = "cifar"
    num_classes: int | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool = False) -> Float[Array, "b f"]:
        """Compute features [b, f], or scores [b, num_classes]."""
        x = STEMS[self.stem](x, self.width, train)
        for stage, blocks in enumerate(self.stage_sizes):
            for index in range(blocks):
                x = BLOCKS[self.block](
                    width=self.width * 2**stage,
                    stride=2 if stage > 0 and index == 0 else 1,
                    name=f"stage{stage}_block{index}",
                )(x, train)
        x = jnp.mean(x, axis=(1, 2))
        if self.num_classes is not None:
            x = nn.Dense(self.num_classes, name="classes")(x)
        return x


ResNet18 = partial(ResNet, stage_sizes=(2, 2, 2, 2), block="basic", width=64)
ResNet50 = partial(ResNet, stage_sizes=(3, 4, 6, 3), block="bottleneck", width=64)


def create(*, stage_sizes: Sequence[int], block: str, width: int, stem: str) -> ResNet:
    """Make an encoder from its settings, `ResNet`'s attributes."""
    check.one_of("block", block, BLOCKS)
    check.one_of("stem", stem, STEMS)
    check.at_least("width", width, 1)
    if not stage_sizes or min(stage_sizes) < 1:
        raise ValueError(f"stage_sizes needs at least one block a stage, got {tuple(stage_sizes)}")
    return ResNet(tuple(stage_sizes), block, width, stem)


def settings(side: int) -> dict[str, object]:
    """Describe ResNet-18, with the stem for images of `side` x `side` pixels."""
    stem = "cifar" if side <= 32 else "imagenet"
    return dict(stage_sizes=(2, 2, 2, 2), block="basic", width=64, stem=stem)


def smoke(settings: dict[str, Any]) -> dict[str, object]:
    """Shrink a network to two stages of one narrow block."""
    return {**settings, "stage_sizes": (1, 1), "width": 4}
