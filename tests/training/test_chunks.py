"""A batch embedded in chunks: the step of the whole batch, and what batch norm makes of it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType

from gca_jax import losses, models
from gca_jax.data.views import augment
from gca_jax.models import towers
from gca_jax.training import chunks, step

HEADS = dict(projector_hidden=8, projector_dim=4)
VIT = dict(encoder="vit", width=8, depth=1, heads=2, patch=4, positions="sincos")
RESNET = dict(encoder="resnet", stage_sizes=(1,), block="basic", width=4, stem="cifar")
KEY = jax.random.key(7)
IMAGES = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 1), dtype=np.uint8)


def noise(key, images):
    return images[None] + 0.3 * jax.random.normal(key, (2, *images.shape))


POLICY = augment.Augment(noise, mean=(0.5,), std=(0.5,))


def start(method, **chunk):
    """Initial state and step of a network without batch norm but for BYOL's predictor."""
    byol = method == "byol"
    network = models.create(**VIT, **HEADS, **({"predictor_hidden": 8} if byol else {}))
    optimizer = optax.sgd(0.1)
    variables = step.init_variables(network, KEY, (8, 8, 1))
    initial = step.create_state(variables, optimizer, with_target=byol)
    loss, decay = (losses.byol, lambda _: 0.9) if byol else (losses.simclr, None)
    return initial, step.make_train_step(
        network, POLICY.views, loss, optimizer, KEY, decay, **chunk
    )


@pytest.mark.parametrize("method", ["simclr", "byol"])
def test_a_step_in_chunks_is_the_step_of_the_batch_over_devices_too(method):
    initial, plain = start(method)
    _, chunked = start(method, encoder_chunk=4)
    expected, metrics = jax.device_get(jax.jit(plain)(initial, IMAGES))
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:4])
    placed = jax.device_put(initial, step.replicated(mesh))
    images = jax.device_put(IMAGES, step.by_row(mesh))
    found, same = jax.device_get(step.shard(chunked, mesh)(placed, images, None))
    close = lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5)  # noqa: E731
    jax.tree.map(close, found, expected)
    close(same["loss"], metrics["loss"])


def test_activations_of_one_chunk_are_in_memory():
    network = models.create(**VIT, **HEADS)
    variables = step.init_variables(network, KEY, (8, 8, 1))
    views = (jnp.zeros((64, 8, 8, 1)),) * 2

    def temporaries(embed):
        gradient = jax.jit(jax.grad(lambda v: jnp.square(embed(v, views).pair[0]).sum()))
        return gradient.lower(variables).compile().memory_analysis().temp_size_in_bytes

    assert temporaries(chunks.in_chunks(network.embed, 4)) < temporaries(network.embed) / 4


def test_a_learned_temperature_has_the_gradient_of_the_whole_batch():
    shape = dict(hidden_a=(6,), hidden_b=(6,), dim=4, epsilon=0.2)
    network = towers.create(tower_a="mlp", tower_b="mlp", **shape)
    variables = step.init_variables(network, KEY, (5, 3))
    optimizer = optax.sgd(0.1)
    pairs = jax.random.normal(KEY, (8, 5)), jax.random.normal(KEY, (8, 3))
    found = []
    for size in (None, 2):
        train_step = step.make_train_step(
            network, lambda _, x: x, losses.ince, optimizer, KEY, encoder_chunk=size
        )
        initial = step.create_state(variables, optimizer, with_target=False)
        found.append(jax.jit(train_step)(initial, pairs)[0].params)
    assert found[0]["log_epsilon"] != variables["params"]["log_epsilon"]
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6), *found)


def test_batch_norm_sees_one_chunk_at_a_time_and_its_running_statistics_are_their_mean():
    network = models.create(**RESNET, **HEADS)
    variables = step.init_variables(network, KEY, (8, 8, 1))
    views = tuple(jax.random.normal(KEY, (2, 6, 8, 8, 1)))
    pair, stats = jax.jit(chunks.in_chunks(network.embed, 2))(variables, views)
    embed, each = jax.jit(network.embed), []
    for k in range(3):  # rows k and k + 3
        part = tuple(view[k::3] for view in views)
        own, its = embed(variables, part)
        each.append(its)
        for z, expected in zip(pair, own, strict=True):
            np.testing.assert_allclose(z[k::3], expected, rtol=1e-4, atol=1e-5)
    mean = jax.tree.map(lambda *x: np.mean(x, axis=0), *each)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6), stats, mean)


@pytest.mark.parametrize(("size", "devices"), [(0, 1), (-4, 1), (24, 1), (6, 4)])
def test_chunks_that_do_not_make_up_the_batch_are_refused(size, devices):
    chunks.check(16, 48, 8)
    chunks.check(None, 48, 8)
    with pytest.raises(ValueError, match=r"^encoder_chunk must divide batch_size, (48|36), .*got"):
        chunks.check(size, 36 if size == 24 else 48, devices)
