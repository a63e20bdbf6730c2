import numpy as np
import pytest

from gca_jax.evaluation.splits import Settings

GOOD = {"seed": 1, "labels_per_class": 5, "draws": 2, "validation_fraction": 0.2}
LABELS = np.arange(600, dtype=np.int32) % 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels_per_class": 1}, "labels_per_class must be an integer >= 2, got 1"),
        ({"draws": 0}, "draws must be an integer >= 1, got 0"),
        ({"validation_fraction": 0.0}, "validation_fraction must lie in"),
        ({"validation_fraction": 1.0}, "validation_fraction must lie in"),
        ({"validation_fraction": -0.1}, "validation_fraction must lie in"),
        ({"neighbours": (1, 481)}, r"neighbours must lie in \[1, 480\]"),
        ({"neighbours": (0, 3)}, "neighbours must be integers >= 1"),
        ({"neighbours": ()}, "neighbours must be integers >= 1"),
        ({"strengths": (0.0, 1.0)}, "strengths must be positive"),
        ({"sgd_epochs": -1}, "sgd_epochs must be an integer >= 0, got -1"),
        ({"finetune_epochs": -1}, "finetune_epochs must be an integer >= 0, got -1"),
        ({"sgd_learning_rate": 0.0}, "sgd_learning_rate must be a finite number > 0"),
        ({"sgd_learning_rate": float("nan")}, "sgd_learning_rate must be a finite number > 0"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(change, message):
    with pytest.raises(ValueError, match=message):
        Settings(**(GOOD | change)).check(LABELS, LABELS)


def test_classes_without_a_training_image_are_refused():
    Settings(**GOOD).check(LABELS, LABELS[:3])
    with pytest.raises(ValueError, match="without a training image: 9;"):
        Settings(**GOOD).check(LABELS[LABELS < 9], LABELS)
    with pytest.raises(ValueError, match="without a training image: ten;"):
        Settings(**GOOD).check(LABELS[LABELS < 9], LABELS, [*"123456789", "ten"])


def test_one_class_is_refused_before_training():
    with pytest.raises(ValueError, match=r"all images are of one class.*data\.labelled=False"):
        Settings(**GOOD).check(np.zeros_like(LABELS), np.zeros_like(LABELS))


def test_the_config_s_keys_are_the_settings(digits):
    assert Settings(0, **digits.get_config().evaluation).draws == 10
