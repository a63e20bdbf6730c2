"""Starts without pairs: what they begin with, and that a fit says whether it is identified."""

import numpy as np
import pytest

from gca_jax.models import closed_form, evidence, starts
from tests.models.test_evidence import RNG, ROTATION, N, recall, two_sets


def test_centres_of_a_rotated_set_are_matched_with_their_own():
    """The same rows rotated: Procrustes of the centres is the rotation itself."""
    x, _ = two_sets()
    maps = starts.by_centres(x, x @ ROTATION, centres=12)
    np.testing.assert_allclose(maps.x @ maps.y.T, ROTATION, atol=1e-6)


def test_known_pairs_decide_between_symmetric_matchings():
    """Points of a square have eight matchings that fit alike; two known pairs leave one."""
    square = np.array([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    x = np.repeat(square, 5, axis=0)
    turn = np.array([[0.0, 1], [-1, 0]])
    pairs = np.array([[0, 0], [5, 5]])
    for rotation in (turn, turn @ turn, np.diag([1.0, -1])):
        maps = starts.by_centres(x, x @ rotation, pairs, centres=4)
        np.testing.assert_allclose(maps.x @ maps.y.T, rotation, atol=1e-6)


def test_profiles_without_axes_are_those_of_rows_without_them():
    x, y = two_sets(n=60)
    without = [closed_form.without_axes(z, 2) for z in (x, y)]
    profiles = []
    for rows in map(closed_form.unit, without):
        similar = np.quantile(rows @ rows.T, np.linspace(0.005, 0.995, 200), axis=1).T
        profiles.append(closed_form.unit(similar - similar.mean(axis=0)))
    plan = np.exp((profiles[0] @ profiles[1].T - 1) / 0.05)
    for _ in range(evidence.SWEEPS):
        plan /= plan.sum(axis=1, keepdims=True) * 60
        plan /= plan.sum(axis=0) * 60
    u, _, vt = np.linalg.svd(x.T @ plan @ y)
    maps = evidence.by_profiles(x, y, without=(2,))
    np.testing.assert_allclose(maps.x @ maps.y.T, u @ vt, atol=1e-5)


@pytest.mark.slow
def test_no_pair():
    """The sharpest basin finds the partners of unordered rows; basins come in that order."""
    x, y = two_sets()
    shuffled = y[RNG.permutation(N)]
    best = recall(closed_form.cca(closed_form.moments(x, y, centre=False)), *two_sets(seed=3))
    assert recall(starts.without_pairs(x, shuffled), *two_sets(seed=3)) > best - 0.1
    found = starts.basins(x, shuffled)
    sharp = [basin.cycle.sharpness for basin in found]
    assert sharp == sorted(sharp, reverse=True)
    assert sharp[0] == evidence.sharpness(x, shuffled, found[0].cycle.fit.maps)


@pytest.mark.slow
def test_a_fit_without_pairs_is_identified_or_not():
    """A Gaussian is its own rotation: no fit of it is; sets of unlike clusters have one."""
    x, y = two_sets()
    shuffled = y[RNG.permutation(N)]
    assert starts.identified(x, shuffled, starts.without_pairs(x, shuffled))
    x, y = (closed_form.unit(RNG.normal(size=(N, 6))) for _ in range(2))
    assert not starts.identified(x, y, starts.without_pairs(x, y))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_its_own_mirror_image_is_not_identified(seed):
    x, y = (np.concatenate([z, -z]) for z in two_sets(n=150))
    assert not starts.identified(x, y, starts.without_pairs(x, y, seed), seed=seed)
