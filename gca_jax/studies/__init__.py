"""Studies: a grid of ordinary runs, resumable, from which a report with intervals is made.

A study file is a config: `get_config(words="")` returns `studies.make(...)` (docs/studies.md).
"""

from ml_collections import ConfigDict

from gca_jax.studies.describe import Condition, Method, make
from gca_jax.studies.words import read as read_words
from gca_jax.studies.words import size

__all__ = ["Condition", "ConfigDict", "Method", "make", "read_words", "size"]
