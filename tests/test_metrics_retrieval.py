"""Retrieval: against a loop over queries, scikit-learn's top-k accuracy, and SciPy's skewness."""

import numpy as np
import scipy.stats
from sklearn.metrics import top_k_accuracy_score

from gca_jax import metrics

RNG = np.random.default_rng(0)
A = RNG.normal(size=(60, 4))
B = A + RNG.normal(size=A.shape)


def test_ranks_are_those_of_a_loop(monkeypatch):
    monkeypatch.setattr(metrics, "ROWS_AT_ONCE", 7)
    found = metrics.retrieve(A, B)
    for i in range(60):
        products = [A[i] @ B[j] for j in range(60)]
        order = sorted(range(60), key=lambda j: -products[j])
        assert found.ranks[i] == order.index(i) + 1


def test_recall_is_scikit_learn_s_top_k_accuracy():
    bonus = RNG.normal(size=60)
    measured = metrics.retrieval_measures(metrics.retrieve(A, B, bonus))
    for k in (1, 5, 10):
        expected = top_k_accuracy_score(np.arange(60), A @ B.T + bonus, k=k)
        assert measured[f"recall_{k}"] == expected


def test_a_collapse_is_chance_not_success():
    found = metrics.retrieve(np.ones((101, 3)), np.ones((101, 3)))
    assert metrics.retrieval_measures(found) == {
        "recall_1": 0.0,
        "recall_5": 0.0,
        "recall_10": 0.0,
        "median_rank": 51.0,
    }


def test_hubs_are_counted_among_the_first_ten():
    found = metrics.retrieve(A, B)
    counts = np.zeros(60)
    for products in A @ B.T:
        counts[np.argsort(-products)[:10]] += 1
    np.testing.assert_array_equal(found.occurrences, counts)
    hubs = metrics.hubness(found.occurrences)
    np.testing.assert_allclose(hubs["skewness"], scipy.stats.skew(counts))
    np.testing.assert_allclose(hubs["largest"], counts.max() / 10)
    assert metrics.hubness(np.full(4, 3)) == {"skewness": 0.0, "largest": 1.0}
