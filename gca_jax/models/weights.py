"""The weights of a network in forms that other programs read."""

import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import serialization, traverse_util

from gca_jax.models.network import Network
from gca_jax.models.resnet import ResNet

LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}


def to_msgpack(variables: Mapping[str, Any]) -> bytes:
    """Write variables for `flax.serialization.msgpack_restore`."""
    return serialization.msgpack_serialize(jax.tree.map(np.asarray, dict(variables)))


def by_name(network: Network, variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Give the encoder's weights and batch statistics by one name each, without the heads.

    Of a `ResNet` by the names and in the layout of torchvision: "layer1.0.conv1.weight" [out, in,
    h, w]. Of any other encoder as Flax has them, the names of modules joined by dots.
    """
    found: dict[tuple[str, ...], Any] = {}
    for kind in ("params", "batch_stats"):
        found |= traverse_util.flatten_dict(variables[kind].get("encoder", {}))
    arrays = {path: np.asarray(leaf) for path, leaf in found.items()}
    if not isinstance(network.encoder, ResNet):
        return {".".join(path): array for path, array in arrays.items()}
    return {
        torchvision_name(path): array.transpose(3, 2, 0, 1) if array.ndim == 4 else array
        for path, array in arrays.items()
    }


def torchvision_name(path: tuple[str, ...]) -> str:
    """Translate stage1_block0, norm_shortcut, mean into layer2.0.downsample.1.running_mean."""
    *blocks, layer, leaf = path
    where = ""
    for block in blocks:
        stage, index = map(int, re.findall(r"\d+", block))
        where = f"layer{stage + 1}.{index}."
    if layer.endswith("_shortcut"):
        layer = f"downsample.{int(layer.startswith('norm'))}"
    layer = layer.replace("_stem", "1").replace("norm", "bn")
    return f"{where}{layer}.{LEAVES.get(leaf, leaf)}"
