"""Representation metrics: alignment, uniformity, effective rank, agreement of gradients."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gca_jax import ot


def alignment(z_a: Float[Array, "n d"], z_b: Float[Array, "n d"]) -> Float[Array, ""]:
    """mean_i ‖z'_i - z''_i‖² of the normalised embeddings, in [0, 4]; lower is closer.

    Wang & Isola 2020 (with exponent 2).
    """
    return jnp.mean(jnp.sum((_unit(z_a) - _unit(z_b)) ** 2, axis=-1))


def uniformity(z: Float[Array, "n d"]) -> Float[Array, ""]:
    """log mean_{i≠j} exp(-2‖z_i - z_j‖²) of the normalised embeddings, in [-8, 0].

    Lower is more uniform. Wang & Isola 2020. Needs n >= 2.
    """
    z = _unit(z)
    n = z.shape[0]
    squared = jnp.maximum(2.0 - 2.0 * jnp.matmul(z, z.T, precision="highest"), 0.0)
    off_diagonal = ~jnp.eye(n, dtype=bool)
    return jnp.log(jnp.mean(jnp.exp(-2.0 * squared), where=off_diagonal))


def effective_rank(z: Float[Array, "n d"]) -> Float[Array, ""]:
    """exp(entropy of the normalised singular values), in [1, min(n, d)].

    Of the normalised embeddings. Roy & Vetterli 2007.
    """
    s = jnp.linalg.svd(_unit(z), compute_uv=False)
    p = s / s.sum()
    return jnp.exp(-jnp.sum(jnp.where(p > 0, p * jnp.log(jnp.where(p > 0, p, 1.0)), 0.0)))


def gradient_cosine(
    loss_a: Callable[[Array, Array], Array],
    loss_b: Callable[[Array, Array], Array],
    z_a: Float[Array, "n d"],
    z_b: Float[Array, "n d"],
) -> Float[Array, ""]:
    """Cosine between two losses' gradients with respect to both views' embeddings.

    1 means that the two pull the batch the same way: two names for one objective.

    Args:
      loss_a: (z_a, z_b) → scalar.
      loss_b: (z_a, z_b) → scalar.
      z_a: Embeddings of the first view (n, d).
      z_b: Embeddings of the second view (n, d).
    """
    g = jnp.concatenate(jax.grad(loss_a, argnums=(0, 1))(z_a, z_b)).ravel()
    h = jnp.concatenate(jax.grad(loss_b, argnums=(0, 1))(z_a, z_b)).ravel()
    return cosine(g, h)


def cosine(x: Array, y: Array) -> Float[Array, ""]:
    """Cosine between two arrays read as vectors; 0 if one of them is zero."""
    norms = jnp.sqrt(jnp.sum(x * x) * jnp.sum(y * y))
    return jnp.where(norms > 0, jnp.sum(x * y) / jnp.where(norms > 0, norms, 1.0), 0.0)


def _unit(z: Array) -> Array:
    return ot.normalize(z.astype(jnp.promote_types(z.dtype, jnp.float32)))
