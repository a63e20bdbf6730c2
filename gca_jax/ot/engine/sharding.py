"""Arrays on a mapped axis, inside `jax.shard_map`: gathered, varying over devices, or replicated.

What devices compute is either replicated (the same on all of them) or, for cotangents, a partial
sum: each device holds a part, and the sum over devices counts. `axis_name=None` is one device,
where every function here returns its argument.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

AxisName = str | tuple[str, ...]  # of one mapped axis, or of several that split the rows together


def varying(x: Array, axis_name: AxisName | None) -> Array:
    """Type x as an array that may differ between the devices of a mapped axis."""
    if axis_name is None:
        return x
    if x.dtype == bool:
        return varying(x.astype(jnp.int32), axis_name) > 0
    return x + (0 * jax.lax.axis_index(axis_name)).astype(x.dtype)


def on_first_device(x: Array, axis_name: AxisName | None) -> Array:
    """Keep x on the first device of a mapped axis, 0 on the others: partial sums that add to x."""
    if axis_name is None:
        return x
    return jnp.where(jax.lax.axis_index(axis_name) == 0, x, jnp.zeros_like(x))


def replicated(x: Array, axis_name: AxisName | None) -> Array:
    """Type x, which all devices of a mapped axis computed alike, as the same on all of them."""
    if axis_name is None:
        return x
    wide = x.astype(jnp.int32) if x.dtype == bool else x
    return jax.lax.psum(on_first_device(wide, axis_name), axis_name).astype(x.dtype)


def gathered(z_a: ArrayLike, z_b: ArrayLike, axis_name: AxisName) -> tuple[Array, Array]:
    """Gather the embeddings of all devices of a mapped axis, in one collective if they can be."""
    try:
        jax.lax.axis_size(axis_name)
    except NameError:
        raise ValueError(
            f"axis_name={axis_name!r} names no axis here: call this inside jax.shard_map over a "
            "mesh with that axis, or use losses.sharded"
        ) from None
    a, b = jnp.asarray(z_a), jnp.asarray(z_b)
    if a.shape != b.shape or a.dtype != b.dtype:
        gather = partial(jax.lax.all_gather, axis_name=axis_name, tiled=True)
        return gather(a), gather(b)
    both = jax.lax.all_gather(jnp.stack([a, b]), axis_name, axis=1, tiled=True)
    return both[0], both[1]
