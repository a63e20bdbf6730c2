"""The training state: a plain pytree of four fields, and BYOL's target network as a fifth."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from gca_jax.models import Network

Variables = dict[str, PyTree]
"""{"params": ..., "batch_stats": ...}, as `Network.apply` takes them."""


class TrainState(NamedTuple):
    """Everything that a training step changes; `batch_stats` is {} without batch norm.

    `target` holds the `Variables` of BYOL's target network; None for every other method.
    """

    step: Int[Array, ""]
    params: PyTree
    batch_stats: PyTree
    opt_state: optax.OptState
    target: PyTree = None


# Drawing weights is over in milliseconds; optimising the code for it would take seconds.
@partial(jax.jit, static_argnums=(0, 2), compiler_options={"xla_backend_optimization_level": 0})
def init_variables(network: Network, key: PRNGKeyArray, image_shape: tuple[int, ...]) -> Variables:
    """Draw the initial weights and batch statistics of a network for images of (h, w, c)."""
    drawn = network.init(key, jnp.zeros((1, *image_shape)), method="touch")
    variables = {"params": {}, "batch_stats": {}, **drawn}
    if others := variables.keys() - {"params", "batch_stats"}:
        raise ValueError(
            f"the network has variables of another kind, {', '.join(sorted(others))}; "
            "a training step carries params and batch_stats alone"
        )
    return variables


def create(
    variables: Variables, optimizer: optax.GradientTransformation, with_target: bool
) -> TrainState:
    """Make the state before the first step; a target network starts as a copy of the online one."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        opt_state=optimizer.init(variables["params"]),
        target=jax.tree.map(jnp.copy, variables) if with_target else None,
    )
