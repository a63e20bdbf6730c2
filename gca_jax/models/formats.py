"""The weights of a network in forms that other programs read."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import serialization, traverse_util

from gca_jax.models.network import Network
from gca_jax.models.resnet import ResNet

KINDS = ("params", "batch_stats")
LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}


def to_msgpack(variables: Mapping[str, Any]) -> bytes:
    """Write variables for `flax.serialization.msgpack_restore`."""
    return serialization.msgpack_serialize(jax.tree.map(np.asarray, dict(variables)))


def by_name(network: Network, variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Give the encoder's weights and batch statistics by one name each, without the heads.

    Of a `ResNet` by the names and in the layout of torchvision: "layer1.0.conv1.weight" [out, in,
    h, w]. Of any other encoder as Flax has them, the names of modules joined by dots.
    """
    named = flax_names(variables)
    if not isinstance(network.encoder, ResNet):
        return named
    return {
        torchvision_name(name.split(".")): x.transpose(3, 2, 0, 1) if x.ndim == 4 else x
        for name, x in named.items()
    }


def from_msgpack(data: bytes) -> dict[str, Any]:
    """Read what `to_msgpack` wrote.

    Raises:
        ValueError: It is something else.
    """
    try:
        found = serialization.msgpack_restore(data)
    except Exception as error:  # msgpack's own have no common kind
        raise ValueError(f"no msgpack of Flax ({type(error).__name__})") from error
    if not isinstance(found, dict) or "params" not in found:
        raise ValueError("a msgpack without params")
    return found


def flax_names(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Give the encoder's part of any network's variables by the names of modules, with dots."""
    trees = (traverse_util.flatten_dict(variables.get(k, {}).get("encoder", {})) for k in KINDS)
    return {".".join(path): np.asarray(x) for tree in trees for path, x in tree.items()}


def encoder_from(
    network: Network, shapes: Mapping[str, Any], named: Mapping[str, np.ndarray], translated: bool
) -> dict[str, dict[str, Any]]:
    """Give the encoder's trees `params` and `batch_stats`, the inverse of `by_name`.

    Args:
        network: The one that takes them.
        shapes: Of its variables.
        named: Arrays by name. Of torchvision's, the scores (`fc`) and counters are left out.
        translated: Whether a ResNet's are in torchvision's names and layout, or in Flax's.

    Raises:
        ValueError: An entry is missing, has another shape, or is one too many; it names the first.
    """
    translated = translated and isinstance(network.encoder, ResNet)
    left, trees = dict(named), {}
    for kind in KINDS:
        tree = traverse_util.flatten_dict(shapes[kind].get("encoder", {}))
        for path, leaf in tree.items():
            name = torchvision_name(path) if translated else ".".join(path)
            kernel = translated and len(leaf.shape) == 4
            shape = [leaf.shape[axis] for axis in (3, 2, 0, 1)] if kernel else [*leaf.shape]
            if name not in left:
                raise ValueError(f"it has no {name} {shape}, which this run's encoder has")
            array = left.pop(name)
            if [*array.shape] != shape:
                raise ValueError(
                    f"{name} is {[*array.shape]} there and {shape} in this run's encoder"
                )
            tree[path] = np.asarray(array.transpose(2, 3, 1, 0) if kernel else array, leaf.dtype)
        trees[kind] = traverse_util.unflatten_dict(tree)
    for name in left:
        if not (translated and re.match(r"fc\.|.*\.num_batches_tracked$", name)):
            raise ValueError(f"it has {name}, which this run's encoder does not have")
    return trees


def torchvision_name(path: Sequence[str]) -> str:
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
