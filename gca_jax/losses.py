"""The losses: pure functions of two batches of embeddings.

    value, aux = gca_uot(z_a, z_b, epsilon=0.5)
    value, aux = METHODS["gca_ince"](z_a, z_b, epsilon=0.1, layout="joint")

Each is made from a row of `methods.ROWS`. Its keywords are those of the row's parts, listed with
their defaults by `help(gca_uot)`; any other keyword is refused by name. Embeddings may be float16,
bfloat16, float32 or float64; the arithmetic is float32 or, for float64, float64.
"""

import inspect
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, ArrayLike, Float

from gca_jax import metrics, ot
from gca_jax.methods import ROWS, Row
from gca_jax.ot import check
from gca_jax.ot.diagnosis import diagnose
from gca_jax.ot.engine.passes import on_first_device
from gca_jax.ot.target import AnyTarget, resolve

Loss = Callable[..., tuple[Float[Array, ""], dict[str, Array]]]

_KEYWORDS = {
    "epsilon": "ε > 0, entropic regularisation, the temperature. May be traced.",
    "layout": '"cross": z_a against z_b; "joint": all 2B views against all 2B views (SimCLR).',
    "similarity_floor": "Clamps cosines from below (the authors' code: 1e-7); None does not.",
    "self_pairs": 'Joint layout: "exclude", or "max_cost" as in the authors\' code.',
    "cost_fn": "An OTT-JAX `CostFn` on the unit embeddings in place of 1 - cos.",
    "domain": 'Of the sweeps: "scaling", "log", or None: "scaling" for a known ε >= 0.03.',
    "block_size": "Rows of K formed at a time (scaling domain); None keeps K up to n = 16,384.",
    "axis_name": "Inside `shard_map`: the axis that splits z_a and z_b; all else is of the batch.",
    "target": "P_tgt, of mass 1: None (identity), a target of `ot.target`, or an array (n, m).",
    "iterations": "T >= 1 full Sinkhorn sweeps, two half-steps each.",
    "penalty_a": "λ₁ >= 0 of the row marginal (∞: hard); τ = λ/(λ+ε).",
    "penalty_b": "λ₂ >= 0 of the column marginal.",
    "until": "Converge the plan to this error by OTT-JAX, in place of `iterations` sweeps.",
    "gradient": (
        '"unrolled": exact derivative of the T-sweep value; "implicit": of the converged one '
        '(needs `until`); "envelope": (P_tgt - P)/ε, exact at convergence, no reverse sweeps.'
    ),
    "mu": "Row marginal (n,), summing to 1; None follows `marginals`.",
    "nu": "Column marginal (m,), summing to 1; None follows `marginals`.",
    "marginals": '"target": μ, ν are the target\'s sums, so that it is feasible; or "uniform".',
    "q": "In (0, 1]; q → 0 tends to KL.",
    "lam": "λ > 0, inside the power.",
    "w_kl": "r₁, weight of KL.",
    "w_rince": "r₂, weight of W_q.",
    "mass": 'Reading of KL where the mass is free: "rows", "generalized", "total".',
    "penalise_marginals": "Adds λ₁KL(P1‖μ) + λ₂KL(Pᵀ1‖ν), as equation 9 has it.",
    "lam_p": "λ_p >= 0, weight of KL(Q‖P).",
}


def transport(
    name: str, z_a: Float[ArrayLike, "n d"], z_b: Float[ArrayLike, "m d"], **hyper: Any
) -> tuple[ot.Plan, AnyTarget]:
    """The plan that a method's loss compares, and the target it compares it with.

    Args:
      name: A key of `METHODS`.
      z_a: Embeddings of the first view (n, d).
      z_b: Embeddings of the second view (m, d).
      **hyper: The method's keywords.

    Returns:
      (plan, target), each with `.matrix` in the layout of the loss.

    Raises:
      ValueError: an unknown name, or what the loss itself raises.
      TypeError: a keyword that the method does not take.
    """
    check.one_of("method", name, ROWS)
    return _transport(ROWS[name], z_a, z_b, _fill(name, hyper))


def _transport(
    row: Row, z_a: ArrayLike, z_b: ArrayLike, hyper: dict[str, Any]
) -> tuple[ot.Plan, AnyTarget]:
    kernel = row.kernel(z_a, z_b, **_take(row.kernel, hyper))
    target = resolve(hyper["target"], kernel)
    return row.project(kernel, target, **_take(row.project, hyper)), target


def _keywords(part: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(part).parameters
    return {k: p for k, p in parameters.items() if p.kind is p.KEYWORD_ONLY}


def _take(part: Callable[..., Any], hyper: dict[str, Any]) -> dict[str, Any]:
    return {key: hyper[key] for key in _keywords(part)}


def _signature(row: Row) -> dict[str, Any]:
    """The method's keywords with their defaults, in the order of its parts."""
    defaults: dict[str, Any] = {}
    for part in (row.kernel, row.project, row.measure):
        for key, parameter in _keywords(part).items():
            defaults.setdefault(key, parameter.default)
        defaults.setdefault("target", None)
    return {k: v for k, v in (defaults | row.defaults).items() if k not in row.fixed}


def _fill(name: str, hyper: dict[str, Any]) -> dict[str, Any]:
    row, defaults = ROWS[name], _signature(ROWS[name])
    unknown = sorted(hyper.keys() - defaults.keys())
    if unknown:
        raise TypeError(f"{name} takes no {', '.join(unknown)}; it takes {', '.join(defaults)}")
    hyper = defaults | hyper
    if "gradient" in hyper:
        check.one_of(f"gradient of {name}", hyper["gradient"], row.gradients)
    return hyper | row.fixed


def _make(name: str, row: Row) -> Loss:
    def loss(
        z_a: Float[ArrayLike, "n d"], z_b: Float[ArrayLike, "m d"], **hyper: Any
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        hyper = _fill(name, hyper)
        plan, target = _transport(row, z_a, z_b, hyper)
        value = row.measure(plan, target, **_take(row.measure, hyper))
        if check.is_concrete(value) and not jnp.isfinite(value):
            warnings.warn(
                f"{name} is {value}: with these hyper-parameters it leaves the range of "
                f"{value.dtype}; raise epsilon, lower q, or use float64",
                RuntimeWarning,
                stacklevel=2,
            )
        out = value, _aux(row, value, plan, target)
        return jax.tree.map(partial(_same_everywhere, axis_name=plan.kernel.axis_name), out)

    keywords = _signature(row)
    views = [inspect.Parameter(z, inspect.Parameter.POSITIONAL_OR_KEYWORD) for z in ("z_a", "z_b")]
    loss.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        views
        + [
            inspect.Parameter(k, inspect.Parameter.KEYWORD_ONLY, default=v)
            for k, v in keywords.items()
        ]
    )
    loss.__name__ = loss.__qualname__ = name
    loss.__doc__ = _document(row, keywords)
    return loss


def _document(row: Row, keywords: dict[str, Any]) -> str:
    first, second = (
        ("Predictions", "Target network's embeddings")
        if "epsilon" not in keywords
        else (
            "Embeddings of the first view",
            "Embeddings of the second view",
        )
    )
    lines = [
        f"{row.summary}.",
        "",
        "Args:",
        f"  z_a: {first} (n, d); normalised here.",
        f"  z_b: {second} (m, d); normalised here.",
    ]
    lines += [f"  {key}: {_KEYWORDS[key]}" for key in keywords]
    lines += [
        "",
        "Returns:",
        "  The value (a mean over rows) and `aux`, scalars without gradient for a log.",
        "",
        "Raises:",
        "  ValueError: a shape, dtype, name or number that is not allowed.",
        "  TypeError: a keyword that the method does not take.",
    ]
    return "\n".join(lines)


def _same_everywhere(x: Array, axis_name: str | None) -> Array:
    """x, which all devices of a mapped axis computed alike, typed as the same on all of them."""
    if axis_name is None:
        return x
    wide = x.astype(jnp.int32) if x.dtype == bool else x
    return jax.lax.psum(on_first_device(wide, axis_name), axis_name).astype(x.dtype)


def _aux(row: Row, value: Array, plan: ot.Plan, target: AnyTarget) -> dict[str, Array]:
    """What a training log wants; computed only if it is used, when under `jit`."""
    value, plan, target = jax.lax.stop_gradient((value, plan, target))
    kernel, (a, b) = plan.kernel, plan.kernel.views
    pairs = min(a.shape[0], b.shape[0])
    uniformity = partial(
        metrics.uniformity, block_size=kernel.block_size, axis_name=kernel.axis_name
    )
    aux = {
        "alignment": metrics.alignment(a[:pairs], b[:pairs]),
        "uniformity": (uniformity(a) + uniformity(b)) / 2,
    }
    if row.project is ROWS["byol"].project:
        return aux
    aux |= diagnose(plan, target)
    if row.measure is not ROWS["ince"].measure:
        del aux["ince_cosine"]
    aux["block_size"] = jnp.asarray(plan.kernel.block_size or 0)
    aux["scaling_domain"] = jnp.asarray(plan.kernel.domain == "scaling")
    if plan.sweeps is not None:
        aux["sweeps"] = plan.sweeps
    if "q" in _signature(row):
        aux["overflow"] = ~jnp.isfinite(value)
    return aux


def sharded(name: str, mesh: Mesh, axis_name: str = "data") -> Loss:
    """A method whose batch is split over the devices of a mesh, each with its rows of K.

    Value and gradient are those of one device. The embeddings are gathered once; a sweep sums one
    vector of m numbers and gathers one of n. In the log domain and with `until=` the partition is
    left to the compiler.

    Args:
        name: A key of `METHODS`.
        mesh: Of devices; of all processes, where there are several.
        axis_name: The axis of the mesh that splits the batch.

    Returns:
        The method as a function of the whole batch, (z_a, z_b, **hyper) → (value, aux), for `jit`.

    Raises:
        ValueError: an unknown name; a batch that the devices cannot share.
    """
    check.one_of("method", name, ROWS)
    devices, kernel_of, whole = mesh.shape[axis_name], ROWS[name].kernel, PartitionSpec()

    def loss(z_a: ArrayLike, z_b: ArrayLike, **hyper: Any) -> tuple[Array, dict[str, Array]]:
        a, b, filled = jnp.asarray(z_a), jnp.asarray(z_b), _fill(name, hyper)
        kernel = jax.eval_shape(partial(kernel_of, **_take(kernel_of, filled)), a, b)
        converged = "until" in filled and filled["until"] is not None
        if kernel.domain == "log" or converged:
            return METHODS[name](a, b, **hyper)
        if a.shape[0] % devices or b.shape[0] % devices:
            raise ValueError(
                f"z_a and z_b must have a multiple of {devices} rows to be split over as many "
                f"devices, got {a.shape} and {b.shape}"
            )
        leaves, tree = jax.tree.flatten(hyper)
        arrays = [x if isinstance(x, jax.Array | np.ndarray) else None for x in leaves]

        def part(a: Array, b: Array, arrays: list[Any]) -> tuple[Array, dict[str, Array]]:
            filled = [x if y is None else y for x, y in zip(leaves, arrays, strict=True)]
            return METHODS[name](a, b, axis_name=axis_name, **jax.tree.unflatten(tree, filled))

        rows = PartitionSpec(axis_name)
        split = jax.shard_map(part, mesh=mesh, in_specs=(rows, rows, whole), out_specs=whole)
        return split(a, b, arrays)

    return loss


METHODS: dict[str, Loss] = {name: _make(name, row) for name, row in ROWS.items()}

ince = METHODS["ince"]
gca_ince = METHODS["gca_ince"]
rince = METHODS["rince"]
gca_rince = METHODS["gca_rince"]
gca_uot = METHODS["gca_uot"]
simclr = METHODS["simclr"]
byol = METHODS["byol"]
iot = METHODS["iot"]
iot_uni = METHODS["iot_uni"]
