"""Representation metrics: alignment, uniformity, effective rank, agreement of gradients."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from gca_jax import ot
from gca_jax.ot.engine import Points, make_passes
from gca_jax.ot.numerics import negative_entropy, ratio


def alignment(z_a: Float[ArrayLike, "n d"], z_b: Float[ArrayLike, "n d"]) -> Float[Array, ""]:
    """mean_i ‖z'_i - z''_i‖² of the normalised embeddings, in [0, 4]; lower is closer.

    Wang & Isola 2020 (with exponent 2).
    """
    return jnp.mean(jnp.sum((_unit(z_a) - _unit(z_b)) ** 2, axis=-1))


def uniformity(
    z: Float[ArrayLike, "n d"], *, block_size: int | None = None, axis_name: str | None = None
) -> Float[Array, ""]:
    """log mean_{i≠j} exp(-2‖z_i - z_j‖²) of the normalised embeddings, in [-8, 0].

    Lower is more uniform; NaN for n = 1. Wang & Isola 2020.

    Args:
      z: Embeddings (n, d).
      block_size: Rows of the n×n similarities formed at a time; None forms all.
      axis_name: Mapped axis whose devices share those rows; each has all of z.
    """
    z = _unit(z)
    n = z.shape[0]
    size = None if block_size is None else min(block_size, n)
    # exp(-2‖z_i - z_j‖²) = exp((z_i·z_j - 1)/ε) with ε = 1/4
    similarities = make_passes(Points(z, None, jnp.asarray(0.25, z.dtype), True, size, axis_name))
    return jnp.log(similarities.times(jnp.ones_like(z[:, 0])).sum() / (n * (n - 1)))


def effective_rank(z: Float[ArrayLike, "n d"]) -> Float[Array, ""]:
    """exp(entropy of the normalised singular values), in [1, min(n, d)].

    Of the normalised embeddings. Roy & Vetterli 2007.
    """
    s = jnp.linalg.svd(_unit(z), compute_uv=False)
    p = s / s.sum()
    return jnp.exp(-negative_entropy(p))


def gradient_cosine(
    loss_a: Callable[[Array, Array], Array],
    loss_b: Callable[[Array, Array], Array],
    z_a: Float[ArrayLike, "n d"],
    z_b: Float[ArrayLike, "n d"],
) -> Float[Array, ""]:
    """Cosine between two losses' gradients with respect to both views' embeddings.

    1 means that the two pull the batch the same way: two names for one objective. 0 if a gradient
    is zero.

    Args:
      loss_a: (z_a, z_b) → scalar.
      loss_b: (z_a, z_b) → scalar.
      z_a: Embeddings of the first view (n, d).
      z_b: Embeddings of the second view (n, d).
    """
    g = jnp.concatenate(jax.grad(loss_a, argnums=(0, 1))(z_a, z_b)).ravel()
    h = jnp.concatenate(jax.grad(loss_b, argnums=(0, 1))(z_a, z_b)).ravel()
    return ratio(jnp.sum(g * h), jnp.sqrt(jnp.sum(g * g) * jnp.sum(h * h)))


def _unit(z: Float[ArrayLike, "n d"]) -> Float[Array, "n d"]:
    z = ot.check.whole(jnp.asarray(z))
    return ot.normalize(z.astype(jnp.promote_types(z.dtype, jnp.float32)))
