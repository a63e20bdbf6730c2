"""The target of a config: in the step, over devices, and refused where it has nothing to go by."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType

from gca_jax import experiment, losses, models, ot, targets
from gca_jax.data.batches import Batch
from gca_jax.training import state, step
from tests import toy

pytestmark = pytest.mark.slow

IMAGES = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 1), dtype=np.uint8)
GROUPS = np.arange(16, dtype=np.int32) % 3
KEY = jax.random.key(3)


def build(method, target):
    network = models.create(
        stage_sizes=(1,), block="basic", width=4, stem="cifar", projector_hidden=8, projector_dim=8
    )
    optimizer = optax.sgd(0.1)
    variables = state.init_variables(network, jax.random.key(0), (8, 8, 1))
    parts = dataclasses.replace(toy.experiment(network, method), target=target)
    train_step = step.make_train_step(parts, optimizer, 10)
    return network, variables, state.create_state(variables, optimizer, False), train_step


def batch(target):
    """All images, with the groups of what the target takes."""
    return Batch(IMAGES, np.arange(16, dtype=np.int32), dict.fromkeys(target.takes, GROUPS))


@pytest.mark.parametrize(
    ("settings", "takes", "make"),
    [
        ({"name": "blocks", "alpha": 0.2, "beta": 0.1}, "domains", ot.target.blocks),
        ({"name": "blocks", "alpha": 0.2, "beta": None}, "domains", ot.target.blocks),
        ({"name": "classes"}, "labels", ot.target.classes),
        ({"name": "continuous", "bandwidth": 0.5}, "labels", ot.target.continuous),
    ],
)
def test_each_name_builds_its_target_of_the_info_it_takes(settings, takes, make):
    target = targets.make(**settings)
    assert target.takes == (takes,)
    weights = {k: v for k, v in settings.items() if k != "name" and v is not None}
    got, want = target.keywords({takes: GROUPS})["target"], make(GROUPS, **weights)
    assert jax.tree.structure(got) == jax.tree.structure(want)
    jax.tree.map(np.testing.assert_array_equal, got, want)


@pytest.mark.parametrize("settings", [{"name": "blocks", "alpha": 0.2}, {"name": "identity"}])
def test_the_step_s_loss_is_that_of_the_batch_s_target(settings):
    target = targets.make(**settings)
    network, variables, initial, train_step = build("gca_ince", target)
    _, metrics = jax.jit(train_step)(initial, KEY, batch(target))
    a, b = toy.POLICY.views(jax.random.fold_in(KEY, 0), IMAGES)
    z, _ = network.apply(variables, jnp.concatenate([a, b]), train=True, mutable=["batch_stats"])
    wanted = ot.target.blocks(GROUPS, alpha=0.2) if target.takes else None
    value, _ = losses.gca_ince(z[:16], z[16:], target=wanted)
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-4)


def test_sharded_step_with_domains_is_the_step_of_one_device():
    target = targets.make("blocks", alpha=0.2)
    _, _, initial, train_step = build("gca_uot", target)
    results = []
    for count in (1, 8):
        mesh = jax.make_mesh((count,), ("data",), axis_types=(AxisType.Auto,))
        start = jax.device_put(jax.tree.map(jnp.copy, initial), state.replicated(mesh))
        placed = jax.device_put(batch(target), state.by_row(mesh))
        results.append(jax.device_get(step.shard(train_step, mesh)(start, KEY, placed)))
    (one, one_metrics), (many, many_metrics) = results
    for name in ("loss", "gradient_norm"):
        np.testing.assert_allclose(one_metrics[name], many_metrics[name], rtol=2e-4)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), one.params, many.params
    )


@pytest.mark.parametrize("method", ["gca_uot", "byol"])
def test_methods_take_the_classes_of_the_digits(tiny, method):
    made = experiment.build(tiny(method, **{"target.name": "classes"}))
    assert made.takes == ("labels",)
    step.trace(made)
    np.testing.assert_array_equal(np.bincount(made.data.info["labels"]) > 100, [True] * 10)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"target.name": "block"}, "name must be one of blocks, boot.*; got 'block'"),
        (
            {"target.name": "blocks"},
            "missing .*alpha",
        ),
        (
            {"target.name": "blocks", "target.alpha": 0.5},
            "blocks needs domains, and the images have",
        ),
        (
            {"target.name": "blocks", "target.alpha": -0.5},
            "alpha must be finite and >= 0 ",
        ),
        ({"target.name": "classes", "target.alpha": 0.5}, "classes takes no alpha; it takes nothi"),
        ({"target.name": "blocks", "target.share": 0.5}, "no share; it takes alpha, beta"),
        ({"target.beta": 0.5}, "identity takes no beta; it takes nothing"),
    ],
)
def test_a_target_that_does_not_fit_is_one_line(tiny, overrides, message):
    with pytest.raises(ValueError, match=rf"^config\.target: .*{message}") as caught:
        experiment.build(tiny(**overrides))
    assert len(str(caught.value).splitlines()) == 1


def test_weights_are_learned_after_the_warm_up():
    target = targets.make("self_weighted", sharpness=2.0, keep=0.5, warmup_steps=3, floor=None)
    network, variables, initial, train_step = build("gca_ince", target)
    train_step = jax.jit(train_step)
    for number, rule in ((2, None), (3, learned())):
        late = initial._replace(step=jnp.asarray(number, jnp.int32))
        _, metrics = train_step(late, KEY, batch(target))
        a, b = toy.POLICY.views(jax.random.fold_in(KEY, number), IMAGES)
        z, _ = network.apply(
            variables, jnp.concatenate([a, b]), train=True, mutable=["batch_stats"]
        )
        value, aux = losses.gca_ince(z[:16], z[16:], target=rule)
        np.testing.assert_allclose(metrics["loss"], value, rtol=1e-4)
        assert (aux["effective_pairs"] < 15.9) == (rule is not None)


def learned():
    return jax.tree_util.Partial(ot.learned.self_weighted, sharpness=2.0, keep=0.5)


@pytest.mark.parametrize(
    "setting", [{"sharpness": -1.0}, {"floor": 2.0}, {"keep": 0.0}, {"warmup_steps": -1}]
)
def test_settings_of_learned_weights_are_checked(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        targets.make("self_weighted", **setting)


@pytest.mark.parametrize("share", [None, 0.3])
def test_a_posterior_plan_follows_the_warm_up(share):
    """Before it the identity; then of the given π, or of the one that the batch's plan has."""
    target = targets.make("evidence", share=share, warmup_steps=3)
    plan, _ = losses.transport("gca_ince", *jax.random.normal(jax.random.key(0), (2, 16, 4)))
    early, late = (target.keywords({}, jnp.asarray(step))["target"](plan) for step in (2, 3))
    np.testing.assert_allclose(early.matrix, np.eye(16) / 16)
    np.testing.assert_allclose(late.matrix, ot.learned.evidence(plan, share=share).matrix)
    assert np.trace(late.matrix) < 0.9
