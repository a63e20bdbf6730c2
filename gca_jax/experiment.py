"""The parts of a run, made in one place: from a config, or given by the caller."""

import contextlib
import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray
from ml_collections import ConfigDict

from gca_jax import losses, metrics, models, targets
from gca_jax.data import sources
from gca_jax.data.batches import Batches
from gca_jax.data.dataset import Dataset, shorter_side
from gca_jax.data.pairs import PairBatches, Pairs
from gca_jax.data.splits import judged_by
from gca_jax.data.views import augment
from gca_jax.losses import Loss
from gca_jax.targets import Alignment
from gca_jax.workdir import Inputs, as_json

TYPES: dict[str, Any] = {"dataset": Dataset, "pairs": Pairs, "loss": Callable}
OwnLoss = Callable[..., Array | tuple[Array, Mapping[str, Array]]]
"""(z_a [n, d], z_b [n, d], perhaps target=) -> value, or (value, scalars for the log)."""


@dataclasses.dataclass(frozen=True)
class TrainSettings:
    """The `train` group of a config.

    Attributes:
        batch_size: images in a batch, over all devices and processes; one has nothing to be
            compared with.
        epochs: length of the run.
        checkpoint_every_epochs: how often a checkpoint is written, besides the last.
        log_every_steps: how often a row is logged, besides the last.
        target_decay: BYOL's at the start, from which it rises to one; None: no target network.
        steps: length of the run in batches, in place of `epochs`.
        wrong_positives: share of a batch of images whose second view is of another image.
        encoder_chunk: images of a batch, over all devices, that the encoder sees at a time; None:
            the whole batch.
        batch_norm_groups: in how many groups of images, each with batch statistics of its own, the
            encoder sees them; None: in one.
        online_probe: whether a linear head is trained beside the encoder from the images' labels.
        knn_every_epochs: how often the log gets the accuracy of k-NN among training images; None:
            never.

    Raises:
        ValueError: a setting is out of its range.
    """

    batch_size: int
    epochs: int
    checkpoint_every_epochs: int
    log_every_steps: int
    target_decay: float | None = None
    steps: int | None = None
    wrong_positives: float = 0.0
    encoder_chunk: int | None = None
    batch_norm_groups: int | None = None
    online_probe: bool | None = None
    knn_every_epochs: int | None = None

    def __post_init__(self):
        for name in ("wrong_positives", "target_decay"):
            share = getattr(self, name)
            if share is not None and not 0 <= share <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {share}")
        lowest = {"steps": 1, "epochs": 1, "checkpoint_every_epochs": 1, "log_every_steps": 1}
        for name, low in {**lowest, "knn_every_epochs": 1, "batch_size": 2}.items():
            number = getattr(self, name)
            if number is not None and number < low:
                raise ValueError(f"{name} must be at least {low}, got {number}")


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Trainable:
    """What training needs of a run: an `Experiment`, or a `pairs.PairExperiment`.

    Attributes:
        config: the run's, as `configs/digits.py` makes it.
        given: name of each part that the caller gave (`encoder`, `dataset`, `loss`).
        method: key of `losses.METHODS`, or the name of the caller's loss.
        loss: (z_a, z_b, **targets.keywords(groups)) -> (value, scalars for the log).
        train: length of the run, sizes, intervals.
        alignment: the target plan of a batch.
        batches: what the network is trained with.
        network: encoder and heads, or two towers, without their variables.
        probed_classes: number of classes that an online probe tells apart; None without one.
    """

    config: ConfigDict
    given: Mapping[str, str]
    method: str
    loss: Loss
    train: TrainSettings
    alignment: Alignment
    batches: Batches | PairBatches
    network: models.Network | models.Towers
    probed_classes: int | None = None
    unit: ClassVar[str] = "images"

    @property
    def seed(self) -> int:
        """Give the seed of everything random."""
        return self.config.seed

    @property
    def key(self) -> PRNGKeyArray:
        """Make the random key that initial weights and views come from."""
        return jax.random.key(self.seed)

    @property
    def record(self) -> dict[str, object]:
        """Tell this run from others, as JSON values: config and names of given parts."""
        return as_json(self.config) | ({"given": dict(self.given)} if self.given else {})

    @property
    def inputs(self) -> Inputs:
        """Describe what the network takes, for those who use it when the data are gone."""
        return {"input_shape": list(self.batches.input_shape)}

    def make_views(self, key: PRNGKeyArray, batch: Any) -> tuple[Array, Array]:
        """Make what the network embeds of a batch."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Experiment(Trainable):
    """The parts of a run on images, ready to be trained, evaluated or looked at; made by `build`.

    Attributes:
        dataset: images and labels.
        policy: makes the two views of a batch.
        batches: what the network is pretrained with.
        network: encoder and heads, without their variables.
    """

    dataset: Dataset
    policy: augment.Augment
    batches: Batches
    network: models.Network

    @property
    def inputs(self) -> Inputs:
        """Describe the images, and how pictures of other sizes are brought to theirs."""
        return {**super().inputs, "shorter_side": shorter_side(self.batches.images)}

    def make_views(self, key: PRNGKeyArray, batch: Array) -> tuple[Array, Array]:
        """Augment images twice; a share of the second views changes places where one is asked."""
        one, other = self.policy.views(key, batch)
        if self.train.wrong_positives:
            other = exchange(jax.random.fold_in(key, 3), other, self.train.wrong_positives)
        return one, other


def build(
    config: ConfigDict,
    *,
    encoder: object = None,
    dataset: Dataset | None = None,
    loss: OwnLoss | None = None,
) -> Experiment:
    """Make the parts of a run; a part that is given replaces the one that the config names.

    Args:
        config: the run's, as `configs/digits.py` makes it.
        encoder: a Flax module, images [b, h, w, c] to features [b, f].
        dataset: images and labels; the `data` group is then not used.
        loss: any function of two batches of embeddings (z_a [n, d], z_b [n, d]) that returns its
            value, or (value, dict of scalars for the log). The `loss` group is then not used, and
            the `target` group reaches the loss as its keyword `target=`, which it must take for
            any target but the identity.

    Raises:
        ValueError: a mistake in the config, named with its group; a given part of another type.
    """
    given = named({"encoder": encoder, "dataset": dataset, "loss": loss})
    shared = prepare(config, given, loss)
    network, policy = without_images(config, encoder)
    if dataset is None:
        with blame("config.data"):
            dataset = sources.load(**config.data)
    if "split" in config.evaluation:  # runs of 0.1.0 had none
        with blame("config.evaluation"):
            dataset = judged_by(dataset, config.evaluation.split)
    with blame("config.target"):
        groups = shared["alignment"].groups(dataset.pretrain_labels, dataset.pretrain_domains)
    classes = None
    if shared["train"].online_probe:
        with blame("config.train"):
            groups, classes = _probed(dataset, shared["alignment"]), dataset.num_classes
    if shared["train"].knn_every_epochs is not None and not dataset.labelled:
        raise ValueError("config.train: knn_every_epochs needs labels of the training images")
    batches = Batches(dataset.pretrain_images, groups, policy.crop)
    with blame("config.augment"):
        jax.eval_shape(policy.views, jax.random.key(0), batches.example(1))
    if skipped := policy.skipped(channels := batches.input_shape[-1]):
        print(
            f"note: images have {channels} channels, so views are made without {', '.join(skipped)}"
        )
    shared |= dict(batches=batches, network=network, probed_classes=classes)
    return Experiment(**shared, dataset=dataset, policy=policy)


def _probed(dataset: Dataset, aligned: Alignment) -> Any:
    """Give the labels [n] that an online probe is trained from, as groups of the batches."""
    if dataset.pretrain_labels is None:
        raise ValueError("online_probe needs labels of the images that are trained with")
    if aligned.known == "domains":
        raise ValueError(
            "online_probe needs the labels of a batch, and this target takes its domains in their "
            "place: one of them at a time"
        )
    return dataset.pretrain_labels


def without_images(
    config: ConfigDict, encoder: object = None
) -> tuple[models.Network, augment.Augment]:
    """Make the parts that need no images: the network and the policy; arguments are `build`'s."""
    with blame("config.augment"):
        policy = augment.make(**config.augment)
    with blame("config.model"):
        own = {} if encoder is None else {"encoder": encoder}
        settings = {key: value for key, value in config.model.items() if key != "initial"}
        return models.create(**{**settings, **own}), policy


def exchange(key: PRNGKeyArray, views: Array, share: float) -> Array:
    """Pass on a share of the views `[b, ...]`, drawn at random, each to the next that was drawn."""
    drawn = jax.random.permutation(key, len(views))[: round(share * len(views))]
    return views.at[drawn].set(views[jnp.roll(drawn, 1)])


def named(parts: Mapping[str, object]) -> dict[str, str]:
    """Name the parts that were given, and refuse those of another type."""
    for kind, part in parts.items():
        if part is not None and not isinstance(part, TYPES.get(kind, object)):
            raise ValueError(
                f"{kind} must be a {TYPES[kind].__name__}, got a {type(part).__name__}"
            )
    return {kind: _name(part) for kind, part in parts.items() if part is not None}


def prepare(config: ConfigDict, given: Mapping[str, str], loss: OwnLoss | None) -> dict[str, Any]:
    """Make what all runs have: the fields of `Trainable` without batches and network."""
    _check_given(config, given)
    with blame("config.method"):
        bound = _method(config) if loss is None else _own(loss)
    if not 0 <= config.seed < 2**32:
        raise ValueError(f"config.seed: must be from 0 to 2^32 - 1, got {config.seed}")
    with blame("config.train"):
        train = TrainSettings(**config.train)
    with blame("config.target"):
        aligned = targets.make(**config.target)
        if loss is not None and aligned.learned is not None:
            raise ValueError(f"{config.target.name} learns from a plan, which no given loss has")
        if loss is not None and aligned.plan is not None:
            _check_target(loss)
    method = given.get("loss", config.method)
    return dict(
        config=config, given=given, method=method, loss=bound, train=train, alignment=aligned
    )


@contextlib.contextmanager
def blame(group: str) -> Iterator[None]:
    """Turn a TypeError or ValueError into one line that names the group of the config."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise ValueError(f"{group}: {error}") from error


def _method(config: ConfigDict) -> Loss:
    """Bind the method's settings; a target network is there if and only if it is BYOL."""
    if config.method not in losses.METHODS:
        raise ValueError(f"unknown method {config.method!r}; one of: {', '.join(losses.METHODS)}")
    bootstraps = "target_decay" in config.train and "predictor_hidden" in config.model
    if bootstraps != (config.method == "byol"):
        raise ValueError(
            f"this config is not one of {config.method}; choose the method as --config=FILE:METHOD"
        )
    if unknown := sorted(config.loss.keys() - losses.keywords(config.method).keys()):
        raise ValueError(
            f"{config.method} takes no loss.{', loss.'.join(unknown)}; choose the method as "
            "--config=FILE:METHOD"
        )
    return partial(losses.METHODS[config.method], **config.loss)


def _own(loss: OwnLoss) -> Loss:
    """Check the result of the caller's loss, and complete it by what every run logs."""

    def bound(z_a: Array, z_b: Array, **keywords: object) -> tuple[Array, dict[str, Array]]:
        out = loss(z_a, z_b, **keywords)
        value, aux = out if isinstance(out, tuple) else (out, {})
        for name, number in {"value": value, **aux}.items():
            if jnp.shape(number) != ():
                raise ValueError(
                    "loss must return one number, or (number, dict of numbers); "
                    f"got {name} of shape {jnp.shape(number)}"
                )
        a, b = jax.lax.stop_gradient((z_a, z_b))
        logged = {
            "alignment": metrics.alignment(a, b),
            "uniformity": (metrics.uniformity(a) + metrics.uniformity(b)) / 2,
        }
        return jnp.asarray(value), {**logged, **aux}

    return bound


def _check_target(loss: OwnLoss) -> None:
    parameters = inspect.signature(loss).parameters
    if "target" not in parameters and all(p.kind != p.VAR_KEYWORD for p in parameters.values()):
        raise ValueError(
            "the loss that was given takes no target=, so the target must be the identity: "
            "--config.target.name=identity"
        )


def _name(part: object) -> str:
    """Name a part that was given."""
    while isinstance(part, partial):
        part = part.func
    if isinstance(part, Dataset | Pairs):
        return part.name
    return getattr(part, "__name__", type(part).__name__).strip("<>")  # of <lambda>


def _check_given(config: ConfigDict, given: Mapping[str, str]) -> None:
    """Refuse a run's config without the parts that it was trained with."""
    there = dict(config.given) if "given" in config else {}
    if there and there != given:
        parts = ", ".join(f"{kind}={name}" for kind, name in there.items())
        raise ValueError(
            f"this run was built in Python, and its config alone does not make it again: "
            f"build(config, {parts}), then evaluate(experiment, workdir)"
        )
