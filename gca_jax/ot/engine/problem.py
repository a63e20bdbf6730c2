"""What sweeps are run on, what they leave, and the algebra that both passes share."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from gca_jax.ot.engine.passes import Passes, Points

ROUNDING = 16
"""Movements of log v below so many units of the dtype's precision are noise: sweeps of n = 1,024 to
4,096 rows in float32 settle at 4 to 14 of them."""


class Problem(NamedTuple):
    """What sweeps are run on."""

    points: Points  # what generates K (n, m)
    mu: Float[Array, " n"]
    nu: Float[Array, " m"]
    tau_a: Float[Array, "..."]  # exponent of u in [0, 1]: one, or one for each row (n,)
    tau_b: Float[Array, "..."]  # exponent of v in [0, 1]: one, or one for each column (m,)
    start: Float[Array, " m"]  # log v to start from

    @property
    def has_common_tau(self) -> bool:
        """Whether all rows share one exponent, and all columns."""
        return self.tau_a.ndim == self.tau_b.ndim == 0

    @property
    def common_tau(self) -> Float[Array, ""]:
        """τ = τ_a τ_b, by which a common movement of log v shrinks; 0 where it is not common."""
        if self.has_common_tau:
            return jnp.asarray(self.tau_a * self.tau_b)
        return jnp.zeros((), self.mu.dtype)


class Scalings(NamedTuple):
    """What the sweeps leave: the scalings after T of them."""

    log_u: Float[Array, " n"]
    log_v: Float[Array, " m"]
    log_rows: Float[Array, " n"]  # log K v of that v; zeros if it was not asked for
    sweeps: Int[Array, ""]  # how many had to be run


class Residuals(NamedTuple):
    """What the reverse pass needs; sweeps that were not run have no a and b."""

    passes: Passes
    problem: Problem
    log_a: Float[Array, "T n"]  # log K v that each sweep starts with
    log_b: Float[Array, "T m"]  # log Kᵀu of each sweep
    converged: Bool[Array, ""]  # whether the last sweep that was run moved log v by one number,
    delta: Float[Array, ""]  # and by which
    out: Scalings


class SumResiduals(NamedTuple):
    """What the reverse pass of the sums over K needs."""

    passes: Passes
    log_rows: Float[Array, " n"]  # log K 1
    log_columns: Float[Array, " m"]  # log Kᵀ1


def rounding_of(dtype: jnp.dtype) -> float:
    """Return the largest movement of log v that counts as none."""
    return ROUNDING * float(jnp.finfo(dtype).eps)


def cumulative_shifts(
    delta: Float[ArrayLike, ""], tau: Float[ArrayLike, ""], iterations: int
) -> Float[Array, "{iterations}+2"]:
    """Return how far log v is after j sweeps, the first of which moves it by `delta`."""
    tau = jnp.asarray(tau)
    powers = tau ** jnp.arange(iterations + 1, dtype=tau.dtype)
    return jnp.asarray(delta) * jnp.concatenate([0 * powers[:1], jnp.cumsum(powers)])


def scaling(tau: Array, log_marginal: Array, log_product: Array) -> Array:
    """Return log (marginal/product)^τ, with (0/x)^τ = 0 for τ > 0 and 1 for τ = 0."""
    has_mass = log_marginal > -jnp.inf
    # A row that is excluded has neither: its product may be -inf too.
    ratio = tau * jnp.where(has_mass, log_marginal - log_product, 0.0)
    return jnp.where(has_mass, ratio, jnp.where(tau > 0, -jnp.inf, 0.0))
