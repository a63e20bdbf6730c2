"""Guards: each raises a `ValueError` naming the argument, its value and what is allowed.

A value that JAX is tracing (`jit`, `grad`, `vmap`) is not known when the guard runs and passes.
"""

from collections.abc import Collection

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array, ArrayLike


def is_concrete(x: object) -> bool:
    """Whether the value of `x` is known now, that is, not traced."""
    return not isinstance(x, jax.core.Tracer)


def positive(name: str, value: ArrayLike) -> None:
    """Refuses what is not one number, finite and > 0."""
    x = np.asarray(value) if is_concrete(value) else jnp.asarray(value)
    number = x.ndim == 0 and x.dtype.kind not in "OUSbc"
    if not number or (is_concrete(x) and not (np.isfinite(x) and x > 0)):
        raise ValueError(f"{name} must be a finite number > 0, got {value!r}")


def between(
    name: str, value: ArrayLike, low: float, high: float, *, open_low: bool = False
) -> None:
    """Refuses a number outside [low, high], or (low, high] with `open_low`."""
    if not is_concrete(value):
        return
    x = np.asarray(value)
    if not (((x > low) if open_low else (x >= low)) & (x <= high)).all():
        raise ValueError(
            f"{name} must lie in {'(' if open_low else '['}{low}, {high}], got {value}"
        )


def weights(**values: ArrayLike) -> None:
    """Refuses weights of a sum that are negative or not finite, or all 0."""
    for name, value in values.items():
        non_negative(name, value)
    if all(is_concrete(value) and np.all(np.asarray(value) == 0) for value in values.values()):
        raise ValueError(f"one of {', '.join(values)} must be above 0")


def at_least(name: str, value: int, low: int) -> None:
    """Refuses a count that is not an integer >= low."""
    if not is_concrete(value):
        raise ValueError(f"{name} is traced, and must be known: name it in static_argnames of jit")
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < low:
        raise ValueError(f"{name} must be an integer >= {low}, got {value!r}")


def one_of(name: str, value: str, allowed: Collection[str]) -> None:
    """Refuses a name that is not in the list."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(sorted(allowed))}; got {value!r}")


def non_negative(name: str, values: ArrayLike) -> None:
    """Refuses an array with a negative or non-finite entry."""
    if is_concrete(values):
        x = np.asarray(values)
        if not (np.isfinite(x) & (x >= 0)).all():
            worst = x[~np.isfinite(x)][0] if not np.isfinite(x).all() else x.min()
            raise ValueError(f"{name} must be finite and >= 0 everywhere, found {worst}")


def some_mass(name: str, values: Array) -> None:
    """Refuses an array without an entry > 0."""
    if is_concrete(values) and not (np.asarray(values) > 0).any():
        raise ValueError(f"{name} must have some mass, got all zeros")


def marginal(name: str, values: ArrayLike, size: int, dtype: jnp.dtype) -> Array:
    """A caller's marginal as an array: shape (size,), non-negative, summing to 1."""
    x = jnp.asarray(values, dtype)
    if x.shape != (size,):
        raise ValueError(f"{name} must have shape ({size},), got {x.shape}")
    non_negative(name, x)
    if is_concrete(x) and abs(np.asarray(x).sum() - 1.0) > 1e-3:
        raise ValueError(f"{name} must sum to 1, got a sum of {np.asarray(x).sum():.6g}")
    return x


def embeddings(z_a: ArrayLike, z_b: ArrayLike, layout: str) -> tuple[Array, Array]:
    """Two views' embeddings (n, d), (m, d) as float32 or float64; n = m in the joint layout."""
    a, b = jnp.asarray(z_a), jnp.asarray(z_b)
    for name, z in (("z_a", a), ("z_b", b)):
        if not jnp.issubdtype(z.dtype, jnp.floating):
            raise ValueError(f"{name} must hold floating-point numbers, got dtype {z.dtype}")
    one_of("layout", layout, ("cross", "joint"))
    allowed = "(n, d) and (m, d)" if layout == "cross" else "both (n, d) in the joint layout"
    same = a.ndim == b.ndim == 2 and (a.shape == b.shape or layout == "cross")
    if not same or a.shape[1] != b.shape[1] or 0 in a.shape + b.shape:
        raise ValueError(f"z_a and z_b must be {allowed}, got {a.shape} and {b.shape}")
    dtype = jnp.promote_types(jnp.promote_types(a.dtype, b.dtype), jnp.float32)
    return whole(_cast(a, dtype)), whole(_cast(b, dtype))


def whole(z: Array) -> Array:
    """Gathers rows that are split over Explicit axes of a mesh; with Auto axes the compiler does.

    JAX's default axes are Explicit: a product of two batches split alike is an error with them.
    """
    sharding = z.sharding if is_concrete(z) else jax.typeof(z).sharding
    if not isinstance(sharding, NamedSharding) or AxisType.Explicit not in sharding.mesh.axis_types:
        return z
    return jax.sharding.reshard(z, NamedSharding(sharding.mesh, PartitionSpec()))


def _cast(z: Array, dtype: jnp.dtype) -> Array:
    """Casts up; a cotangent beyond float16's range (of very short rows) becomes its largest."""
    if z.dtype != jnp.float16:
        return z.astype(dtype)
    most = float(jnp.finfo(jnp.float16).max)
    cast = jax.custom_vjp(lambda z: z.astype(dtype))
    cast.defvjp(
        lambda z: (z.astype(dtype), None),
        lambda _, cotangent: (jnp.clip(cotangent, -most, most).astype(jnp.float16),),
    )
    return cast(z)


def pairs(name: str, rows: int, columns: int) -> None:
    """Refuses a shape that the joint layout, which pairs all views, cannot have."""
    if rows != columns:
        raise ValueError(
            f"{name} in the joint layout needs as many rows as columns, got ({rows}, {columns})"
        )


def counted(number: int | str, noun: str) -> str:
    """Write a number with its noun, in the plural unless it is 1: "1 class", "no classes"."""
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{number} {noun if number == 1 else plural}"
