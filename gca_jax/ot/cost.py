"""Costs of a kernel and the unit vectors that they compare."""

import dataclasses
import math
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@runtime_checkable
class CostFn(Protocol):
    """A cost of two points, as OTT-JAX's cost functions are."""

    def __call__(self, x: Float[Array, " d"], y: Float[Array, " d"]) -> Float[Array, ""]:
        """Compute the cost of one pair."""

    def all_pairs(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n m"]:
        """Compute the costs of all pairs."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SquaredEuclidean:
    """‖x - y‖², with the two methods of OTT-JAX's cost functions that a kernel needs."""

    def __call__(self, x: Float[Array, " d"], y: Float[Array, " d"]) -> Float[Array, ""]:
        """Compute one squared distance."""
        return jnp.sum((x - y) ** 2)

    def all_pairs(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n m"]:
        """Compute all squared distances (n, m)."""
        products = jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST)
        return jnp.sum(x * x, axis=1)[:, None] + jnp.sum(y * y, axis=1)[None, :] - 2.0 * products


@jax.jit
def normalize(z: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """Scale rows to unit length; a zero row stays zero and gets a zero gradient.

    A row with an entry that is not finite becomes NaN.

    The largest entry is divided out first, so that neither overflow nor underflow of the squares
    changes the direction of a very long or very short row.

    >>> normalize(jnp.array([[3.0, 4.0], [0.0, 0.0]]))
    Array([[0.6, 0.8],
           [0. , 0. ]], dtype=float32)
    """
    largest = jax.lax.stop_gradient(jnp.abs(z).max(axis=-1, keepdims=True))
    # XLA may divide by multiplying with 1 / largest, which is subnormal, hence 0, near the dtype's
    # largest number. A sixteenth of a long row has the same digits.
    shrink = jnp.where(largest > math.sqrt(jnp.finfo(z.dtype).max), 0.0625, 1.0).astype(z.dtype)
    z, largest = z * shrink, largest * shrink
    z = z / jnp.where(largest > 0, largest, 1.0)
    squared = jnp.sum(z * z, axis=-1, keepdims=True)
    return jnp.where(squared == 0, 0.0, z * jax.lax.rsqrt(jnp.where(squared == 0, 1.0, squared)))
