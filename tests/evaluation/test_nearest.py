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


@pytest.mark.parametrize("most", [2, 5, 9])
def test_every_class_has_its_query_before_one_has_two(most):
    """Of unequal classes, one of which has a single image."""
    labels = np.random.default_rng(0).permutation([0] * 40 + [1] + [2] * 3 + [4] * 30 + [7] * 9)
    rows = nearest.queries_of_each(labels, most, 1)
    known = [0, 1, 2, 4, 7]
    assert labels[rows].tolist() == (known if most >= 5 else [0, 7])
    assert all(labels[:row].tolist().count(labels[row]) == 0 for row in rows)  # the first of each
    three = nearest.queries_of_each(labels, most, 3)
    counts = {label: int((labels[three] == label).sum()) for label in labels[rows]}
    assert counts == {label: min(3, int((labels == label).sum())) for label in labels[rows]}
    assert len(np.unique(three)) == len(three)
