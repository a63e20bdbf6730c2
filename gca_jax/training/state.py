"""The state that a training step updates, and the shardings of state and batches."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from gca_jax.models import Network, Towers, evidence
from gca_jax.training import probe

Variables = dict[str, PyTree]
"""{"params": ..., "batch_stats": ...}, as `Network.apply` takes them."""
Metrics = dict[str, Float[Array, ""]]
Views = tuple[Float[Array, "b ..."], Float[Array, "b ..."]]


class TrainState(NamedTuple):
    """Everything that a training step updates.

    `batch_stats` is {} without batch norm. `target` holds the `Variables` of BYOL's target network
    and is None for other methods; `probe` and `probe_state` are the head of the online probe and
    its optimizer's state, None without one. `best` holds the params that did best at the validation
    pairs so far (`training.validation`), None where these choose nothing. `memory` is what the
    looks at the training pairs have found so far (`evidence.Memory`), and `remembered` what they
    had found when `best` was kept.
    """

    step: Int[Array, ""]
    params: PyTree
    batch_stats: PyTree
    opt_state: optax.OptState
    target: PyTree = None
    probe: PyTree = None
    probe_state: PyTree = None
    best: PyTree = None
    memory: PyTree = None
    remembered: PyTree = None


# Drawing weights takes milliseconds; optimising the code for it would take seconds.
@partial(jax.jit, static_argnums=(0, 2), compiler_options={"xla_backend_optimization_level": 0})
def init_variables(
    network: Network | Towers, key: PRNGKeyArray, input_shape: tuple[int, ...]
) -> Variables:
    """Draw initial weights and batch statistics; `input_shape` is (h, w, c), or (d_a, d_b)."""
    drawn = network.init(key, *network.blank(input_shape), method="touch")
    variables = {"params": {}, "batch_stats": {}, **drawn}
    if others := variables.keys() - {"params", "batch_stats"}:
        raise ValueError(
            f"the network has variables of another kind, {', '.join(sorted(others))}; "
            "a training step carries params and batch_stats alone"
        )
    return variables


def create_state(
    variables: Variables,
    optimizer: optax.GradientTransformation,
    with_target: bool,
    probed: tuple[int, int] | None = None,
    with_best: bool = False,
    remembered: evidence.Memory | None = None,
) -> TrainState:
    """Make the initial state; a target network starts as a copy of the online one.

    Args:
        variables: Variables of the network.
        optimizer: Optimizer of its weights.
        with_target: Whether to keep a target network, as BYOL does.
        probed: Numbers of features and classes of the online probe; None: no probe.
        with_best: Whether to keep a copy of the best params, at first the initial ones.
        remembered: Memory of the training pairs, at first empty; None: there is none.
    """
    params, statistics = variables["params"], variables["batch_stats"]
    target = jax.tree.map(jnp.copy, variables) if with_target else None
    head = (None, None) if probed is None else probe.start(*probed)
    best = jax.tree.map(jnp.copy, params) if with_best else None
    zero = jnp.zeros((), jnp.int32)
    started = TrainState(zero, params, statistics, optimizer.init(params), target, *head)
    memory = None if remembered is None else jax.tree.map(jnp.asarray, remembered._asdict())
    return started._replace(best=best, memory=memory, remembered=jax.tree.map(jnp.copy, memory))


def make_mesh() -> Mesh:
    """Make a mesh of all devices of all processes along one axis, `data`."""
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """Replicate an array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def by_row(mesh: Mesh) -> NamedSharding:
    """Shard the first axis over the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))
