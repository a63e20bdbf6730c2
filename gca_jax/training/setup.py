"""From a config to everything a run needs, with every mistake in it found before any long work."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array
from ml_collections import ConfigDict

from gca_jax import alignment, losses, models
from gca_jax.data import sources
from gca_jax.data.batches import loader, order, stream
from gca_jax.data.dataset import Images
from gca_jax.data.views import augment
from gca_jax.training import state, step
from gca_jax.training.optimizer import make_optimizer

Check = Callable[..., None]
"""(training labels, test labels, **settings of the evaluation) -> nothing, or a ValueError."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """The `train` group of a config.

    Attributes:
        batch_size: images in a batch, over all devices and processes.
        epochs: length of the run.
        checkpoint_every_epochs: how often a checkpoint is written, besides the last.
        log_every_steps: how often a row is logged, besides the last.
        target_decay: BYOL's at the start, from which it rises to one; None: no target network.
    """

    batch_size: int
    epochs: int
    checkpoint_every_epochs: int
    log_every_steps: int
    target_decay: float | None = None

    def __post_init__(self):
        for name in ("batch_size", "epochs", "checkpoint_every_epochs", "log_every_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.target_decay is not None and not 0 <= self.target_decay <= 1:
            raise ValueError(f"target_decay must be from 0 to 1, got {self.target_decay}")
        if self.batch_size % jax.device_count():
            raise ValueError(
                f"batch_size must divide by the number of devices, {jax.device_count()}; "
                f"got {self.batch_size}"
            )


@dataclasses.dataclass(frozen=True)
class Run:
    """A checked config, ready to train.

    Attributes:
        settings: the `train` group.
        seed: of everything random.
        images: what is trained with.
        groups: label or domain of each, where the target plan needs them.
        crop: (scale, ratio) of the random crops made on the host, of streamed images.
        order: which images a batch has.
        mesh: all devices.
        steps_per_epoch: whole batches in an epoch.
        learning_rate: as a function of the step.
        initial: makes the state before the first step.
        abstract: its shapes.
        lowered: the sharded step, traced; `.compile()` it.
    """

    settings: Settings
    seed: int
    images: Images
    groups: np.ndarray | None
    crop: tuple[stream.Range, stream.Range] | None
    order: order.Order
    mesh: Mesh
    steps_per_epoch: int
    learning_rate: optax.Schedule
    initial: Callable[[], state.TrainState]
    abstract: state.TrainState
    lowered: Any

    @property
    def total_steps(self) -> int:
        """Length of the run."""
        return self.settings.epochs * self.steps_per_epoch

    @property
    def parameters(self) -> int:
        """How many weights are trained."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.abstract.params))


def prepare(config: ConfigDict, check_evaluation: Check | None = None) -> Run:
    """Build a run and trace its step, so that whatever is wrong with the config is said now.

    Args:
        config: as `configs/digits.py` makes it.
        check_evaluation: refuses labels and `evaluation` settings that do not go together.

    Raises:
        ValueError: with the group of the config that is to blame.
    """
    mesh = step.make_mesh()
    loss = _build("config.method", _method, config, mesh)
    key = _build("config.seed", _key, config.seed)
    settings = _build("config.train", Settings, **config.train)
    policy = _build("config.augment", augment.make, **config.augment)
    aligned = _build("config.target", alignment.make, **config.target)
    network = _build("config.model", models.create, **config.model)
    dataset = _build("config.data", sources.load, **config.data)
    images = dataset.pretrain_images
    known = dataset.pretrain_labels, dataset.pretrain_domains
    groups = _build("config.target", aligned.groups, *known)
    batches = _build("config.train", _order, len(images), settings.batch_size, config.seed)
    per_epoch = order.steps_per_epoch(len(images), settings.batch_size)
    total = settings.epochs * per_epoch
    optimizer, learning_rate = _build(
        "config.optimizer", make_optimizer, total, per_epoch, **config.optimizer
    )
    if check_evaluation is not None:
        labels = dataset.train_labels, dataset.test_labels
        _build("config.evaluation", check_evaluation, *labels, **config.evaluation)
    batch = _abstract_batch(settings.batch_size, loader.shape(images, policy.crop), groups)
    _build("config.augment", jax.eval_shape, policy.views, key, batch[0])
    decay = _target_decay(settings, total)
    create = partial(state.create, optimizer=optimizer, with_target=decay is not None)
    variables = _build("config.model", state.abstract_variables, network, images.shape[1:])
    abstract = jax.eval_shape(create, variables)
    train_step = step.make_train_step(
        network, policy, loss, optimizer, jax.random.split(key)[0], decay, aligned.keywords
    )
    lowered = _build("config.loss", step.shard(train_step, mesh).lower, abstract, *batch)
    return Run(
        settings,
        config.seed,
        images,
        groups,
        policy.crop,
        batches,
        mesh,
        per_epoch,
        learning_rate,
        lambda: jax.device_put(
            create(state.init_variables(network, key, images.shape[1:])), step.replicated(mesh)
        ),
        abstract,
        lowered,
    )


def _order(size: int, batch_size: int, seed: int) -> order.Order:
    return order.Order(size, batch_size, seed, jax.process_index(), jax.process_count())


def _abstract_batch(
    size: int, shape: tuple[int, ...], groups: np.ndarray | None
) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct | None]:
    """Shapes of a global batch: images, and groups where there are any."""
    images = jax.ShapeDtypeStruct((size, *shape), jnp.uint8)
    return images, None if groups is None else jax.ShapeDtypeStruct((size,), jnp.int32)


def _method(config: ConfigDict, mesh: Mesh) -> step.Loss:
    """The method's loss with its settings; a target network is there if and only if it is BYOL."""
    if config.method not in losses.METHODS:
        raise ValueError(f"unknown method {config.method!r}; one of: {', '.join(losses.METHODS)}")
    bootstraps = "target_decay" in config.train and "predictor_hidden" in config.model
    if bootstraps != (config.method == "byol"):
        raise ValueError(
            f"this config is not one of {config.method}; choose the method as --config=FILE:METHOD"
        )
    many = mesh.size > 1
    loss = losses.sharded(config.method, mesh) if many else losses.METHODS[config.method]
    return partial(loss, **config.loss)


def _key(seed: int) -> Array:
    if not 0 <= seed < 2**32:
        raise ValueError(f"must be from 0 to 2^32 - 1, got {seed}")
    return jax.random.key(seed)


def _target_decay(settings: Settings, total_steps: int) -> optax.Schedule | None:
    """BYOL's decay rises to one along half a cosine (arXiv 2006.07733, appendix)."""
    if settings.target_decay is None:
        return None
    fall = optax.cosine_decay_schedule(1 - settings.target_decay, total_steps)
    return lambda step: 1 - fall(step)


def _build(group: str, make: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Make a part; what it refuses becomes one line that names the group of the config."""
    try:
        return make(*args, **options)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{group}: {error}") from error
