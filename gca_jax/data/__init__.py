"""Data sets of images and of pairs, their batches, and the two views of an image."""

from gca_jax.data.memory import arrays

__all__ = ["arrays"]
