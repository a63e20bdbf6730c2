"""What callers give as arrays: embeddings, marginals, ids and positions, checked and cast up."""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array, ArrayLike, Float, Int

from gca_jax.check import is_concrete, non_negative, numbers, one_of, some_mass
from gca_jax.ot.engine import Excluded

Valid = ArrayLike | tuple[ArrayLike, ArrayLike]
Ignore = ArrayLike | tuple[ArrayLike, ArrayLike]


def array(name: str, values: ArrayLike) -> Array:
    """Convert to an array of JAX; what holds no numbers is refused, saying what to do.

    So is a PyTorch tensor whose gradient would end here.
    """
    if getattr(values, "requires_grad", False):
        raise ValueError(
            f"{name} is a PyTorch tensor that requires a gradient, which no loss passes on: take "
            f"the bridge of docs/howto.md (In a PyTorch loop), or {name}.detach()"
        )
    if str(getattr(values, "dtype", None)) == "torch.bfloat16":  # which NumPy does not have
        return jax.dlpack.from_dlpack(values.contiguous())  # type: ignore[union-attr]
    try:
        return jnp.asarray(values)
    except (TypeError, ValueError) as error:
        numbers(name, values)
        raise ValueError(f"{name} must be an array of numbers, rows of one shape") from error


def ids(name: str, a: ArrayLike, b: ArrayLike | None = None) -> tuple[Array, Array]:
    """Number the integers of rows and columns from 0, int32: equal ones get equal numbers.

    -1 of a signed type is of no group: it gets a number that only the same place of the other side
    has, if that is -1 too. Columns of None are the rows.

    Raises:
        ValueError: An array is not integers (n,), or those traced have no integer type in common.
    """
    sides = {f"{name}_a": a} if b is None else {f"{name}_a": a, f"{name}_b": b}
    given = [_integers(side, values) for side, values in sides.items()]
    known = [x for x in given if isinstance(x, np.ndarray)]
    found = _numbers(known) if len(known) == len(given) else _traced_numbers(sides, given)
    return found[: given[0].size], found[-given[-1].size :]


def _numbers(given: list[np.ndarray]) -> Int[Array, " _"]:
    mixed = np.result_type(*given).kind == "f"  # what int64 and uint64 have in common
    values = np.concatenate([x.astype(object) if mixed else x for x in given])
    unknown = np.concatenate([_unknown(x) for x in given])
    found = values.size + np.concatenate([np.arange(x.size) for x in given])
    found[~unknown] = np.unique(values[~unknown], return_inverse=True)[1]
    return jnp.asarray(found.astype(np.int32))


def _traced_numbers(names: Iterable[str], given: list[Array | np.ndarray]) -> Int[Array, " _"]:
    common = np.result_type(*(x.dtype for x in given), np.uint8)
    if common.kind == "f" or jax.dtypes.canonicalize_dtype(common) != common:
        types = " and ".join(f"{name} {x.dtype}" for name, x in zip(names, given, strict=True))
        raise ValueError(
            f"{types} are traced, and there is no integer type for both: give them in one, as "
            "numpy.unique(ids, return_inverse=True)[1] numbers any"
        )
    values = jnp.concatenate([jnp.asarray(x).astype(common) for x in given])
    unknown = jnp.concatenate([jnp.asarray(_unknown(x)) for x in given])
    places = jnp.concatenate([jnp.arange(x.size, dtype=jnp.int32) for x in given])
    _, found = jnp.unique(values, return_inverse=True, size=values.size)
    return jnp.where(unknown, values.size + places, found.astype(jnp.int32))


def _known(values: ArrayLike) -> bool:
    """Tell whether all of an array is known in this process."""
    return is_concrete(values) and getattr(values, "is_fully_addressable", True)


def _integers(name: str, values: Any) -> Array | np.ndarray:
    """Check ids (n,); what is known is an array of NumPy, as JAX's may be narrower."""
    remedy = "integers of shape (n,), as numpy.unique(names, return_inverse=True)[1] makes of names"
    try:
        x: Array | np.ndarray = np.asarray(values) if _known(values) else values
        if x.dtype.name in ("int2", "int4", "uint2", "uint4"):  # no types of NumPy
            x = x.astype(x.dtype.name[:-1] + "8")
    except ValueError as error:  # rows of several lengths
        raise ValueError(f"{name} must be {remedy}") from error
    if x.ndim != 1 or x.size == 0 or not jnp.issubdtype(x.dtype, jnp.integer):
        raise ValueError(f"{name} must be {remedy}; got {x.dtype} {x.shape}")
    return x


def _unknown(x: Array | np.ndarray) -> Array | np.ndarray:
    return x == -1 if jnp.issubdtype(x.dtype, jnp.signedinteger) else np.zeros(x.shape, bool)


def marginal(
    name: str, values: ArrayLike, size: int, dtype: jnp.dtype, free: bool = False
) -> Array:
    """Check a caller's marginal: shape (size,), non-negative, summing to 1 unless mass is free."""
    x = jnp.asarray(values, dtype)
    if x.shape != (size,):
        raise ValueError(f"{name} must have shape ({size},), got {x.shape}")
    non_negative(name, x)
    some_mass(name, x)
    if is_concrete(x) and not free and abs(np.asarray(x).sum() - 1.0) > 1e-3:
        raise ValueError(f"{name} must sum to 1, got a sum of {np.asarray(x).sum():.6g}")
    return x


def embeddings(z_a: ArrayLike, z_b: ArrayLike, layout: str) -> tuple[Array, Array]:
    """Cast two views' embeddings (n, d), (m, d) to float32 or float64; joint ones have n = m."""
    a, b = array("z_a", z_a), array("z_b", z_b)
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


def positions(
    name: str, a: ArrayLike, b: ArrayLike | None, scale: ArrayLike
) -> tuple[Float[Array, "n k"], Float[Array, "m k"]]:
    """Centre labels (n,) or (n, k), (m,) or (m, k) by one point, and divide them by a scale.

    Distances do not see the point, and differences of large numbers are kept: in NumPy's types
    where all are known, in JAX's where one is traced. Columns of None are the rows.

    Raises:
        ValueError: An array of another shape or width, or an entry that is not finite, then or now.
    """
    sides = {f"{name}_a": a} if b is None else {f"{name}_a": a, f"{name}_b": b}
    given = [_points(side, values) for side, values in sides.items()]
    if given[0].shape[1] != given[-1].shape[1]:
        shapes = " and ".join(str(x.shape) for x in given)
        raise ValueError(f"{' and '.join(sides)} must have one width, got shapes {shapes}")
    known = [widened(x) for x in given if isinstance(x, np.ndarray)]
    if len(known) < len(given):
        scaled = [x / jnp.asarray(scale, x.dtype) for x in _traced_positions(given)]
        return scaled[0], scaled[-1]
    low, high = (end(np.concatenate(known), axis=0) for end in (np.min, np.max))
    unit = np.float64(np.asarray(scale)) if is_concrete(scale) else 1.0
    with np.errstate(over="ignore"):
        found = [((x - (low / 2 + high / 2)) / unit).astype(_float_type(*given)) for x in known]
    if not all(np.isfinite(x).all() for x in found):
        raise ValueError(
            f"{' and '.join(sides)} reach from {low.min():g} to {high.max():g}, beyond "
            f"{found[0].dtype} in units of {unit:g}"
        )
    rest = jnp.asarray(1.0 if is_concrete(scale) else scale, found[0].dtype)
    return found[0] / rest, found[-1] / rest


def _traced_positions(given: list[Array | np.ndarray]) -> list[Array]:
    x = [jnp.asarray(widened(x).astype(float) if isinstance(x, np.ndarray) else x) for x in given]
    if jnp.issubdtype(x[0].dtype, jnp.integer) and x[0].dtype == x[-1].dtype:
        low = jnp.concatenate(x).min(axis=0, keepdims=True)
        unsigned = f"uint{8 * low.dtype.itemsize}"  # holds any difference of two
        x = [each.astype(unsigned) - low.astype(unsigned) for each in x]
    x = [cast_up(each) for each in x]
    both = jax.lax.stop_gradient(jnp.concatenate(x))
    middle = both.min(axis=0, keepdims=True) / 2 + both.max(axis=0, keepdims=True) / 2
    return [each - middle for each in x]


def directions(name: str, values: ArrayLike) -> Float[Array, "n k"]:
    """Check features (n, k) whose direction alone counts; known rows are divided by their largest.

    Raises:
        ValueError: An array of another shape, or an entry that is not finite.
    """
    x = _points(name, values)
    if not isinstance(x, np.ndarray):
        return cast_up(x)
    wide = widened(x)
    largest = np.abs(wide).max(axis=1, keepdims=True)
    return jnp.asarray((wide / np.where(largest > 0, largest, 1)).astype(_float_type(x)))


def widened(x: np.ndarray) -> np.ndarray:
    """Cast to float64, or to what holds the digits of a wider type if the machine has it."""
    wide = x.dtype.itemsize > 8 or (x.dtype.kind in "iu" and x.dtype.itemsize == 8)
    return x.astype(np.longdouble if wide else np.float64)


def _float_type(*x: Array | np.ndarray) -> np.dtype:
    """Return JAX's type of numbers that are cast up."""
    types = [jax.dtypes.canonicalize_dtype(each.dtype) for each in x]
    with jax.numpy_dtype_promotion("standard"):
        return np.dtype(jnp.result_type(*types, jnp.float32))


def _points(name: str, values: Any) -> Array | np.ndarray:
    """Check numbers (n,) or (n, k); what is known is an array of NumPy, as JAX's is narrower."""
    if _known(values):
        numbers(name, values)
    x: Array | np.ndarray = np.asarray(values) if _known(values) else values
    real = jnp.issubdtype(x.dtype, jnp.number) and not jnp.issubdtype(x.dtype, jnp.complexfloating)
    if x.ndim not in (1, 2) or x.size == 0 or not (real or x.dtype == bool):
        raise ValueError(f"{name} must be numbers (n,) or (n, k), got {x.dtype} {x.shape}")
    if isinstance(x, np.ndarray) and not (finite := np.isfinite(widened(x))).all():
        raise ValueError(f"{name} must be finite, got {x[~finite][0]}")
    return x.reshape(len(x), -1)


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
    rows = columns = of_ids = pairs = None
    if valid is not None:
        rows, columns = _laid_out(joint, *_sides("valid", valid, n, m))
        if rows.dtype != bool or columns.dtype != bool:
            raise ValueError(
                f"valid must be booleans, such as mask > 0; got {rows.dtype} and {columns.dtype}"
            )
    if isinstance(ignore, tuple) or (ignore is not None and jnp.ndim(ignore) == 1):
        of_ids = _laid_out(joint, *ids("ignore", *_sides("ignore", ignore, n, m)))
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
    return Excluded(rows, columns, of_ids, pairs, joint)


def emptied(a: Array, b: Array, layout: str, excluded: Excluded | None) -> tuple[Array, Array]:
    """Replace the rows that do not count by zeros, so that they get no gradient, NaN or not."""
    if excluded is None or excluded.rows is None or excluded.columns is None:
        return a, b
    rows, columns = excluded.rows, excluded.columns
    if layout == "joint":
        rows, columns = jnp.split(rows, 2)
    return jnp.where(rows[:, None], a, 0.0), jnp.where(columns[:, None], b, 0.0)


def _sides(
    name: str, given: ArrayLike | tuple[ArrayLike, ArrayLike], n: int, m: int
) -> tuple[Any, Any]:
    """Check what is given for the samples of rows and columns: one array of both, or two."""
    both = given if isinstance(given, tuple) else (given, given)
    if not isinstance(given, tuple) and n != m:
        raise ValueError(f"{name} must be a pair of arrays, ({n},) for z_a and ({m},) for z_b")
    for x, size in zip(both, (n, m), strict=True):
        if np.shape(x) != (size,):
            raise ValueError(
                f"{name} must have shape ({size},), one for each sample; got {np.shape(x)}"
            )
    return both


def _laid_out(joint: bool, of_rows: ArrayLike, of_columns: ArrayLike) -> tuple[Array, Array]:
    """Lay what belongs to samples out for the rows and columns of K."""
    of_rows, of_columns = jnp.asarray(of_rows), jnp.asarray(of_columns)
    if not joint:
        return of_rows, of_columns
    both = jnp.concatenate([of_rows, of_columns])
    return both, both
