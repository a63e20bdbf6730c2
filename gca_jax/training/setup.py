"""From an experiment to its traced training step, so that its mistakes are said at once."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import PRNGKeyArray

from gca_jax import losses
from gca_jax.data.batches import Order, steps_per_epoch
from gca_jax.experiment import Trainable, TrainSettings, blame
from gca_jax.training import chunks, initial, step
from gca_jax.training.optimizer import make_optimizer


@dataclasses.dataclass(frozen=True, eq=False)
class Training:
    """An experiment, ready to be trained; `lowered` is its sharded step, traced."""

    experiment: Trainable
    mesh: Mesh
    order: Order
    steps_per_epoch: int
    total_steps: int
    learning_rate: Callable[[int], float]
    initial: Callable[..., step.TrainState]  # perhaps of an encoder, as `initial.draw` takes it
    abstract: step.TrainState
    lowered: jax.stages.Lowered

    @cached_property
    def key(self) -> PRNGKeyArray:
        """Random key of the views of all steps, on all devices."""
        return _everywhere(jax.random.split(self.experiment.key)[0], self.mesh)

    @property
    def bytes(self) -> int:
        """Size of a checkpoint."""
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(self.abstract))


def trace(experiment: Trainable) -> Training:
    """Make optimizer and initial state, trace the sharded step; a mistake names its group.

    Nothing runs on the devices: they may be ones that XLA compiles for and this machine lacks.
    """
    mesh, key, settings = step.make_mesh(), experiment.key, experiment.train
    network, shape = experiment.network, experiment.batches.input_shape
    with blame("config.train"):
        order = _order(experiment, mesh)
        per_epoch = steps_per_epoch(order.size, order.batch_size)
        total = settings.steps or settings.epochs * per_epoch
        if total >= 2**31:
            raise ValueError(f"epochs must give less than 2^31 steps, got {settings.epochs}")
    with blame("config.optimizer"):
        optimizer, rate = make_optimizer(total, per_epoch, **experiment.config.optimizer)
    decay = _target_decay(settings, total)
    create = partial(step.create_state, optimizer=optimizer, with_target=decay is not None)
    with blame("config.model"):
        shapes = step.init_variables.eval_shape(network, key, shape)
        classes = experiment.probed_classes
        if classes is not None:
            create = partial(create, probed=(_width(network, shapes, shape), classes))
        abstract = jax.eval_shape(create, shapes)
    make_views, keywords = experiment.make_views, experiment.alignment.keywords
    parts = settings.encoder_chunk, settings.batch_norm_groups
    train_step = step.make_train_step(
        network, make_views, _loss(experiment, mesh), optimizer, decay, keywords, *parts
    )
    images = experiment.batches.example(order.batch_size)
    ids = jax.ShapeDtypeStruct((order.batch_size,), jnp.int32)
    batch = images, None if experiment.batches.groups is None else ids
    views = jax.ShapeDtypeStruct((), key.dtype)
    with blame("loss" if "loss" in experiment.given else "config.loss"):
        lowered = step.shard(train_step, mesh).lower(abstract, views, *batch)

    def start(given: Mapping[str, Any] | None = None) -> step.TrainState:
        return jax.device_put(create(initial.draw(experiment, given)), step.replicated(mesh))

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
    return jax.jit(wrap, out_shardings=step.replicated(mesh))(np.asarray(jax.random.key_data(key)))


def _width(network: Any, shapes: step.Variables, shape: tuple[int, ...]) -> int:
    """Count the features that the encoder gives of an image."""
    encode = partial(network.apply, method="encode")
    found: jax.ShapeDtypeStruct = jax.eval_shape(encode, shapes, *network.blank(shape))
    return found.shape[1]


def _order(experiment: Trainable, mesh: Mesh) -> Order:
    """Order the images of batches that the devices can share."""
    size, seed = experiment.train.batch_size, experiment.seed
    if size % mesh.size:
        raise ValueError(
            f"batch_size must divide by the number of devices, {mesh.size}; got {size}"
        )
    train = experiment.train
    chunks.check(train.encoder_chunk, train.batch_norm_groups, size, mesh.size)
    return Order(len(experiment.batches), size, seed, jax.process_index(), jax.process_count())


def _loss(experiment: Trainable, mesh: Mesh) -> losses.Loss:
    """Spread the loss over a mesh; the compiler partitions a caller's own."""
    if mesh.size == 1 or "loss" in experiment.given:
        return experiment.loss
    return partial(losses.sharded(experiment.method, mesh), **experiment.config.loss)


def _target_decay(settings: TrainSettings, total_steps: int) -> optax.Schedule | None:
    """Let BYOL's decay rise to one along half a cosine (arXiv 2006.07733, appendix)."""
    if settings.target_decay is None:
        return None
    fall = optax.cosine_decay_schedule(1 - settings.target_decay, total_steps)
    return lambda step: 1 - fall(step)
