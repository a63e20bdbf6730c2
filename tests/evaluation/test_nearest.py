import numpy as np

from gca_jax.evaluation import nearest

RNG = np.random.default_rng(0)


def test_neighbours_are_those_of_brute_force():
    x = RNG.normal(size=(30, 5)).astype(np.float32) * RNG.uniform(0.1, 10, size=(30, 1))
    found, similarities = nearest.nearest(x.astype(np.float32), np.array([0, 17]), 4)
    for query, rows, values in zip((0, 17), found, similarities, strict=True):
        cosine = {
            i: float(x[i] @ x[query] / np.linalg.norm(x[i]) / np.linalg.norm(x[query]))
            for i in range(30)
            if i != query
        }
        best = sorted(cosine, key=cosine.__getitem__, reverse=True)[:4]
        assert rows.tolist() == best
        np.testing.assert_allclose(values, [cosine[i] for i in best], rtol=1e-5)


def test_a_copy_of_the_query_is_its_neighbour_and_a_zero_feature_is_no_error():
    x = RNG.normal(size=(6, 3)).astype(np.float32)
    x[4] = 2 * x[1]
    x[5] = 0
    found, similarities = nearest.nearest(x, np.array([1]), 5)
    assert found[0, 0] == 4
    assert sorted(found[0].tolist()) == [0, 2, 3, 4, 5]
    np.testing.assert_allclose(similarities[0, 0], 1)
    assert np.isfinite(similarities).all()


def test_neighbours_may_be_of_other_groups_alone():
    rng = np.random.default_rng(1)
    x, groups = rng.normal(size=(30, 4)).astype(np.float32), rng.integers(0, 3, 30)
    found, similarities = nearest.nearest(x, np.arange(30), 5, apart=groups)
    assert (groups[found] != groups[:, None]).all()
    for i in range(30):
        others = np.flatnonzero(groups != groups[i])
        rows, expected = nearest.nearest(
            np.concatenate([x[i : i + 1], x[others]]), np.array([0]), 5
        )
        np.testing.assert_array_equal(others[rows[0] - 1], found[i])
        np.testing.assert_allclose(similarities[i], expected[0])
