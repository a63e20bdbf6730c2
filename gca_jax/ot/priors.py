"""Pairs that are known, with what probability, as a prior of the plan."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from gca_jax import check
from gca_jax.ot import inputs
from gca_jax.ot.engine import Prior
from gca_jax.ot.kernel import Kernel
from gca_jax.ot.numerics import log, ratio
from gca_jax.ot.plan import Plan


def prior(
    kernel: Kernel,
    pairs: "ArrayLike | Known",
    log_odds: ArrayLike,
    *,
    mu: Float[ArrayLike, " n"] | None = None,
    nu: Float[ArrayLike, " m"] | None = None,
) -> Kernel:
    """Tilt a kernel towards given pairs: its plan then has Q as its prior in place of μ νᵀ.

        Q = Π + (μ - Π1)(ν - Πᵀ1)ᵀ/(1 - ΣΠ),   Π_e = π_e min(μ_i/k_i, ν_j/l_j)

    A row goes to a given partner with the probability π_e, shared by its k_i partners and those of
    the column, and else to anyone. Only log K of the pairs changes, by β_e = log [1 + Π_e (1 - ΣΠ)
    /((μ - Π1)_i (ν - Πᵀ1)_j)]: no array [n, m] is formed. A flat kernel has the plan Q.

    Args:
      kernel: K (n, m), cross layout.
      pairs: Rows and columns of the given pairs, integers (k, 2), or what `known` makes of them for
        use inside `jit`; several partners of a row are allowed, the same pair twice is not.
      log_odds: log (π/(1 - π)), one number or one for each pair (k,); may be traced.
      mu: Row marginal (n,) of the plan; None is uniform.
      nu: Column marginal (m,), likewise.

    Returns:
      The kernel, for `project`.

    Raises:
      ValueError: Pairs that are no such integers or traced, a joint layout, a kernel with a prior.

    >>> from gca_jax import ot
    >>> flat = ot.cost_kernel(jnp.zeros((2, 2)))
    >>> plan = ot.project(prior(flat, np.array([[0, 0]]), 0.0), iterations=20)  # π = 1/2
    >>> (plan.matrix * 6).round(2).tolist()
    [[2.0, 1.0], [1.0, 2.0]]
    """
    if kernel.layout == "joint" or kernel.prior is not None:
        raise ValueError("a prior is of a kernel in the cross layout that has none yet")
    n, m = kernel.shape
    rows, columns, of_row = pairs if isinstance(pairs, Known) else known(pairs, n, m)
    dtype = kernel.dtype
    of_rows = jnp.full(n, 1 / n, dtype) if mu is None else inputs.marginal("mu", mu, n, dtype)
    of_columns = jnp.full(m, 1 / m, dtype) if nu is None else inputs.marginal("nu", nu, m, dtype)
    one = jnp.ones(rows.size, dtype)
    largest = jnp.minimum(
        (of_rows / jnp.maximum(jax.ops.segment_sum(one, rows, n), 1.0))[rows],
        (of_columns / jnp.maximum(jax.ops.segment_sum(one, columns, m), 1.0))[columns],
    )
    mass = jax.nn.sigmoid(jnp.asarray(log_odds, dtype)) * largest
    free_rows = of_rows - jax.ops.segment_sum(mass, rows, n)
    free_columns = of_columns - jax.ops.segment_sum(mass, columns, m)
    free = 1.0 - mass.sum()
    beta = jnp.log1p(mass * ratio(free, free_rows[rows] * free_columns[columns]))
    beta, start = jax.lax.stop_gradient((beta, log(free_columns * m)))
    found = Prior(rows, columns, beta, largest, of_row, start)
    return dataclasses.replace(kernel, prior=found)


def posterior(plan: Plan) -> Float[Array, " k"]:
    """Return P_e / min(μ_i/k_i, ν_j/l_j) of each pair of the prior: the share of what it can have.

    Raises:
      ValueError: The plan's kernel has no prior.
    """
    given = plan.kernel.prior
    if given is None:
        raise ValueError("the plan's kernel has no prior: make it with ot.prior")
    return jnp.exp(plan.log_at(given.rows, given.columns)) / given.largest


class Known(NamedTuple):
    """Given pairs, as `prior` takes them inside `jit`; made by `known`."""

    rows: Int[Array, " k"]
    columns: Int[Array, " k"]
    of_row: Int[Array, "n s"]  # pairs of each row, k where it has fewer than s


def known(pairs: ArrayLike, n: int, m: int) -> Known:
    """Check the given pairs of n rows and m columns, and find those of each row.

    Raises:
      ValueError: They are traced, no such integers, out of range, or one is given twice.
    """
    if not check.is_concrete(pairs):
        raise ValueError("pairs are traced, and must be known: make them with ot.known outside")
    given = np.asarray(pairs)
    if given.ndim != 2 or given.shape[1] != 2 or given.dtype.kind not in "iu" or not given.size:
        raise ValueError(
            f"pairs must be integers of shape (k, 2), a row and a column each; got {given.dtype} "
            f"{given.shape}"
        )
    if (given < 0).any() or (given >= (n, m)).any():
        raise ValueError(f"pairs must be rows below {n} and columns below {m}")
    if len(np.unique(given, axis=0)) < len(given):
        raise ValueError("pairs has a pair twice: give each once, with its log_odds")
    rows, columns = given.astype(np.int32).T
    order = np.argsort(rows, kind="stable")
    first = np.searchsorted(rows[order], np.arange(n))
    slot = np.arange(len(rows)) - first[rows[order]]
    of_row = np.full((n, slot.max() + 1), len(rows), np.int32)
    of_row[rows[order], slot] = order
    return Known(jnp.asarray(rows), jnp.asarray(columns), jnp.asarray(of_row))
