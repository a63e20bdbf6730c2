"""The methods of the paper as one table: each a kernel, a projection and a divergence, as data.

The parts are functions whose keyword-only arguments are hyper-parameters; `losses` makes the public
functions of them. A new method is one row of `ROWS`.
"""

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike

from gca_jax import ot
from gca_jax.ot import check, divergence, sums
from gca_jax.ot.target import AnyTarget, Target

Gradient = Literal["unrolled", "envelope", "implicit"]
Marginals = Literal["target", "uniform"]


@dataclasses.dataclass(frozen=True)
class Row:
    """A method as data: its parts, whose keyword-only arguments are its hyper-parameters.

    Attributes:
      summary: One line and the equation.
      kernel: (z_a, z_b, **hyper) → Kernel.
      project: (kernel, target, **hyper) → Plan.
      measure: (plan, target, **hyper) → value, the divergence from the target.
      defaults: Defaults that differ from the parts'.
      fixed: Keywords of the parts that the method settles, and so does not take.
      gradients: The gradients it has, where `project` offers a choice.
    """

    summary: str
    kernel: Callable[..., ot.Kernel]
    project: Callable[..., ot.Plan]
    measure: Callable[..., Array]
    defaults: dict[str, Any] = dataclasses.field(default_factory=dict)
    fixed: dict[str, Any] = dataclasses.field(default_factory=dict)
    gradients: tuple[Gradient, ...] = ("unrolled", "envelope", "implicit")


# Kernels


def _similarity(
    z_a: ArrayLike,
    z_b: ArrayLike,
    *,
    epsilon: ArrayLike = 0.5,
    layout: ot.Layout = "cross",
    similarity_floor: float | None = None,
    self_pairs: ot.SelfPairs = "exclude",
    cost_fn: Any = None,
    domain: ot.Domain | None = None,
    block_size: int | None = None,
    axis_name: str | None = None,
) -> ot.Kernel:
    options: dict[str, Any] = {"epsilon": epsilon, "layout": layout, "self_pairs": self_pairs}
    if cost_fn is None:
        options |= {"domain": domain, "block_size": block_size, "axis_name": axis_name}
        return ot.cosine_kernel(z_a, z_b, similarity_floor=similarity_floor, **options)
    if similarity_floor is not None:
        raise ValueError("similarity_floor clamps cosines and has no meaning with cost_fn=")
    if block_size is not None or axis_name is not None or domain == "scaling":
        raise ValueError("cost_fn= runs in the log domain: it takes no block_size and no axis_name")
    a, b = check.embeddings(z_a, z_b, layout)
    return ot.cost_kernel(cost_fn, ot.normalize(a), ot.normalize(b), **options)


def _prediction_error(z_a: ArrayLike, z_b: ArrayLike) -> ot.Kernel:
    a, b = check.embeddings(z_a, z_b, "cross")
    return ot.cost_kernel(ot.SquaredEuclidean(), ot.normalize(a), ot.normalize(b), epsilon=1.0)


# Projections


def _rows(
    kernel: ot.Kernel,
    target: AnyTarget,
    *,
    mu: ArrayLike | None = None,
    marginals: Marginals = "target",
) -> ot.Plan:
    check.one_of("marginals", marginals, ("target", "uniform"))
    if mu is None and marginals == "target":
        mu = sums.row_sums(target)
    return ot.project(kernel, half_steps=1, mu=mu)


def _sinkhorn(
    kernel: ot.Kernel,
    target: AnyTarget,
    *,
    iterations: int = 10,
    penalty_a: ArrayLike = math.inf,
    penalty_b: ArrayLike = math.inf,
    until: float | None = None,
    gradient: Gradient = "unrolled",
    mu: ArrayLike | None = None,
    nu: ArrayLike | None = None,
    marginals: Marginals = "target",
    end_on_rows: bool = False,
    keep_rows: bool = False,
) -> ot.Plan:
    if (until is not None) != (gradient == "implicit") and gradient != "envelope":
        raise ValueError(
            f"gradient={gradient!r} and until={until} do not go together: until= converges the "
            "plan, whose gradient is 'implicit' or 'envelope'; a fixed number of iterations has "
            "'unrolled' or 'envelope'"
        )
    if gradient == "envelope" and not (mu is None and nu is None and marginals == "target"):
        raise ValueError(
            "gradient='envelope' holds where the plan's marginals are the target's own sums: "
            "leave out mu and nu and keep marginals='target'"
        )
    check.one_of("marginals", marginals, ("target", "uniform"))
    if marginals == "target":
        mu, nu = _target_marginals(target, mu, nu)
    tau_a, tau_b = _tau("penalty_a", penalty_a, kernel), _tau("penalty_b", penalty_b, kernel)
    project = partial(ot.project, kernel, mu=mu, nu=nu, tau_a=tau_a, tau_b=tau_b)
    if until is not None:
        plan = project(until=until)
    else:
        check.at_least("iterations", iterations, 1)
        plan = project(half_steps=2 * iterations - end_on_rows, keep_rows=keep_rows)
    return plan.frozen() if gradient == "envelope" else plan


def _target_marginals(
    target: AnyTarget, mu: ArrayLike | None, nu: ArrayLike | None
) -> tuple[ArrayLike, ArrayLike]:
    if nu is None and isinstance(target, Target) and target.leaves_columns_out:
        raise ValueError(
            f"the target {target.shape} has columns without mass; pass marginals='uniform' or nu= "
            "to keep them as negatives"
        )
    mu = sums.row_sums(target) if mu is None else mu
    return mu, sums.column_sums(target) if nu is None else nu


def _tau(name: str, penalty: ArrayLike, kernel: ot.Kernel) -> ArrayLike:
    """τ = λ/(λ+ε); 1 for a hard constraint, λ = ∞."""
    check.between(name, penalty, 0.0, math.inf)
    if check.is_infinite(penalty):
        return 1.0
    if check.is_concrete(penalty) and kernel.known_epsilon is not None:
        penalty = float(np.asarray(penalty))
        return penalty / (penalty + kernel.known_epsilon)
    return penalty / (penalty + kernel.epsilon)


def _identity(kernel: ot.Kernel, target: AnyTarget) -> ot.Plan:
    return ot.unprojected(kernel)


# Divergences from the target


def _kl(plan: ot.Plan, target: AnyTarget) -> Array:
    return divergence.kl(target, plan)


def _cross_entropy(plan: ot.Plan, target: AnyTarget) -> Array:
    return divergence.cross_entropy(target, plan)


def _rince(
    plan: ot.Plan, target: AnyTarget, *, q: ArrayLike = 0.98, lam: ArrayLike = 0.01
) -> Array:
    return divergence.w_q(target, plan, q=q, lam=lam, scores=True)


def _kl_and_rince(
    plan: ot.Plan,
    target: AnyTarget,
    *,
    q: ArrayLike = 0.98,
    lam: ArrayLike = 0.01,
    w_kl: ArrayLike = 1.0,
    w_rince: ArrayLike = 0.02,
    mass: divergence.Mass = "rows",
    penalise_marginals: bool = False,
    penalty_a: ArrayLike = 0.2,
    penalty_b: ArrayLike = 0.2,
) -> Array:
    value = jnp.asarray(w_kl) * divergence.kl(target, plan, mass=mass)
    value += jnp.asarray(w_rince) * divergence.w_q(target, plan, q=q, lam=lam)
    if not penalise_marginals:
        return value
    for name, penalty in (("penalty_a", penalty_a), ("penalty_b", penalty_b)):
        if check.is_infinite(penalty):
            raise ValueError(f"penalise_marginals weighs the marginals by {name}, which is inf")
    value += jnp.asarray(penalty_a) * divergence.marginal_kl(plan.row_marginal, plan.mu)
    return value + jnp.asarray(penalty_b) * divergence.marginal_kl(plan.column_marginal, plan.nu)


def _kl_and_uniform(plan: ot.Plan, target: AnyTarget, *, lam_p: ArrayLike = 0.2) -> Array:
    check.between("lam_p", lam_p, 0.0, math.inf)
    return divergence.kl(target, plan) + jnp.asarray(lam_p) * divergence.uniform_kl(target, plan)


_SWEEPS = {"end_on_rows": False, "keep_rows": False}
_HARD = _SWEEPS | {"penalty_a": math.inf, "penalty_b": math.inf}
_JOINT = {"layout": "joint"}

ROWS = {
    "ince": Row("InfoNCE: KL to the row projection (equation 1)", _similarity, _rows, _kl),
    "gca_ince": Row(
        "GCA-INCE: KL to the Sinkhorn plan of T sweeps (equations 7, 8)",
        _similarity,
        _sinkhorn,
        _kl,
        fixed=_HARD,
    ),
    "rince": Row(
        "RINCE: W_q of the row projection (equation 2)",
        _similarity,
        _rows,
        _rince,
        fixed={"mu": None, "marginals": "target"},  # its value has no marginal in it
    ),
    "gca_rince": Row(
        "GCA-RINCE: W_q with column scalings after T - 1 sweeps (equation 13)",
        _similarity,
        _sinkhorn,
        _rince,
        fixed=_HARD | {"end_on_rows": True},
        gradients=("unrolled",),
    ),
    "gca_uot": Row(
        "GCA-UOT: w_kl · KL + w_rince · W_q of the unbalanced plan (equation 9)",
        _similarity,
        _sinkhorn,
        _kl_and_rince,
        defaults={"penalty_a": 0.2, "penalty_b": 0.2},
        fixed=_SWEEPS | {"keep_rows": True},
        gradients=("unrolled", "implicit"),
    ),
    "simclr": Row(
        "SimCLR's NT-Xent: InfoNCE over all 2B views (equation 1)",
        _similarity,
        _rows,
        _kl,
        defaults=_JOINT,
    ),
    "byol": Row(
        "BYOL: mean squared error of the unit predictions (Theorem 4)",
        _prediction_error,
        _identity,
        _cross_entropy,
    ),
    "iot": Row(
        "IOT: GCA-INCE over all 2B views (Shi et al., ICML 2023)",
        _similarity,
        _sinkhorn,
        _kl,
        defaults=_JOINT,
        fixed=_HARD,
    ),
    "iot_uni": Row(
        "IOT-uni: IOT + lam_p · KL(Q‖P), Q uniform off the positives (Shi et al., ICML 2023)",
        _similarity,
        _sinkhorn,
        _kl_and_uniform,
        defaults=_JOINT,
        fixed=_HARD,
        gradients=("unrolled", "implicit"),
    ),
}
