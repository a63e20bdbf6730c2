"""Linear probes on corruptions made on the fly, against the probe on images corrupted here."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from gca_jax.data import arrays, corruptions
from gca_jax.data.corruptions import corrupt
from gca_jax.data.dataset import Dataset
from gca_jax.evaluation import corruptions as corrupted
from gca_jax.evaluation import evaluate
from gca_jax.evaluation.frozen import Frozen
from gca_jax.experiment import build
from gca_jax.training.state import init_variables

SETTINGS = {
    "evaluation.strengths": (1.0,),
    "evaluation.neighbours": (1,),
    "evaluation.corruptions": True,
    "train.batch_size": 32,
    "seed": 4,
}


def three_classes(test=None, labelled=True, channels=1):
    raw = load_digits(n_class=3)
    pixels = (raw.images[:, :, :, None] * 15).astype(np.uint8).repeat(channels, 3)
    labels = raw.target.astype(np.int32)
    test = pixels[400:] if test is None else test
    known = (labels[:400], labels[400:]) if labelled else (None, None)
    return Dataset("digits", pixels[:400], known[0], test, known[1], 3 if labelled else 0)


def frozen(tiny, dataset, **overrides):
    experiment = build(tiny("ince", **{**SETTINGS, **overrides}), dataset=dataset)
    shape = dataset.train_images.shape[1:]
    return Frozen(experiment, init_variables(experiment.network, experiment.key, shape))


@pytest.fixture(scope="module")
def judged(tiny):
    one = frozen(tiny, three_classes())
    return one, corrupted.evaluate(one).numbers["corruptions"]


@pytest.mark.slow
def test_pixels_are_judged_by_a_regression_on_clean_images(judged):
    one, found = judged
    data = one.dataset

    def features(images):
        x = images.reshape(len(images), -1) / 255
        mean = data.train_images.reshape(400, -1).mean(axis=0) / 255
        scale = np.sqrt((data.train_images / 255).reshape(400, -1).var(axis=0).mean())
        return (x - mean) / scale

    model = LogisticRegression(C=1.0, max_iter=5000)
    model.fit(features(data.train_images), data.train_labels)
    pixels = found["baselines"]["pixels"]
    for name in ("contrast", "occlusion", "gaussian_noise"):
        for severity in (1, 5):
            images = corrupt(data.test_images, name, severity, 4)
            expected = model.score(features(images), data.test_labels)
            share = pixels["accuracy"][name][severity - 1]
            assert share == pytest.approx(expected, abs=1.5 / len(images)), name
    assert pixels["clean"] > 0.95 > pixels["accuracy"]["occlusion"][4]


@pytest.mark.slow
def test_means_are_over_all_and_over_the_published_ones(judged):
    _, found = judged
    for one in (found, *found["baselines"].values()):
        table = np.array([*one["accuracy"].values()])
        assert table.shape == (11, 5)
        assert one["mean"]["all"] == pytest.approx(table.mean())
        assert one["mean"]["without occlusion"] == pytest.approx(table[:-1].mean())
    assert [*found["accuracy"]][-1] == "occlusion"
    assert set(found["baselines"]) == {"random_encoder", "pixels"}


def test_images_are_corrupted_by_part_and_always_alike():
    images = np.random.default_rng(0).integers(0, 256, (10, 8, 8, 3), dtype=np.uint8)
    lazy = corrupted.Corrupted(images, "gaussian_noise", 2, 1)
    assert (len(lazy), lazy.shape) == (10, (10, 8, 8, 3))
    np.testing.assert_array_equal(lazy[4:8], corrupt(images[4:8], "gaussian_noise", 2, 1, 4))
    np.testing.assert_array_equal(lazy[8:12], corrupt(images[8:], "gaussian_noise", 2, 1, 8))
    for name in corruptions.names(3):
        none = corrupted.Corrupted(images, name, 2, 1)[12:16]
        assert (none.shape, none.dtype) == ((0, 8, 8, 3), np.uint8)


def test_a_run_judged_on_validation_images_reads_no_test_image(tiny):
    """Test images of noise change nothing."""
    real = three_classes()
    noise = np.random.default_rng(0).integers(0, 256, real.test_images.shape, dtype=np.uint8)
    found = []
    for test in (real.test_images, noise):
        one = frozen(tiny, three_classes(test), **{"evaluation.split": "validation"})
        found.append(one.dataset.test_images)
    np.testing.assert_array_equal(*found)
    assert len(found[0]) == 80


def test_they_are_measured_only_where_they_are_asked_for(tiny):
    asked = frozen(tiny, three_classes(labelled=False))
    assert corrupted.evaluate(asked).skipped == "the images have no labels"
    silent = frozen(tiny, three_classes(), **{"evaluation.corruptions": False})
    assert corrupted.evaluate(silent) is None


@pytest.mark.usefixtures("unchecked")
def test_channels_without_corruptions_are_refused_before_training(tiny):
    two = three_classes(channels=2)
    config = tiny("ince", **SETTINGS, **{"augment.mean": (0.3,), "augment.std": (0.4,)})
    with pytest.raises(ValueError, match=r"config\.evaluation: .* these have 2 channels"):
        evaluate.check(build(config, dataset=two))


def test_arrays_of_colour_have_all_twelve(tiny, monkeypatch):
    monkeypatch.setattr(corruptions, "SEVERITIES", (1,))
    rng = np.random.default_rng(0)
    data = arrays(rng.integers(0, 256, (60, 8, 8, 3), dtype=np.uint8), np.arange(60) % 2)
    config = {"augment.mean": (0.5,) * 3, "augment.std": (0.5,) * 3, "train.batch_size": 8}
    one = frozen(tiny, data, **config)
    found = corrupted.measure(one, corrupted.on_the_fly(one), corrupted.OWN_SUBSETS)
    assert len(found["accuracy"]) == 12
