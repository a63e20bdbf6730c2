"""What callers give as arrays: embeddings and marginals, checked and cast up."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array, ArrayLike

from gca_jax.check import is_concrete, non_negative, one_of


def marginal(name: str, values: ArrayLike, size: int, dtype: jnp.dtype) -> Array:
    """Check a caller's marginal: shape (size,), non-negative, summing to 1."""
    x = jnp.asarray(values, dtype)
    if x.shape != (size,):
        raise ValueError(f"{name} must have shape ({size},), got {x.shape}")
    non_negative(name, x)
    if is_concrete(x) and abs(np.asarray(x).sum() - 1.0) > 1e-3:
        raise ValueError(f"{name} must sum to 1, got a sum of {np.asarray(x).sum():.6g}")
    return x


def array(name: str, z: ArrayLike) -> Array:
    """Take embeddings as an array; refuse a PyTorch tensor whose gradient would end here."""
    if getattr(z, "requires_grad", False):
        raise ValueError(
            f"{name} is a PyTorch tensor that requires a gradient, which no loss passes on: take "
            f"the bridge of docs/howto.md (In a PyTorch loop), or {name}.detach()"
        )
    if str(getattr(z, "dtype", None)) == "torch.bfloat16":  # which NumPy does not have
        return jax.dlpack.from_dlpack(z.contiguous())  # type: ignore[union-attr]
    return jnp.asarray(z)


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


def pairs(name: str, rows: int, columns: int) -> None:
    """Refuse a shape that the joint layout, which pairs all views, cannot have."""
    if rows != columns:
        raise ValueError(
            f"{name} in the joint layout needs as many rows as columns, got ({rows}, {columns})"
        )
