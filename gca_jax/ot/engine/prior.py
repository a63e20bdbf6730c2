"""Known pairs as offsets of log K, which needs no n×m array."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Prior:
    """Offsets β of log K at given pairs; made by `ot.prior`, passes no gradient.

    Attributes:
      rows: Row of each pair [k].
      columns: Column of each pair [k].
      beta: β of each pair [k].
      largest: The most of its row's and column's mass that each pair can have [k].
      of_row: Pairs of each row [n, s], k where it has fewer than s.
      start: log v [m] of the prior itself, from which sweeps start.
    """

    rows: Int[Array, " k"]
    columns: Int[Array, " k"]
    beta: Float[Array, " k"]
    largest: Float[Array, " k"]
    of_row: Int[Array, "n s"]
    start: Float[Array, " m"]

    def tilt(self, log_k: Float[Array, "b m"], rows: Int[Array, " b"]) -> Float[Array, "b m"]:
        """Add β to the given rows of log K."""
        columns = jnp.append(self.columns, -1)
        beta = jnp.append(self.beta, 0.0)
        column = jnp.arange(log_k.shape[1])[None, :]
        for pairs in self.of_row[rows].T:
            log_k += jnp.where(column == columns[pairs][:, None], beta[pairs][:, None], 0.0)
        return log_k

    def at(self, rows: Int[Array, " j"], columns: Int[Array, " j"]) -> Float[Array, " j"]:
        """Return what is added to log K at these pairs."""
        own, beta = self.of_row[rows], jnp.append(self.beta, 0.0)
        same = jnp.append(self.columns, -1)[own] == columns[:, None]
        return jnp.where(same, beta[own], 0.0).sum(axis=1)
