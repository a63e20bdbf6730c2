"""The methods: each loss poses a problem, projects, and measures a divergence."""

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, Never, Unpack

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from gca_jax import check, ot
from gca_jax.losses import _common as common
from gca_jax.losses._common import Gradient, KernelOptions, Marginals, Out, TargetLike
from gca_jax.losses._diagnosis import if_wanted, may_be_wanted, uniformity
from gca_jax.ot import divergence, inputs, sums
from gca_jax.ot.target_types import AnyTarget

Views = Float[ArrayLike, "n d"]
OtherViews = Float[ArrayLike, "m d"]
Loss = Callable[..., Out]


def ince(
    z_a: Views,
    z_b: OtherViews,
    *,
    epsilon: ArrayLike = 0.5,
    layout: ot.Layout = "cross",
    target: TargetLike = None,
    mu: ArrayLike | None = None,
    marginals: Marginals = "target",
    **options: Unpack[KernelOptions],
) -> Out:
    """InfoNCE: KL of the target plan to the row projection of the kernel (equation 1, Theorem 1).

    KL(P_tgt ‖ diag(μ / K1) K); for the identity target mean_i -log softmax_j(cos_ij / ε)_i.

    Args:
      z_a: Embeddings of the first view [n, d].
      z_b: Embeddings of the second view [m, d]; those past n are negatives only.
      epsilon: ε > 0, entropic regularisation, the temperature of contrastive learning. May be
        traced (learned); see docs/engine.md for what that costs.
      layout: "cross" or "joint".
      target: P_tgt of mass 1: None (the identity), a target of `ot.target`, an array [n, m], or a
        function of the plan, such as `ot.learned.self_weighted`.
      mu: Row marginal [n], summing to 1; None follows `marginals`.
      marginals: "target": the target's sums, so that it is feasible; or "uniform".
      **options: See `KernelOptions`.

    Returns:
      The value, and `aux`.

    Raises:
      ValueError: A shape, dtype, name or number that is not allowed.
      TypeError: An unknown keyword.

    >>> z = jnp.eye(4)  # four orthogonal pairs: log(1 + 3 e^(-1/ε))
    >>> f"{ince(z, z, epsilon=0.5)[0]:.4f}"
    '0.3408'
    """
    kernel, prior = _pose("ince", z_a, z_b, epsilon, layout, target, options)
    plan = ot.project(kernel, half_steps=1, mu=common.row_marginal(prior, mu, marginals))
    target = common.of_plan(target, prior, plan)
    return common.report("ince", divergence.kl(target, plan), plan, target, options, kl=True)


def gca_ince(
    z_a: Views,
    z_b: OtherViews,
    *,
    epsilon: ArrayLike = 0.5,
    iterations: int = 10,
    layout: ot.Layout = "cross",
    target: TargetLike = None,
    until: float | None = None,
    gradient: Gradient = "unrolled",
    mu: ArrayLike | None = None,
    nu: ArrayLike | None = None,
    marginals: Marginals = "target",
    **options: Unpack[KernelOptions],
) -> Out:
    """GCA-INCE: KL of the target plan to the Sinkhorn plan of T sweeps (equations 7 and 8).

    KL(P_tgt ‖ diag(u) K diag(v)), u ← μ/(K v), v ← ν/(Kᵀ u), T times from v = 1. The first half of
    the first sweep is `ince`.

    Args:
      z_a: Embeddings of the first view [n, d].
      z_b: Embeddings of the second view [m, d].
      epsilon: As in `ince`.
      iterations: T >= 1 sweeps, two half-steps each.
      layout: "cross" or "joint".
      target: As in `ince`.
      until: Converges the plan to this marginal error by OTT-JAX, in place of `iterations` sweeps;
        NaN where no plan has the marginals (μ_i + ν_i > 1 of a view, in the joint layout).
      gradient: "unrolled": exact derivative of the T-sweep value; "implicit": of the converged one
        (needs `until`); "envelope": (P_tgt - P)/ε, exact at convergence, no reverse sweeps.
      mu: Row marginal [n], summing to 1; None follows `marginals`.
      nu: Column marginal [m], summing to 1; None follows `marginals`.
      marginals: "target": the target's sums, so that it is feasible; or "uniform".
      **options: See `KernelOptions`.

    Returns and errors are those of `ince`.

    >>> z = jnp.eye(4)  # the row projection has the right columns already: the value of ince
    >>> f"{gca_ince(z, z, epsilon=0.5)[0]:.4f}"
    '0.3408'
    """
    if callable(target) and gradient == "envelope":
        raise ValueError("gradient='envelope' needs a target that does not depend on the plan")
    kernel, prior = _pose("gca_ince", z_a, z_b, epsilon, layout, target, options)
    plan = common.sinkhorn(
        "gca_ince", kernel, prior, iterations=iterations, until=until, gradient=gradient,
        mu=mu, nu=nu, marginals=marginals,
    )  # fmt: skip
    target = common.of_plan(target, prior, plan)
    return common.report("gca_ince", divergence.kl(target, plan), plan, target, options, kl=True)


def rince(
    z_a: Views,
    z_b: OtherViews,
    *,
    epsilon: ArrayLike = 0.5,
    q: ArrayLike = 0.98,
    lam: ArrayLike = 0.01,
    layout: ot.Layout = "cross",
    target: TargetLike = None,
    **options: Unpack[KernelOptions],
) -> Out:
    """RINCE: W_q of the row projection (equation 2, Theorem 2; Chuang et al., CVPR 2022).

    mean_i [-(1/q) e^{q s_ii} + (1/q) (λ Σ_j e^{s_ij})^q] with the scores s = cos/ε.

    Args:
      epsilon: As in `ince`. At about q/ε > 80 the value leaves the range of float32 and is
        infinite; `aux` and, out of `jit`, a `RuntimeWarning` say so.
      q: In (0, 1]: robustness to wrong pairs; q → 0 tends to `ince` + log λ.
      lam: λ > 0, weight of the negatives, inside the power. Where the pair has less than the share
        λ of its row's sum, as at the start if λ > 1/n, all of the row's scores are pushed down.
        Two towers can follow until both terms vanish, about e^{-q/ε}: then `aux["repelled"]`, the
        share of pairs that are pushed apart below similarity 0, stays at 1. A lower λ or q helps.
      target: As in `ince`; the sum over positive pairs is weighted by it.

    Other keywords, returns and errors are those of `ince`.

    >>> z = jnp.eye(4)  # -e^2 + λ (e^2 + 3) at q = 1
    >>> f"{rince(z, z, epsilon=0.5, q=1.0, lam=0.01)[0]:.4f}"
    '-7.2852'
    """
    kernel, prior = _pose("rince", z_a, z_b, epsilon, layout, target, options)
    plan = ot.project(kernel, half_steps=1, mu=sums.row_sums(prior))
    target = common.of_plan(target, prior, plan)
    value = divergence.w_q(target, plan, q=q, lam=lam, scores=True)
    apart = divergence.repelled(target, plan, q=q, lam=lam)
    return common.report("rince", value, plan, target, options, repelled=apart)


def gca_rince(
    z_a: Views,
    z_b: OtherViews,
    *,
    epsilon: ArrayLike = 0.5,
    iterations: int = 10,
    q: ArrayLike = 0.98,
    lam: ArrayLike = 0.01,
    layout: ot.Layout = "cross",
    target: TargetLike = None,
    mu: ArrayLike | None = None,
    nu: ArrayLike | None = None,
    marginals: Marginals = "target",
    **options: Unpack[KernelOptions],
) -> Out:
    """GCA-RINCE: W_q with the column scalings v after T - 1 sweeps (equation 13).

    mean_i [-(1/q) (e^{s_ii} v_i)^q + (1/q) (λ Σ_j e^{s_ij} v_j)^q] with s = cos/ε, and v of
    sweeps from v = 1 (equation 7); T = 1 is `rince`. Eq. 13 has P_ii/u_i for e^{s_ii} v_i. The
    value depends on v alone, so only the gradient of the T-sweep value is offered.

    Args:
      iterations: T >= 1.
      target: As in `rince`.

    Other keywords are those of `gca_ince` and `rince`; returns and errors those of `ince`.

    >>> z = jax.random.normal(jax.random.key(0), (2, 4, 3))
    >>> bool(gca_rince(*z, iterations=1)[0] == rince(*z)[0])
    True
    """
    kernel, prior = _pose("gca_rince", z_a, z_b, epsilon, layout, target, options)
    check.at_least("iterations", iterations, 1)
    fitted = common.fit_marginals(prior, mu, nu, marginals)
    plan = ot.project(kernel, half_steps=2 * iterations - 1, **fitted)
    target = common.of_plan(target, prior, plan)
    value = divergence.w_q(target, plan, q=q, lam=lam, scores=True)
    apart = divergence.repelled(target, plan, q=q, lam=lam)
    return common.report("gca_rince", value, plan, target, options, repelled=apart)


def gca_uot(
    z_a: Views,
    z_b: OtherViews,
    *,
    epsilon: ArrayLike = 0.5,
    iterations: int = 10,
    penalty_a: ArrayLike = 0.2,
    penalty_b: ArrayLike = 0.2,
    w_kl: ArrayLike = 1.0,
    w_rince: ArrayLike = 0.02,
    q: ArrayLike = 0.98,
    lam: ArrayLike = 0.01,
    mass: divergence.Mass = "rows",
    penalise_marginals: bool = False,
    layout: ot.Layout = "cross",
    target: TargetLike = None,
    until: float | None = None,
    gradient: Literal["unrolled", "implicit"] = "unrolled",
    mu: ArrayLike | None = None,
    nu: ArrayLike | None = None,
    marginals: Marginals = "target",
    **options: Unpack[KernelOptions],
) -> Out:
    """GCA-UOT: w_kl · KL + w_rince · W_q of the unbalanced plan (equation 9).

    The plan's marginals are soft: u ← (μ/(K v))^τ₁, v ← (ν/(Kᵀ u))^τ₂ with τ_k = λ_k/(λ_k + ε), T
    times from v = 1, λ₁ and λ₂ the penalties. W_q is that of its scalings, for the identity target
    mean_i [-(1/q) (K_ii v_i)^q + (1/q) (lam/u_i)^q].

    Args:
      penalty_a: λ₁ >= 0 of the row marginal, a number or one for each sample [n]; ∞ makes it hard,
        0 drops it.
      penalty_b: λ₂ >= 0 of the column marginal, a number or [m].
      w_kl: r₁ >= 0, weight of KL.
      w_rince: r₂ >= 0, weight of W_q; some term has a weight above 0.
      mass: Reading of KL, as the plan's mass is free: "rows", "generalized" or "total"; see
        `ot.divergence.kl`.
      penalise_marginals: Whether to add λ₁ KL(P1 ‖ μ) + λ₂ KL(Pᵀ1 ‖ ν), as equation 9 has it.

    Other keywords are those of `gca_ince` and `rince`; returns and errors those of `ince`.

    >>> z = jax.random.normal(jax.random.key(0), (2, 4, 3))
    >>> hard = dict(penalty_a=math.inf, penalty_b=math.inf)
    >>> value, aux = gca_uot(*z, w_rince=0.0, mass="generalized", **hard)  # gca_ince
    >>> bool(jnp.allclose(value, gca_ince(*z)[0]))
    True
    """
    kernel, prior = _pose("gca_uot", z_a, z_b, epsilon, layout, target, options)
    penalty_a = common.penalty_of("penalty_a", penalty_a, kernel.shape[0], layout)
    penalty_b = common.penalty_of("penalty_b", penalty_b, kernel.shape[1], layout)
    check.weights(w_kl=w_kl, w_rince=w_rince, penalise_marginals=penalise_marginals)
    plan = common.sinkhorn(
        "gca_uot", kernel, prior, iterations=iterations, until=until, gradient=gradient,
        mu=mu, nu=nu, marginals=marginals, gradients=("unrolled", "implicit"), keep_rows=True,
        tau_a=common.tau(penalty_a, epsilon, kernel), tau_b=common.tau(penalty_b, epsilon, kernel),
    )  # fmt: skip
    target = common.of_plan(target, prior, plan)
    terms = [(w_kl, divergence.kl(target, plan, mass=mass))]
    terms += [(w_rince, divergence.w_q(target, plan, q=q, lam=lam))]
    if penalise_marginals:
        terms += [(1.0, common.marginal_penalties(plan, penalty_a, penalty_b))]
    # A term of weight 0 is left out, also where it is infinite.
    counted = [jnp.asarray(w) * x for w, x in terms if not check.is_concrete(w) or w]
    value = functools.reduce(jnp.add, counted)
    return common.report("gca_uot", value, plan, target, options)


def gce(
    z_a: Views,
    z_b: OtherViews,
    *,
    epsilon: ArrayLike = 0.5,
    q: ArrayLike = 0.7,
    layout: ot.Layout = "cross",
    target: TargetLike = None,
    **options: Unpack[KernelOptions],
) -> Out:
    """Generalised cross entropy of the row and the column projection (Zhang & Sabuncu, 2018).

    mean_i (1 - p_ii^q)/q with p the softmax of cos/ε over a row, and the same over columns, half
    each; in the joint layout, whose K is symmetric, over rows. Positives of one row are one event.
    What one pair adds to the gradient is that of `clip` times p^q: a wrong pair counts little.

    Args:
      epsilon: As in `ince`.
      q: In (0, 1]: q → 0 tends to `clip` (`simclr` in the joint layout), 1 is the mean absolute
        error.
      target: As in `ince`; each row has the weight of its mass.

    Other keywords, returns and errors are those of `ince`.

    >>> z = jnp.eye(4)  # p = 1/(1 + 3 e^-2)
    >>> f"{gce(z, z, epsilon=0.5, q=1.0)[0]:.4f}"
    '0.2888'
    """
    measure = partial(divergence.gce, q=q)
    return _of_both_projections("gce", measure, z_a, z_b, epsilon, layout, target, options)


def gca_gce(
    z_a: Views,
    z_b: OtherViews,
    *,
    epsilon: ArrayLike = 0.5,
    iterations: int = 10,
    q: ArrayLike = 0.7,
    layout: ot.Layout = "cross",
    target: TargetLike = None,
    until: float | None = None,
    gradient: Literal["unrolled", "implicit"] = "unrolled",
    mu: ArrayLike | None = None,
    nu: ArrayLike | None = None,
    marginals: Marginals = "target",
    **options: Unpack[KernelOptions],
) -> Out:
    """GCA-GCE: generalised cross entropy of the Sinkhorn plan of T sweeps, p_ij = P_ij/μ_i.

    mean_i (1 - (n P_ii)^q)/q: equation 8 with a divergence that bounds what one pair can do. Its
    gradient has the direction of `gca_ince` on the target `ot.learned.self_weighted(sharpness=q)`.

    Args:
      q: In (0, 1]; q → 0 tends to `gca_ince`.

    Other keywords are those of `gca_ince` and `gce`; returns and errors those of `ince`. It needs
    n <= m: a column could give one row more than its share.

    >>> z = jnp.eye(4)  # the row projection has the right columns already: the value of gce
    >>> f"{gca_gce(z, z, epsilon=0.5, q=1.0)[0]:.4f}"
    '0.2888'
    """
    kernel, prior = _pose("gca_gce", z_a, z_b, epsilon, layout, target, options)
    n, m = kernel.shape
    if n > m:
        raise ValueError(f"gca_gce needs a column for each row, got n={n}, m={m}")
    plan = common.sinkhorn(
        "gca_gce", kernel, prior, iterations=iterations, until=until, gradient=gradient,
        mu=mu, nu=nu, marginals=marginals, gradients=("unrolled", "implicit"),
    )  # fmt: skip
    target = common.of_plan(target, prior, plan)
    return common.report("gca_gce", divergence.gce(target, plan, q=q), plan, target, options)


def rcl(
    z_a: Views,
    z_b: OtherViews,
    *,
    epsilon: ArrayLike = 0.5,
    phi: divergence.Phi = "log",
    layout: ot.Layout = "cross",
    target: TargetLike = None,
    **options: Unpack[KernelOptions],
) -> Out:
    """Robust complementary loss of the row and the column projection (Hu et al., TPAMI 2023).

    mean_i Σ_{j ≠ i} φ(p_ij) with p the softmax of cos/ε over a row, and the same over columns, half
    each; in the joint layout over rows. Only pairs that are no positives are pushed.

    Args:
      epsilon: As in `ince`.
      phi: φ(x): "log", -log(1 - x); or "tan", tan x.
      target: As in `ince`; a pair counts as negative by 1 - T_ij / max_k T_ik.

    Other keywords, returns and errors are those of `ince`.

    >>> z = jnp.eye(4)  # three negatives of p = 1/(e^2 + 3)
    >>> f"{rcl(z, z, epsilon=0.5)[0]:.4f}"
    '0.3036'
    """
    measure = partial(divergence.rcl, phi=phi)
    return _of_both_projections("rcl", measure, z_a, z_b, epsilon, layout, target, options)


def simclr(
    z_a: Views,
    z_b: OtherViews,
    *,
    epsilon: ArrayLike = 0.5,
    layout: ot.Layout = "joint",
    target: TargetLike = None,
    mu: ArrayLike | None = None,
    marginals: Marginals = "target",
    **options: Unpack[KernelOptions],
) -> Out:
    """SimCLR's NT-Xent: `ince` over all 2n views (equation 1; Chen et al., ICML 2020).

    Keywords, returns and errors are those of `ince`.

    >>> z = jnp.eye(4)
    >>> bool(simclr(z, z)[0] == ince(z, z, layout="joint")[0])
    True
    """
    _check_options("simclr", options)
    return ince(
        z_a, z_b, epsilon=epsilon, layout=layout, target=target, mu=mu, marginals=marginals,
        **options,
    )  # fmt: skip


def clip(
    z_a: Views,
    z_b: OtherViews,
    *,
    epsilon: ArrayLike = 0.07,
    target: TargetLike = None,
    mu: ArrayLike | None = None,
    nu: ArrayLike | None = None,
    marginals: Marginals = "target",
    **options: Unpack[KernelOptions],
) -> Out:
    """CLIP's loss: InfoNCE of z_a against z_b and of z_b against z_a (Radford et al., ICML 2021).

    The mean of KL to the row projection and KL to the column projection of one kernel, for two
    sets of embeddings (images and captions) that have different encoders.

    Args:
      z_a: Embeddings of one modality [n, d].
      z_b: Embeddings of the other [m, d].
      epsilon: ε > 0. CLIP learns it: pass `jnp.exp(log_epsilon)`, a traced number.

    Other keywords are those of `gca_ince`, returns and errors those of `ince`; the plan in `aux` is
    the row projection.

    >>> z_a, z_b = jax.random.normal(jax.random.key(0), (2, 4, 3))
    >>> both = (ince(z_a, z_b)[0] + ince(z_b, z_a)[0]) / 2
    >>> bool(jnp.allclose(clip(z_a, z_b, epsilon=0.5)[0], both))
    True
    """
    kernel, prior = _pose("clip", z_a, z_b, epsilon, "cross", target, options)
    fitted = common.fit_marginals(prior, mu, nu, marginals)
    rows, columns = ot.project_each(kernel, **fitted)
    target = common.of_plan(target, prior, rows)
    value = (divergence.kl(target, rows) + divergence.kl(target, columns)) / 2
    return common.report("clip", value, rows, target, options, kl=True)


def byol(
    z_a: Views,
    z_b: OtherViews,
    *,
    target: TargetLike = None,
    diagnose: bool | Bool[Array, ""] = False,
    keep_plan: bool = False,
    valid: inputs.Valid | None = None,
    ignore: inputs.Ignore | None = None,
    **unknown: Never,
) -> Out:
    """BYOL: mean squared error of the unit predictions (Theorem 4; Grill et al., NeurIPS 2020).

    mean_i ‖q(z'_i) - z''_i‖² = -Σ P_tgt log K with K = exp(-‖·‖²), which is projected on nothing.

    Args:
      z_a: Predictions q(z') from one view [n, d].
      z_b: The target network's embeddings of the other view [m, d]; stop their gradient before.
      diagnose: Whether `aux` has uniformity; may be traced: NaN where false.
      keep_plan: Whether `aux` has the plan and the target too.
      valid: As in `KernelOptions`.
      ignore: As in `KernelOptions`.
      **unknown: Refused.

    Returns:
      The value, and `aux`: alignment.

    Raises:
      ValueError: A shape, dtype or target that is not allowed.
      TypeError: An unknown keyword.

    >>> z = jnp.eye(2)
    >>> f"{byol(z, z[::-1])[0]:.4f}"
    '2.0000'
    """
    _check_options("byol", unknown)
    if callable(target):
        raise ValueError("byol projects on no plan, so no target can learn from it")
    how: Any = {"epsilon": 1.0, "valid": valid, "ignore": ignore, "unit": True}
    kernel = ot.cost_kernel(ot.SquaredEuclidean(), z_a, z_b, **how)
    kernel, target = common.with_target(kernel, target)
    plan = ot.unprojected(kernel)
    aux = common.Aux(alignment=common.alignment(kernel))
    if may_be_wanted(diagnose):
        aux["uniformity"] = if_wanted(diagnose, partial(uniformity, kernel))
    if keep_plan:
        aux |= {"plan": plan, "target": target}
    return common.counted(divergence.cross_entropy(target, plan), kernel), aux


def iot(
    z_a: Views,
    z_b: OtherViews,
    *,
    epsilon: ArrayLike = 0.5,
    iterations: int = 10,
    layout: ot.Layout = "joint",
    target: TargetLike = None,
    until: float | None = None,
    gradient: Gradient = "unrolled",
    mu: ArrayLike | None = None,
    nu: ArrayLike | None = None,
    marginals: Marginals = "target",
    **options: Unpack[KernelOptions],
) -> Out:
    """IOT: `gca_ince` over all 2n views (Shi et al., ICML 2023).

    Keywords, returns and errors are those of `gca_ince`.

    >>> z = jax.random.normal(jax.random.key(0), (2, 4, 3))
    >>> bool(iot(*z)[0] == gca_ince(*z, layout="joint")[0])
    True
    """
    _check_options("iot", options)
    return gca_ince(
        z_a, z_b, epsilon=epsilon, iterations=iterations, layout=layout, target=target,
        until=until, gradient=gradient, mu=mu, nu=nu, marginals=marginals, **options,
    )  # fmt: skip


def iot_uni(
    z_a: Views,
    z_b: OtherViews,
    *,
    epsilon: ArrayLike = 0.5,
    iterations: int = 10,
    lam_p: ArrayLike = 0.2,
    layout: ot.Layout = "joint",
    target: TargetLike = None,
    until: float | None = None,
    gradient: Literal["unrolled", "implicit"] = "unrolled",
    mu: ArrayLike | None = None,
    nu: ArrayLike | None = None,
    marginals: Marginals = "target",
    **options: Unpack[KernelOptions],
) -> Out:
    """IOT-uni: `iot` + lam_p · KL(Q ‖ P), Q uniform off the positives (Shi et al., ICML 2023).

    Q is P with the entries of all other pairs replaced by their mean, and passes no gradient.

    Args:
      lam_p: λ_p >= 0, weight of KL(Q ‖ P).

    Other keywords are those of `gca_ince`; returns and errors those of `ince`.

    >>> z = jax.random.normal(jax.random.key(0), (2, 4, 3))
    >>> bool(iot_uni(*z, lam_p=0.0)[0] == iot(*z)[0])
    True
    """
    check.between("lam_p", lam_p, 0.0, math.inf)
    kernel, prior = _pose("iot_uni", z_a, z_b, epsilon, layout, target, options)
    plan = common.sinkhorn(
        "iot_uni", kernel, prior, iterations=iterations, until=until, gradient=gradient,
        mu=mu, nu=nu, marginals=marginals, gradients=("unrolled", "implicit"),
    )  # fmt: skip
    target = common.of_plan(target, prior, plan)
    value = divergence.kl(target, plan)
    value += jnp.asarray(lam_p) * divergence.uniform_kl(target, plan)
    return common.report("iot_uni", value, plan, target, options)


Method = Literal[
    "ince",
    "gca_ince",
    "rince",
    "gca_rince",
    "gca_uot",
    "gce",
    "gca_gce",
    "rcl",
    "simclr",
    "clip",
    "byol",
    "iot",
    "iot_uni",
]
METHODS: dict[str, Loss] = {
    "ince": ince,
    "gca_ince": gca_ince,
    "rince": rince,
    "gca_rince": gca_rince,
    "gca_uot": gca_uot,
    "gce": gce,
    "gca_gce": gca_gce,
    "rcl": rcl,
    "simclr": simclr,
    "clip": clip,
    "byol": byol,
    "iot": iot,
    "iot_uni": iot_uni,
}


def transport(
    name: Method, z_a: Views, z_b: OtherViews, **settings: object
) -> tuple[ot.Plan, AnyTarget]:
    """Return the plan that a method's loss compares with its target, and that target.

    Args:
      name: A key of `METHODS`.
      **settings: The method's keywords.

    Returns:
      (plan, target), each with `.matrix` in the layout of the loss.

    Raises:
      ValueError: An unknown name, or what the loss itself raises.
      TypeError: A keyword that the method does not take.

    >>> plan, target = transport("ince", jnp.eye(3), jnp.eye(3))
    >>> plan.matrix.shape == target.matrix.shape == (3, 3)
    True
    """
    check.one_of("method", name, METHODS)
    _, aux = METHODS[name](z_a, z_b, keep_plan=True, **settings)
    return aux["plan"], aux["target"]


def keywords(name: Method) -> dict[str, Any]:
    """Return every keyword that a method takes, with its default.

    Args:
      name: A key of `METHODS`.

    Raises:
      ValueError: An unknown name.

    >>> keywords("simclr")["layout"]
    'joint'
    """
    check.one_of("method", name, METHODS)
    parameters = inspect.signature(METHODS[name]).parameters.values()
    own = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    return own if name == "byol" else own | common.KERNEL_DEFAULTS


def _of_both_projections(
    name: Method,
    measure: Callable[[AnyTarget, ot.Plan], Array],
    z_a: ArrayLike,
    z_b: ArrayLike,
    epsilon: ArrayLike,
    layout: ot.Layout,
    target: TargetLike,
    options: KernelOptions,
) -> Out:
    """Measure a divergence on the row and the column projection, half each; joint: on rows."""
    kernel, prior = _pose(name, z_a, z_b, epsilon, layout, target, options)
    if layout == "joint":
        rows = ot.project(kernel, half_steps=1)
        target = common.of_plan(target, prior, rows)
        return common.report(name, measure(target, rows), rows, target, options)
    rows, columns = ot.project_each(kernel)
    target = common.of_plan(target, prior, rows)
    value = (measure(target, rows) + measure(target.transposed, columns.transposed)) / 2
    return common.report(name, value, rows, target, options)


def _pose(
    name: Method,
    z_a: ArrayLike,
    z_b: ArrayLike,
    epsilon: ArrayLike,
    layout: ot.Layout,
    target: TargetLike,
    options: KernelOptions,
) -> tuple[ot.Kernel, AnyTarget]:
    """Form the kernel of two batches, and the target plan in its layout before a plan is known."""
    _check_options(name, options)
    kernel = common.form_kernel(z_a, z_b, epsilon, layout, options)
    return common.with_target(kernel, target)


def _check_options(name: Method, options: Mapping[str, object]) -> None:
    unknown = sorted(options.keys() - keywords(name).keys())
    if unknown:
        known = ", ".join(keywords(name))
        raise TypeError(f"{name} takes no {', '.join(unknown)}; it takes {known}")
