"""Contrastive learning as distribution alignment, in JAX."""
