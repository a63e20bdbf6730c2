"""What callers give as arrays: embeddings and marginals, checked and cast up."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array, ArrayLike

from gca_jax.check import is_concrete, non_negative, one_of
from gca_jax.ot.engine import Excluded

Valid = ArrayLike | tuple[ArrayLike, ArrayLike]
Ignore = ArrayLike | tuple[ArrayLike, ArrayLike]


def marginal(
    name: str, values: ArrayLike, size: int, dtype: jnp.dtype, free: bool = False
) -> Array:
    """Check a caller's marginal: shape (size,), non-negative, summing to 1 unless mass is free."""
    x = jnp.asarray(values, dtype)
    if x.shape != (size,):
        raise ValueError(f"{name} must have shape ({size},), got {x.shape}")
    non_negative(name, x)
    if is_concrete(x) and not free and abs(np.asarray(x).sum() - 1.0) > 1e-3:
        raise ValueError(f"{name} must sum to 1, got a sum of {np.asarray(x).sum():.6g}")
    return x


def embeddings(z_a: ArrayLike, z_b: ArrayLike, layout: str) -> tuple[Array, Array]:
    """Cast two views' embeddings (n, d), (m, d) to float32 or float64; joint ones have n = m."""
    a, b = jnp.asarray(z_a), jnp.asarray(z_b)
    for name, z in (("z_a", a), ("z_b", b)):
        if not jnp.issubdtype(z.dtype, jnp.floating):
            raise ValueError(f"{name} must hold floating-point numbers, got dtype {z.dtype}")
    one_of("layout", layout, ("cross", "joint"))
    allowed = "(n, d) and (m, d)" if layout == "cross" else "both (n, d) in the joint layout"
    same = a.ndim == b.ndim == 2 and (a.shape == b.shape or layout == "cross")
    if not same or a.shape[1] != b.shape[1] or 0 in a.shape + b.shape:
        raise ValueError(f"z_a and z_b must be {allowed}, got {a.shape} and {b.shape}")
    with jax.numpy_dtype_promotion("standard"):
        dtype = jnp.promote_types(jnp.promote_types(a.dtype, b.dtype), jnp.float32)
    return whole(_cast(a, dtype)), whole(_cast(b, dtype))


def whole(z: Array) -> Array:
    """Gather rows that are split over Explicit axes of a mesh; with Auto axes the compiler does.

    JAX's default axes are Explicit: a product of two batches split alike is an error with them.
    """
    sharding = z.sharding if is_concrete(z) else jax.typeof(z).sharding
    if not isinstance(sharding, NamedSharding) or AxisType.Explicit not in sharding.mesh.axis_types:
        return z
    return jax.sharding.reshard(z, NamedSharding(sharding.mesh, PartitionSpec()))


def _cast(z: Array, dtype: jnp.dtype) -> Array:
    """Cast up; a cotangent beyond float16's range (of very short rows) becomes its largest."""
    if z.dtype != jnp.float16:
        return z.astype(dtype)
    most = float(jnp.finfo(jnp.float16).max)
    cast = jax.custom_vjp(lambda z: z.astype(dtype))
    cast.defvjp(
        lambda z: (z.astype(dtype), None),
        lambda _, cotangent: (jnp.clip(cotangent, -most, most).astype(jnp.float16),),
    )
    return cast(z)


def cast_up(x: Array) -> Array:
    """Cast numbers to float32, or keep float64; allowed where JAX forbids other promotions."""
    with jax.numpy_dtype_promotion("standard"):
        return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def pairs(name: str, rows: int, columns: int) -> None:
    """Refuse a shape that the joint layout, which pairs all views, cannot have."""
    if rows != columns:
        raise ValueError(
            f"{name} in the joint layout needs as many rows as columns, got ({rows}, {columns})"
        )


def excluded(
    n: int, m: int, layout: str, valid: Valid | None, ignore: Ignore | None
) -> Excluded | None:
    """Check `valid=` and `ignore=` of n and m samples; return the pairs that do not count."""
    if valid is None and ignore is None:
        return None
    joint = layout == "joint"
    rows = columns = ids = pairs = None
    if valid is not None:
        kind = "booleans, such as mask > 0"
        rows, columns = _laid_out(joint, *_sides("valid", valid, n, m, jnp.bool_, kind))
    if ignore is not None and (isinstance(ignore, tuple) or jnp.ndim(ignore) == 1):
        kind = "integers, one id a group of samples that are no negatives of each other"
        of_rows, of_columns = _sides("ignore", ignore, n, m, jnp.integer, kind)
        ids = _laid_out(joint, of_rows, of_columns)
    elif ignore is not None:
        pairs = jnp.asarray(ignore)
        allowed = [(n, m), (2 * n, 2 * m)] if joint else [(n, m)]
        if pairs.dtype != bool or pairs.shape not in allowed:
            words = " or ".join(map(str, allowed))
            raise ValueError(
                f"ignore must be booleans of shape {words}, or ids, integers of shape ({n},); got "
                f"{pairs.dtype} {pairs.shape}"
            )
        pairs = jnp.tile(pairs, (2, 2)) if joint and pairs.shape == (n, m) else pairs
    return Excluded(rows, columns, ids, pairs, joint)


def emptied(a: Array, b: Array, layout: str, excluded: Excluded | None) -> tuple[Array, Array]:
    """Replace the rows that do not count by zeros, so that they get no gradient, NaN or not."""
    if excluded is None or excluded.rows is None or excluded.columns is None:
        return a, b
    rows, columns = excluded.rows, excluded.columns
    if layout == "joint":
        rows, columns = jnp.split(rows, 2)
    return jnp.where(rows[:, None], a, 0.0), jnp.where(columns[:, None], b, 0.0)


def _sides(
    name: str, given: ArrayLike | tuple[ArrayLike, ArrayLike] | None, n: int, m: int,
    kind: type, words: str,
) -> tuple[Array, Array]:  # fmt: skip
    """Check what is given for the samples of rows and columns: one array of both, or two."""
    both = given if isinstance(given, tuple) else (given, given)
    if len(both) != 2 or not (isinstance(given, tuple) or n == m):
        raise ValueError(f"{name} must be a pair of arrays, ({n},) for z_a and ({m},) for z_b")
    arrays = [jnp.asarray(x) for x in both]
    for x, size in zip(arrays, (n, m), strict=True):
        if x.shape != (size,) or not jnp.issubdtype(x.dtype, kind):
            raise ValueError(f"{name} must be {words}, of shape ({size},); got {x.dtype} {x.shape}")
    return arrays[0], arrays[1]


def _laid_out(joint: bool, of_rows: Array, of_columns: Array) -> tuple[Array, Array]:
    """Lay what belongs to samples out for the rows and columns of K."""
    if not joint:
        return of_rows, of_columns
    both = jnp.concatenate([of_rows, of_columns])
    return both, both
