"""What the losses share: the kernel of two batches, marginals, the plan of T sweeps, and `aux`."""

import dataclasses
import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, Never, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float

from gca_jax import check, metrics, ot
from gca_jax.losses._diagnosis import DIAGNOSED, diagnose, may_be_wanted
from gca_jax.ot import divergence, engine, inputs, sums
from gca_jax.ot.target import Target, resolve, uniform_unless
from gca_jax.ot.target_types import AnyTarget, DenseTarget, SimilarityTarget

Out = tuple[Float[Array, ""], dict[str, Any]]
Marginals = Literal["target", "uniform"]
Gradient = Literal["unrolled", "envelope", "implicit"]
TargetLike = AnyTarget | ArrayLike | Callable[[ot.Plan], AnyTarget | ArrayLike] | None


class KernelOptions(TypedDict, total=False):
    """How a kernel is formed and its sweeps are run; keywords of every loss but `byol`.

    Attributes:
      similarity_floor: Clamps cosines from below (the authors' code: 1e-7); None does not.
      self_pairs: Joint layout only: "exclude", or "max_cost" as in the authors' code.
      cost_fn: An OTT-JAX `CostFn` of two unit embeddings in place of 1 - cos.
      domain: "scaling", "log", or None, which takes "scaling" for a known ε >= 0.03.
      block_size: Rows of K formed at a time (scaling domain); None keeps K whole while a device's
        share takes at most a sixteenth of its memory, up to n = 16,384 on a CPU.
      axis_name: Inside `jax.shard_map`: the axis, or axes, that split the rows of z_a and z_b.
      epsilon_min: A lower bound stated for a traced (learned) ε; at 0.03 or more the sweeps run in
        the scaling domain, 10 times faster than in "log". Below it the loss is NaN.
      precision: "bfloat16" rounds unit embeddings to it, see `ot.cosine_kernel`; None: "highest".
      diagnose: Whether `aux` has what takes another pass over K; may be traced: NaN where false.
      keep_plan: Whether `aux` has the plan and the target too, an `ot.Plan` and a target.
      valid: Which samples count [n], booleans, or a pair of them for z_a [n] and z_b [m]: value and
        `aux` are those of these samples alone, and the others get no gradient. If none counts, or
        no pair has target mass, the value is 0 with a zero gradient.
      ignore: Pairs that are neither negatives nor positives, as known positives and repeated
        captions: those of one id (integers [n], or a pair for z_a and z_b; -1 is of none), or
        booleans [n, m]. A sample's own pair always counts.
    """

    similarity_floor: float | None
    self_pairs: ot.SelfPairs
    cost_fn: ot.CostFn | None
    domain: ot.Domain | None
    block_size: int | None
    axis_name: engine.AxisName | None
    epsilon_min: float | None
    precision: ot.Precision | None
    diagnose: bool | Bool[Array, ""]
    keep_plan: bool
    valid: inputs.Valid | None
    ignore: inputs.Ignore | None


KERNEL_DEFAULTS: dict[str, Any] = dict.fromkeys(KernelOptions.__annotations__)
KERNEL_DEFAULTS |= {"self_pairs": "exclude", "diagnose": False, "keep_plan": False}


def form_kernel(
    z_a: ArrayLike, z_b: ArrayLike, epsilon: ArrayLike, layout: ot.Layout, options: KernelOptions
) -> ot.Kernel:
    """Form the kernel of two batches: of their cosines, or of a `cost_fn` on their unit vectors."""
    how: dict[str, Any] = {**KERNEL_DEFAULTS, **options, "epsilon": epsilon, "layout": layout}
    cost_fn = how.pop("cost_fn")
    del how["diagnose"], how["keep_plan"]
    if cost_fn is None:
        return ot.cosine_kernel(z_a, z_b, **how)
    if how["similarity_floor"] is not None:
        raise ValueError("similarity_floor clamps cosines and has no meaning with cost_fn=")
    of_cosines = ("block_size", "axis_name", "precision")
    if how["domain"] == "scaling" or any(how[x] is not None for x in of_cosines):
        raise ValueError(
            "cost_fn= runs in the log domain: it takes no block_size, no axis_name, no precision"
        )
    same = {key: how[key] for key in ("epsilon", "layout", "self_pairs", "valid", "ignore")}
    return ot.cost_kernel(cost_fn, z_a, z_b, unit=True, **same)


def of_plan(target: TargetLike, prior: AnyTarget, plan: ot.Plan) -> AnyTarget:
    """Evaluate a target that is a function of the plan; return `prior` for any other."""
    if not callable(target):
        return prior
    return resolve(target(jax.lax.stop_gradient(plan)), plan.kernel)


def row_marginal(target: AnyTarget, mu: ArrayLike | None, marginals: Marginals) -> ArrayLike | None:
    """Return μ as given, or the target's row sums; None is uniform."""
    check.one_of("marginals", marginals, ("target", "uniform"))
    if mu is not None or marginals == "uniform":
        return mu
    return sums.row_sums(target)


def fit_marginals(
    target: AnyTarget, mu: ArrayLike | None, nu: ArrayLike | None, marginals: Marginals
) -> dict[str, Any]:
    """Return μ and ν as given, or the target's sums, as keywords of `ot.project`."""
    mu = row_marginal(target, mu, marginals)
    if nu is not None or marginals == "uniform":
        return {"mu": mu, "nu": nu}
    if isinstance(target, Target) and target.leaves_columns_out:
        raise ValueError(
            f"the target {target.shape} has columns without mass; pass marginals='uniform' or nu= "
            "to keep them as negatives"
        )
    return {"mu": mu, "nu": sums.column_sums(target)}


def tau(penalty: ArrayLike, epsilon: ArrayLike, kernel: ot.Kernel) -> ArrayLike:
    """Compute τ = λ/(λ+ε), 1 for λ = ∞; a traced ε is taken as the kernel has it."""
    if check.is_concrete(penalty) and np.isinf(np.asarray(penalty)).all():
        return 1.0
    if isinstance(penalty, float | int) and check.is_concrete(epsilon):
        return penalty / (penalty + float(np.asarray(epsilon)))
    hard = jnp.isinf(penalty)
    soft = jnp.where(hard, 1.0, penalty)
    return jnp.where(hard, 1.0, soft / (soft + kernel.epsilon))


def penalty_of(name: str, penalty: ArrayLike, size: int, layout: ot.Layout) -> ArrayLike:
    """Check λ: a number, or one for each row (or column) of the kernel."""
    check.between(name, penalty, 0.0, math.inf)
    if jnp.ndim(penalty) == 0:
        known = check.is_concrete(penalty)
        return float(np.asarray(penalty)) if known else penalty
    samples = size // 2 if layout == "joint" else size
    if jnp.shape(penalty) not in ((samples,), (size,)):
        raise ValueError(
            f"{name} must be a number or one for each of {samples} samples, shape ({samples},); "
            f"got shape {jnp.shape(penalty)}"
        )
    return jnp.tile(jnp.asarray(penalty), size // jnp.size(penalty))


def sinkhorn(
    name: str,
    kernel: ot.Kernel,
    target: AnyTarget,
    *,
    iterations: int,
    until: float | None,
    gradient: Gradient,
    mu: ArrayLike | None,
    nu: ArrayLike | None,
    marginals: Marginals,
    gradients: tuple[Gradient, ...] = ("unrolled", "envelope", "implicit"),
    **options: Any,
) -> ot.Plan:
    """Project by T sweeps, or to convergence, with the gradient that is asked for.

    `gradients` are those that the loss has; `options` are keywords of `ot.project`.
    """
    check.one_of(f"gradient of {name}", gradient, gradients)
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
    fitted = fit_marginals(target, mu, nu, marginals)
    if until is not None:
        plan = ot.project(kernel, until=until, **fitted, **options)
    else:
        check.at_least("iterations", iterations, 1)
        plan = ot.project(kernel, half_steps=2 * iterations, **fitted, **options)
    return plan.frozen() if gradient == "envelope" else plan


def marginal_penalties(plan: ot.Plan, penalty_a: ArrayLike, penalty_b: ArrayLike) -> Array:
    """Compute λ₁ KL(P1 ‖ μ) + λ₂ KL(Pᵀ1 ‖ ν) of equation 9."""
    for name, penalty in (("penalty_a", penalty_a), ("penalty_b", penalty_b)):
        if check.is_concrete(penalty) and np.isinf(np.asarray(penalty)).any():
            raise ValueError(f"penalise_marginals weighs the marginals by {name}, which is inf")
    rows = divergence.marginal_kl(plan.row_marginal, plan.mu, penalty_a)
    return rows + divergence.marginal_kl(plan.column_marginal, plan.nu, penalty_b)


class Aux(dict[str, Any]):
    """Scalars by name; those of the diagnosis are there with `diagnose=True`."""

    def __missing__(self, key: str) -> Never:
        if key in DIAGNOSED:
            raise KeyError(f"{key} is computed with diagnose=True alone")
        raise KeyError(key)


def _flatten(aux: Aux) -> tuple[list[tuple[jax.tree_util.DictKey, Any]], tuple[str, ...]]:
    names = tuple(sorted(aux))
    return [(jax.tree_util.DictKey(name), aux[name]) for name in names], names


jax.tree_util.register_pytree_with_keys(
    Aux, _flatten, lambda names, values: Aux(zip(names, values, strict=True))
)


def with_target(kernel: ot.Kernel, target: TargetLike) -> tuple[ot.Kernel, AnyTarget]:
    """Return the kernel and the target plan in its layout, before a plan is known.

    Where no pair has mass, all count instead, so that gradients are finite; `Kernel.counts` tells,
    and `counted` makes the value 0.
    """
    given = None if callable(target) else target
    prior = resolve(given, kernel)
    if kernel.excluded is None and (given is None or isinstance(given, SimilarityTarget)):
        return kernel, prior
    is_array = not isinstance(given, Target | SimilarityTarget | DenseTarget | None)
    if is_array and kernel.excluded is None:  # by the sum that it was scaled by
        some = sums.has_mass(DenseTarget(jnp.asarray(given)))
    else:
        some = sums.has_mass(prior)
    if check.is_concrete(some) and some:
        return kernel, prior
    excluded = None if kernel.excluded is None else kernel.excluded.unless(~some)
    kernel = dataclasses.replace(kernel, excluded=excluded, counts=some)
    scaled = isinstance(prior, DenseTarget) and excluded is None
    return kernel, resolve(uniform_unless(some, prior if scaled else given, kernel), kernel)


def counted(value: Array, kernel: ot.Kernel) -> Array:
    """Return a loss, 0 with a zero gradient where no pair of the batch counts."""
    return value if kernel.counts is None else jnp.where(kernel.counts, value, 0.0)


def report(
    name: str,
    value: Array,
    plan: ot.Plan,
    target: AnyTarget,
    options: KernelOptions,
    kl: bool = False,
    **more: Array,
) -> Out:
    """Return the value and `aux`, with `more`; under `jit`, entries not used cost nothing."""
    value = counted(value, plan.kernel)
    if check.is_concrete(value) and not jnp.isfinite(value):
        reason = (
            f"with these hyper-parameters it leaves the range of {value.dtype}; raise epsilon, "
            "lower q, or use float64"
        )
        if not all(jnp.isfinite(view).all() for view in plan.kernel.views):
            reason = "z_a or z_b has an entry that is not finite"
        warnings.warn(f"{name} is {value}: {reason}", RuntimeWarning, stacklevel=3)
    done = plan.converged
    if done is not None and check.is_concrete(done) and not done:
        warnings.warn(
            f"{name} is of a plan that has not converged: until= was not reached; raise epsilon, "
            "or until (in float32 about 1e-6 is the least)",
            RuntimeWarning,
            stacklevel=3,
        )
    aux = {"alignment": alignment(plan.kernel), **_of_vectors(plan, target), **more}
    aux["overflow"] = ~jnp.isfinite(value)
    replicated = partial(engine.replicated, axis_name=plan.kernel.axis_name)
    value, aux = jax.tree.map(replicated, (value, aux))
    wanted = options.get("diagnose", False)
    if may_be_wanted(wanted):
        known, aux = aux["residual"], aux | diagnose(plan, target, wanted, kl)
        aux["residual"] = jnp.where(wanted, aux["residual"], known)
        # Never true, but it makes the reverse pass, which overwrites K, wait for the diagnosis.
        value = jnp.where(aux["contrastive_accuracy"] > 2, jnp.nan, value)
    if options.get("keep_plan"):
        aux |= {"plan": plan, "target": target}
    return value, Aux(aux)


@jax.jit
def alignment(kernel: ot.Kernel) -> Float[Array, ""]:
    """Compute the alignment of the unit embeddings."""
    a, b = jax.lax.stop_gradient(kernel.views)
    pairs = min(a.shape[0], b.shape[0])
    counted = kernel.counted_positives
    counted = None if counted is None else counted[:pairs]
    return metrics.alignment(a[:pairs], b[:pairs], valid=counted)


@jax.jit  # traced once for all losses of these shapes
def _of_vectors(plan: ot.Plan, target: AnyTarget) -> dict[str, Array]:
    """Compute what needs no pass over the kernel, and record how its sweeps were run."""
    plan, target = jax.lax.stop_gradient((plan, target))
    free = plan.mass if plan.exact is None else jnp.ones((), plan.mu.dtype)
    rows = 2.0 if plan.kernel.layout == "joint" else 1.0  # in which a pair stands
    aux = {
        "mass": plan.mass,
        "positive_mass": plan.positive_mass / free,
        "residual": plan.known_residual,
        "effective_pairs": 1.0 / jnp.sum(jnp.square(sums.row_sums(target))) / rows,
        "block_size": jnp.asarray(plan.kernel.block_size or 0),
        "scaling_domain": jnp.asarray(plan.kernel.domain == "scaling"),
    }
    if plan.sweeps is not None:
        aux["sweeps"] = plan.sweeps
    if plan.converged is not None:
        aux["converged"] = plan.converged
    return aux
