"""One training step as a pure function of state and images, and its sharding over devices.

Both views go through the network in one pass, as SimCLR's do: batch norm then normalises them with
common statistics. In two passes each view would have statistics of its own, and the network could
tell the views apart. The two views of an image stay neighbours in that batch, so a device that
holds the image holds both of its views and no pixel moves between devices.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree, UInt8

from gca_jax.data.views.augment import Augment
from gca_jax.losses import Loss
from gca_jax.models import Network
from gca_jax.training.state import TrainState, Variables

Metrics = dict[str, Float[Array, ""]]
Pair = tuple[Float[Array, "b d"], Float[Array, "b d"]]
Views = tuple[Float[Array, "b h w c"], Float[Array, "b h w c"]]
TrainStep = Callable[[TrainState, Array, Array | None], tuple[TrainState, Metrics]]


class Forward(NamedTuple):
    """What the forward pass leaves beside the loss: log scalars and new batch statistics."""

    aux: dict[str, Array]
    batch_stats: PyTree
    target_stats: PyTree = None


def embed(
    network: Network, variables: Variables, views: Views | Pair, method: str = "__call__"
) -> tuple[Pair, PyTree]:
    """Embed both views in one pass with shared batch statistics; give the new statistics too."""
    a, b = views
    x = jnp.stack([a, b], axis=1).reshape(-1, *a.shape[1:])
    z, updates = network.apply(variables, x, train=True, method=method, mutable=["batch_stats"])
    z = z.reshape(len(a), 2, -1)
    return (z[:, 0], z[:, 1]), updates["batch_stats"]


def contrast(
    network: Network, loss_fn: Loss, params: PyTree, state: TrainState, views: Views
) -> tuple[Array, Forward]:
    """Compute the loss of the two views' embeddings."""
    variables = {"params": params, "batch_stats": state.batch_stats}
    (z_a, z_b), batch_stats = embed(network, variables, views)
    value, aux = loss_fn(z_a, z_b)
    return value, Forward(aux, batch_stats)


def bootstrap(
    network: Network, loss_fn: Loss, params: PyTree, state: TrainState, views: Views
) -> tuple[Array, Forward]:
    """Compare predictions of one view with BYOL's target of the other, both ways round."""
    variables = {"params": params, "batch_stats": state.batch_stats}
    z, batch_stats = embed(network, variables, views)
    variables = {"params": params, "batch_stats": batch_stats}
    (p_a, p_b), batch_stats = embed(network, variables, z, "predict")
    (t_a, t_b), target_stats = jax.lax.stop_gradient(embed(network, state.target, views))
    value, aux = jax.tree.map(lambda x, y: (x + y) / 2, loss_fn(p_a, t_b), loss_fn(p_b, t_a))
    return value, Forward(aux, batch_stats, target_stats)


def make_train_step(
    network: Network,
    augment: Augment,
    loss_fn: Loss,
    optimizer: optax.GradientTransformation,
    key: PRNGKeyArray,
    target_decay: optax.Schedule | None = None,
    keywords: Callable[[Array | None], Mapping[str, object]] = lambda groups: {},
) -> TrainStep:
    """Make the pure function (state, images, groups) -> (state, metrics).

    Step k uses `fold_in(key, k)`, so that nothing random has to be saved. `target_decay`, of the
    moving average that is BYOL's target network, makes a network with a predictor bootstrap.
    `keywords` makes the target of a batch's loss from the groups of its images.
    """
    objective = contrast if target_decay is None else bootstrap

    def train_step(
        state: TrainState, images: UInt8[Array, "b ..."], groups: Int[Array, "b"] | None = None
    ) -> tuple[TrainState, Metrics]:
        views = augment.views(jax.random.fold_in(key, state.step), images)
        loss = partial(loss_fn, **keywords(groups))
        value_and_grad = jax.value_and_grad(partial(objective, network, loss), has_aux=True)
        (value, forward), gradients = value_and_grad(state.params, state, views)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        target = None
        if target_decay is not None:
            average = optax.incremental_update(
                params, state.target["params"], 1 - target_decay(state.step)
            )
            target = {"params": average, "batch_stats": forward.target_stats}
        metrics = {"loss": value, "gradient_norm": optax.tree.norm(gradients), **forward.aux}
        new = TrainState(state.step + 1, params, forward.batch_stats, opt_state, target)
        return new, metrics

    return train_step


def make_mesh() -> Mesh:
    """Lay all devices of all processes along one axis, `data`."""
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """Put the whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def by_row(mesh: Mesh) -> NamedSharding:
    """Split the first axis over the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def shard(train_step: TrainStep, mesh: Mesh) -> jax.stages.Wrapped:
    """Jit a step over a mesh: a batch split by row, state replicated, its old buffers reused.

    The compiler partitions the rest, so batch norm and the loss see the global batch and the
    result is that of one device up to rounding.
    """
    whole = replicated(mesh)
    return jax.jit(
        train_step,
        in_shardings=(whole, by_row(mesh), by_row(mesh)),
        out_shardings=(whole, whole),
        donate_argnums=0,
    )
