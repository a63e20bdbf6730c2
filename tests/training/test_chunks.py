"""A batch embedded in chunks or groups: the step of the whole batch, and what batch norm makes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType

from gca_jax import models
from gca_jax.models import towers
from gca_jax.training import chunks, state, step
from tests import toy

HEADS = dict(projector_hidden=8, projector_dim=4)
VIT = dict(encoder="vit", width=8, depth=1, heads=2, patch=4, positions="sincos")
RESNET = dict(encoder="resnet", stage_sizes=(1,), block="basic", width=4, stem="cifar")
KEY = jax.random.key(7)
IMAGES = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 1), dtype=np.uint8)


def start(method, mesh=None, **chunk):
    """Initial state and step of a network without batch norm but for BYOL's predictor.

    With a mesh its devices share the rows of the loss.
    """
    byol = method == "byol"
    network = models.create(**VIT, **HEADS, **({"predictor_hidden": 8} if byol else {}))
    optimizer = optax.sgd(0.1)
    variables = state.init_variables(network, KEY, (8, 8, 1))
    initial = state.create_state(variables, optimizer, with_target=byol)
    decay = {"target_decay": 0.9} if byol else {}  # as it is at step 0
    parts = toy.experiment(network, method, **decay, **chunk)
    return initial, step.make_train_step(parts, optimizer, 10, mesh)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["simclr", "byol"])
def test_a_step_in_chunks_is_the_step_of_the_batch_over_devices_too(method):
    """And there with the loss that training takes over devices, `losses.sharded`."""
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:4])
    initial, plain = start(method)
    _, chunked = start(method, mesh, encoder_chunk=4)
    expected, metrics = jax.device_get(jax.jit(plain)(initial, KEY, toy.whole(IMAGES)))
    placed = jax.device_put(initial, state.replicated(mesh))
    batch = jax.device_put(toy.whole(IMAGES), state.by_row(mesh))
    found, same = jax.device_get(step.shard(chunked, mesh)(placed, KEY, batch))
    close = lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5)  # noqa: E731
    jax.tree.map(close, found, expected)
    close(same["loss"], metrics["loss"])


def test_activations_of_one_chunk_are_in_memory():
    network = models.create(**VIT, **HEADS)
    variables = state.init_variables(network, KEY, (8, 8, 1))
    views = (jnp.zeros((64, 8, 8, 1)),) * 2

    def temporaries(embed):
        gradient = jax.jit(jax.grad(lambda v: jnp.square(embed(v, views).pair[0]).sum()))
        return gradient.lower(variables).compile().memory_analysis().temp_size_in_bytes

    assert temporaries(chunks.in_chunks(network.embed, 4)) < temporaries(network.embed) / 4


def test_a_learned_temperature_has_the_gradient_of_the_whole_batch():
    shape = dict(hidden_a=(6,), hidden_b=(6,), dim=4, epsilon=0.2)
    network = towers.create(tower_a="mlp", tower_b="mlp", **shape)
    variables = state.init_variables(network, KEY, (5, 3))
    optimizer = optax.sgd(0.1)
    pairs = jax.random.normal(KEY, (8, 5)), jax.random.normal(KEY, (8, 3))
    found = []
    for size in (None, 2):
        parts = toy.experiment(network, "ince", lambda _, x: x, encoder_chunk=size)
        train_step = step.make_train_step(parts, optimizer, 10)
        initial = state.create_state(variables, optimizer, with_target=False)
        found.append(jax.jit(train_step)(initial, KEY, toy.whole(pairs))[0].params)
    assert found[0]["log_epsilon"] != variables["params"]["log_epsilon"]
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6), *found)


@pytest.mark.parametrize("split", [chunks.in_chunks, chunks.in_groups])
def test_batch_norm_sees_one_part_at_a_time_and_its_running_statistics_are_their_mean(split):
    """Chunk k has rows k, k + n, ...; groups are of neighbours."""
    network = models.create(**RESNET, **HEADS)
    variables = state.init_variables(network, KEY, (8, 8, 1))
    views = tuple(jax.random.normal(KEY, (2, 6, 8, 8, 1)))
    number = 2 if split is chunks.in_chunks else 3  # pairs a chunk, or groups
    pair, stats, features = jax.jit(split(network.embed, number))(variables, views)
    embed, each = jax.jit(network.embed), []
    for k in range(3):
        rows = slice(k, None, 3) if split is chunks.in_chunks else slice(2 * k, 2 * k + 2)
        part = tuple(view[rows] for view in views)
        own, its, encoded = embed(variables, part)
        each.append(its)
        for z, expected in zip(pair + features, own + encoded, strict=True):
            np.testing.assert_allclose(z[rows], expected, rtol=1e-4, atol=1e-5)
    mean = jax.tree.map(lambda *x: np.mean(x, axis=0), *each)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6), stats, mean)


def test_groups_stay_on_their_devices():
    """No batch statistics are exchanged, and BYOL's predictor has groups too."""
    network = models.create(**RESNET, **HEADS, predictor_hidden=8)
    variables = state.init_variables(network, KEY, (8, 8, 1))
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:4])
    rows, whole = state.by_row(mesh), state.replicated(mesh)

    def embed(variables, views):
        grouped = chunks.in_groups(network.embed, 4)
        return grouped(variables, grouped(variables, views).pair, "predict").pair

    compiled = jax.jit(embed, in_shardings=(whole, rows), out_shardings=rows)
    views = (jax.ShapeDtypeStruct((16, 8, 8, 1), jnp.float32),) * 2
    text = compiled.lower(variables, views).compile().as_text()
    assert "all-reduce" not in text
    assert "all-gather" not in text


@pytest.mark.parametrize(("size", "devices"), [(0, 1), (-4, 1), (24, 1), (6, 4)])
def test_chunks_that_do_not_make_up_the_batch_are_refused(size, devices):
    chunks.check(16, 8, 48, 8)
    chunks.check(None, 12, 48, 8)
    chunks.check(None, None, 48, 8)
    with pytest.raises(ValueError, match=r"^batch_norm_groups must divide batch_size, 48; got 5"):
        chunks.check(None, 5, 48, 8)
    with pytest.raises(
        ValueError, match=r"^batch_norm_groups must divide encoder_chunk, 16; got 0"
    ):
        chunks.check(16, 0, 48, 8)
    with pytest.raises(ValueError, match=r"^encoder_chunk must divide batch_size, (48|36), .*got"):
        chunks.check(size, None, 36 if size == 24 else 48, devices)
