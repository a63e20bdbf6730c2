"""Logarithms and sums that stay finite, and have finite gradients, where there is no mass."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def log(x: Array) -> Array:
    """Returns log x, -inf at 0 with a zero gradient."""
    return jnp.where(x > 0, jnp.log(jnp.where(x > 0, x, 1.0)), -jnp.inf)


def logsumexp(x: Float[Array, "..."], axis: int) -> Array:
    """Returns log Σ exp along an axis; a slice of -inf gives -inf with a zero gradient, not nan."""
    largest = jax.lax.stop_gradient(x.max(axis=axis, keepdims=True))
    largest = jnp.where(jnp.isfinite(largest), largest, 0.0)
    total = jnp.exp(x - largest).sum(axis=axis)
    reached = total > 0
    logarithm = jnp.log(jnp.where(reached, total, 1.0)) + jnp.squeeze(largest, axis)
    return jnp.where(reached, logarithm, -jnp.inf)


def weighted_sum(weights: Array, values: Array) -> Float[Array, ""]:
    """Returns Σ weights · values, where a weight of 0 silences a value that is not finite."""
    present = weights > 0
    return jnp.sum(jnp.where(present, weights * jnp.where(present, values, 0.0), 0.0))


def negative_entropy(weights: Array) -> Float[Array, ""]:
    """Returns Σ w log w, with 0 log 0 = 0."""
    return weighted_sum(weights, log(weights))


def ratio(x: Array, y: Array) -> Array:
    """Returns x/y, and 0 where y is 0."""
    return jnp.where(y > 0, x / jnp.where(y > 0, y, 1.0), 0.0)
