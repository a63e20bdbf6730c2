import numpy as np
import pytest

from gca_jax.evaluation import nearest


@pytest.mark.parametrize("shape", [(40, 100), (40, 3), (40, 1), (4, 10)])
def test_any_number_of_features_and_images_becomes_a_plane(shape):
    x = np.random.default_rng(0).normal(size=shape)
    z = nearest.two_dimensions(x, seed=0)
    assert z.shape == (shape[0], 2)
    assert np.isfinite(z).all()
    np.testing.assert_array_equal(z, nearest.two_dimensions(x, seed=0))


def test_neighbours_stay_neighbours():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 25)
    z = nearest.two_dimensions(rng.normal(size=(4, 8))[labels] * 5 + rng.normal(size=(100, 8)), 0)
    distance = np.linalg.norm(z[:, None] - z[None], axis=-1)
    np.fill_diagonal(distance, np.inf)
    assert np.mean(labels[distance.argmin(1)] == labels) > 0.97
