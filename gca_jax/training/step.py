"""The training state, a step as a pure function of it and images, and its sharding over devices.

Both views go through the network in one pass, as SimCLR's do: batch norm then normalises them with
common statistics. In two passes each view would have statistics of its own, and the network could
tell the views apart. The two views of an image stay neighbours in that batch, so a device that
holds the image holds both of its views and no pixel moves between devices.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from gca_jax.losses import Loss
from gca_jax.models import Network, Towers
from gca_jax.training import probe
from gca_jax.training.chunks import Embed, in_chunks, in_groups

Variables = dict[str, PyTree]
"""{"params": ..., "batch_stats": ...}, as `Network.apply` takes them."""
Metrics = dict[str, Float[Array, ""]]
Views = tuple[Float[Array, "b ..."], Float[Array, "b ..."]]
MakeViews = Callable[[PRNGKeyArray, Any], Views]
"""(key, a batch of images, or rows of two sets) -> what the network embeds."""


class TrainState(NamedTuple):
    """Everything that a training step changes; `batch_stats` is {} without batch norm.

    `target` holds the `Variables` of BYOL's target network; None for every other method. `probe`
    is the head of the online probe and `probe_state` its optimizer's; None without one.
    """

    step: Int[Array, ""]
    params: PyTree
    batch_stats: PyTree
    opt_state: optax.OptState
    target: PyTree = None
    probe: PyTree = None
    probe_state: PyTree = None


TrainStep = Callable[[TrainState, PRNGKeyArray, Any, Array | None], tuple[TrainState, Metrics]]


# Drawing weights is over in milliseconds; optimising the code for it would take seconds.
@partial(jax.jit, static_argnums=(0, 2), compiler_options={"xla_backend_optimization_level": 0})
def init_variables(
    network: Network | Towers, key: PRNGKeyArray, input_shape: tuple[int, ...]
) -> Variables:
    """Draw the initial weights and batch statistics for images (h, w, c) or rows of two widths."""
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
) -> TrainState:
    """Make the state before the first step; a target network starts as a copy of the online one.

    `probed` are the numbers of features and classes of an online probe; None: there is none.
    """
    params, statistics = variables["params"], variables["batch_stats"]
    target = jax.tree.map(jnp.copy, variables) if with_target else None
    head = (None, None) if probed is None else probe.start(*probed)
    zero = jnp.zeros((), jnp.int32)
    return TrainState(zero, params, statistics, optimizer.init(params), target, *head)


class Forward(NamedTuple):
    """What the forward pass leaves beside the loss: log scalars and new batch statistics."""

    aux: dict[str, Array]
    batch_stats: PyTree
    target_stats: PyTree = None
    features: tuple[Array, ...] = ()


def contrast(
    network: Network | Towers,
    embed: Embed,
    loss_fn: Loss,
    params: PyTree,
    state: TrainState,
    views: Views,
) -> tuple[Array, Forward]:
    """Compute the loss of the two views' embeddings."""
    variables = {"params": params, "batch_stats": state.batch_stats}
    (z_a, z_b), batch_stats, features = embed(variables, views)
    learned = network.learned(variables)
    value, aux = loss_fn(z_a, z_b, **learned)
    logged = {"epsilon": learned["epsilon"]} if learned else {}
    return value, Forward({**aux, **logged}, batch_stats, features=features)


def bootstrap(
    embed: Embed,
    predict: Embed,
    loss_fn: Loss,
    params: PyTree,
    state: TrainState,
    views: Views,
) -> tuple[Array, Forward]:
    """Compare predictions of one view with BYOL's target of the other, both ways round."""
    variables = {"params": params, "batch_stats": state.batch_stats}
    z, batch_stats, features = embed(variables, views)
    variables = {"params": params, "batch_stats": batch_stats}
    (p_a, p_b), batch_stats, _ = predict(variables, z, "predict")
    (t_a, t_b), target_stats, _ = jax.lax.stop_gradient(embed(state.target, views))
    value, aux = jax.tree.map(lambda x, y: (x + y) / 2, loss_fn(p_a, t_b), loss_fn(p_b, t_a))
    return value, Forward(aux, batch_stats, target_stats, features)


def make_train_step(
    network: Network | Towers,
    make_views: MakeViews,
    loss_fn: Loss,
    optimizer: optax.GradientTransformation,
    target_decay: optax.Schedule | None = None,
    keywords: Callable[[Array | None, Array], Mapping[str, object]] = lambda groups, step: {},
    encoder_chunk: int | None = None,
    batch_norm_groups: int | None = None,
) -> TrainStep:
    """Make the pure function (state, key, images, groups) -> (state, metrics).

    Step k uses `fold_in(key, k)`, so that nothing random has to be saved; runs that differ in the
    key alone share what is compiled. `target_decay`, of the moving average that is BYOL's target
    network, makes a network with a predictor bootstrap. `keywords` makes the target of a batch's
    loss from the groups of its images and the step. `encoder_chunk` images at a time are embedded,
    in `batch_norm_groups`, see `chunks`; None: all at once, in one group.
    """
    whole: Embed = network.embed
    if batch_norm_groups is not None:
        whole = in_groups(whole, batch_norm_groups)
    embed = whole if encoder_chunk is None else in_chunks(whole, encoder_chunk)
    objective: Callable[..., tuple[Array, Forward]] = partial(contrast, network, embed)
    if target_decay is not None:
        objective = partial(bootstrap, embed, whole)

    def train_step(
        state: TrainState, key: PRNGKeyArray, images: Any, groups: Int[Array, "b"] | None = None
    ) -> tuple[TrainState, Metrics]:
        views = make_views(jax.random.fold_in(key, state.step), images)
        loss = partial(loss_fn, **keywords(groups, state.step))
        value_and_grad = jax.value_and_grad(partial(objective, loss), has_aux=True)
        (value, forward), gradients = value_and_grad(state.params, state, views)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        target = None
        if target_decay is not None:
            average = optax.incremental_update(
                params, state.target["params"], 1 - target_decay(state.step)
            )
            target = {"params": average, "batch_stats": forward.target_stats}
        metrics = {
            "loss": value,
            "gradient_norm": optax.tree.norm(gradients),
            "update_norm": optax.tree.norm(updates),
            # Of what is saved next: finite if and only if all of it is.
            "parameter_norm": optax.tree.norm((params, forward.batch_stats)),
            **forward.aux,
        }
        head, head_state = state.probe, state.probe_state
        if head is not None:
            assert groups is not None  # they are labels
            h, labels = jnp.concatenate(forward.features), jnp.tile(groups, 2)
            head, head_state, logged = probe.update(head, head_state, h, labels)
            metrics |= logged
        own = params, forward.batch_stats, opt_state, target
        return TrainState(state.step + 1, *own, head, head_state), metrics

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
    whole, rows = replicated(mesh), by_row(mesh)
    return jax.jit(
        train_step,
        in_shardings=(whole, whole, rows, rows),
        out_shardings=(whole, whole),
        donate_argnums=0,
    )
