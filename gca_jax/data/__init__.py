"""Images, their order, and their views."""

from gca_jax.data.memory import arrays

__all__ = ["arrays"]
