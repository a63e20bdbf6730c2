"""The precision in which a network computes while its weights stay float32."""

from typing import Any

import jax
import jax.numpy as jnp

from gca_jax.check import one_of

DTYPES = ("float32", "bfloat16")


def check(dtype: str | None) -> None:
    """Refuse a dtype that networks do not compute in; None is float32."""
    if dtype is not None:
        one_of("dtype", dtype, DTYPES)


def embedding(z: jax.Array) -> jax.Array:
    """Widen embeddings to float32 at least: the loss exponentiates their products."""
    return z.astype(jnp.promote_types(z.dtype, jnp.float32))


def cast(variables: Any, inputs: Any, dtype: str | None) -> tuple[Any, Any]:
    """Round weights and inputs to the dtype, and leave batch statistics as they are.

    Layers compute in the dtype of both, and statistics of a normalisation in float32. The gradient
    is that of the float32 weights, as the rounding is part of what is differentiated.
    """
    if dtype in (None, "float32"):
        return variables, inputs
    params, inputs = jax.tree.map(
        lambda x: x.astype(jnp.dtype(dtype)), (variables["params"], inputs)
    )
    return {**variables, "params": params}, inputs
