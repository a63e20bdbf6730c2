"""Every evaluation of the table, on images with labels, with domains alone and with neither."""

import dataclasses
import json

import numpy as np
import pytest
from sklearn.datasets import load_digits

from gca_jax.data.dataset import Dataset
from gca_jax.data.images import ImageData
from gca_jax.data.pairs import Pairs
from gca_jax.evaluation import EVALUATIONS, evaluate
from gca_jax.evaluation.frozen import Frozen
from gca_jax.experiment import build
from gca_jax.report.entries import ENTRIES
from gca_jax.report.run import FIGURES
from gca_jax.training.state import init_variables

TRAIN, TEST = 159, 39  # a third of each: the same batches for images of every kind
SETTINGS = {
    "evaluation.labels_per_class": 3,
    "evaluation.draws": 2,
    "evaluation.validation_fraction": 0.5,
    "evaluation.strengths": (1.0,),
    "evaluation.neighbours": (1,),
    "train.batch_size": 32,
}
PROBES = {"linear_3_per_class", "linear", "knn"}
OFF = {"corruptions", "linear_sgd", "finetune", "finetune_best_on_test"}
OFF |= {"linear_online"}  # until asked for
ENCODERS = {"trained", "random_encoder", "pixels"}
OTHERS = {"views", "gradient_cosine", "nearest", "plane", "plan"}


def images(labelled, domains=False):
    """Digits of three classes, thirteen of each to test, which may be called domains."""
    raw = load_digits(n_class=3)
    rows = np.concatenate([np.flatnonzero(raw.target == k)[:66] for k in range(3)])
    rows = rows.reshape(3, 66).T.ravel()  # 0, 1, 2, 0, 1, 2, ...
    pixels = (raw.images[rows, :, :, None] * 15).astype(np.uint8)
    kinds = raw.target[rows].astype(np.int32)
    train, test = kinds[:TRAIN], kinds[TRAIN:]
    return Dataset(
        "digits of three classes",
        pixels[:TRAIN],
        train if labelled else None,
        pixels[TRAIN:],
        test if labelled else None,
        3 if labelled else 0,
        train_domains=train if domains else None,
        test_domains=test if domains else None,
    )


@pytest.fixture(scope="module")
def frozen(tiny):
    """A factory of frozen models: an untrained network, and images of one kind."""

    def make(dataset, **overrides):
        experiment = build(tiny("gca_ince", **SETTINGS, **overrides), dataset=dataset)
        shape = dataset.train_images.shape[1:]
        return Frozen(experiment, init_variables(experiment.network, experiment.key, shape))

    return make


@pytest.fixture(scope="module")
def results(frozen):
    """Results by their names, of labelled images, of images with domains alone, and of neither."""

    def judged(dataset):
        one = frozen(dataset)
        return evaluate.evaluate_all(one)

    return {
        kind: {result.name: result for result in judged(dataset)}
        for kind, dataset in (
            ("labels", images(True)),
            ("domains", images(False, domains=True)),
            ("nothing", images(False)),
        )
    }


def test_every_evaluation_is_of_a_kind_of_data():
    named = [*ImageData.evaluations, *Pairs.evaluations]
    assert sorted(named) == sorted(EVALUATIONS)


@pytest.mark.slow
def test_every_result_has_a_name_of_its_own_numbers_and_an_entry_of_the_report(results):
    for kind, found in results.items():
        assert not OFF & set(found)
        named = len(ImageData.evaluations) - len(OFF)
        # Without domains three have no result, without labels the unseen domain has none.
        assert named - len(found) == (1 if kind == "domains" else 3)
        keys = [key for result in found.values() for key in (*result.numbers, *result.arrays)]
        assert len(set(keys)) == len(keys)
        for result in found.values():
            json.dumps(result.as_json(), allow_nan=False)
            json.dumps(result.numbers, allow_nan=False)
            measured = result.scores or result.arrays or any(result.numbers.values())
            assert bool(measured) != bool(result.skipped)
            entry = ENTRIES[result.name.replace("_3_per_class", "_few")]
            assert not entry.picture or entry.picture in FIGURES
            assert bool(entry.procedure) != bool(entry.caption)
            if result.scores:
                assert set(result.scores) == ENCODERS
                assert all(0 <= score.accuracy <= 1 for score in result.scores.values())


@pytest.mark.slow
def test_with_labels_nothing_is_left_out(results):
    found = results["labels"]
    assert set(found) >= PROBES | OTHERS
    assert evaluate.skipped(found.values()) == []
    numbers = evaluate.numbers(list(found.values()))
    assert set(numbers["accuracy"]) >= PROBES
    assert set(numbers["baselines"]) == {"pixels", "random_encoder"}
    assert set(numbers["draws"]) == set(numbers["settings"]) == ENCODERS
    settings = numbers["settings"]["pixels"]
    assert (settings["linear_strength"], settings["knn_neighbours"]) == (1.0, 1)
    assert settings["linear_3_per_class_strengths"] == [1.0, 1.0]
    assert numbers["baselines"]["pixels"]["linear"] > 0.9
    assert numbers["baselines"]["random_encoder"] != numbers["accuracy"]
    # Thirteen images of each class: the mean over classes is the mean over images.
    assert set(numbers["per_class"]) == {"0", "1", "2"}
    shares = list(numbers["per_class"].values())
    assert np.mean(shares) == pytest.approx(numbers["accuracy"]["linear"])
    assert "per_domain" not in numbers
    assert len(np.unique(found["plan"].arrays["plan_labels"])) == 3


@pytest.mark.slow
def test_without_labels_what_is_left_is_measured_and_the_rest_said(results):
    found = results["nothing"]
    numbers = evaluate.numbers(list(found.values()))
    assert numbers["accuracy"] == numbers["draws"] == {}
    assert numbers["plan_within_class"] is None
    (left_out,) = evaluate.skipped(found.values())
    assert left_out.startswith("linear_3_per_class, linear, knn")
    assert left_out.endswith(", confusion: the images have no labels")
    for key in ("alignment", "uniformity", "effective_rank", "gradient_cosine_to_ince"):
        assert np.isfinite(numbers[key])
    arrays = found["nearest"].arrays | found["plane"].arrays
    assert arrays["nearest_images"].shape == (6, 6, 8, 8, 1)
    assert arrays["plane"].shape == (TEST, 2)
    assert not {"nearest_labels", "plane_labels"} & set(arrays)


@pytest.mark.slow
def test_domains_stand_in_for_classes_where_images_have_no_labels(results):
    found = results["domains"]
    assert found["plan"].arrays["plan_labels"].tolist() == [0] * 13 + [1] * 13 + [2] * 13
    read = set(evaluate.numbers(list(found.values()))["accuracy"])
    assert "linear_domain" in read
    assert not read & PROBES
    (left_out,) = evaluate.skipped(found.values())
    assert left_out.endswith(": the images have no labels")


@pytest.mark.slow
def test_neighbours_are_test_images_as_they_are(results):
    data, found = images(True), results["labels"]["nearest"]
    table = found.numbers["nearest_neighbours"]
    rows = np.concatenate([np.array(table["queries"])[:, None], table["neighbours"]], axis=1)
    np.testing.assert_array_equal(found.arrays["nearest_images"], data.test_images[rows])
    np.testing.assert_array_equal(found.arrays["nearest_labels"], data.test_labels[rows])
    assert data.test_labels[table["queries"]].tolist() == [0, 1, 2]


def test_a_single_domain_is_no_kind_of_images(frozen):
    data = images(False, domains=True)
    one = np.zeros(len(data.test_images), np.int32)
    single = frozen(dataclasses.replace(data, test_domains=one))
    assert EVALUATIONS["plan"](single).skipped == "the images have no labels"
    assert not {"plane_labels", "plane_domains"} & set(EVALUATIONS["plane"](single).arrays)
    assert EVALUATIONS["nearest_across"](single) is None
    labelled = dataclasses.replace(images(True, domains=True), test_domains=one)
    found = EVALUATIONS["plane"](frozen(labelled)).arrays
    assert "plane_domains" not in found
    assert "plane_labels" in found
    domains = {"train_domains": 0 * data.train_domains, "test_domains": one}
    domains["pretrain_domains"] = domains["train_domains"]
    blocks = {"target.name": "blocks", "target.alpha": 0.1}
    alike = frozen(dataclasses.replace(labelled, **domains), **blocks)
    assert EVALUATIONS["plan"](alike).skipped == "all images are of one domain"


def test_a_target_of_domains_that_test_images_lack_has_no_plan(frozen):
    data = dataclasses.replace(images(True), pretrain_domains=np.arange(TRAIN, dtype=np.int32) % 2)
    lacking = frozen(data, **{"target.name": "blocks", "target.alpha": 0.1})
    for name in ("plan", "gradient_cosine"):
        reason = EVALUATIONS[name](lacking).skipped
        assert reason == "the target needs domains, and the test images have none"


def test_a_note_before_training_says_that_probes_will_be_left_out(frozen, capsys):
    evaluate.check(frozen(images(False)).experiment)
    note = "note: the images have no labels, so no probe of classes will be fitted\n"
    assert capsys.readouterr().out == note
    evaluate.check(frozen(images(True)).experiment)
    assert capsys.readouterr().out == ""


def test_one_test_image_is_refused_before_training(frozen):
    data = images(False)
    one = dataclasses.replace(data, test_images=data.test_images[:1])
    with pytest.raises(ValueError, match="at least 2 test images"):
        evaluate.check(frozen(one).experiment)
