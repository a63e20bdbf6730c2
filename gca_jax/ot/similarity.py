"""Targets whose weights are formed from labels or features, a block of rows at a time."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gca_jax.ot import check
from gca_jax.ot.kernel import Kernel, Layout
from gca_jax.ot.numerics import negative_entropy

MAX_DIFFERENCES = 8  # coordinates whose differences are formed one by one


class TargetSums(NamedTuple):
    """Sums of a target's weights before they are scaled to mass 1.

    Attributes:
      rows: Σ_j w_ij (n,).
      columns: Σ_i w_ij (m,).
      w_log_w: Σ w log w.
    """

    rows: Float[Array, " n"]
    columns: Float[Array, " m"]
    w_log_w: Float[Array, ""]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SimilarityTarget:
    """A target whose weights w_ij = exp(-‖x_i - y_j‖²/(2σ²)) are formed a block of rows at a time.

    Attributes:
      x: Labels or features of the rows' samples (n, k).
      y: The columns' (m, k).
      bandwidth: σ.
      joint: Whether both hold all 2B views, whose self-pairs have no mass.
      sums: Its sums, which `resolve` forms in one pass over the rows; None before.
    """

    x: Float[Array, "n k"]
    y: Float[Array, "m k"]
    bandwidth: Float[Array, ""]
    joint: bool = dataclasses.field(default=False, metadata={"static": True})
    sums: TargetSums | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(n, m), or (2n, 2n) in the joint layout."""
        return self.x.shape[0], self.y.shape[0]

    @property
    def matrix(self) -> Float[Array, "n m"]:
        """P_tgt, scaled to total mass 1."""
        weights = self.weights(jnp.arange(self.shape[0]))
        return weights / weights.sum()

    def weights(self, rows: Int[Array, " k"]) -> Float[Array, "k m"]:
        """The given rows of P_tgt before it is scaled."""
        scaled_x, scaled_y = self.x[rows] / self.bandwidth, self.y / self.bandwidth
        weights = jnp.exp(-squared_distances(scaled_x, scaled_y) / 2)
        if self.joint:
            weights = jnp.where(jnp.arange(self.shape[1])[None, :] == rows[:, None], 0.0, weights)
        return weights

    def with_layout(self, layout: Layout) -> "SimilarityTarget":
        """The same target over all 2B views ("joint") or over pairs ("cross").

        Raises:
          ValueError: "joint" with n != m.
        """
        check.one_of("layout", layout, ("cross", "joint"))
        if layout == "cross" or self.joint:
            return self
        check.pairs("a target", *self.shape)
        both = jnp.concatenate([self.x, self.y])
        return dataclasses.replace(self, x=both, y=both, joint=True)

    def with_sums(self, kernel: Kernel) -> "SimilarityTarget":
        """The same target with its sums, formed in the blocks of rows of a kernel."""

        def of_rows(log_k: Array, rows: Array) -> tuple[tuple[Array, Array], Array]:
            w = self.weights(rows)
            return (w.sum(axis=0), negative_entropy(w)), w.sum(axis=1)

        (columns, w_log_w), rows = kernel.over_rows(of_rows)
        return dataclasses.replace(self, sums=TargetSums(rows, columns, w_log_w))


def squared_distances(x: Float[Array, "n k"], y: Float[Array, "m k"]) -> Float[Array, "n m"]:
    """‖x_i - y_j‖² (n, m): exact differences for a few coordinates, else by one product."""
    if x.shape[1] <= MAX_DIFFERENCES:
        return jnp.square(x[:, None, :] - y[None, :, :]).sum(axis=-1)
    products = jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST)
    squared = jnp.sum(x * x, axis=1)[:, None] + jnp.sum(y * y, axis=1)[None, :] - 2.0 * products
    return jnp.maximum(squared, 0.0)
