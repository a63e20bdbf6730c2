"""The parts of a run, made in one place: from a config, or given by the caller."""

import contextlib
import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray
from ml_collections import ConfigDict

from gca_jax import check, losses, metrics, models, targets
from gca_jax.data import pair_files, sources
from gca_jax.data.batches import Data
from gca_jax.data.dataset import Dataset
from gca_jax.data.identity import Identity, identify
from gca_jax.data.images import ImageData
from gca_jax.data.pairs import ENOUGH, Pairs
from gca_jax.data.splits import evaluated_on, note_repeated
from gca_jax.data.views import augment
from gca_jax.losses import Loss
from gca_jax.models import choice, towers
from gca_jax.models.towers import STARTED
from gca_jax.targets import BatchTarget
from gca_jax.workdir import as_json

OwnLoss = Callable[..., Array | tuple[Array, Mapping[str, Array]]]
"""(z_a [n, d], z_b [n, d], perhaps target=) -> value, or (value, scalars for the log)."""
LOST = 1e-3  # of the range of an entry of `info`: what rounding may change
STOPS = ("auto", "steps", "validation")  # what ends a run and chooses its weights
PARTNERS = ("auto", "given", "plan")  # what pairs of two sets are trained with


@dataclasses.dataclass(frozen=True)
class TrainSettings:
    """The `train` group of a config; a ValueError where a setting is out of its range."""

    batch_size: int  #: samples in a batch, over all devices and processes
    epochs: int  #: length of the run
    checkpoint_every_epochs: int  #: how often a checkpoint is written, besides the last
    log_every_steps: int  #: how often a row is logged, besides the last
    target_decay: float | None = None  #: BYOL's at the start, from which it rises to one
    steps: int | None = None  #: length of the run in batches, in place of `epochs`
    wrong_positives: float = 0.0  #: share of a batch whose second view is of another image
    encoder_chunk: int | None = None  #: samples that the encoder sees at a time; None: the batch
    batch_norm_groups: int | None = None  #: that have batch statistics of their own; None: one
    online_probe: bool | None = None  #: whether a linear head is trained beside the encoder
    knn_every_epochs: int | None = None  #: how often k-NN is logged; None: never
    stop_by: str | None = None  #: one of `STOPS`; None: "steps"
    partners: str | None = None  #: one of `PARTNERS`; None: "given"
    keep_every_epochs: int | None = None  #: how often a checkpoint is kept for good; None: never
    patience: int | None = None  #: looks without a better ℓ that end a run; None: `PATIENCE`
    remember: bool = True  #: of no config: False where a run was begun without a memory of pairs

    def __post_init__(self):
        if self.stop_by is not None:
            check.one_of("stop_by", self.stop_by, STOPS)
        if self.partners is not None:
            check.one_of("partners", self.partners, PARTNERS)
        check.between("wrong_positives", self.wrong_positives, 0, 1)
        if self.target_decay is not None:
            check.between("target_decay", self.target_decay, 0, 1)
        check.at_least("batch_size", self.batch_size, 2)  # One is compared with nothing.
        often = ("checkpoint_every_epochs", "keep_every_epochs", "knn_every_epochs")
        for name in ("steps", "epochs", "patience", "log_every_steps", *often):
            if (number := getattr(self, name)) is not None:
                check.at_least(name, number, int(name != "steps"))


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Experiment:
    """The parts of a run, ready to be trained, evaluated or looked at; made by `build`.

    Attributes:
        config: the run's, as `configs/digits.py` makes it.
        method: key of `losses.METHODS`, or the name of the caller's loss.
        loss: (z_a, z_b, `**target.keywords(info, step)`) -> (value, scalars for the log).
        target: the target plan of a batch.
        train: length of the run, sizes, intervals.
        data: what is trained with and judged by: images, pairs, or a kind of the caller's.
        network: encoder and heads, or two towers, without their variables.
        given: name of each part that the caller gave (`encoder`, `dataset`, `pairs`, `loss`).
        probed_classes: number of classes that an online probe tells apart; None without one.
    """

    config: ConfigDict
    method: str
    loss: Loss
    target: BatchTarget
    train: TrainSettings
    data: Any  # a `Data`; evaluations know which kind they are of
    network: Any  # a `models.Network`, or `models.Towers` of pairs
    given: Mapping[str, str] = dataclasses.field(default_factory=dict)
    probed_classes: int | None = None

    @property
    def seed(self) -> int:
        """Return the seed of everything random."""
        return self.config.seed

    @property
    def key(self) -> PRNGKeyArray:
        """Make the random key that initial weights and views come from."""
        return jax.random.key(self.seed)

    @property
    def start(self) -> str | None:
        """Return where two towers start, if not at random."""
        return _start(self.config.model)

    def on(self, data: Any) -> "Experiment":
        """Train on other data of the kind; pairs count by how likely they are right, if known."""
        target, train = self.target, self.train
        if self.config.target.name == "identity" and "quality" in data.info:
            target = targets.weighted()
        if isinstance(data, Pairs):
            train = dataclasses.replace(train, batch_size=self._fitting(len(data)))
        return dataclasses.replace(self, data=data, target=target, train=train)

    def _fitting(self, count: int) -> int:
        """Return the batch size of the config; of few pairs, as many as the devices can share."""
        size, devices = self.config.train.batch_size, jax.device_count()
        return size if size <= count else max(count // devices * devices, min(size, devices))

    @property
    def by_validation(self) -> bool:
        """Whether the held-out likelihood of validation pairs chooses the weights, and may stop."""
        stop_by = self.train.stop_by
        return stop_by == "validation" or (
            stop_by == "auto" and len(self.data.validation.a) >= ENOUGH
        )

    @property
    def remembers(self) -> bool:
        """Whether looks at the given training pairs are remembered, besides the best weights."""
        return self.by_validation and self.train.remember and self.data.given

    @property
    def takes(self) -> tuple[str, ...]:
        """Return the entries of a batch's `info` that a training step uses."""
        probed = () if self.probed_classes is None else ("labels",)
        return tuple(dict.fromkeys((*self.target.takes, *probed)))

    @cached_property
    def identity(self) -> Identity:
        """What identifies the data, as JSON; arrays are hashed, once."""
        return identify(self.data)

    @property
    def record(self) -> dict[str, object]:
        """Return what identifies the run, as JSON: config and names of given parts."""
        return as_json(self.config) | ({"given": dict(self.given)} if self.given else {})


def build(
    config: ConfigDict,
    *,
    encoder: object = None,
    dataset: Dataset | Pairs | Data | None = None,
    loss: OwnLoss | None = None,
) -> Experiment:
    """Build the parts of a run; a given part replaces the one that the config names.

    Args:
        config: the run's, as `configs/digits.py` or `configs/pairs.py` makes it.
        encoder: a Flax module, samples [b, ...] (images [b, h, w, c]) to features [b, f].
        dataset: what `data.arrays` or `data.pairs.pair` makes, or data of a kind of your own, as
            `data.batches.Data` describes it; the `data` group is then not used.
        loss: any function of two batches of embeddings (z_a [n, d], z_b [n, d]) that returns its
            value, or (value, dict of scalars for the log). The `loss` group is then not used, and
            the `target` group reaches the loss as its keyword `target=`, which it must take for
            any target but the identity.

    Raises:
        ValueError: a mistake in the config, named with its group; a given part of another type.
    """
    if jax.config.jax_enable_x64:  # type: ignore[attr-defined]
        raise ValueError(
            "JAX's 64-bit mode is on, and runs are in float32: build, train and evaluate inside of "
            "`with jax.enable_x64(False):`"
        )
    with context("config.data"):
        check.one_of("kind", config.data.get("kind"), KINDS)
    given = _given_names(config, encoder=encoder, dataset=dataset, loss=loss)
    _check_given(config, given)
    with context("config.method"):
        bound = _method(config) if loss is None else _wrap_loss(loss)
    check.seed("config.seed", config.seed)
    with context("config.train"):
        train = TrainSettings(**config.train)
    with context("config.target"):
        target = targets.make(**config.target)
        if loss is not None and target.learned is not None:
            raise ValueError(f"{config.target.name} learns from a plan, which no given loss has")
        if loss is not None and target.plan is not None:
            _check_target(loss)
    data, network = KINDS[config.data.kind](config, train, encoder, dataset)
    with context("config.target"):
        require_info(data, target.takes, config.target.name)
    classes = None
    if train.online_probe:
        with context("config.train"):
            require_info(data, ("labels",), "online_probe")
            # A part of the images may lack the highest class; not every kind of data counts them.
            classes = getattr(data, "classes", None) or int(np.max(data.info["labels"])) + 1
    method = given.get("loss", config.method)
    return Experiment(
        config=config, method=method, loss=bound, target=target, train=train, data=data,
        network=network, given=given, probed_classes=classes,
    ).on(data)  # fmt: skip


def _images(
    config: ConfigDict, train: TrainSettings, encoder: object, dataset: Dataset | None
) -> tuple[ImageData, models.Network]:
    _refuse_of_pairs(train)
    network, policy = network_of(config, encoder), policy_of(config)
    if dataset is None:
        with context("config.data"):
            dataset = sources.load(**_settings(config.data))
    with context("config.evaluation"):
        dataset = evaluated_on(dataset, config.evaluation.split)
        note_repeated(dataset)
    if train.knn_every_epochs is not None and not dataset.labelled:
        raise ValueError("config.train: knn_every_epochs needs labels of the training images")
    data = ImageData(dataset, policy, train.wrong_positives)
    with context("config.augment"):  # A wrong strength is found where views are traced.
        jax.eval_shape(policy.views, jax.random.key(0), data.example(1))
    if skipped := policy.skipped(channels := data.input_shape[-1]):
        print(
            f"note: images have {channels} channels, so views are made without {', '.join(skipped)}"
        )
    return data, network


def _pairs(
    config: ConfigDict, train: TrainSettings, encoder: object, given: Pairs | None
) -> tuple[Pairs, models.Towers]:
    if encoder is not None:
        raise ValueError("a run on pairs has two towers, and takes no encoder")
    with context("config.model"):
        network = towers.create(**_tower_settings(config))
    if given is None:
        with context("config.data"):
            settings = _settings(config.data)
            given = pair_files.load(**settings, split=config.evaluation.split)
    if train.partners == "plan" and _start(config.model) not in ("auto", "evidence"):
        raise ValueError(
            "config.train: partners=plan needs the plan of start=auto or evidence, and towers that "
            "start there, linear or residual"
        )
    if train.partners == "plan" and not all(map(len, given.unpaired)):
        raise ValueError(
            "config.train: partners=plan matches rows that are in no pair, and all rows of a side "
            "are in one: leave partners=auto, and data.pairs (pairs= in Python) names known pairs"
        )
    if train.stop_by == "validation" and (count := len(given.validation.a)) < 2:
        raise ValueError(
            f"config.train: stop_by=validation needs validation pairs, and there are {count}: "
            "raise validation_fraction, or stop_by=steps"
        )
    return given, network


def _start(settings: ConfigDict) -> str | None:
    """Return where two towers start; None: at random, as an mlp does under "auto"."""
    name = settings.get("start")  # an encoder has no such setting
    if name == "random" or (name == "auto" and not _startable(settings)):
        return None
    return name


def _startable(settings: ConfigDict) -> bool:
    """Tell whether both towers have a linear part, which can start from a map."""
    return {settings.tower_a, settings.tower_b} <= {*STARTED}


def _own_data(
    config: ConfigDict, train: TrainSettings, encoder: object, data: Data | None
) -> tuple[Data, models.Network]:
    if data is None or encoder is None:
        missing = "dataset" if data is None else "encoder"
        raise ValueError(f"a run on data of your own is built with them: build(..., {missing}=)")
    _refuse_of_pairs(train)
    for name in ("knn_every_epochs", "wrong_positives"):
        if getattr(train, name):
            raise ValueError(f"config.train: {name} is for images")
    return data, network_of(config, encoder)


def _refuse_of_pairs(train: TrainSettings) -> None:
    """Refuse what runs on pairs alone can do."""
    with context("config.train"):
        if train.stop_by not in (None, "steps"):
            raise ValueError(f"stop_by={train.stop_by} is for runs on pairs")
        if train.partners not in (None, "given"):
            raise ValueError(f"partners={train.partners} is for runs on pairs")
        if train.steps is not None:
            check.at_least("steps", train.steps, 1)


KINDS: dict[str, Callable[..., tuple[Data, models.Network | models.Towers]]] = {
    "images": _images,
    "pairs": _pairs,
    "own": _own_data,
}
"""(config, train, a given encoder, given data) -> data and network, by `config.data.kind`."""
GIVEN: dict[str, tuple[str, type]] = {
    "images": ("dataset", Dataset),
    "pairs": ("pairs", Pairs),
    "own": ("dataset", object),
}
"""What given data are called in a run's record, and their type, by kind."""


def _settings(data: ConfigDict) -> dict[str, Any]:
    """Return the keywords of a reader: the `data` group without its kind."""
    return {key: value for key, value in data.items() if key != "kind"}


def network_of(config: ConfigDict, encoder: object) -> models.Network:
    """Make an encoder with its heads; arguments are `build`'s."""
    own = {} if encoder is None else {"encoder": encoder}
    settings = {key: value for key, value in config.model.items() if key != "initial"}
    with context("config.model"):
        return models.create(**{**settings, **own})


def policy_of(config: ConfigDict) -> augment.Augment:
    """Build the augmentation that draws two views of an image."""
    with context("config.augment"):
        return augment.make(**config.augment)


def _tower_settings(config: ConfigDict) -> Mapping[str, Any]:
    """Return the keywords of `towers.create`: a learned ε starts at that of the loss."""
    settings = dict(config.model)
    start, learned = settings.pop("start", None), settings.pop("learn_epsilon")
    if start is not None:
        check.one_of("start", start, ("random", *choice.STARTS))
        if start not in ("random", "auto") and not _startable(config.model):
            raise ValueError(
                f"start={start} is of linear and residual towers: take the word linear or residual"
            )
    if not learned:
        return settings
    if config.loss.get("epsilon") is None:
        raise ValueError(f"{config.method} has no epsilon that could be learned")
    return {**settings, "epsilon": config.loss.epsilon}


def require_info(data: Data, takes: tuple[str, ...], whose: str) -> None:
    """Refuse data that lack an entry of `info` which a step takes, or whose type is too wide."""
    for name in takes:
        if name not in data.info:
            raise ValueError(f"{whose} needs {name}, and the {data.unit} have none; {data.remedy}")
        _check_type(name, data.info[name])


def _check_type(name: str, given: np.ndarray) -> None:
    """Refuse an entry of `info` that holds no numbers, or such as JAX's narrower type loses."""
    check.numbers(name, given)
    values = np.asarray(given)
    with np.errstate(over="ignore"):
        narrow = values.astype(jax.dtypes.canonicalize_dtype(values.dtype))
    if values.dtype.kind in "iu" and np.any(narrow != values):
        raise ValueError(
            f"{name} are beyond {narrow.dtype}, which a step takes: "
            "numpy.unique(ids, return_inverse=True)[1] numbers them from 0"
        )
    halves = values / 2  # whose differences do not overflow
    if values.dtype.kind == "f" and np.abs(narrow / 2 - halves).max() > LOST * np.ptp(halves) > 0:
        raise ValueError(
            f"{name} lose their differences in {narrow.dtype}, which a step takes: subtract their "
            "mean, and divide them by the largest of them"
        )


@contextlib.contextmanager
def context(group: str) -> Iterator[None]:
    """Prefix a TypeError or ValueError with the config group."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise ValueError(f"{group}: {error}") from error


def _method(config: ConfigDict) -> Loss:
    """Bind the method's settings; a target network is there if and only if it is BYOL."""
    check.one_of("method", config.method, losses.METHODS)
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


def _wrap_loss(loss: OwnLoss) -> Loss:
    """Wrap a custom loss: check its output, and add the metrics that every run logs."""
    diagnoses = (
        _without_partial(loss) in losses.METHODS.values()
        or "diagnose" in inspect.signature(loss).parameters
    )

    def bound(
        z_a: Array, z_b: Array, diagnose: bool | Array = False, **keywords: object
    ) -> tuple[Array, dict[str, Array]]:
        out = loss(z_a, z_b, **keywords, **({"diagnose": diagnose} if diagnoses else {}))
        value, aux = out if isinstance(out, tuple) else (out, {})
        for name, number in {"value": value, **aux}.items():
            if jnp.shape(number) != ():
                raise ValueError(
                    "loss must return one number, or (number, dict of numbers); "
                    f"got {name} of shape {jnp.shape(number)}"
                )
        a, b = jax.lax.stop_gradient((z_a, z_b))  # what is logged trains nothing
        logged = {"alignment": metrics.alignment(a, b)}
        if not diagnoses and losses.may_be_wanted(diagnose):
            uniformity = lambda: (metrics.uniformity(a) + metrics.uniformity(b)) / 2  # noqa: E731
            logged["uniformity"] = losses.if_wanted(diagnose, uniformity)
        return jnp.asarray(value), {**logged, **aux}

    return bound


def _check_target(loss: OwnLoss) -> None:
    parameters = inspect.signature(loss).parameters
    if "target" not in parameters and all(p.kind != p.VAR_KEYWORD for p in parameters.values()):
        raise ValueError(
            "the loss that was given takes no target=, so the target must be the identity: "
            "--config.target.name=identity"
        )


def _given_names(config: ConfigDict, **parts: object) -> dict[str, str]:
    """Name the parts that were given, and refuse those of another type."""
    called, kind = GIVEN[config.data.kind]
    types: dict[str, Any] = {"dataset": kind, "loss": Callable}
    for name, part in parts.items():
        if part is not None and not isinstance(part, types.get(name, object)):
            raise ValueError(
                f"{name} must be a {types[name].__name__}, got a {type(part).__name__}"
            )
    names = {name: _name(part) for name, part in parts.items() if part is not None}
    return {called if name == "dataset" else name: each for name, each in names.items()}


def _without_partial(part: object) -> object:
    """Return the function that partials wrap."""
    while isinstance(part, partial):
        part = part.func
    return part


def _name(part: object) -> str:
    """Name a part that was given."""
    # An NNX module in Flax's bridge has its name in the class, a partial in its function.
    part = _without_partial(getattr(part, "nnx_class", part))
    for known in (getattr(part, "name", None), getattr(part, "__name__", None)):
        if isinstance(known, str):
            return known.strip("<>")  # of <lambda>
    return type(part).__name__


def _check_given(config: ConfigDict, given: Mapping[str, str]) -> None:
    """Refuse a run's config without the parts that it was trained with."""
    there = dict(config.given) if "given" in config else {}
    if there and there != given:
        parts = ", ".join(f"{kind}={name}" for kind, name in there.items())
        raise ValueError(
            f"this run was built in Python, and its config alone does not make it again: "
            f"build(config, {parts}), then evaluate(experiment, workdir)"
        )
