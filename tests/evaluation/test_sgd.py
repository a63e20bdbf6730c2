"""Classifiers trained by SGD: what they change, their arithmetic, and what is said of them."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from sklearn.datasets import load_digits

from gca_jax import data
from gca_jax.data.views import augment
from gca_jax.evaluation import evaluate, sgd
from gca_jax.evaluation.frozen import Frozen
from gca_jax.experiment import build
from gca_jax.training.optimizer import warmup_cosine
from gca_jax.training.state import init_variables

RATE, EPOCHS = 0.05, 2
SETTINGS = {
    "evaluation.sgd_epochs": EPOCHS,
    "evaluation.finetune_epochs": EPOCHS,
    "evaluation.sgd_learning_rate": RATE,
    "train.batch_size": 32,
}
NAMES = ("linear_sgd", "finetune", "finetune_best_on_test")


def digits(labelled=True):
    """Eighty digits of three classes, sixty of them to train."""
    raw = load_digits(n_class=3)
    images = (raw.images[:80, :, :, None] * 15).astype(np.uint8)
    labels = raw.target[:80].astype(np.int32) if labelled else None
    train, test = slice(None, 60), slice(60, None)
    named = {} if labels is None else {"labels": labels[train], "test_labels": labels[test]}
    return data.arrays(images[train], test_images=images[test], **named)


@pytest.fixture(scope="module")
def frozen(tiny):
    """A factory of frozen models with an untrained network."""

    def make(dataset=None, **changes):
        experiment = build(tiny("ince", **SETTINGS | changes), dataset=dataset or digits())
        shape = experiment.data.dataset.train_images.shape[1:]
        return Frozen(experiment, init_variables(experiment.network, experiment.key, shape))

    return make


@pytest.fixture(scope="module")
def one(frozen):
    return frozen()


@pytest.fixture(scope="module")
def results(one):
    found = sgd.evaluate(one), sgd.evaluate_finetuned(one), sgd.evaluate_best(one)
    return dict(zip(NAMES, found, strict=True))


def encode(one):
    return functools.partial(sgd.of_network, one.experiment.network)


@pytest.fixture(scope="module", params=[True, False], ids=["frozen", "whole"])
def trained(one, request):
    """Whether the encoder is frozen, its variables before, and the classifier after."""
    trainer = sgd.trainer(one, encode(one), EPOCHS, head_only=request.param)
    before = jax.tree.map(np.array, one.variables)
    after, accuracies = sgd.fit(trainer, one.variables, one.dataset, EPOCHS, 0)
    assert len(accuracies) == (1 if request.param else EPOCHS)
    return request.param, before, after


@pytest.mark.slow
def test_a_frozen_encoder_is_frozen_and_a_fine_tuned_one_is_not(one, trained):
    head_only, before, after = trained
    jax.tree.map(np.testing.assert_array_equal, before, one.variables)  # in either case
    assert jax.tree.structure(after.variables) == jax.tree.structure(before)
    assert np.abs(after.head["kernel"]).max() > 0
    for kind in ("params", "batch_stats"):
        ours, theirs = after.variables[kind]["encoder"], before[kind]["encoder"]
        same = jax.tree.leaves(jax.tree.map(np.array_equal, ours, theirs))
        assert all(same) if head_only else not any(same), kind
    projectors = after.variables["params"]["projector"], before["params"]["projector"]
    jax.tree.map(np.testing.assert_array_equal, *projectors)  # which nothing reads


def test_a_head_on_pixels_is_nesterov_s_softmax_regression():
    """Two epochs of two steps in NumPy, on images that nothing augments."""
    dataset = digits()
    policy = augment.Augment(lambda key, x: (x, x), mean=(0.3,), std=(0.4,))
    schedule = warmup_cosine(RATE, 0.0, 0, 4)
    from gca_jax.training.optimizer import sgd as make

    trainer = sgd.Trainer(
        sgd.of_pixels, policy, make(schedule, weight_decay=0.0), jax.random.key(0), True
    )
    state = trainer.start({}, dataset.train_images, 3)
    weights, bias = np.zeros((64, 3)), np.zeros(3)
    speeds = [np.zeros((64, 3)), np.zeros(3)]
    for step in range(4):
        rows = np.arange(30) + 30 * (step % 2)
        state = trainer.step(state, dataset.train_images[rows], dataset.train_labels[rows])
        x = (dataset.train_images[rows].reshape(30, 64) / 255 - 0.3) / 0.4
        scores = np.exp(x @ weights + bias)
        error = scores / scores.sum(1, keepdims=True) - np.eye(3)[dataset.train_labels[rows]]
        rate = RATE * (1 + np.cos(np.pi * step / 4)) / 2
        for k, gradient in enumerate((x.T @ error / 30, error.mean(0))):
            speeds[k] = 0.9 * speeds[k] + gradient
            (weights, bias)[k][...] -= rate * (gradient + 0.9 * speeds[k])
    np.testing.assert_allclose(state.classifier.head["kernel"], weights, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(state.classifier.head["bias"], bias, rtol=1e-4, atol=1e-6)
    x = (dataset.test_images.reshape(-1, 64) / 255 - 0.3) / 0.4
    expected = np.mean((x @ weights + bias).argmax(1) == dataset.test_labels)
    assert trainer.accuracy(state.classifier, dataset) == expected


@pytest.mark.slow
def test_each_protocol_reports_the_epoch_that_it_names(results):
    head, last, best = (results[name] for name in NAMES)
    assert [result.name for result in results.values()] == list(NAMES)
    assert set(head.scores) == {"trained", "random_encoder", "pixels"}
    assert set(last.scores) == set(best.scores) == {"trained", "random_encoder"}
    history = last.numbers["finetune_by_epoch"]
    for encoder, accuracies in history.items():
        assert len(accuracies) == EPOCHS
        assert last.scores[encoder].accuracy == accuracies[-1]
        assert best.scores[encoder].accuracy == max(accuracies)
    assert head.scores["pixels"].accuracy > 0.6
    numbers = evaluate.numbers(list(results.values()))
    assert set(numbers["baselines"]["pixels"]) == {"linear_sgd"}
    assert set(numbers["accuracy"]) == set(NAMES)


@pytest.mark.slow
def test_encoders_of_other_weights_give_other_classifiers(one):
    trainer = sgd.trainer(one, encode(one), EPOCHS, head_only=True)
    fit = functools.partial(sgd.fit, trainer, data=one.dataset, epochs=EPOCHS, seed=0)
    a, again, b = (
        fit(variables)[0].head["kernel"]
        for variables in (one.variables, one.variables, one.networks["random_encoder"])
    )
    np.testing.assert_array_equal(a, again)
    assert not np.allclose(a, b)


def test_without_epochs_nothing_is_said_and_without_labels_why(frozen):
    off = frozen(**{"evaluation.sgd_epochs": 0, "evaluation.finetune_epochs": 0})
    unlabelled = frozen(digits(labelled=False))
    for probe in (sgd.evaluate, sgd.evaluate_finetuned, sgd.evaluate_best):
        assert probe(off) is None
        assert probe(unlabelled).skipped == "the images have no labels"


def test_the_learning_rate_is_the_setting_and_falls_to_zero(frozen):
    slow = dataclasses.replace(frozen(**{"evaluation.sgd_learning_rate": 1e-9}))
    trainer = sgd.trainer(slow, sgd.of_pixels, 1, head_only=True)
    state, _ = sgd.fit(trainer, {}, slow.dataset, 1, 0)
    assert 0 < np.abs(state.head["kernel"]).max() < 1e-7
