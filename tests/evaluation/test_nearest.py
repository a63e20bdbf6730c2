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


def test_neighbours_are_of_other_groups():
    x, groups = RNG.normal(size=(30, 5)).astype(np.float32), np.arange(30) % 3
    found, similarities = nearest.nearest(x, np.array([4, 9]), 20, groups)
    everyone, _ = nearest.nearest(x, np.array([4, 9]), 29)
    for query, rows, every in zip((4, 9), found, everyone, strict=True):
        assert rows.tolist() == [i for i in every if groups[i] != groups[query]]
    assert np.isfinite(similarities).all()
