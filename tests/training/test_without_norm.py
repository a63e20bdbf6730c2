"""Networks without batch norm: their state, step, checkpoint and untrained baseline."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from gca_jax import models
from gca_jax.evaluation import baseline
from gca_jax.training import checkpoint, state, step
from gca_jax.training.checkpoint import Progress
from gca_jax.workdir import RunFolder
from tests import toy
from tests.runs import restore_variables

HEADS = dict(projector_hidden=8, projector_dim=4)
VIT = dict(encoder="vit", width=8, depth=1, heads=2, patch=4, positions="learned")
KEY = jax.random.key(7)
IMAGES = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 1), dtype=np.uint8)
SHAPE = IMAGES.shape[1:]


def distance(z_a, z_b):
    return jnp.mean((z_a - 2 * z_b) ** 2), {}


def start(optimizer, decay=None, **heads):
    network = models.create(**VIT, **HEADS, **heads)
    variables = state.init_variables(network, KEY, SHAPE)
    initial = state.create_state(variables, optimizer, with_target=decay is not None)
    parts = toy.experiment(network, distance, target_decay=decay)  # which it is at step 0
    return network, initial, step.make_train_step(parts, optimizer, 10)


def test_a_step_is_gradient_descent_on_the_two_views_each_on_its_own():
    network, initial, train_step = start(optax.sgd(0.1))
    assert initial.batch_stats == {}
    new, metrics = jax.jit(train_step)(initial, KEY, toy.whole(IMAGES))

    @jax.jit
    @jax.value_and_grad
    def descend(params):
        a, b = toy.POLICY.views(jax.random.fold_in(KEY, 0), IMAGES)
        return distance(*(network.apply({"params": params}, view) for view in (a, b)))[0]

    value, gradient = descend(initial.params)
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-5)
    expected = jax.tree.map(lambda p, g: p - 0.1 * g, initial.params, gradient)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)  # noqa: E731
    jax.tree.map(close, new.params, expected)
    assert new.batch_stats == {}


def test_byol_has_the_statistics_of_its_predictor_alone():
    _, initial, train_step = start(optax.sgd(0.1), decay=0.9, predictor_hidden=8)
    new, _ = jax.eval_shape(train_step, initial, KEY, toy.whole(IMAGES))
    assert set(new.batch_stats) == {"predictor"}
    assert jax.tree.structure(new) == jax.tree.structure(initial)


def test_a_checkpoint_gives_back_the_state(tmp_path):
    _, initial, _ = start(optax.adam(0.1))
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    with checkpoint.open_manager(RunFolder(tmp_path)) as manager:
        checkpoint.save(manager, initial, Progress(5), {"seed": 0})
        manager.wait_until_finished()
        abstract = jax.eval_shape(lambda: initial)
        restored, progress = checkpoint.restore(manager, abstract, device)
    assert progress.step == 5
    jax.tree.map(np.testing.assert_array_equal, restored, initial)
    variables, _ = restore_variables(tmp_path)
    expected = {"params": initial.params, "batch_stats": {}}
    jax.tree.map(np.testing.assert_array_equal, variables, expected)


def test_the_untrained_encoder_is_the_initial_one():
    network, _, _ = start(optax.sgd(0.1))
    fresh = baseline.untrained(network, 3, IMAGES, toy.POLICY.plain, SHAPE)
    expected = state.init_variables(network, jax.random.key(3), SHAPE)
    jax.tree.map(np.testing.assert_array_equal, fresh, expected)


class Counting(nn.Module):
    """Variables that a training step would lose."""

    @nn.compact
    def __call__(self, x):
        self.variable("counts", "calls", jnp.zeros, ())
        return x.mean((1, 2))


def test_variables_of_another_kind_are_refused():
    network = models.create(Counting(), **HEADS)
    with pytest.raises(ValueError, match="variables of another kind, counts; a training step"):
        state.init_variables(network, KEY, SHAPE)
