"""The probe of domains: when there is one, and that it reads what features hold."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from gca_jax.data.dataset import Dataset
from gca_jax.evaluation import domains, linear
from gca_jax.evaluation.result import Labelled, shares
from gca_jax.evaluation.splits import Settings

RNG = np.random.default_rng(0)


def dataset(train_domains, test_domains):
    n, m = 90, 30
    images = np.zeros((n, 4, 4, 3), np.uint8)
    classes = np.arange(n, dtype=np.int32) % 3
    return Dataset(
        "folder",
        images,
        classes,
        images[:m],
        classes[:m],
        3,
        train_domains=train_domains,
        test_domains=test_domains,
    )


TRAIN, TEST = np.arange(90, dtype=np.int32) % 4, np.arange(30, dtype=np.int32) % 4


def test_domains_of_both_splits_are_the_labels():
    train, test = domains.domains(dataset(TRAIN, TEST), 0.2)
    np.testing.assert_array_equal(train, TRAIN)
    np.testing.assert_array_equal(test, TEST)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        (None, None),
        (np.zeros_like(TRAIN), np.zeros_like(TEST)),  # one domain
        (TRAIN % 3, np.full_like(TEST, 3)),  # the test set is a domain of its own
        ((np.arange(90) == 0).astype(np.int32), np.zeros_like(TEST)),  # one image of a domain
    ],
)
def test_there_is_nothing_to_read(train, test):
    assert domains.domains(dataset(train, test), 0.2) is None


def test_what_features_hold_is_read_and_nothing_else():
    data = dataset(TRAIN, TEST)
    settings = Settings(0, 5, 1, validation_fraction=0.2, strengths=(0.1, 10.0))
    shown = [np.eye(4)[d] + 0.1 * RNG.normal(size=(len(d), 4)) for d in (TRAIN, TEST)]

    def accuracy(*labels):
        return linear.score(*map(Labelled, shown, labels), settings).accuracy

    assert accuracy(TRAIN, TEST) == 1
    # A third by chance, within four standard deviations.
    assert accuracy(data.train_labels, data.test_labels) < 0.68


def shifted(n, seed):
    """Features [n, 6] of three classes in three domains; in domain 2 the first two swap places."""
    rng = np.random.default_rng(seed)
    kind, domain = rng.integers(3, size=n), rng.integers(3, size=n)
    place = np.where(domain == 2, np.array([1, 0, 2])[kind], kind)
    features = np.concatenate([np.eye(3)[place], np.eye(3)[domain]], axis=1)
    return features + 0.1 * rng.normal(size=(n, 6)), kind.astype(np.int32), domain.astype(np.int32)


def test_a_domain_that_the_probe_has_not_seen_is_judged_as_scikit_learn_does():
    x, y, d = shifted(240, 1)
    test_x, test_y, test_d = shifted(150, 2)
    settings = Settings(0, 5, 1, validation_fraction=0.2, strengths=(1.0,))
    found = domains.score_unseen(
        Labelled(x, y), Labelled(test_x, test_y), settings, domains=(d, test_d), held_out=[0, 1, 2]
    )
    accuracies = []
    for domain in range(3):
        seen, out = x[d != domain], test_d == domain
        scale = np.sqrt(seen.var(axis=0).mean())
        model = LogisticRegression(C=1.0, max_iter=5_000)
        model.fit((seen - seen.mean(axis=0)) / scale, y[d != domain])
        predicted = model.predict((test_x[out] - seen.mean(axis=0)) / scale)
        np.testing.assert_array_equal(np.array(found.predicted)[out], predicted)
        accuracies.append((predicted == test_y[out]).mean())
    assert found.accuracy == pytest.approx(np.mean(accuracies))
    # Only the third class lies in domain 2 where it lies elsewhere.
    right, swapped = np.array(found.predicted) == test_y, test_y < 2
    assert right[(test_d == 2) & swapped].mean() < 0.1
    assert right[(test_d == 2) & ~swapped].mean() > 0.9


def test_its_labels_do_not_reach_the_probe():
    x, y, d = shifted(240, 1)
    test = Labelled(*shifted(150, 2)[:2])
    settings = Settings(0, 5, 1, validation_fraction=0.2, strengths=(0.1, 10.0))
    where = dict(domains=(d, shifted(150, 2)[2]), held_out=[2])
    wrong = np.where(d == 2, (y + 1) % 3, y)
    moved = x + 100.0 * (d == 2)[:, None]
    one = domains.score_unseen(Labelled(x, y), test, settings, **where)
    other = domains.score_unseen(Labelled(moved, wrong), test, settings, **where)
    assert one == other


def test_the_domains_that_can_be_held_out():
    assert domains.unseen(dataset(TRAIN, TEST), 0.2) == [0, 1, 2, 3]
    assert domains.unseen(dataset(None, None), 0.2) == []
    assert domains.unseen(dataset(np.zeros_like(TRAIN), np.zeros_like(TEST)), 0.2) == []
    assert domains.unseen(dataset(TRAIN % 3, np.full_like(TEST, 3)), 0.2) == []
    # Each class in a domain of its own: none can be held out.
    assert domains.unseen(dataset(np.arange(90, dtype=np.int32) % 3, TEST % 3), 0.2) == []
    assert domains.unseen(dataset(TRAIN, np.full_like(TEST, 1)), 0.2) == [1]


def test_shares_are_of_each_group_by_its_name():
    right = np.array([True, False, True, True])
    groups = np.array([2, 2, 0, 0], np.int32)
    assert shares(right, groups, ("a", "b", "c")) == {"a": 1.0, "c": 0.5}
    assert shares(right, groups, None) == {"0": 1.0, "2": 0.5}
