"""A training step as a pure function of the state and a batch, traced for the devices.

Both views go through the network in one pass, as SimCLR's do: batch norm then normalises them with
common statistics. In two passes each view would have statistics of its own, and the network could
tell the views apart. The two views of an image stay neighbours in that batch, so a device that
holds the image holds both of its views and no pixel moves between devices.
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, PRNGKeyArray, PyTree

from gca_jax import losses
from gca_jax.data.batches import Batch, Order, steps_per_epoch
from gca_jax.experiment import Experiment, context
from gca_jax.losses import Loss
from gca_jax.models import Network, Towers
from gca_jax.training import chunks, initial, probe
from gca_jax.training.chunks import Embed, in_chunks, in_groups
from gca_jax.training.optimizer import make_optimizer
from gca_jax.training.state import (
    Metrics,
    TrainState,
    Variables,
    Views,
    by_row,
    create_state,
    init_variables,
    make_mesh,
    replicated,
)

TrainStep = Callable[[TrainState, PRNGKeyArray, Batch], tuple[TrainState, Metrics]]


class Forward(NamedTuple):
    """What the forward pass leaves beside the loss: log scalars and new batch statistics."""

    aux: dict[str, Array]
    batch_stats: PyTree
    target_stats: PyTree = None
    features: tuple[Array, ...] = ()


def contrastive_loss(
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


def byol_loss(
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
    experiment: Experiment,
    optimizer: optax.GradientTransformation,
    total_steps: int,
    mesh: Mesh | None = None,
) -> TrainStep:
    """Make the pure function (state, key, batch) -> (state, metrics).

    Step k uses `fold_in(key, k)`, so that nothing random has to be saved; runs that differ in the
    key alone share what is compiled.

    Args:
        experiment: Network, data, loss and target.
        optimizer: Of the network's weights.
        total_steps: Length of the run, over which BYOL's decay rises to one.
        mesh: Devices that the loss is split over; None: its partition is left to the compiler.
    """
    network, data, target = experiment.network, experiment.data, experiment.target
    settings, loss_fn = experiment.train, spread(experiment, mesh)
    whole: Embed = network.embed
    if settings.batch_norm_groups is not None:
        whole = in_groups(whole, settings.batch_norm_groups)
    embed = whole if settings.encoder_chunk is None else in_chunks(whole, settings.encoder_chunk)
    decay = byol_decay(settings.target_decay, total_steps)
    objective: Callable[..., tuple[Array, Forward]] = partial(contrastive_loss, network, embed)
    if decay is not None:
        objective = partial(byol_loss, embed, whole)

    def train_step(
        state: TrainState, key: PRNGKeyArray, batch: Batch
    ) -> tuple[TrainState, Metrics]:
        views = data.views(jax.random.fold_in(key, state.step), batch.inputs)
        loss = partial(loss_fn, **target.keywords(batch.info, state.step))
        value_and_grad = jax.value_and_grad(partial(objective, loss), has_aux=True)
        (value, forward), gradients = value_and_grad(state.params, state, views)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        average = None
        if decay is not None:
            moved = optax.incremental_update(params, state.target["params"], 1 - decay(state.step))
            average = {"params": moved, "batch_stats": forward.target_stats}
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
            h, labels = jnp.concatenate(forward.features), jnp.tile(batch.info["labels"], 2)
            head, head_state, logged = probe.update(head, head_state, h, labels)
            metrics |= logged
        own = params, forward.batch_stats, opt_state, average
        return TrainState(state.step + 1, *own, head, head_state), metrics

    return train_step


def spread(experiment: Experiment, mesh: Mesh | None) -> Loss:
    """Split the loss over the devices of a mesh; the compiler partitions a caller's own."""
    if mesh is None or mesh.size == 1 or "loss" in experiment.given:
        return experiment.loss
    return partial(losses.sharded(experiment.method, mesh), **experiment.config.loss)


def byol_decay(at_start: float | None, total_steps: int) -> optax.Schedule | None:
    """Let the decay of BYOL's target rise to one along half a cosine (arXiv 2006.07733, appendix).

    None: there is no target network.
    """
    if at_start is None:
        return None
    fall = optax.cosine_decay_schedule(1 - at_start, total_steps)
    return lambda step: 1 - fall(step)


def shard(train_step: TrainStep, mesh: Mesh) -> jax.stages.Wrapped:
    """Jit a step over a mesh: a batch split by row, state replicated, its old buffers reused.

    The compiler partitions the rest, so batch norm and the loss see the global batch and the
    result is that of one device up to rounding.
    """
    whole, rows = replicated(mesh), by_row(mesh)
    return jax.jit(
        train_step,
        in_shardings=(whole, whole, rows),
        out_shardings=(whole, whole),
        donate_argnums=0,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Training:
    """An experiment, ready to be trained; `lowered` is its sharded step, traced."""

    experiment: Experiment
    mesh: Mesh
    order: Order
    steps_per_epoch: int
    total_steps: int
    learning_rate: Callable[[int], float]
    initial: Callable[..., TrainState]  # perhaps of an encoder, as `initial.draw` takes it
    abstract: TrainState
    lowered: jax.stages.Lowered

    @cached_property
    def key(self) -> PRNGKeyArray:
        """Random key of the views of all steps, on all devices."""
        return _everywhere(jax.random.split(self.experiment.key)[0], self.mesh)

    @property
    def metrics(self) -> set[str]:
        """Names of the scalars that a step gives."""
        return set(self.lowered.out_info[1])

    @property
    def bytes(self) -> int:
        """Size of a checkpoint."""
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(self.abstract))


def trace(experiment: Experiment) -> Training:
    """Make optimizer and initial state, trace the sharded step; a mistake names its group.

    Nothing runs on the devices: they may be ones that XLA compiles for and this machine lacks.
    """
    mesh, key, settings = make_mesh(), experiment.key, experiment.train
    network, data = experiment.network, experiment.data
    with context("config.train"):
        order = _order(experiment, mesh)
        per_epoch = steps_per_epoch(order.size, order.batch_size)
        total = settings.steps or settings.epochs * per_epoch
        if total >= 2**31:
            raise ValueError(f"epochs must give less than 2^31 steps, got {settings.epochs}")
    with context("config.optimizer"):
        optimizer, rate = make_optimizer(total, per_epoch, **experiment.config.optimizer)
    with_target = settings.target_decay is not None
    create = partial(create_state, optimizer=optimizer, with_target=with_target)
    with context("config.model"):
        shapes = init_variables.eval_shape(network, key, data.input_shape)
        classes = experiment.probed_classes
        if classes is not None:
            create = partial(create, probed=(_width(network, shapes, data.input_shape), classes))
        abstract = jax.eval_shape(create, shapes)
    train_step = make_train_step(experiment, optimizer, total, mesh)
    with context("loss" if "loss" in experiment.given else "config.loss"):
        lowered = shard(train_step, mesh).lower(
            abstract, jax.ShapeDtypeStruct((), key.dtype), _example(experiment, order.batch_size)
        )

    def start(given: Mapping[str, Any] | None = None) -> TrainState:
        return jax.device_put(create(initial.draw(experiment, given)), replicated(mesh))

    schedule = jax.jit(rate)

    def learning_rate(step: int) -> float:
        """Give the rate of a step; it moves to the device and back explicitly, as guards demand."""
        return float(jax.device_get(schedule(jax.device_put(np.int32(step)))))

    return Training(
        experiment, mesh, order, per_epoch, total, learning_rate, start, abstract, lowered
    )


def _everywhere(key: PRNGKeyArray, mesh: Mesh) -> PRNGKeyArray:
    """Replicate a random key over all devices; `device_put` refuses keys of several processes."""
    wrap = partial(jax.random.wrap_key_data, impl=jax.random.key_impl(key))
    return jax.jit(wrap, out_shardings=replicated(mesh))(np.asarray(jax.random.key_data(key)))


def _width(network: Any, shapes: Variables, shape: tuple[int, ...]) -> int:
    """Count the features that the encoder gives of an image."""
    encode = partial(network.apply, method="encode")
    found: jax.ShapeDtypeStruct = jax.eval_shape(encode, shapes, *network.blank(shape))
    return found.shape[1]


def _order(experiment: Experiment, mesh: Mesh) -> Order:
    """Order the images of batches that the devices can share."""
    size, seed = experiment.train.batch_size, experiment.seed
    if size % mesh.size:
        raise ValueError(
            f"batch_size must divide by the number of devices, {mesh.size}; got {size}"
        )
    train = experiment.train
    chunks.check(train.encoder_chunk, train.batch_norm_groups, size, mesh.size)
    return Order(len(experiment.data), size, seed, jax.process_index(), jax.process_count())


def _example(experiment: Experiment, size: int) -> Batch:
    """Describe a batch of the whole run: shapes and dtypes, as all devices together have them."""
    data = experiment.data
    info = {
        name: jax.ShapeDtypeStruct((size, *data.info[name].shape[1:]), data.info[name].dtype)
        for name in experiment.takes
    }
    return Batch(data.example(size), jax.ShapeDtypeStruct((size,), np.int32), info)
