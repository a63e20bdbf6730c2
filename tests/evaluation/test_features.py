"""Features of many samples in batches, of a network and of pixels."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gca_jax import models
from gca_jax.data.images import pixels
from gca_jax.evaluation import features
from gca_jax.training import state

IMAGES = np.random.default_rng(0).integers(0, 256, (23, 8, 8, 1)).astype(np.uint8)


def prepare(images):
    return images.astype(jnp.float32) / 255 - 0.5


@pytest.fixture(scope="module")
def encoder():
    network = models.create(
        stage_sizes=(1,), block="basic", width=8, stem="cifar", projector_hidden=16, projector_dim=4
    )
    return network, state.init_variables(network, jax.random.key(0), (8, 8, 1))


def extract(network, variables, images, batch_size):
    encoders = {"it": partial(features.encode, network, prepare, variables)}
    return features.extract(encoders, images, batch_size)["it"]


def test_batches_and_the_filled_up_last_one_change_nothing(encoder):
    network, variables = encoder
    whole = network.apply(variables, prepare(jnp.asarray(IMAGES)), method="encode")
    for batch_size in (4, 23, 50):
        batched = extract(network, variables, IMAGES, batch_size)
        assert batched.shape == (23, 8)
        np.testing.assert_allclose(batched, whole, rtol=1e-4, atol=1e-5)


def test_one_compilation_serves_every_batch_and_every_encoder(encoder):
    network, variables = encoder
    features.encode.clear_cache()
    extract(network, variables, IMAGES, 5)
    other = jax.tree.map(lambda x: x * 2, variables)
    extract(network, other, IMAGES[:7], 5)
    assert features.encode._cache_size() == 1


def test_pixels_are_the_images_from_zero_to_one():
    x = pixels(IMAGES)
    assert x.shape == (23, 64)
    assert x[3, 9] == np.float32(IMAGES[3, 1, 1, 0] / 255)


def test_large_images_are_shrunk_to_32_pixels_before_they_are_features():
    # Shrinking by a whole factor with the triangle filter keeps a linear ramp a linear ramp.
    ramp = np.broadcast_to(np.arange(96, dtype=np.uint8)[None, :, None, None], (2, 96, 64, 3))
    x = pixels(ramp).reshape(2, 32, 32, 3)
    inner = np.arange(1, 31)
    np.testing.assert_allclose(x[1, 1:-1, 5, 2], (3 * inner + 1) / 255, rtol=1e-5)


class OnDisk:
    """Images that are read as they are asked for, and count it."""

    shape = IMAGES.shape

    def __init__(self):
        self.read = []

    def __len__(self):
        return len(IMAGES)

    def __getitem__(self, rows):
        self.read += np.arange(len(IMAGES))[rows].tolist()
        return IMAGES[rows]


def test_several_encoders_read_each_image_once():
    images = OnDisk()
    encoders = {"pixels": pixels, "inverse": lambda x: 1 - pixels(x)}
    out = features.extract(encoders, images, 5)
    assert images.read == list(range(23))
    np.testing.assert_array_equal(out["pixels"], pixels(IMAGES))
    np.testing.assert_array_equal(out["inverse"], 1 - out["pixels"])


def test_large_images_go_through_a_network_in_smaller_batches():
    shapes = {8: 512, 64: 512, 96: 227, 224: 41, 4096: 1}
    for side, size in shapes.items():
        assert features.batch_size((side, side, 3)) == size
    assert features.batch_size((100_000,)) == 512  # no image


@pytest.mark.parametrize(("count", "batch_size"), [(0, 5), (5, 0)])
def test_nothing_to_extract_is_refused(encoder, count, batch_size):
    with pytest.raises(ValueError, match=f"got {count} and {batch_size}"):
        extract(*encoder, IMAGES[:count], batch_size)
