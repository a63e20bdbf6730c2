"""The training state: a plain pytree of four fields, and BYOL's target network as a fifth."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PRNGKeyArray

from gca_jax.models import Network

Variables = dict[str, Any]
"""{"params": ..., "batch_stats": ...}, as `Network.apply` takes them."""


class TrainState(NamedTuple):
    """Everything that a training step changes.

    Attributes:
        step: how many updates have been made.
        params: the network's weights.
        batch_stats: its running means and variances, {} where it has none.
        opt_state: the optimizer's.
        target: BYOL's target network, `{"params", "batch_stats"}`; None for every other method.
    """

    step: Int[Array, ""]
    params: Any
    batch_stats: Any
    opt_state: optax.OptState
    target: Any = None


def init_variables(network: Network, key: PRNGKeyArray, image_shape: tuple[int, ...]) -> Variables:
    """Initial weights and batch statistics of every part of the network.

    Args:
        network: from `models.create`.
        key: a run uses `jax.random.key(config.seed)`.
        image_shape: (h, w, c) of one image.

    Returns:
        `{"params", "batch_stats"}`; the latter is {} where the network has no batch norm.

    Raises:
        ValueError: the network does not take such images, or has variables of another kind.
    """
    return _init(network, key, tuple(image_shape))


# Drawing weights is over in milliseconds; optimising the code for it would take seconds.
@partial(jax.jit, static_argnums=(0, 2), compiler_options={"xla_backend_optimization_level": 0})
def _init(network: Network, key: PRNGKeyArray, image_shape: tuple[int, ...]) -> Variables:
    return _draw(network, key, image_shape)


def _draw(network: Network, key: PRNGKeyArray, image_shape: tuple[int, ...]) -> Variables:
    variables: Any = network.init(key, jnp.zeros((1, *image_shape)), method="touch")
    variables = {"params": {}, "batch_stats": {}, **variables}
    if others := variables.keys() - {"params", "batch_stats"}:
        raise ValueError(
            f"the network has variables of another kind, {', '.join(sorted(others))}; "
            "a training step carries params and batch_stats alone"
        )
    return variables


def abstract_variables(network: Network, image_shape: tuple[int, ...]) -> Variables:
    """Shapes and dtypes of what `init_variables` returns."""
    return jax.eval_shape(lambda: _draw(network, jax.random.key(0), image_shape))


def create(
    variables: Variables, optimizer: optax.GradientTransformation, with_target: bool
) -> TrainState:
    """The state before the first step; a target network starts as a copy of the online one."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        opt_state=optimizer.init(variables["params"]),
        target=jax.tree.map(jnp.copy, variables) if with_target else None,
    )
