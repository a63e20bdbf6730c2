"""The factored transport plan P = diag(u) K diag(v), and what is derived from it."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from gca_jax.ot.engine import row_sums
from gca_jax.ot.kernel import Kernel
from gca_jax.ot.numerics import logsumexp, negative_entropy


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Plan:
    """A plan in factored form; n×m arrays are formed only on request.

    Attributes:
      kernel: The kernel K (n, m) that was projected.
      log_u: Row scalings log u (n,).
      log_v: Column scalings log v (m,).
      mu: The row marginal that was asked for (n,).
      nu: The column marginal that was asked for (m,).
      converged: With `until=`, whether the tolerance was reached; None for a fixed number of steps.
      sweeps: How many sweeps were run in the scaling domain, where further ones change no digit.
      log_rows: log K v (n,), where it is known; see `log_row_sums`.
      exact: The marginal that the last half-step made exact: "rows", "columns" or neither (None).
    """

    kernel: Kernel
    log_u: Float[Array, " n"]
    log_v: Float[Array, " m"]
    mu: Float[Array, " n"]
    nu: Float[Array, " m"]
    converged: Bool[Array, ""] | None = None
    sweeps: Int[Array, ""] | None = None
    log_rows: Float[Array, " n"] | None = None
    exact: Literal["rows", "columns"] | None = dataclasses.field(
        default=None, metadata={"static": True}
    )

    @property
    def log_row_sums(self) -> Float[Array, " n"]:
        """log K v, the logarithm of each row's sum before u scales it."""
        if self.log_rows is not None:
            return self.log_rows
        if self.kernel.domain == "scaling":
            return row_sums(self.kernel.generator, self.log_v)
        return logsumexp(self.kernel.log_matrix + self.log_v[None, :], axis=1)

    @property
    def log_matrix(self) -> Float[Array, "n m"]:
        """log P; -inf where there is no mass."""
        return self.log_u[:, None] + self.kernel.log_matrix + self.log_v[None, :]

    @property
    def matrix(self) -> Float[Array, "n m"]:
        """P (n, m)."""
        return jnp.exp(self.log_matrix)

    @property
    def row_marginal(self) -> Float[Array, " n"]:
        """P1."""
        return jnp.exp(self.log_u + self.log_row_sums)

    @property
    def column_marginal(self) -> Float[Array, " m"]:
        """Pᵀ1."""
        return self.matrix.sum(axis=0)

    @property
    def mass(self) -> Float[Array, ""]:
        """Total mass 1ᵀP1."""
        if self.exact == "rows":
            return self.mu.sum()
        return self.nu.sum() if self.exact == "columns" else self.row_marginal.sum()

    @property
    def residual(self) -> Float[Array, ""]:
        """Distance from the marginals asked for, ‖P1 - μ‖₁ + ‖Pᵀ1 - ν‖₁."""
        return marginal_error(self, self.row_marginal, self.column_marginal)

    @property
    def entropy(self) -> Float[Array, ""]:
        """H(P) = -Σ P log P, in nats."""
        return -negative_entropy(self.matrix)

    @property
    def log_positives(self) -> Float[Array, " k"]:
        """log (K_ij v_j), that is log (P_ij/u_i), of the pairs of `Kernel.log_positives`."""
        log_k = self.kernel.log_positives
        pairs = log_k.size
        if self.kernel.layout == "joint":
            return log_k + jnp.roll(self.log_v, pairs // 2)
        return log_k + self.log_v[:pairs]

    @property
    def positive_mass(self) -> Float[Array, ""]:
        """Mass on the positive pairs: the mean over rows of n P_ij, 1 for the identity target."""
        log_u = self.log_u[: self.kernel.log_positives.size]
        return jnp.exp(log_u + self.log_positives).sum()

    def frozen(self) -> "Plan":
        """The same plan with scalings that pass no gradient: the envelope form (see `project`)."""
        return dataclasses.replace(
            self,
            log_u=jax.lax.stop_gradient(self.log_u),
            log_v=jax.lax.stop_gradient(self.log_v),
            log_rows=None,  # of the kernel, which does pass a gradient
            exact=None,
        )


def marginal_error(
    plan: Plan, rows: Float[Array, " n"], columns: Float[Array, " m"]
) -> Float[Array, ""]:
    """Distance of the row and column sums of a plan from the marginals that it was asked for."""
    return jnp.abs(rows - plan.mu).sum() + jnp.abs(columns - plan.nu).sum()
