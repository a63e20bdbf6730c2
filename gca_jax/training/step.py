"""A training step as a pure function of the state and a batch, traced for the devices.

Both views go through the network in one pass, as SimCLR's do: batch norm then normalises them with
common statistics. In two passes each view would have statistics of its own, and the network could
tell the views apart.
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
    """By-products of the loss: scalars for the log, new batch statistics, features of a probe."""

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
    """Compute the loss of both views' embeddings; a learned temperature replaces its setting."""
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
    """Compute BYOL's loss: predictions of each view against the target network's other view."""
    variables = {"params": params, "batch_stats": state.batch_stats}
    z, batch_stats, features = embed(variables, views)
    # Both have batch norm and one collection: the predictor's new statistics join the encoder's.
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

    Args:
        experiment: Network, data, loss and target plan.
        optimizer: Of the network's weights.
        total_steps: Length of the run, over which BYOL's decay rises to one.
        mesh: Devices that the loss is split over; None: its partition is left to the compiler.
    """
    data, settings = experiment.data, experiment.train
    objective, decay = make_objective(experiment), byol_decay(settings.target_decay, total_steps)
    loss_fn = split_loss(experiment, mesh)

    def train_step(
        state: TrainState, key: PRNGKeyArray, batch: Batch
    ) -> tuple[TrainState, Metrics]:
        # Randomness is a function of the step, so nothing random has to be saved. The key is an
        # argument and no constant: runs that differ in their seed alone share what is compiled.
        views = data.views(jax.random.fold_in(key, state.step), batch.inputs)
        loss = partial(loss_fn, **experiment.target.keywords(batch.info, state.step))
        value_and_grad = jax.value_and_grad(partial(objective, loss), has_aux=True)
        (value, forward), gradients = value_and_grad(state.params, state, views)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        average = None
        if decay is not None:  # BYOL's target network: a moving average of the new weights
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
        trained = params, forward.batch_stats, opt_state, average
        return TrainState(state.step + 1, *trained, head, head_state), metrics

    return train_step


def make_objective(experiment: Experiment) -> Callable[..., tuple[Array, Forward]]:
    """Choose the function (loss, params, state, views) -> (value, `Forward`) of an experiment."""
    network, settings = experiment.network, experiment.train
    whole: Embed = network.embed
    if settings.batch_norm_groups is not None:
        whole = in_groups(whole, settings.batch_norm_groups)
    embed = whole if settings.encoder_chunk is None else in_chunks(whole, settings.encoder_chunk)
    if settings.target_decay is None:
        return partial(contrastive_loss, network, embed)
    return partial(byol_loss, embed, whole)  # embeddings are small: predicted without chunks


def split_loss(experiment: Experiment, mesh: Mesh | None) -> Loss:
    """Split the loss over the devices of a mesh; the compiler partitions a caller's own.

    By hand, since the compiler's partition gathers the embeddings three times, and cannot have
    blocks of the kernel on each device.
    """
    if mesh is None or mesh.size == 1 or "loss" in experiment.given:
        return experiment.loss
    return partial(losses.sharded(experiment.method, mesh), **experiment.config.loss)


def byol_decay(at_start: float | None, total_steps: int) -> optax.Schedule | None:
    """Make the schedule of BYOL's decay: half a cosine up to one (arXiv 2006.07733, appendix).

    None where there is no target network.
    """
    if at_start is None:
        return None
    fall = optax.cosine_decay_schedule(1 - at_start, total_steps)
    return lambda step: 1 - fall(step)


def shard(train_step: TrainStep, mesh: Mesh) -> jax.stages.Wrapped:
    """Jit a step over a mesh, the batch split by row, the state replicated.

    The compiler partitions the rest, so batch norm and the loss see the global batch and the
    result is that of one device up to rounding.
    """
    whole, rows = replicated(mesh), by_row(mesh)
    return jax.jit(
        train_step,
        in_shardings=(whole, whole, rows),
        out_shardings=(whole, whole),
        donate_argnums=0,  # the new state takes the buffers of the old one
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
    initial: Callable[..., TrainState]  # from an encoder's weights, or drawn: see `initial.draw`
    abstract: TrainState  # shapes and dtypes
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
    mesh, key = make_mesh(), jax.ShapeDtypeStruct((), experiment.key.dtype)
    with context("config.train"):
        order = _order(experiment, mesh)
        per_epoch = steps_per_epoch(order.size, order.batch_size)
        total = experiment.train.steps or experiment.train.epochs * per_epoch
        if total >= 2**31:
            epochs = experiment.train.epochs
            raise ValueError(f"epochs must give less than 2^31 steps, got {epochs}")
    with context("config.optimizer"):
        optimizer, rate = make_optimizer(total, per_epoch, **experiment.config.optimizer)
    with context("config.model"):
        create, abstract = _states(experiment, optimizer)
    train_step = make_train_step(experiment, optimizer, total, mesh)
    with context("loss" if "loss" in experiment.given else "config.loss"):
        batch = _example(experiment, order.batch_size)
        lowered = shard(train_step, mesh).lower(abstract, key, batch)

    def start(given: Mapping[str, Any] | None = None) -> TrainState:
        return jax.device_put(create(initial.draw(experiment, given)), replicated(mesh))

    schedule = jax.jit(rate)

    def learning_rate(step: int) -> float:
        # To the device and back explicitly, as a guard of transfers demands.
        return float(jax.device_get(schedule(jax.device_put(np.int32(step)))))

    return Training(
        experiment, mesh, order, per_epoch, total, learning_rate, start, abstract, lowered
    )


def _states(
    experiment: Experiment, optimizer: optax.GradientTransformation
) -> tuple[Callable[[Variables], TrainState], TrainState]:
    """Make the function from variables to the first state, and shapes and dtypes of that state."""
    network, shape = experiment.network, experiment.data.input_shape
    shapes = init_variables.eval_shape(network, experiment.key, shape)
    probed = None
    if experiment.probed_classes is not None:
        encode = partial(network.apply, method="encode")
        features = jax.eval_shape(encode, shapes, *network.blank(shape))
        probed = features.shape[1], experiment.probed_classes
    with_target = experiment.train.target_decay is not None
    create = partial(create_state, optimizer=optimizer, with_target=with_target, probed=probed)
    return create, jax.eval_shape(create, shapes)


def _everywhere(key: PRNGKeyArray, mesh: Mesh) -> PRNGKeyArray:
    """Replicate a random key over all devices; `device_put` refuses keys of several processes."""
    wrap = partial(jax.random.wrap_key_data, impl=jax.random.key_impl(key))
    return jax.jit(wrap, out_shardings=replicated(mesh))(np.asarray(jax.random.key_data(key)))


def _order(experiment: Experiment, mesh: Mesh) -> Order:
    """Order the samples into batches that the devices can share."""
    train = experiment.train
    size, devices = train.batch_size, mesh.size
    if size % devices:
        raise ValueError(f"batch_size must divide by the number of devices, {devices}; got {size}")
    chunks.check(train.encoder_chunk, train.batch_norm_groups, size, devices)
    rank, processes = jax.process_index(), jax.process_count()
    return Order(len(experiment.data), size, experiment.seed, rank, processes)


def _example(experiment: Experiment, size: int) -> Batch:
    """Describe a batch of the whole run: shapes and dtypes, as all devices together have them."""
    info = {name: experiment.data.info[name] for name in experiment.takes}
    shapes = {k: jax.ShapeDtypeStruct((size, *x.shape[1:]), x.dtype) for k, x in info.items()}
    return Batch(experiment.data.example(size), jax.ShapeDtypeStruct((size,), np.int32), shapes)
