"""One training step: its loss by hand, its target network, its randomness, its sharding."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType

from gca_jax import losses, models
from gca_jax.data import images
from gca_jax.training import state, step
from tests import toy

pytestmark = pytest.mark.slow

MODEL = dict(
    stage_sizes=(1,), block="basic", width=4, stem="cifar", projector_hidden=8, projector_dim=8
)
KEY = jax.random.key(7)
IMAGES = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 1), dtype=np.uint8)
BATCH = toy.whole(IMAGES)


def stand_in(z_a, z_b):
    """A loss that sees which view is which, so that mixing them up shows."""
    value = jnp.mean(jnp.sum((z_a - 2 * z_b) ** 2, axis=1))
    return value, {"first": jnp.mean(z_a), "second": jnp.mean(z_b)}


@functools.cache
def build(loss=stand_in, decay=None, learning_rate=0.1, **model):
    network = models.create(**MODEL, **model)
    optimizer = optax.sgd(learning_rate)
    variables = state.init_variables(network, jax.random.key(0), (8, 8, 1))
    initial = state.create_state(variables, optimizer, with_target=decay is not None)
    parts = toy.experiment(network, loss, target_decay=decay)  # which it is at step 0
    return network, initial, jax.jit(step.make_train_step(parts, optimizer, 10))


@functools.partial(jax.jit, static_argnums=0)
def both(network, variables):
    """Embeddings by the definition: both views in one batch."""
    a, b = toy.POLICY.views(jax.random.fold_in(KEY, 0), IMAGES)
    z, updates = network.apply(
        variables, jnp.concatenate([a, b]), train=True, mutable=["batch_stats"]
    )
    return z[:16], z[16:], updates["batch_stats"]


def variables_of(s):
    return {"params": s.params, "batch_stats": s.batch_stats}


def close(a, b, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), a, b)


def test_loss_is_that_of_both_views_in_one_batch():
    network, initial, train_step = build()
    new, metrics = train_step(initial, KEY, BATCH)
    z_a, z_b, batch_stats = both(network, variables_of(initial))
    value, aux = stand_in(z_a, z_b)
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-5)
    np.testing.assert_allclose(metrics["first"], aux["first"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(metrics["second"], aux["second"], rtol=1e-4, atol=1e-6)
    close(new.batch_stats, batch_stats, rtol=1e-4, atol=1e-6)
    assert new.step == 1


def test_update_is_the_gradient_of_that_loss():
    network, initial, train_step = build()
    new, metrics = train_step(initial, KEY, BATCH)

    def loss(params):
        z_a, z_b, _ = both(network, {"params": params, "batch_stats": initial.batch_stats})
        return stand_in(z_a, z_b)[0]

    gradient = jax.jit(jax.grad(loss))(initial.params)
    expected = jax.tree.map(lambda p, g: p - 0.1 * g, initial.params, gradient)
    close(new.params, expected, rtol=1e-4, atol=1e-5)
    norm = np.sqrt(sum(np.sum(np.square(g)) for g in jax.tree.leaves(gradient)))
    np.testing.assert_allclose(metrics["gradient_norm"], norm, rtol=1e-4)


def build_method(method):
    extra = dict(decay=0.9, predictor_hidden=8) if method == "byol" else {}
    return build(loss=losses.METHODS[method], **extra)


@pytest.mark.parametrize("method", ["gca_uot", "byol"])
def test_method_reaches_every_weight_of_the_encoder(method):
    _, initial, train_step = build_method(method)
    new, metrics = train_step(initial, KEY, BATCH)
    assert np.isfinite(metrics["loss"])
    # A bias in front of a batch norm has no effect; there is none, so everything must move.
    moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), initial.params, new.params)
    still = [jax.tree_util.keystr(p) for p, m in jax.tree.leaves_with_path(moved) if not m]
    assert not [name for name in still if "predictor" not in name]


def test_randomness_is_a_function_of_the_step():
    _, initial, train_step = build()
    _, first = train_step(initial, KEY, BATCH)
    _, again = train_step(initial, KEY, BATCH)
    assert first["loss"] == again["loss"]
    _, second = train_step(initial._replace(step=jnp.int32(1)), KEY, BATCH)
    assert first["loss"] != second["loss"]


def error(predictions, targets):
    value = jnp.mean(jnp.sum((predictions - targets) ** 2, axis=1))
    return value, {"predicted": jnp.mean(predictions)}


def byol():
    return error, build(loss=error, decay=0.9, predictor_hidden=8)


def test_byol_loss_is_both_orders_against_the_target_network():
    loss, (network, initial, train_step) = byol()
    # A target unlike the online network, so that taking one for the other shows.
    other = state.init_variables(network, jax.random.key(5), (8, 8, 1))
    initial = initial._replace(target=other)
    new, metrics = train_step(initial, KEY, BATCH)
    z_a, z_b, stats = both(network, variables_of(initial))
    t_a, t_b, target_stats = both(network, other)
    predicted, updates = network.apply(
        {"params": initial.params, "batch_stats": stats},
        jnp.concatenate([z_a, z_b]),
        train=True,
        method="predict",
        mutable=["batch_stats"],
    )
    expected = (loss(predicted[:16], t_b)[0] + loss(predicted[16:], t_a)[0]) / 2
    np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-5)
    close(new.batch_stats, updates["batch_stats"], rtol=1e-4, atol=1e-6)
    close(new.target["batch_stats"], target_stats, rtol=1e-4, atol=1e-6)


def test_byol_target_is_the_moving_average_of_the_new_weights():
    _, (_, initial, train_step) = byol()
    new, _ = train_step(initial, KEY, BATCH)
    expected = jax.tree.map(lambda t, p: 0.9 * t + 0.1 * p, initial.target["params"], new.params)
    close(new.target["params"], expected, rtol=1e-5, atol=1e-7)
    moved = jax.tree.map(
        lambda a, b: bool(np.any(a != b)), new.target["params"], initial.target["params"]
    )
    assert any(jax.tree.leaves(moved["encoder"]))


def test_byol_target_follows_more_slowly_as_the_run_goes_on():
    """The decay rises to one along half a cosine: at the middle of ten steps half way."""
    decay = step.byol_decay(0.9, 10)
    expected = 1 - 0.1 * (np.cos(np.pi * np.arange(11) / 10) + 1) / 2
    np.testing.assert_allclose([decay(k) for k in range(11)], expected, rtol=1e-6)
    _, (_, initial, train_step) = byol()
    new, _ = train_step(initial._replace(step=jnp.int32(5)), KEY, BATCH)
    old = initial.target["params"]
    expected = jax.tree.map(lambda t, p: 0.95 * t + 0.05 * p, old, new.params)
    close(new.target["params"], expected, rtol=1e-5, atol=1e-7)


def test_byol_gradient_stops_at_the_target():
    loss, (network, initial, train_step) = byol()
    new, _ = train_step(initial, KEY, BATCH)
    t_a, t_b, _ = both(network, initial.target)

    def value(params):  # the target's embeddings are constants here
        z_a, z_b, stats = both(network, {"params": params, "batch_stats": initial.batch_stats})
        predicted, _ = network.apply(
            {"params": params, "batch_stats": stats},
            jnp.concatenate([z_a, z_b]),
            train=True,
            method="predict",
            mutable=["batch_stats"],
        )
        return (loss(predicted[:16], t_b)[0] + loss(predicted[16:], t_a)[0]) / 2

    gradient = jax.jit(jax.grad(value))(initial.params)
    expected = jax.tree.map(lambda p, g: p - 0.1 * g, initial.params, gradient)
    close(new.params, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["gca_uot", "byol"])
def test_sharded_step_is_the_step_of_one_device(method):
    _, initial, train_step = build_method(method)
    one, one_metrics = jax.device_get(train_step(initial, KEY, BATCH))
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    start = jax.device_put(jax.tree.map(jnp.copy, initial), state.replicated(mesh))
    batch = jax.device_put(BATCH, state.by_row(mesh))
    sharded = step.shard(train_step.__wrapped__, mesh)
    many, many_metrics = jax.device_get(sharded(start, KEY, batch))
    close(one_metrics, many_metrics, rtol=2e-4, atol=1e-5)
    close(one.params, many.params, rtol=1e-3, atol=1e-5)
    close(one.batch_stats, many.batch_stats, rtol=1e-4, atol=1e-6)


def test_mesh_has_every_device():
    assert state.make_mesh().shape == {"data": 8}


@pytest.mark.parametrize(("share", "wrong"), [(0.3, 3), (0.1, 0), (1.0, 10)])
def test_a_share_of_the_second_views_changes_places(share, wrong):
    views = np.arange(20.0).reshape(10, 2)
    mixed = np.asarray(images.exchange(KEY, jax.numpy.asarray(views), share))
    assert (mixed[:, 0] != views[:, 0]).sum() == wrong  # of one alone nothing can be exchanged
    np.testing.assert_array_equal(np.sort(mixed[:, 0]), views[:, 0])
    np.testing.assert_array_equal(mixed[:, 1] - mixed[:, 0], 1)
