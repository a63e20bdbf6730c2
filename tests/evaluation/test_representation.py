from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gca_jax import models
from gca_jax.evaluation import features, representation
from gca_jax.training import state

IMAGES = np.random.default_rng(0).integers(0, 256, (45, 8, 8, 1)).astype(np.uint8)


def make_views(key, images):
    x = images.astype(jnp.float32) / 255
    a, b = (jax.random.normal(k, x.shape) * 0.1 for k in jax.random.split(key))
    return x + a, x + b


@pytest.fixture(scope="module")
def embed():
    network = models.create(
        stage_sizes=(1,), block="basic", width=4, stem="cifar", projector_hidden=16, projector_dim=6
    )
    variables = state.init_variables(network, jax.random.key(0), (8, 8, 1))
    return partial(features.embed, network, make_views, variables)


def test_every_image_gets_a_pair_that_no_batch_fill_touches(embed):
    z_a, z_b = features.embed_all(embed, IMAGES, jax.random.key(0), 20)
    assert z_a.shape == z_b.shape == (45, 6)
    first = embed(jax.random.fold_in(jax.random.key(0), 0), IMAGES[:20])
    np.testing.assert_array_equal(z_a[:20], first[0])
    assert not np.allclose(z_a, z_b)


def test_representation_equals_its_definitions():
    rng = np.random.default_rng(0)
    z_a, z_b = rng.normal(size=(2, 12, 3)).astype(np.float32)
    out = representation.representation(jnp.asarray(z_a), jnp.asarray(z_b))
    a, b = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (z_a, z_b))
    assert out["alignment"] == pytest.approx(((a - b) ** 2).sum(1).mean(), rel=1e-5)
    uniformity, rank = [], []
    for z in (a, b):
        pairs = [(z[i] - z[j]) for i in range(12) for j in range(12) if i != j]
        uniformity.append(np.log(np.mean([np.exp(-2 * p @ p) for p in pairs])))
        p = np.linalg.svd(z, compute_uv=False)
        p /= p.sum()
        rank.append(np.exp(-(p * np.log(p)).sum()))
    assert out["uniformity"] == pytest.approx(np.mean(uniformity), rel=1e-5)
    assert out["effective_rank"] == pytest.approx(np.mean(rank), rel=1e-5)
