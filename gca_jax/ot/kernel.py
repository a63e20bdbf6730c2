"""Embeddings to log-kernel: log K = -C/ε, kept as what generates it until asked for."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from gca_jax import check
from gca_jax.ot import inputs
from gca_jax.ot.cost import CostFn, normalize
from gca_jax.ot.engine import (
    AxisName,
    Domain,
    Excluded,
    Points,
    Prior,
    choose,
    gathered,
    make_passes,
    smallest_epsilon,
)
from gca_jax.ot.inputs import Ignore, Valid
from gca_jax.ot.numerics import log

Layout = Literal["cross", "joint"]
SelfPairs = Literal["exclude", "max_cost"]
Precision = Literal["highest", "bfloat16"]
Summed = TypeVar("Summed")
Kept = TypeVar("Kept")

_STATIC = {"static": True}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Kernel:
    """The augmentation kernel K = exp(-C/ε) (Definition 3 of the paper).

    Made by `cosine_kernel` or `cost_kernel`; a pytree, so it passes through `jit`, `grad`, `vmap`.
    Holds the points, whose cosines are the cost, or the cost matrix; with a cost function, both.
    On a mapped axis `axis_name` it holds the points of all devices, and each goes over its share of
    the rows. K is 0 at the pairs of `excluded`, and tilted at those of `prior`; `counts` tells
    whether the batch has a pair that counts, None where that is known.
    """

    epsilon: Float[Array, ""]
    points_a: Float[Array, "n d"] | None = None
    points_b: Float[Array, "m d"] | None = None
    cost: Float[Array, "n m"] | None = None
    layout: Layout = dataclasses.field(default="cross", metadata=_STATIC)
    self_pairs: SelfPairs = dataclasses.field(default="exclude", metadata=_STATIC)
    similarity_floor: float | None = dataclasses.field(default=None, metadata=_STATIC)
    domain: Domain = dataclasses.field(default="log", metadata=_STATIC)
    block_size: int | None = dataclasses.field(default=None, metadata=_STATIC)
    axis_name: AxisName | None = dataclasses.field(default=None, metadata=_STATIC)
    precision: Precision = dataclasses.field(default="highest", metadata=_STATIC)
    excluded: Excluded | None = None
    prior: Prior | None = None
    counts: Bool[Array, ""] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(n, m): rows and columns of K (2B, 2B in the joint layout)."""
        if self.cost is not None:
            return self.cost.shape[0], self.cost.shape[1]
        assert self.points_a is not None
        assert self.points_b is not None
        return self.points_a.shape[0], self.points_b.shape[0]

    @property
    def dtype(self) -> jnp.dtype:
        """float32 or float64."""
        return self.epsilon.dtype

    @property
    def generator(self) -> Points:
        """What the sweeps of the scaling domain form K from."""
        assert self.points_a is not None
        joint = self.layout == "joint"
        columns = None if joint else self.points_b
        return Points(
            self.points_a, columns, self.epsilon, joint, self.block_size, self.axis_name,
            self.precision == "bfloat16", self.excluded, self.prior,
        )  # fmt: skip

    def over_rows(self, fn: Callable[[Array, Array], tuple[Summed, Kept]]) -> tuple[Summed, Kept]:
        """Go over the rows in the blocks in which K is formed, on all devices that share them.

        Args:
          fn: (log K of some rows [k, m], their indices [k]) → (what to sum, what to stack).

        Returns:
          The sums over the blocks, and the stacked results in the order of the rows.
        """
        rows = jnp.arange(self.shape[0])
        if self.domain == "log":
            return fn(self.log_matrix, rows)
        return make_passes(self.generator).over_rows(lambda k, rows: fn(log(k), rows), rows)

    def sum_over_rows(self, fn: Callable[[Array, Array], Summed]) -> Summed:
        """Sum fn(log K of some rows [k, m], their indices [k]) over the blocks of rows."""
        return self.over_rows(lambda log_k, rows: (fn(log_k, rows), ()))[0]

    @property
    def log_positives(self) -> Float[Array, " k"]:
        """log K of row i with column i, or with the other view (2B,)."""
        joint = self.layout == "joint"
        if self.cost is not None:
            cost = self.cost.diagonal(self.cost.shape[0] // 2 if joint else 0)
        else:
            a, b = self.views
            pairs = min(a.shape[0], b.shape[0])
            cost = 1.0 - self._floored(jnp.sum(a[:pairs] * b[:pairs], axis=1))
        log_k = -(jnp.concatenate([cost, cost]) if joint else cost) / self.epsilon
        if self.prior is not None:
            index = jnp.arange(log_k.size)
            log_k += self.prior.at(index, index)
        counted = self.counted_positives
        return log_k if counted is None else jnp.where(counted, log_k, -jnp.inf)

    @property
    def counted_positives(self) -> Bool[Array, " k"] | None:
        """Which pairs of `log_positives` count; None: all."""
        return None if self.excluded is None else self.excluded.positives

    def log_at(self, rows: Int[Array, " k"], columns: Int[Array, " k"]) -> Float[Array, " k"]:
        """Return log K of these pairs, of points without a floor and of which none is excluded."""
        if self.cost is not None:
            log_k = -self.cost[rows, columns] / self.epsilon
        else:
            assert self.points_a is not None
            assert self.points_b is not None
            cosines = jnp.sum(self.points_a[rows] * self.points_b[columns], axis=1)
            log_k = (cosines - 1.0) / self.epsilon
        return log_k if self.prior is None else log_k + self.prior.at(rows, columns)

    def _floored(self, cosine: Array) -> Array:
        floor = self.similarity_floor
        return cosine if floor is None else jnp.maximum(cosine, floor)

    @property
    def views(self) -> tuple[Float[Array, "n d"], Float[Array, "m d"]]:
        """The points of both views, in either layout."""
        assert self.points_a is not None
        assert self.points_b is not None
        if self.layout == "cross":
            return self.points_a, self.points_b
        a, b = jnp.split(self.points_a, 2)
        return a, b

    @property
    def transposed(self) -> "Kernel":
        """Kᵀ (m, n): that of the two sides exchanged."""
        if self.prior is not None:
            raise ValueError("a kernel with a prior is not transposed: exchange the sides before")
        cost = None if self.cost is None else self.cost.T
        excluded = None if self.excluded is None else self.excluded.transposed
        a, b = self.points_b, self.points_a
        return dataclasses.replace(self, points_a=a, points_b=b, cost=cost, excluded=excluded)

    @property
    def valid(self) -> tuple[Bool[Array, " n"] | None, Bool[Array, " m"] | None]:
        """Which samples of both views count, in either layout; None: all."""
        if self.excluded is None or self.excluded.rows is None:
            return None, None
        if self.layout == "cross":
            return self.excluded.rows, self.excluded.columns
        a, b = jnp.split(self.excluded.rows, 2)
        return a, b

    @property
    def cost_matrix(self) -> Float[Array, "n m"]:
        """C (n, m), without regard to excluded pairs."""
        if self.cost is not None:
            return self.cost
        assert self.points_a is not None
        assert self.points_b is not None
        exact = jax.lax.Precision.HIGHEST  # TF32 on a GPU is too coarse to divide by ε
        return 1.0 - self._floored(jnp.matmul(self.points_a, self.points_b.T, precision=exact))

    @property
    def log_matrix(self) -> Float[Array, "n m"]:
        """log K (n, m); -inf where a pair is excluded."""
        cost = self.cost_matrix
        n, m = cost.shape
        excluded = None if self.excluded is None else self.excluded.of(jnp.arange(n), m)
        if self.layout == "joint":
            self_pair = jnp.eye(n, dtype=bool)
            if self.self_pairs == "max_cost":
                counted = cost if excluded is None else jnp.where(excluded, -jnp.inf, cost)
                cost = jnp.where(self_pair, counted.max(), cost)
            else:
                excluded = self_pair if excluded is None else excluded | self_pair
        log_k = -cost / self.epsilon
        if self.prior is not None:
            log_k = self.prior.tilt(log_k, jnp.arange(n))
        return log_k if excluded is None else jnp.where(excluded, -jnp.inf, log_k)


def cosine_kernel(
    z_a: Float[ArrayLike, "n d"],
    z_b: Float[ArrayLike, "m d"],
    *,
    epsilon: ArrayLike = 0.5,
    layout: Layout = "cross",
    similarity_floor: float | None = None,
    self_pairs: SelfPairs = "exclude",
    domain: Domain | None = None,
    block_size: int | None = None,
    axis_name: AxisName | None = None,
    epsilon_min: float | None = None,
    precision: Precision | None = None,
    valid: Valid | None = None,
    ignore: Ignore | None = None,
) -> Kernel:
    """Form the kernel of the cosine cost, K_ij = exp(-(1 - cos(z'_i, z''_j)) / ε).

    Args:
      z_a: Embeddings of the first view, (n, d); normalised here. Below float32 they are cast up.
      z_b: Embeddings of the second view, (m, d); n = m in the joint layout.
      epsilon: ε > 0, the entropic regularisation, which is contrastive learning's temperature. A
        traced one that is not above 0 makes K, and the loss, NaN.
      layout: "cross", z_a against z_b, positives on the diagonal; or "joint" (SimCLR's), all 2B
        views against all 2B views.
      similarity_floor: Clamps cosines from below (the authors' code: 1e-7); None does not.
      self_pairs: Joint layout only. "exclude" gives a view's pair with itself log K = -inf;
        "max_cost" gives it the batch's largest cost, as the authors' code does.
      domain: How sweeps are run, see `ot.engine.domain`, whose rule None follows; "scaling" has
        neither floor nor "max_cost".
      block_size: Rows of K formed at a time in the scaling domain; n or more keeps K whole. None
        follows the rule of `ot.engine.domain`.
      axis_name: Inside `jax.shard_map`, the axis over which the rows of z_a and z_b are split: they
        are gathered, and each device forms and goes over its share of K's rows.
      epsilon_min: A lower bound that the caller states for a traced (learned) ε, so that the rule
        knows it is not too small for the scaling domain. Below it K, and the loss, is NaN.
      precision: "bfloat16" rounds the unit embeddings to it, once, so that products with them in
        the scaling domain are of bfloat16 numbers (two for a weight of the gradient), summed in
        float32; K and the scalings stay float32. The gradient passes through the rounding as it
        is. None is "highest".
      valid: Which samples count, booleans (n,), or a pair of them for rows (n,) and columns (m,).
        K is 0 in rows and columns of the others, which get no gradient.
      ignore: Pairs at which K is 0: those of one id (integers (n,), or a pair for both sides; -1 is
        of none), or booleans (n, m); never a row with its positive. In the joint layout of samples,
        or booleans (2B, 2B) of views.

    Returns:
      A `Kernel`.

    Raises:
      ValueError: wrong shapes or dtype, ε <= 0, an unknown name, a floor outside [-1, 1]; a domain,
        a block size or an axis that does not go with the rest.

    >>> kernel = cosine_kernel(jnp.eye(2), jnp.eye(2), epsilon=0.5)
    >>> jnp.exp(kernel.log_matrix).round(4)  # e^(-1/ε) for orthogonal embeddings
    Array([[1.    , 0.1353],
           [0.1353, 1.    ]], dtype=float32)
    """
    if axis_name is not None:
        z_a, z_b = gathered(z_a, z_b, axis_name)
    a, b = inputs.embeddings(z_a, z_b, layout)
    if similarity_floor is not None:
        check.between("similarity_floor", similarity_floor, -1.0, 1.0)
    precision = "highest" if precision is None else precision
    check.one_of("precision", precision, ("highest", "bfloat16"))
    excluded = inputs.excluded(a.shape[0], b.shape[0], layout, valid, ignore)
    a, b = inputs.emptied(a, b, layout, excluded)
    a, b = normalize(a), normalize(b)
    if precision == "bfloat16":
        a, b = _rounded(a), _rounded(b)
    options: Any = {"similarity_floor": similarity_floor, "precision": precision}
    options["excluded"] = excluded
    kernel = _point_kernel(a, b, epsilon, layout, self_pairs, **options)
    known = float(np.asarray(epsilon)) if check.is_concrete(epsilon) else None
    if epsilon_min is not None:
        check.positive("epsilon_min", epsilon_min)
        kernel = _bounded(kernel, known, epsilon_min, f"epsilon_min={epsilon_min}")
    bound = epsilon_min if known is None else known
    plain = similarity_floor is None and self_pairs == "exclude"
    domain, block_size = choose(
        kernel.shape, bound if plain else None, domain, block_size, axis_name
    )
    if domain == "scaling" and not plain:
        raise ValueError("domain='scaling' has no similarity_floor and no self_pairs='max_cost'")
    if domain == "scaling":
        least = smallest_epsilon(kernel.dtype)
        kernel = _bounded(kernel, known, least, f"{least} in the scaling domain of {kernel.dtype}")
    return dataclasses.replace(kernel, domain=domain, block_size=block_size, axis_name=axis_name)


def cost_kernel(
    cost: Float[ArrayLike, "n m"] | CostFn,
    z_a: Float[ArrayLike, "n d"] | None = None,
    z_b: Float[ArrayLike, "m d"] | None = None,
    *,
    epsilon: ArrayLike = 0.5,
    layout: Layout = "cross",
    self_pairs: SelfPairs = "exclude",
    valid: Valid | None = None,
    ignore: Ignore | None = None,
    unit: bool = False,
) -> Kernel:
    """Form the kernel of any cost: a matrix, or an OTT-JAX cost function (Definition 3).

    Args:
      cost: C (n, m), or an `ott.geometry.costs.CostFn`, evaluated on all pairs of z_a and z_b.
      z_a: Points (n, d), taken as they are, with a cost function; not allowed with a matrix.
      z_b: Points (m, d), likewise.
      epsilon: ε > 0.
      layout: As in `cosine_kernel`; a matrix is always "cross" unless it is square.
      self_pairs: As in `cosine_kernel`.
      valid: As in `cosine_kernel`.
      ignore: As in `cosine_kernel`.
      unit: Whether points are scaled to unit length first.

    Returns:
      A `Kernel`.

    Raises:
      ValueError: wrong shapes, ε <= 0, points beside a matrix or none beside a cost function.

    >>> cost_kernel(jnp.array([[1.0, 2.0]]), epsilon=0.5).log_matrix.tolist()
    [[-2.0, -4.0]]
    """
    if hasattr(cost, "all_pairs"):
        measure: Any = cost
        if z_a is None or z_b is None:
            raise ValueError(
                "a cost function needs the points: cost_kernel(cost_fn, z_a, z_b, ...)"
            )
        a, b = inputs.embeddings(z_a, z_b, layout)
        excluded = inputs.excluded(a.shape[0], b.shape[0], layout, valid, ignore)
        a, b = inputs.emptied(a, b, layout, excluded)
        if unit:
            a, b = normalize(a), normalize(b)
        kernel = _point_kernel(a, b, epsilon, layout, self_pairs, excluded=excluded)
        assert kernel.points_a is not None
        assert kernel.points_b is not None
        matrix = _measured(measure, kernel.points_a, kernel.points_b)
        return dataclasses.replace(kernel, cost=matrix)
    if z_a is not None or z_b is not None:
        raise ValueError("cost_kernel takes either a cost matrix or a cost function with points")
    _check_options(epsilon, layout, self_pairs)
    matrix = jnp.asarray(cost)
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise ValueError(f"cost must be a matrix (n, m), got shape {matrix.shape}")
    if layout == "joint" and (matrix.shape[0] != matrix.shape[1] or matrix.shape[0] % 2):
        raise ValueError(f"cost must be (2B, 2B) in the joint layout, got shape {matrix.shape}")
    matrix = matrix.astype(jnp.promote_types(matrix.dtype, jnp.float32))
    n, m = (size // 2 if layout == "joint" else size for size in matrix.shape)
    excluded = inputs.excluded(n, m, layout, valid, ignore)
    return Kernel(
        _positive(epsilon, matrix.dtype), cost=matrix, layout=layout, self_pairs=self_pairs,
        excluded=excluded,
    )  # fmt: skip


def _measured(cost: CostFn, a: Array, b: Array) -> Array:
    """Measure all pairs; the value is that without a derivative.

    OTT-JAX's costs of a norm (`Euclidean`, `PNormP`, `EuclideanP`) have a derivative rule that
    changes the value itself where two points coincide, to √d for 0.
    """
    with jax.numpy_rank_promotion("allow"):
        value = cost.all_pairs(*jax.lax.stop_gradient((a, b)))
        changed = cost.all_pairs(a, b)
    return jax.lax.stop_gradient(value) + (changed - jax.lax.stop_gradient(changed))


def _point_kernel(
    a: Array, b: Array, epsilon: ArrayLike, layout: Layout, self_pairs: SelfPairs, **options: Any
) -> Kernel:
    _check_options(epsilon, layout, self_pairs)
    if layout == "joint":
        a = b = jnp.concatenate([a, b])
    return Kernel(
        _positive(epsilon, a.dtype), a, b, layout=layout, self_pairs=self_pairs, **options
    )


def _rounded(x: Array) -> Array:
    """Round to the numbers of bfloat16; the gradient is that of the identity."""
    return x + jax.lax.stop_gradient(jax.lax.reduce_precision(x, 8, 7) - x)


def _positive(epsilon: ArrayLike, dtype: jnp.dtype) -> Float[Array, ""]:
    """Return ε as an array; NaN, as the loss is then, where it is traced and not above 0."""
    value = jnp.asarray(epsilon, dtype)
    return value if check.is_concrete(epsilon) else jnp.where(value > 0, value, jnp.nan)


def _bounded(kernel: Kernel, known: float | None, bound: float, words: str) -> Kernel:
    """Refuse a known ε below a bound, or makes a traced one NaN; `words` name the bound."""
    if known is None:
        epsilon = jnp.where(kernel.epsilon >= bound, kernel.epsilon, jnp.nan)
        return dataclasses.replace(kernel, epsilon=epsilon)
    if known < bound:
        raise ValueError(f"epsilon must be >= {words}, got {known}")
    return kernel


def _check_options(epsilon: ArrayLike, layout: Layout, self_pairs: SelfPairs) -> None:
    check.positive("epsilon", epsilon)
    check.one_of("layout", layout, ("cross", "joint"))
    check.one_of("self_pairs", self_pairs, ("exclude", "max_cost"))
    if layout == "cross" and self_pairs != "exclude":
        raise ValueError(
            f"self_pairs={self_pairs!r} needs layout='joint': "
            "the cross layout pairs no view with itself"
        )
