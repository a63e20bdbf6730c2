import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gca_jax import models
from gca_jax.evaluation import features
from gca_jax.training import state

IMAGES = np.random.default_rng(0).integers(0, 256, (23, 8, 8, 1)).astype(np.uint8)


def prepare(images):
    return images.astype(jnp.float32) / 255 - 0.5


@pytest.fixture(scope="module")
def encoder():
    network = models.create((1,), "basic", 8, "cifar", 16, 4)
    return network, state.init_variables(network, jax.random.key(0), (8, 8, 1))


def test_batches_and_the_filled_up_last_one_change_nothing(encoder):
    network, variables = encoder
    whole = network.apply(variables, prepare(jnp.asarray(IMAGES)), method="encode")
    for batch_size in (4, 23, 50):
        batched = features.extract(
            network, variables, IMAGES, batch_size=batch_size, prepare=prepare
        )
        assert batched.shape == (23, 8)
        np.testing.assert_allclose(batched, whole, rtol=1e-4, atol=1e-5)


def test_one_compilation_serves_every_batch_and_every_encoder(encoder):
    network, variables = encoder
    features._encode.clear_cache()
    features.extract(network, variables, IMAGES, batch_size=5, prepare=prepare)
    other = jax.tree.map(lambda x: x * 2, variables)
    features.extract(network, other, IMAGES[:7], batch_size=5, prepare=prepare)
    assert features._encode._cache_size() == 1


def test_pixels_are_the_images_from_zero_to_one():
    x = features.pixels(IMAGES)
    assert x.shape == (23, 64)
    assert x[3, 9] == np.float32(IMAGES[3, 1, 1, 0] / 255)


@pytest.mark.parametrize(("count", "batch_size"), [(0, 5), (5, 0)])
def test_nothing_to_extract_is_refused(encoder, count, batch_size):
    with pytest.raises(ValueError, match=f"got {count} and {batch_size}"):
        features.extract(*encoder, IMAGES[:count], batch_size=batch_size, prepare=prepare)
