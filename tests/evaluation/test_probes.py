"""The probes of classes on arrays: how well they do, what they choose, and on which images."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from gca_jax.evaluation import knn, linear, splits
from gca_jax.evaluation.result import Labelled
from gca_jax.evaluation.splits import Settings

SETTINGS = Settings(1, labels_per_class=5, draws=2, validation_fraction=0.2)
SCORES = {"linear": linear.score, "few": linear.score_few, "knn": knn.score}


@pytest.fixture(scope="module")
def digits():
    raw = load_digits()
    x, y = raw.data.astype(np.float32) / 16, raw.target.astype(np.int32)
    return Labelled(x[:600], y[:600]), Labelled(x[600:800], y[600:800])


@pytest.fixture(scope="module")
def scores(digits):
    return {name: score(*digits, SETTINGS) for name, score in SCORES.items()}


def test_pixels_of_digits_are_classified_well_by_all_three(scores):
    assert 0.85 < scores["linear"].accuracy < 1
    assert 0.85 < scores["knn"].accuracy < 1
    assert 0.7 < scores["few"].accuracy < scores["linear"].accuracy


def test_the_few_label_accuracy_is_the_mean_over_draws(scores):
    draws = np.array(scores["few"].draws)
    assert scores["few"].accuracy == pytest.approx(draws.mean())
    assert scores["few"].sd == pytest.approx(abs(draws[0] - draws[1]) / np.sqrt(2))
    assert scores["linear"].sd is None


@pytest.mark.parametrize("name", SCORES)
def test_nothing_is_chosen_on_the_test_split(digits, scores, name):
    train, (test_x, test_y) = digits
    other = Labelled(test_x[::-1], np.random.default_rng(0).permutation(test_y))
    score = SCORES[name](train, other, SETTINGS)
    assert score.settings == scores[name].settings
    assert score.accuracy < 0.3


@pytest.mark.parametrize("name", SCORES)
def test_the_same_arguments_give_the_same_numbers(digits, scores, name):
    assert SCORES[name](*digits, SETTINGS) == scores[name]


def test_every_encoder_sees_the_same_draws(digits, monkeypatch):
    train, test = digits
    seen, draw = [], splits.draw
    monkeypatch.setattr(splits, "draw", lambda *x: seen.append(draw(*x)) or seen[-1])
    linear.score_few(train, test, SETTINGS)
    other = (part._replace(features=part.features[:, ::2] ** 2) for part in digits)
    linear.score_few(*other, SETTINGS)
    first, second = np.reshape(seen, (2, 2, 50))
    np.testing.assert_array_equal(first, second)
    assert len(np.intersect1d(*first)) < 50
