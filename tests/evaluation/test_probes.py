import numpy as np
import pytest
from sklearn.datasets import load_digits

from gca_jax.evaluation import probes, splits

SETTINGS = {"seed": 1, "labels_per_class": 5, "draws": 2, "validation_fraction": 0.2}


@pytest.fixture(scope="module")
def digits():
    raw = load_digits()
    x, y = raw.data.astype(np.float32) / 16, raw.target.astype(np.int32)
    return x[:600], y[:600], x[600:800], y[600:800]


@pytest.fixture(scope="module")
def result(digits):
    return probes.evaluate_encoder(*digits, **SETTINGS)


def test_pixels_of_digits_are_classified_well_by_all_three(result):
    assert set(result["accuracy"]) == {"linear", "linear_5_per_class", "knn"}
    assert 0.85 < result["accuracy"]["linear"] < 1
    assert 0.85 < result["accuracy"]["knn"] < 1
    assert 0.7 < result["accuracy"]["linear_5_per_class"] < result["accuracy"]["linear"]


def test_the_few_label_accuracy_is_the_mean_over_draws(result):
    draws = np.array(result["draws"]["accuracy"])
    assert result["accuracy"]["linear_5_per_class"] == pytest.approx(draws.mean())
    assert result["draws"]["sd"] == pytest.approx(abs(draws[0] - draws[1]) / np.sqrt(2))


def test_nothing_is_chosen_on_the_test_split(digits, result):
    x, y, test_x, test_y = digits
    shuffled = np.random.default_rng(0).permutation(test_y)
    other = probes.evaluate_encoder(x, y, test_x[::-1], shuffled, **SETTINGS)
    assert other["settings"] == result["settings"]
    assert other["accuracy"]["linear"] < 0.3


def test_the_same_arguments_give_the_same_numbers(digits, result):
    assert probes.evaluate_encoder(*digits, **SETTINGS) == result


def test_every_encoder_sees_the_same_draws(digits, monkeypatch):
    x, y, test_x, test_y = digits
    seen = []
    draw = splits.draw

    def recorded(*arguments):
        seen.append(draw(*arguments))
        return seen[-1]

    monkeypatch.setattr(splits, "draw", recorded)
    probes.evaluate_encoder(x, y, test_x, test_y, **SETTINGS)
    probes.evaluate_encoder(x[:, ::2] ** 2, y, test_x[:, ::2] ** 2, test_y, **SETTINGS)
    first, second = np.reshape(seen, (2, 3, 50))[:, 1:]  # each begins by trying the settings
    np.testing.assert_array_equal(first, second)
    assert len(np.intersect1d(*first)) < 50


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels_per_class": 1}, "labels_per_class must be at least 2"),
        ({"draws": 0}, "draws must be at least 1, got 0"),
        ({"validation_fraction": 1.5}, "validation_fraction must lie in"),
        ({"labels_per_class": 100}, "cannot draw 100 images of class"),
        ({"neighbours": (1, 481)}, r"neighbours must lie in \[1, 480\]"),
        ({"neighbours": ()}, "neighbours must lie in"),
        ({"strengths": (0.0, 1.0)}, "strengths must be positive"),
    ],
)
def test_settings_out_of_range_are_refused_by_name_even_before_training(digits, change, message):
    settings = SETTINGS | change
    with pytest.raises(ValueError, match=message):
        probes.evaluate_encoder(*digits, **settings)
    del settings["seed"]
    with pytest.raises(ValueError, match=message):
        probes.check_settings(digits[1], digits[1], **settings)


@pytest.mark.usefixtures("unchecked")
def test_features_that_do_not_fit_together_are_refused(digits):
    x, y, test_x, test_y = digits
    with pytest.raises(ValueError, match=r"train_labels \[n\], got \(600, 64\), \(599,\)"):
        probes.evaluate_encoder(x, y[:-1], test_x, test_y, **SETTINGS)
    with pytest.raises(ValueError, match="must have one width"):
        probes.evaluate_encoder(x, y, test_x[:, :3], test_y, **SETTINGS)
    with pytest.raises(ValueError, match=r"without a training image: \[9\]"):
        probes.evaluate_encoder(x[y < 9], y[y < 9], test_x, test_y, **SETTINGS)
