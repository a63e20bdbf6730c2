"""The factored transport plan P = diag(u) K diag(v), and what is derived from it."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from gca_jax import check
from gca_jax.ot.engine import make_passes, row_sums
from gca_jax.ot.kernel import Kernel
from gca_jax.ot.numerics import log, logsumexp, negative_entropy


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
      columns: Pᵀ1 (m,), where the last half-step tells it.
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
    columns: Float[Array, " m"] | None = None
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

        def of_rows(log_k: Array, rows: Array) -> Array:
            return jnp.exp(self.log_u[rows][:, None] + log_k + self.log_v[None, :]).sum(axis=0)

        return self.kernel.sum_over_rows(of_rows)

    @property
    def mass(self) -> Float[Array, ""]:
        """Total mass 1ᵀP1."""
        if self.exact == "rows":
            return self.mu.sum()
        return self.nu.sum() if self.exact == "columns" else self.row_marginal.sum()

    @property
    def residual(self) -> Float[Array, ""]:
        """Distance from the marginals asked for, ‖P1 - μ‖₁ + ‖Pᵀ1 - ν‖₁."""
        return _marginal_error(self, self.row_marginal, self.column_marginal)

    @property
    def known_residual(self) -> Float[Array, ""]:
        """The residual of the plan scaled to mass 1, NaN where it takes a pass over the kernel."""
        unknown = jnp.full((), jnp.nan, self.mu.dtype)
        rows = self.mu if self.exact == "rows" else unknown
        columns = self.nu if self.exact == "columns" else unknown
        if self.log_rows is not None and self.exact != "rows":
            rows = jnp.exp(self.log_u + self.log_rows)
        if self.columns is not None and self.exact != "columns":
            columns = self.columns
        free = jnp.ones_like(unknown) if self.exact else rows.sum()
        return _marginal_error(self, rows / free, columns / free)

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
    def log_positive_shares(self) -> Float[Array, " n"]:
        """log (P_ij/μ_i), how much of its row's mass each positive pair has: 0 where it has all.

        In the joint layout, where a pair stands in two rows, it is the mean of both shares.
        """
        pairs = self.log_positives
        mu = log(self.mu[: pairs.size])
        shares = self.log_u[: pairs.size] + pairs - jnp.where(mu == -jnp.inf, 0.0, mu)
        if self.kernel.layout == "cross":
            return shares
        return logsumexp(shares.reshape(2, -1), axis=0) - jnp.log(2.0)

    @property
    def positive_mass(self) -> Float[Array, ""]:
        """Mass on the positive pairs: the mean over rows of n P_ij, 1 for the identity target."""
        log_u = self.log_u[: self.kernel.log_positives.size]
        return jnp.exp(log_u + self.log_positives).sum()

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.matrix, dtype=dtype)

    def __repr__(self) -> str:
        """Show size, ε and, where they are numbers, mass and distance from the marginals."""
        n, m = self.kernel.shape
        if not check.is_concrete(self.log_u) or self.log_u.ndim != 1:
            return f"Plan({n} x {m})"
        numbers = f"epsilon={self.kernel.epsilon:.3g}, mass={self.mass:.4g}"
        return f"Plan({n} x {m}, {numbers}, residual={self.residual:.2g})"

    def times(self, values: Float[ArrayLike, "m d"]) -> Float[Array, "n d"]:
        """Return P values, a block of rows of K at a time."""
        exact, wanted = jax.lax.Precision.HIGHEST, jnp.asarray(values, self.mu.dtype)
        if self.kernel.domain == "log":
            return jnp.matmul(self.matrix, wanted, precision=exact)
        largest = jnp.max(self.log_v)  # taken out of v, so that neither factor overflows
        right = jnp.exp(self.log_v - largest)[:, None] * wanted

        def of_rows(k: Array, log_u: Array) -> tuple[tuple[()], Array]:
            return (), jnp.exp(log_u)[:, None] * jnp.matmul(k, right, precision=exact)

        return make_passes(self.kernel.generator).over_rows(of_rows, self.log_u + largest)[1]

    def log_at(self, rows: Int[Array, " k"], columns: Int[Array, " k"]) -> Float[Array, " k"]:
        """Return log P of these pairs."""
        return self.log_u[rows] + self.kernel.log_at(rows, columns) + self.log_v[columns]

    @property
    def transposed(self) -> "Plan":
        """Pᵀ, with its scalings and marginals exchanged."""
        return Plan(self.kernel.transposed, self.log_v, self.log_u, self.nu, self.mu)

    def frozen(self) -> "Plan":
        """Stop the gradient through the scalings: the envelope form (see `project`)."""
        log_u, log_v = jax.lax.stop_gradient((self.log_u, self.log_v))
        # The sums are those of the kernel, which does pass a gradient.
        return Plan(self.kernel, log_u, log_v, self.mu, self.nu, self.converged, self.sweeps)


def _marginal_error(plan: Plan, rows: Array, columns: Array) -> Float[Array, ""]:
    """Compute ‖P1 - μ‖₁ + ‖Pᵀ1 - ν‖₁ of a plan with these row and column sums."""
    return jnp.abs(rows - plan.mu).sum() + jnp.abs(columns - plan.nu).sum()
