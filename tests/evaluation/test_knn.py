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
    assert knn.choose_neighbours(Labelled(features, noisy), (fit, held_out), [1, 9]) == 9


def test_ties_go_to_the_larger_k():
    labels = np.repeat([0, 1], 20).astype(np.int32)
    features = np.eye(2)[labels]
    fold = np.arange(0, 40, 2), np.arange(1, 40, 2)
    chosen = knn.choose_neighbours(Labelled(features, labels), fold, [1, 5, 3])
    assert chosen == 5
