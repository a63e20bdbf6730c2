"""The online probe: its step by hand, an encoder that it does not change, its accuracy."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gca_jax.data.batches import Order
from gca_jax.evaluation import online
from gca_jax.evaluation.frozen import Frozen
from gca_jax.experiment import build
from gca_jax.training import probe
from tests.runs import pretrain, restore_variables


def test_a_step_is_adam_on_the_cross_entropy():
    rng = np.random.default_rng(0)
    h, labels = rng.normal(size=(6, 3)), np.array([0, 1, 1, 0, 1, 1])
    head, state = probe.start(3, 2)
    jitted = jax.jit(probe.update)
    new, _, logged = jitted(head, state, jnp.asarray(h, jnp.float32), labels)
    gradient = h.T @ (0.5 - np.eye(2)[labels]) / 6  # of a head of zeros: all shares are a half
    np.testing.assert_allclose(new["kernel"], -3e-3 * np.sign(gradient), rtol=1e-4)
    np.testing.assert_allclose(logged["probe_loss"], np.log(2), rtol=1e-6)
    np.testing.assert_allclose(logged["probe_accuracy"], 2 / 6, rtol=1e-6)


def test_samples_without_a_class_do_not_count():
    rng = np.random.default_rng(0)
    h, labels = rng.normal(size=(6, 3)).astype(np.float32), np.array([0, 1, 1, 0, 1, 1])
    head, state = probe.start(3, 2)
    head = {"kernel": jnp.asarray(rng.normal(size=(3, 2)), jnp.float32), "bias": jnp.ones(2)}
    both = np.concatenate([h, 9 + h]), np.concatenate([labels, np.full(6, -1)])
    one, other = (probe.update(head, state, *map(jnp.asarray, x)) for x in ((h, labels), both))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), one, other)
    *_, none = probe.update(head, state, jnp.asarray(h), jnp.full(6, -1))
    assert (none["probe_loss"], none["probe_accuracy"]) == (0, 0)


@pytest.mark.slow
@pytest.mark.usefixtures("one_device")
def test_log_and_weights_are_those_without_a_probe_whose_head_reads_test_images(tiny, tmp_path):
    """Bit for bit, beside a target of domains: the probe has its own labels, those of classes."""
    data = build(tiny()).data.dataset
    data = dataclasses.replace(data, pretrain_domains=data.pretrain_labels % 2)
    settings = {"target.name": "blocks", "target.alpha": 0.5, "train.log_every_steps": 1}
    found, logged = {}, {}
    for probed in (None, True):
        config = tiny(**{"train.online_probe": probed, **settings})
        experiment, run = build(config, dataset=data), tmp_path / str(probed)
        pretrain(experiment, run)
        found[probed], _ = restore_variables(run)
        rows = (run / "metrics.jsonl").read_text().splitlines()
        logged[probed] = [json.loads(row) for row in rows]
    head = found[True].pop("probe")
    jax.tree.map(np.testing.assert_array_equal, found[True], found[None])
    assert [row["loss"] for row in logged[True]] == [row["loss"] for row in logged[None]]
    first, *_, last = logged[True]
    seen = data.pretrain_labels[Order(len(data.pretrain_images), 472, config.seed).rows(0)]
    np.testing.assert_allclose(first["probe_loss"], np.log(10), rtol=1e-6)
    np.testing.assert_allclose(first["probe_accuracy"], np.mean(seen == 0), rtol=1e-6)
    assert last["probe_loss"] < first["probe_loss"]
    assert head["bias"].shape == (10,)
    frozen = Frozen(experiment, {**found[True], "probe": head})
    result = online.evaluate(frozen)
    scores = frozen.test_features["trained"] @ head["kernel"] + head["bias"][None]
    accuracy = (np.argmax(scores, axis=1) == data.test_labels).mean()
    assert result.scores["trained"].accuracy == pytest.approx(accuracy)
    assert online.evaluate(dataclasses.replace(frozen, variables=found[None])) is None


def test_labels_are_needed(tiny):
    bare = dataclasses.replace(build(tiny()).data.dataset, pretrain_labels=None)
    config = tiny(**{"train.online_probe": True})
    with pytest.raises(ValueError, match=r"^config\.train: online_probe needs labels, and the im"):
        build(config, dataset=bare)


def test_the_head_has_classes_that_the_training_images_lack(tiny):
    """So that a run on few images goes on from its checkpoint, and reads all test images."""
    config = tiny(**{"train.online_probe": True})
    data = build(config).data.dataset
    few = dataclasses.replace(data, pretrain_labels=np.zeros_like(data.pretrain_labels))
    assert data.num_classes > 1
    assert build(config, dataset=few).probed_classes == data.num_classes
