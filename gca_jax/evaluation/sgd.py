"""Classifiers trained by SGD on augmented images, as in the paper; slow, so off by default.

`linear_sgd` is the linear evaluation that the paper describes, `finetune` what its authors' code
does on CIFAR: there the encoder is trained as well, and the best epoch on test images is reported.
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree, UInt8
from tqdm import tqdm

from gca_jax import distributed
from gca_jax.data.batches import Order
from gca_jax.data.dataset import Dataset, Images
from gca_jax.data.images import flatten
from gca_jax.data.views.augment import Augment
from gca_jax.evaluation import features
from gca_jax.evaluation.features import Variables
from gca_jax.evaluation.frozen import Frozen
from gca_jax.evaluation.result import NO_LABELS, Result, Score
from gca_jax.models import Network
from gca_jax.training import probe
from gca_jax.training.probe import Head

BATCH_SIZE = 512

ByEpoch = Mapping[str, list[float]]
"""Test accuracies by epoch of each encoder; of a frozen one that of the last epoch alone."""
Encode = Callable[[Variables, Array, bool], tuple[Float[Array, "b f"], PyTree]]
"""(variables, images, train) -> features and batch statistics, new ones where `train`."""


def evaluate(frozen: Frozen) -> Result | None:
    """Train a linear head on frozen features of augmented images, for `sgd_epochs`."""
    return _result(frozen, "linear_sgd", frozen.settings.sgd_epochs, linear, last)


def evaluate_finetuned(frozen: Frozen) -> Result | None:
    """Train encoder and head, for `finetune_epochs`; report the last epoch."""
    epochs = frozen.settings.finetune_epochs
    found = _result(frozen, "finetune", epochs, finetuned, last)
    if found is None or found.skipped:
        return found
    return dataclasses.replace(found, numbers={"finetune_by_epoch": frozen.once(finetuned)})


def evaluate_best(frozen: Frozen) -> Result | None:
    """Report the best epoch of that training by the test images."""
    return _result(frozen, "finetune_best_on_test", frozen.settings.finetune_epochs, finetuned, max)


def last(accuracies: list[float]) -> float:
    """Choose the last epoch."""
    return accuracies[-1]


def _result(
    frozen: Frozen,
    name: str,
    epochs: int,
    train: Callable[[Frozen], ByEpoch],
    choose: Callable[[list[float]], float],
) -> Result | None:
    """Train and score a classifier, where there are epochs and labels."""
    if not epochs:
        return None
    if frozen.classes is None:
        return Result(name, skipped=NO_LABELS)
    found = frozen.once(train)
    return Result(name, {encoder: Score(choose(each), {}) for encoder, each in found.items()})


def linear(frozen: Frozen) -> ByEpoch:
    """Train a head on the trained encoder, on the untrained one, and on pixels."""
    epochs, seed = frozen.settings.sgd_epochs, frozen.experiment.seed
    on_pixels = trainer(frozen, of_pixels, epochs, head_only=True)
    _, raw = fit(on_pixels, {}, frozen.dataset, epochs, seed, "linear, SGD: pixels")
    return {**_each_encoder(frozen, epochs, head_only=True), "pixels": raw}


def finetuned(frozen: Frozen) -> ByEpoch:
    """Train the trained and the untrained encoder with a head."""
    return _each_encoder(frozen, frozen.settings.finetune_epochs, head_only=False)


def _each_encoder(frozen: Frozen, epochs: int, *, head_only: bool) -> dict[str, list[float]]:
    encode = partial(of_network, frozen.experiment.network)
    one = trainer(frozen, encode, epochs, head_only=head_only)
    title = "linear, SGD" if head_only else "fine-tuning"
    return {
        name: fit(one, variables, frozen.dataset, epochs, frozen.experiment.seed, title)[1]
        for name, variables in frozen.networks.items()
    }


def of_network(
    network: Network, variables: Variables, x: Array, train: bool
) -> tuple[Array, PyTree]:
    """Encode images by the network without its projector."""
    if not train:
        return network.bind(variables).encode(x, train=False), variables["batch_stats"]
    h, updates = network.apply(variables, x, train=True, method="encode", mutable=["batch_stats"])
    return h, updates["batch_stats"]


def of_pixels(variables: Variables, x: Array, train: bool) -> tuple[Array, PyTree]:
    """Take normalised images as features."""
    del variables, train
    return jnp.asarray(flatten(x)), {}


class Classifier(NamedTuple):
    """A head and the encoder's variables, {} of pixels."""

    head: Head
    variables: Variables


class State(NamedTuple):
    """Training state of a classifier."""

    classifier: Classifier
    opt_state: optax.OptState
    step: Int[Array, ""]


@dataclasses.dataclass(frozen=True, eq=False)
class Trainer:
    """How a classifier is trained; its methods are compiled once.

    Attributes:
        encode: Computes the features that the head takes.
        policy: Augments the images.
        optimizer: Of the head and, unless the encoder is frozen, its weights.
        key: Of augmentations.
        frozen: Whether the encoder and its batch statistics stay as they are.
    """

    encode: Encode
    policy: Augment
    optimizer: optax.GradientTransformation
    key: PRNGKeyArray
    frozen: bool

    def start(self, variables: Variables, images: Images, classes: int) -> State:
        """Initialise a head of zeros on an encoder."""
        x = self.policy.plain(images[:1])
        h, _ = jax.eval_shape(lambda: self.encode(variables, x, False))
        classifier = Classifier(probe.zeros(h.shape[1], classes), variables)
        opt_state = self.optimizer.init(self._trained(classifier))
        return State(classifier, opt_state, jnp.zeros((), jnp.int32))

    @partial(jax.jit, static_argnums=0)
    def step(self, state: State, images: UInt8[Array, "b h w c"], labels: Int[Array, "b"]) -> State:
        """Take one SGD step; its randomness is a function of the step's number."""
        (head, variables), opt_state, step = state
        key = jax.random.fold_in(jax.random.split(self.key)[0], step)
        x = self.policy.training(key, images)

        def loss(trained: tuple[Head, Variables]) -> tuple[Array, PyTree]:
            head, weights = trained
            h, statistics = self.encode({**variables, **weights}, x, not self.frozen)
            logits = probe.scores(head, h)
            values = optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels)
            return values.mean(), statistics

        trained = self._trained(state.classifier)
        gradient, statistics = jax.grad(loss, has_aux=True)(trained)
        updates, opt_state = self.optimizer.update(gradient, opt_state, trained)
        head, weights = optax.apply_updates(trained, updates)
        if not self.frozen:
            variables = {**variables, **weights, "batch_stats": statistics}
        return State(Classifier(head, variables), opt_state, step + 1)

    def _trained(self, classifier: Classifier) -> tuple[Head, Variables]:
        """Return the variables that SGD updates."""
        variables = {} if self.frozen else {"params": classifier.variables["params"]}
        return classifier.head, variables

    @partial(jax.jit, static_argnums=0)
    def predict(
        self, classifier: Classifier, index: int | Int[Array, ""], images: UInt8[Array, "b h w c"]
    ) -> Int[Array, "b"]:
        """Classify a batch of test images, which is the same in every epoch."""
        key = jax.random.fold_in(jax.random.split(self.key)[1], index)
        h, _ = self.encode(classifier.variables, self.policy.evaluation(key, images), False)
        return probe.scores(classifier.head, h).argmax(axis=1)

    def accuracy(self, classifier: Classifier, data: Dataset) -> float:
        """Compute the share of test images that is classified rightly."""
        images = data.test_images
        found = [
            np.asarray(self.predict(classifier, index, batch))
            for index, batch in features.batches(images)
        ]
        classes = distributed.gather(np.concatenate(found))[: len(images)]
        return float(np.mean(classes == data.test_labels))


def trainer(frozen: Frozen, encode: Encode, epochs: int, *, head_only: bool) -> Trainer:
    """Return a trainer whose learning rate falls to zero over `epochs`, as a cosine."""
    experiment, each = frozen.experiment, order(frozen.dataset, frozen.experiment.seed)
    steps = each.size // each.batch_size
    rate = optax.cosine_decay_schedule(frozen.settings.sgd_learning_rate, epochs * steps)
    optimizer = optax.sgd(rate, momentum=0.9, nesterov=True)
    key = jax.random.fold_in(experiment.key, 1)
    return Trainer(encode, experiment.data.policy, optimizer, key, head_only)


def order(data: Dataset, seed: int) -> Order:
    """Order training images in batches of at most 512; what an epoch leaves over is dropped."""
    size = len(data.train_images)
    return Order(size, min(BATCH_SIZE, size), seed)


def fit(
    trainer: Trainer, variables: Variables, data: Dataset, epochs: int, seed: int, title: str = ""
) -> tuple[Classifier, list[float]]:
    """Train a classifier; `variables` stay as they are.

    Returns:
        The classifier after the last epoch, and accuracies on the test images: of every epoch, or
        where the encoder is frozen of the last one alone.
    """
    state = trainer.start(variables, data.train_images, data.num_classes)
    batches = order(data, seed)
    each = batches.size // batches.batch_size
    accuracies = []
    for epoch in tqdm(range(epochs), title, unit=" epochs", disable=None):
        for step in range(epoch * each, (epoch + 1) * each):
            rows = batches.rows(step)
            state = trainer.step(state, data.train_images[rows], data.train_labels[rows])
        if epoch == epochs - 1 or not trainer.frozen:
            accuracies.append(trainer.accuracy(state.classifier, data))
    return state.classifier, accuracies
