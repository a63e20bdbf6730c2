"""Logarithms and sums that stay finite, and have finite gradients, where there is no mass.

NaN propagates: masks ask `x <= 0`, which NaN is not, instead of `x > 0`.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

HEADROOM = 8.0
"""Nats that an exponent keeps from the dtype's range, as gradients are larger than the value."""


@jax.jit
def log(x: Array) -> Array:
    """Return log x, -inf at 0 with a zero gradient."""
    return jnp.where(x <= 0, -jnp.inf, jnp.log(jnp.where(x <= 0, 1.0, x)))


@partial(jax.jit, static_argnames="axis")
def logsumexp(x: Float[Array, "..."], axis: int) -> Array:
    """Return log Σ exp along an axis; a slice of -inf gives -inf with a zero gradient, not nan."""
    largest = jax.lax.stop_gradient(x.max(axis=axis, keepdims=True))
    largest = jnp.where(jnp.isfinite(largest), largest, 0.0)
    total = jnp.exp(x - largest).sum(axis=axis)
    empty = total <= 0
    logarithm = jnp.log(jnp.where(empty, 1.0, total)) + jnp.squeeze(largest, axis)
    return jnp.where(empty, -jnp.inf, logarithm)


@jax.jit
def weighted_sum(weights: Array, values: Array) -> Float[Array, ""]:
    """Return Σ weights · values, where a weight of 0 silences a value that is not finite."""
    absent = weights <= 0
    return jnp.sum(jnp.where(absent, 0.0, weights * jnp.where(absent, 0.0, values)))


@jax.jit
def difference_of_exponentials(
    minuend: tuple[Array, Array], subtrahend: tuple[Array, Array]
) -> Float[Array, ""]:
    """Return Σ w e^x of the first (w, x) minus that of the second.

    ±inf where an exponent comes within `HEADROOM` of the dtype's range.
    """
    both = minuend, subtrahend
    largest = jnp.maximum(*(jnp.where(w > 0, x, -jnp.inf).max() for w, x in both))
    largest = jax.lax.stop_gradient(largest)
    overflows = largest > math.log(jnp.finfo(largest.dtype).max) - HEADROOM
    # Taken out, so that the sign of an infinite value is known, but where e^x is infinite itself.
    taken = jnp.where(overflows & (largest < jnp.inf), largest, 0.0)
    left, right = (weighted_sum(w, jnp.exp(x - taken)) for w, x in both)
    difference = left - right
    lost = overflows & (difference == 0)  # less than one rounding of what is out of range
    return jnp.where(lost, jnp.inf, jnp.where(overflows, jnp.inf, 1.0) * difference)


@jax.jit
def negative_entropy(weights: Array) -> Float[Array, ""]:
    """Return Σ w log w, with 0 log 0 = 0."""
    return weighted_sum(weights, log(weights))


@jax.jit
def ratio(x: Array, y: Array) -> Array:
    """Return x/y, and 0 where y is 0."""
    return jnp.where(y <= 0, 0.0, x / jnp.where(y <= 0, 1.0, y))
