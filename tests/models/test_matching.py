"""CSLS, mutual neighbours and one-to-one matching against their definitions by brute force."""

import itertools

import numpy as np
import pytest

from gca_jax.models import closed_form, evidence, matching
from tests.models.test_evidence import N, recall, two_sets

RNG = np.random.default_rng(0)
ZX, ZY = (closed_form.unit(RNG.normal(size=(n, 4))) for n in (23, 17))


def csls(zx, zy, k=10):
    cosines = zx @ zy.T
    r_x = [np.mean(sorted(row)[-k:]) for row in cosines]
    r_y = [np.mean(sorted(column)[-k:]) for column in cosines.T]
    return 2 * cosines - np.array(r_x)[:, None] - np.array(r_y)


@pytest.mark.parametrize("neighbours", [1, 10, 50])
@pytest.mark.parametrize("rows_at_once", [5, 4_096])
def test_csls_is_its_definition(neighbours, rows_at_once):
    blocks = [*matching.csls(ZX, ZY, neighbours=neighbours, rows_at_once=rows_at_once)]
    assert len(blocks) == -(-len(ZX) // rows_at_once)
    np.testing.assert_allclose(np.concatenate(blocks), csls(ZX, ZY, neighbours), atol=1e-12)


@pytest.mark.parametrize("rows_at_once", [5, 4_096])
def test_mutual_neighbours_are_each_others_nearest(rows_at_once):
    scores = csls(ZX, ZY)
    want = [
        (i, j)
        for i, j in itertools.product(range(len(ZX)), range(len(ZY)))
        if scores[i, j] == scores[i].max() == scores[:, j].max()
    ]
    assert matching.mutual(ZX, ZY, rows_at_once=rows_at_once).tolist() == [list(e) for e in want]


def test_one_to_one_has_the_largest_sum_of_all_matchings():
    few, more = ZX[:4], ZY[:6]
    cosines = few @ more.T
    best = max(itertools.permutations(range(6), 4), key=lambda order: sum(cosines[range(4), order]))
    assert matching.one_to_one(few, more).tolist() == [[i, j] for i, j in enumerate(best)]
    turned = matching.one_to_one(more, few)
    assert sorted(turned[:, ::-1].tolist()) == [[i, j] for i, j in enumerate(best)]


def test_blocks_of_one_to_one_share_no_column():
    pairs = matching.one_to_one(ZX, ZY, rows_at_once=5)
    assert len(pairs) == len(ZY)
    assert all(len(np.unique(side)) == len(side) for side in pairs.T)


@pytest.mark.parametrize("name", matching.MATCHINGS)
def test_given_pairs_stay_and_their_rows_are_matched_no_more(name):
    given = np.array([[3, 1], [3, 2], [7, 2]])
    pairs = matching.beside(name, ZX, ZY, given)
    assert pairs[:3].tolist() == given.tolist()
    assert not np.isin(pairs[3:, 0], given[:, 0]).any()
    assert not np.isin(pairs[3:, 1], given[:, 1]).any()
    rows, columns = (
        np.setdiff1d(np.arange(len(z)), g) for z, g in zip((ZX, ZY), given.T, strict=True)
    )
    rest = matching.MATCHINGS[name](ZX[rows], ZY[columns])
    assert pairs[3:].tolist() == np.stack([rows[rest[:, 0]], columns[rest[:, 1]]], 1).tolist()
    every = np.stack([np.arange(17)] * 2, axis=1)
    assert matching.beside(name, ZX, ZY, every).tolist() == every.tolist()


@pytest.mark.parametrize("name", matching.MATCHINGS)
def test_an_e_step_of_pairs(name):
    """One M step after one E step is Procrustes of the matched pairs; more of them align."""
    x, y = two_sets()
    start = closed_form.procrustes(closed_form.moments(x[:40], y[:40], centre=False))
    one = evidence.align(
        x, y, None, start, rotating=(0.1,), rounds=1, correlating=(), matching=name
    )
    rows, columns = matching.MATCHINGS[name](start.map_x(x), start.map_y(y)).T
    u, _, vt = np.linalg.svd(x[rows].T @ y[columns])
    np.testing.assert_allclose(one.maps.x, u @ vt, atol=1e-8)
    order = RNG.permutation(N)
    given = evidence.Given(np.stack([np.arange(40), np.argsort(order)[:40]], axis=1))
    fit = evidence.align(x, y[order], given, start, matching=name)
    best = recall(closed_form.cca(closed_form.moments(x, y, centre=False)), *two_sets(seed=3))
    assert recall(fit.maps, *two_sets(seed=3)) > best - 0.1
    with pytest.raises(ValueError, match="matching must be one of"):
        evidence.align(x, y, None, start, matching="hungarian")
