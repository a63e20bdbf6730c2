"""Encoders and heads; the only place that knows Flax."""

from gca_jax.models.encoders import ENCODERS
from gca_jax.models.network import Embedded, Head, Network, create
from gca_jax.models.resnet import ResNet, ResNet18, ResNet50
from gca_jax.models.towers import Towers
from gca_jax.models.vit import ViT

__all__ = [
    "ENCODERS",
    "Embedded",
    "Head",
    "Network",
    "ResNet",
    "ResNet18",
    "ResNet50",
    "Towers",
    "ViT",
    "create",
]
