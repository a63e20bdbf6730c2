import numpy as np
import pytest

from gca_jax.evaluation import knn
from gca_jax.evaluation.knn import predict
from gca_jax.evaluation.result import Labelled


def data(seed, n=150, m=40, f=7, classes=4):
    rng = np.random.default_rng(seed)
    bank = rng.normal(size=(n, f)).astype(np.float32)
    queries = rng.normal(size=(m, f)).astype(np.float32)
    return bank, rng.integers(0, classes, n).astype(np.int32), queries


def brute_force(bank, labels, queries, k):
    """One query and one neighbour at a time, in float64."""
    predicted = []
    for query in queries.astype(np.float64):
        similarity = [
            query @ row / np.linalg.norm(query) / np.linalg.norm(row)
            for row in bank.astype(np.float64)
        ]
        votes = dict.fromkeys(range(labels.max() + 1), 0.0)
        for index in np.argsort(similarity)[::-1][:k]:
            votes[int(labels[index])] += np.exp(similarity[index] / 0.07)
        predicted.append(max(votes, key=votes.__getitem__))
    return predicted


@pytest.mark.parametrize("seed", range(3))
def test_predictions_equal_brute_force(monkeypatch, seed):
    """In one block of queries, in blocks of seven of which the last has fewer, and one by one."""
    monkeypatch.setattr("gca_jax.evaluation.knn.AT_ONCE", (2**25, 1_100, 1)[seed])
    bank, labels, queries = data(seed)
    neighbours = [1, 5, 20, 150]
    predicted = predict(bank, labels, queries, neighbours)
    for row, k in zip(predicted, neighbours, strict=True):
        assert row.tolist() == brute_force(bank, labels, queries, k)


def test_rows_without_a_class_have_no_vote():
    bank, labels, queries = data(0)
    known = np.arange(150) % 3 > 0
    want = predict(bank[known], labels[known], queries, [5])
    np.testing.assert_array_equal(predict(bank, np.where(known, labels, -1), queries, [5]), want)


def test_the_length_of_features_changes_nothing():
    bank, labels, queries = data(0)
    whole = predict(bank, labels, queries, [5])
    scaled = predict(bank * 50, labels, queries * 0.01, [5])
    np.testing.assert_array_equal(whole, scaled)


def test_a_zero_feature_is_no_error():
    bank, labels, queries = data(0)
    predicted = predict(bank, labels, np.zeros_like(queries), [3])
    assert predicted.shape == (1, len(queries))


def test_the_k_chosen_is_the_best_on_the_held_out_part():
    # Two tight clusters with one wrong label in each: 1 neighbour errs beside it, 9 do not.
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 30).astype(np.int32)
    features = np.eye(2)[labels] + rng.normal(size=(60, 2)) * 0.05
    fit, held_out = np.arange(0, 60, 2), np.arange(1, 60, 2)
    noisy = labels.copy()
    noisy[fit[::4]] = 1 - noisy[fit[::4]]
    assert knn.choose_k(Labelled(features, noisy), (fit, held_out), [1, 9]) == 9


def test_ties_go_to_the_larger_k():
    labels = np.repeat([0, 1], 20).astype(np.int32)
    features = np.eye(2)[labels]
    fold = np.arange(0, 40, 2), np.arange(1, 40, 2)
    chosen = knn.choose_k(Labelled(features, labels), fold, [1, 5, 3])
    assert chosen == 5


def test_neighbours_are_those_of_brute_force():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 5)).astype(np.float32) * rng.uniform(0.1, 10, size=(30, 1))
    similarities, found = knn.nearest_rows(x.astype(np.float32), np.array([0, 17]), 4)
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
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 3)).astype(np.float32)
    x[4] = 2 * x[1]
    x[5] = 0
    similarities, found = knn.nearest_rows(x, np.array([1]), 5)
    assert found[0, 0] == 4
    assert sorted(found[0].tolist()) == [0, 2, 3, 4, 5]
    np.testing.assert_allclose(similarities[0, 0], 1)
    assert np.isfinite(similarities).all()


def test_neighbours_are_of_other_groups():
    rng = np.random.default_rng(0)
    x, groups = rng.normal(size=(30, 5)).astype(np.float32), np.arange(30) % 3
    similarities, found = knn.nearest_rows(x, np.array([4, 9]), 20, groups)
    _, everyone = knn.nearest_rows(x, np.array([4, 9]), 29)
    for query, rows, every in zip((4, 9), found, everyone, strict=True):
        assert rows.tolist() == [i for i in every if groups[i] != groups[query]]
    assert np.isfinite(similarities).all()
