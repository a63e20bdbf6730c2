"""Classifiers trained by SGD on augmented images, as the paper's were: long, so off by default.

`linear_sgd` is the linear evaluation that the paper describes, `finetune` what its authors' code
does on CIFAR: there the encoder is trained as well, and the best epoch on test images is reported.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax

from gca_jax.evaluation import classifier
from gca_jax.evaluation.classifier import Encode, Trainer
from gca_jax.evaluation.frozen import Frozen
from gca_jax.evaluation.result import ENCODERS, NO_LABELS, Result, Score
from gca_jax.training.optimizer import make_optimizer

SGD = """SGD with Nesterov momentum 0.9, without weight decay, {epochs} epochs of batches of
{batch}, the learning rate falling from {rate:g} to zero as a cosine, on images augmented as the
policy {policy} does it for a classifier"""
FROZEN = """a linear layer on the features as they are, by {}. Encoder and batch statistics are
frozen. The last epoch is reported; nothing was chosen. Pixels are normalised as the encoder's
input is."""
TRAINED = """not a measure of frozen features: copies of the whole encoder, batch statistics too,
trained with a linear layer and all labels by {}. The last epoch is reported; nothing was chosen."""
BEST = """the same training as fine-tuned, but of all epochs that with the best accuracy **on the
test images**, as the authors' code chooses it. The choice alone is worth {}."""


def evaluate(frozen: Frozen) -> Result | None:
    """Train a head on frozen features of augmented images, for `sgd_epochs`."""
    return _if_asked(frozen, "sgd_epochs", "linear_sgd", "linear, SGD", _on_frozen)


def evaluate_finetuned(frozen: Frozen) -> Result | None:
    """Train encoder and head, for `finetune_epochs`; report the last."""
    return _if_asked(frozen, "finetune_epochs", "finetune", "fine-tuned", _last)


def evaluate_best(frozen: Frozen) -> Result | None:
    """Report the best epoch of that training by the test images, and what the choice is worth."""
    title = "fine-tuned, best epoch on test images"
    return _if_asked(frozen, "finetune_epochs", "finetune_best_on_test", title, _best)


def _if_asked(
    frozen: Frozen, setting: str, name: str, title: str, find: Callable[[Frozen], dict[str, Any]]
) -> Result | None:
    """Give the result with what `find` finds, where there are epochs and labels."""
    if not getattr(frozen.settings, setting):
        return None
    if frozen.classes is None:
        return Result(name, title, left_out=NO_LABELS)
    return Result(name, title, **find(frozen))


def _on_frozen(frozen: Frozen) -> dict[str, Any]:
    epochs, title = frozen.settings.sgd_epochs, "linear, SGD"
    on_features = trainer(frozen, _encode(frozen), epochs, head_only=True)
    on_pixels = trainer(frozen, classifier.of_pixels, epochs, head_only=True)
    found = by_epoch(frozen, on_features, epochs, title)
    raw = classifier.fit(on_pixels, {}, frozen.dataset, epochs, frozen.experiment.seed, title)
    procedure = FROZEN.format(_words(frozen, epochs))
    return dict(scores=_scores({**found, "pixels": raw[1]}), procedure=procedure)


def _last(frozen: Frozen) -> dict[str, Any]:
    found = frozen.once(finetuned)
    procedure = TRAINED.format(_words(frozen, frozen.settings.finetune_epochs))
    return dict(scores=_scores(found), numbers={"finetune_by_epoch": found}, procedure=procedure)


def _best(frozen: Frozen) -> dict[str, Any]:
    found = frozen.once(finetuned)
    best = {encoder: [max(accuracies)] for encoder, accuracies in found.items()}
    worth = [
        f"{100 * (best[encoder][0] - accuracies[-1]):.1f} points ({ENCODERS[encoder]})"
        for encoder, accuracies in found.items()
    ]
    return dict(scores=_scores(best), procedure=BEST.format(" and ".join(worth)))


def _scores(found: Mapping[str, list[float]]) -> dict[str, Score]:
    """Score each encoder by the last of its accuracies."""
    return {encoder: Score(accuracies[-1], {}) for encoder, accuracies in found.items()}


def finetuned(frozen: Frozen) -> Mapping[str, list[float]]:
    """Give accuracies by epoch of the trained and the untrained encoder, trained with a head."""
    epochs = frozen.settings.finetune_epochs
    whole = trainer(frozen, _encode(frozen), epochs, head_only=False)
    return by_epoch(frozen, whole, epochs, "fine-tuning")


def by_epoch(frozen: Frozen, trainer: Trainer, epochs: int, title: str) -> dict[str, list[float]]:
    """Train a classifier on the trained and on the untrained encoder; give their accuracies."""
    fit = partial(classifier.fit, data=frozen.dataset, epochs=epochs, title=title)
    seed = frozen.experiment.seed
    return {name: fit(trainer, each, seed=seed)[1] for name, each in frozen.networks.items()}


def trainer(frozen: Frozen, encode: Encode, epochs: int, *, head_only: bool) -> Trainer:
    """Set the optimizer of so many epochs."""
    experiment = frozen.experiment
    order = classifier.order(frozen.dataset, experiment.seed)
    steps = order.size // order.batch_size
    optimizer, _ = make_optimizer(
        epochs * steps,
        steps,
        name="sgd",
        learning_rate=frozen.settings.sgd_learning_rate,
        final_learning_rate=0.0,
        warmup_epochs=0.0,
        weight_decay=0.0,
    )
    key = jax.random.fold_in(experiment.key, 1)
    return Trainer(encode, experiment.data.policy, optimizer, key, head_only)


def _encode(frozen: Frozen) -> Encode:
    return partial(classifier.of_network, frozen.experiment.network)


def _words(frozen: Frozen, epochs: int) -> str:
    """Say how SGD trains."""
    return SGD.format(
        epochs=epochs,
        batch=classifier.order(frozen.dataset, 0).batch_size,
        rate=frozen.settings.sgd_learning_rate,
        policy=frozen.experiment.config.augment.policy,
    )
