"""The training step as a pure function of state and batch, traced for the devices.

Both views pass through the network as one batch, as in SimCLR, so that batch norm normalises them
with common statistics. Statistics of its own would let the network tell the views apart.
"""

import dataclasses
import functools
import operator
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any, NamedTuple, cast

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
from gca_jax.models.closed_form import Maps
from gca_jax.training import chunks, initial, memory, probe
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
    """By-products of the loss: scalars for the log, batch statistics, the probe's features."""

    aux: dict[str, Array]
    batch_stats: PyTree
    target_stats: PyTree = None
    features: tuple[Array, ...] = ()


def contrastive_loss(
    network: Network | Towers,
    embed: Embed,
    loss: Loss,
    params: PyTree,
    state: TrainState,
    views: Views,
) -> tuple[Array, Forward]:
    """Compute the loss of both views' embeddings; a learned temperature overrides the config's."""
    variables = {"params": params, "batch_stats": state.batch_stats}
    (z_a, z_b), batch_stats, features = embed(variables, views)
    learned = network.learned(variables)
    value, aux = loss(z_a, z_b, **learned)
    logged = {"epsilon": learned["epsilon"]} if learned else {}
    return value, Forward({**aux, **logged}, batch_stats, features=features)


def byol_loss(
    embed: Embed, predict: Embed, loss: Loss, params: PyTree, state: TrainState, views: Views
) -> tuple[Array, Forward]:
    """Compute BYOL's loss: predictions of each view against the target network's other view."""
    variables = {"params": params, "batch_stats": state.batch_stats}
    z, batch_stats, features = embed(variables, views)
    # One collection holds the statistics of encoder and predictor: each pass updates its own.
    variables = {"params": params, "batch_stats": batch_stats}
    (p_a, p_b), batch_stats, _ = predict(variables, z, "predict")
    (t_a, t_b), target_stats, _ = jax.lax.stop_gradient(embed(state.target, views))
    value, aux = jax.tree.map(lambda x, y: (x + y) / 2, loss(p_a, t_b), loss(p_b, t_a))
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
        optimizer: Optimizer of the network's weights.
        total_steps: Length of the run, over which BYOL's decay rises to one.
        mesh: Devices to shard the loss over; None: the compiler partitions it.
    """
    data, settings = experiment.data, experiment.train
    is_logged = logged_steps(experiment, total_steps)
    objective, decay = make_objective(experiment), byol_decay(settings.target_decay, total_steps)
    loss_fn = split_loss(experiment, mesh)

    def train_step(
        state: TrainState, key: PRNGKeyArray, batch: Batch
    ) -> tuple[TrainState, Metrics]:
        # Randomness is a function of the step, so checkpoints need no random state. The key is an
        # argument, not a constant: runs that differ only in their seed share the compiled step.
        views = data.views(jax.random.fold_in(key, state.step), batch.inputs)
        target = experiment.target.keywords(batch.info, state.step)
        loss = partial(loss_fn, diagnose=is_logged(state.step + 1), **target)
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
            # Finite if and only if everything that the next checkpoint saves is.
            "parameter_norm": optax.tree.norm((params, forward.batch_stats)),
            **forward.aux,
        }
        head, head_state = state.probe, state.probe_state
        if head is not None:
            h, labels = jnp.concatenate(forward.features), jnp.tile(batch.info["labels"], 2)
            head, head_state, logged = probe.update(head, head_state, h, labels)
            metrics |= logged
        trained = params, forward.batch_stats, opt_state, average
        kept = state.best, state.memory, state.remembered
        return TrainState(state.step + 1, *trained, head, head_state, *kept), metrics

    return train_step


def logged_steps(experiment: Experiment, total_steps: int) -> Callable[[Any], Any]:
    """Make the function that tells whether a step, counted from 1, is logged; it may be traced.

    A hook of the caller's may add scalars to other steps too: their rows have no diagnosis.
    """
    settings, every = experiment.train, [experiment.train.log_every_steps]
    if settings.knn_every_epochs is not None:
        per_epoch = steps_per_epoch(len(experiment.data), settings.batch_size)
        every.append(settings.knn_every_epochs * per_epoch)

    def is_logged(step: Any) -> Any:
        due = [step % n == 0 for n in every]
        return functools.reduce(operator.or_, due, step == total_steps)

    return is_logged


def make_objective(experiment: Experiment) -> Callable[..., tuple[Array, Forward]]:
    """Make the function (loss, params, state, views) -> (value, `Forward`) of an experiment."""
    network, settings = experiment.network, experiment.train
    predict: Embed = network.embed
    if settings.batch_norm_groups is not None:
        predict = in_groups(predict, settings.batch_norm_groups)
    chunk = settings.encoder_chunk
    embed = predict if chunk is None else in_chunks(predict, chunk)
    if settings.target_decay is None:
        return partial(contrastive_loss, network, embed)
    return partial(byol_loss, embed, predict)  # embeddings are small: no chunks to predict them


def split_loss(experiment: Experiment, mesh: Mesh | None) -> Loss:
    """Shard the loss over a mesh by hand; the compiler partitions a caller's own loss.

    The compiler's partition would gather the embeddings three times and could not keep blocks of
    the kernel on each device.
    """
    if mesh is None or mesh.size == 1 or "loss" in experiment.given:
        return experiment.loss
    split = losses.sharded(cast(losses.Method, experiment.method), mesh)
    return partial(split, **experiment.config.loss)


def byol_decay(at_start: float | None, total_steps: int) -> optax.Schedule | None:
    """Make the schedule of BYOL's decay, half a cosine up to one (arXiv 2006.07733, appendix)."""
    if at_start is None:
        return None
    fall = optax.cosine_decay_schedule(1 - at_start, total_steps)
    return lambda step: 1 - fall(step)


def shard(train_step: TrainStep, mesh: Mesh) -> jax.stages.Wrapped:
    """Jit a step over a mesh: the batch sharded by row, state and key replicated.

    The compiler partitions the rest, so batch norm and the loss see the global batch and the
    result is that of one device up to rounding.
    """
    whole = replicated(mesh)
    return jax.jit(
        train_step,
        in_shardings=(whole, whole, by_row(mesh)),
        out_shardings=whole,
        donate_argnums=0,  # the new state reuses the buffers of the old one
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Training:
    """An experiment that is ready to train; `lowered` is its sharded step, traced."""

    experiment: Experiment
    mesh: Mesh
    order: Order
    steps_per_epoch: int
    total_steps: int
    is_logged: Callable[[int], bool]
    schedule: Callable[[Array], Array]
    create: Callable[[Variables], TrainState]
    abstract: TrainState  # shapes and dtypes of the state
    lowered: jax.stages.Lowered

    def initial(
        self, encoder: Mapping[str, Any] | None = None, maps: Maps | None = None
    ) -> TrainState:
        """Make the initial state, replicated; arguments are those of `initial.draw`."""
        drawn = initial.draw(self.experiment, encoder, maps)
        return jax.device_put(self.create(drawn), replicated(self.mesh))

    def learning_rate(self, step: int) -> float:
        """Compute the learning rate of a step, counted from 0."""
        # Explicit transfers: `jax.transfer_guard` forbids implicit ones in the loop.
        return float(jax.device_get(self.schedule(jax.device_put(np.int32(step)))))

    @cached_property
    def key(self) -> PRNGKeyArray:
        """Random key of all views, replicated."""
        return _replicate_key(jax.random.split(self.experiment.key)[0], self.mesh)

    @cached_property
    def metrics(self) -> set[str]:
        """Names of a step's scalars."""
        return set(self.lowered.out_info[1])

    @property
    def bytes(self) -> int:
        """Size of a checkpoint in bytes."""
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(self.abstract))


def trace(experiment: Experiment) -> Training:
    """Make optimizer and initial state, and trace the sharded step; errors name their group.

    Nothing runs on the devices, so the step can be compiled for devices that this machine lacks.
    """
    mesh, key = make_mesh(), jax.ShapeDtypeStruct((), experiment.key.dtype)
    with context("config.train"):
        order = _order(experiment, mesh)
        per_epoch = steps_per_epoch(order.size, order.batch_size)
        steps, epochs = experiment.train.steps, experiment.train.epochs
        total = epochs * per_epoch if steps is None else steps
        if total >= 2**31:
            raise ValueError(f"epochs must give less than 2^31 steps, got {epochs}")
    with context("config.optimizer"):
        # of a run without a step too, which has a state
        optimizer, rate = make_optimizer(max(total, 1), per_epoch, **experiment.config.optimizer)
    with context("config.model"):
        create, abstract = _states(experiment, optimizer)
    train_step = make_train_step(experiment, optimizer, total, mesh)
    with context("loss" if "loss" in experiment.given else "config.loss"):
        batch = _example(experiment, order.batch_size)
        lowered = shard(train_step, mesh).lower(abstract, key, batch)
    loop = logged_steps(experiment, total), jax.jit(rate)
    return Training(experiment, mesh, order, per_epoch, total, *loop, create, abstract, lowered)


def _states(
    experiment: Experiment, optimizer: optax.GradientTransformation
) -> tuple[Callable[[Variables], TrainState], TrainState]:
    """Make the function from variables to the initial state, and the shapes of that state."""
    network, shape = experiment.network, experiment.data.input_shape
    shapes = init_variables.eval_shape(network, experiment.key, shape)
    probed = None
    if experiment.probed_classes is not None:
        encode = partial(network.apply, method="encode")
        features = jax.eval_shape(encode, shapes, *network.blank(shape))
        probed = features.shape[1], experiment.probed_classes
    byol = experiment.train.target_decay is not None
    create = partial(
        create_state,
        optimizer=optimizer,
        with_target=byol,
        probed=probed,
        with_best=experiment.by_validation,
        remembered=memory.empty(experiment) if experiment.remembers else None,
    )
    return create, jax.eval_shape(create, shapes)


def _replicate_key(key: PRNGKeyArray, mesh: Mesh) -> PRNGKeyArray:
    """Replicate a random key; `device_put` refuses keys where there are several processes."""
    wrap = partial(jax.random.wrap_key_data, impl=jax.random.key_impl(key))
    return jax.jit(wrap, out_shardings=replicated(mesh))(np.asarray(jax.random.key_data(key)))


def _order(experiment: Experiment, mesh: Mesh) -> Order:
    """Order the samples into batches that divide evenly over the devices."""
    train = experiment.train
    size, devices = train.batch_size, mesh.size
    if size % devices:
        raise ValueError(f"batch_size must divide by the number of devices, {devices}; got {size}")
    chunks.check(train.encoder_chunk, train.batch_norm_groups, size, devices)
    processes = jax.process_index(), jax.process_count()
    return Order(len(experiment.data), size, experiment.seed, *processes)


def _example(experiment: Experiment, size: int) -> Batch:
    """Describe a global batch by shapes and dtypes."""
    info = {name: experiment.data.info[name] for name in experiment.takes}
    shapes = {k: jax.ShapeDtypeStruct((size, *x.shape[1:]), x.dtype) for k, x in info.items()}
    return Batch(experiment.data.example(size), jax.ShapeDtypeStruct((size,), np.int32), shapes)
