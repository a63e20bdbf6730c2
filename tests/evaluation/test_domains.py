"""The probe of domains: when there is one, and that it reads what features hold."""

import numpy as np
import pytest

from gca_jax.data.dataset import Dataset
from gca_jax.evaluation import linear
from gca_jax.evaluation.probes import Labelled
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
    train, test = linear.domains(dataset(TRAIN, TEST), 0.2)
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
    assert linear.domains(dataset(train, test), 0.2) is None


def test_what_features_hold_is_read_and_nothing_else():
    data = dataset(TRAIN, TEST)
    settings = Settings(0, 5, 1, validation_fraction=0.2, strengths=(0.1, 10.0))
    shown = [np.eye(4)[d] + 0.1 * RNG.normal(size=(len(d), 4)) for d in (TRAIN, TEST)]

    def accuracy(*labels):
        return linear.score(*map(Labelled, shown, labels), settings).accuracy

    assert accuracy(TRAIN, TEST) == 1
    # A third by chance, within four standard deviations.
    assert accuracy(data.train_labels, data.test_labels) < 0.68
