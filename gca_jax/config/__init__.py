"""Configs of runs: found by name, made from default settings, or those of a run made again.

A config file defines `get_config(options="")`, which returns `config.make(kind, options, ...)`.
It may lie in any folder, and needs this room alone.
"""

from ml_collections import ConfigDict

from gca_jax.config.files import FOLDER, find, names
from gca_jax.config.groups import (
    ADAM,
    ADAMW,
    ARRAYS,
    AUTO,
    HUB,
    PICTURES,
    PUBLISHED_BYOL,
    RESNET50,
    SGD,
    SMOKE,
    TFDS,
    UNCHANGED,
    Settings,
)
from gca_jax.config.make import KINDS, candidates, load, make, restore

__all__ = [
    "ADAM",
    "ADAMW",
    "ARRAYS",
    "AUTO",
    "FOLDER",
    "HUB",
    "KINDS",
    "PICTURES",
    "PUBLISHED_BYOL",
    "RESNET50",
    "SGD",
    "SMOKE",
    "TFDS",
    "UNCHANGED",
    "ConfigDict",
    "Settings",
    "candidates",
    "find",
    "load",
    "make",
    "names",
    "restore",
]
