"""A run on images in CIFAR-10's format, evaluated on two corruptions of them."""

import dataclasses
import json
import pathlib
import runpy

import numpy as np
import pytest

from gca_jax.data import arrays
from gca_jax.data.images import ImageData
from gca_jax.data.sources import tfds_sets
from gca_jax.evaluation import corruptions
from gca_jax.experiment import build
from gca_jax.files import write_json
from gca_jax.workdir import RunFolder, as_json
from tests.data import prepared
from tests.report.conftest import TRAINING, metrics_row
from tests.runs import evaluate, write
from tests.saved import save

CONFIG = pathlib.Path(__file__).parents[2] / "configs/cifar10.py"
pytestmark = pytest.mark.usefixtures("quick_evaluation")
KINDS = [(c, s) for c in ("fog", "snow") for s in range(1, 6)]


def evaluate_corrupted(experiment, path):
    """Evaluate the run in a folder on corrupted images."""
    return corruptions.evaluate_corruptions(experiment, RunFolder.open(path))


@pytest.fixture(autouse=True)
def two_corruptions(monkeypatch):
    monkeypatch.setattr(tfds_sets, "corruptions", lambda: ("fog", "snow"))


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """The run's folder, what was run, and what was found."""
    where = tmp_path_factory.mktemp("corruptions")
    prepared.write_tfds("cifar10", where, {"test": 40, "train": 120})
    for seed, (corruption, severity) in enumerate(KINDS):
        # With the same seed, the first "corruption" leaves CIFAR-10's test images as they are.
        name = f"cifar10_corrupted/{corruption}_{severity}"
        prepared.write_tfds(name, where, {"test": 40}, seed=seed)
    config = runpy.run_path(str(CONFIG))["get_config"]("gca_ince,smoke")
    config.data.data_dir = str(where)
    config.train.batch_size = 40
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tfds_sets, "corruptions", lambda: ("fog", "snow"))
        experiment = build(config.lock())
        save(experiment, where / "run")
        found = evaluate_corrupted(experiment, where / "run")
        return where / "run", experiment, found


@pytest.mark.slow
def test_clean_images_have_the_accuracy_of_the_evaluation(evaluated, monkeypatch):
    folder, experiment, found = evaluated
    monkeypatch.setattr(ImageData, "evaluations", ("linear", "views"))
    (folder / "metrics.jsonl").write_text(json.dumps(metrics_row(1)) + "\n")
    assert found["clean"] == evaluate(experiment, folder)["accuracy"]["linear"]
    assert found["accuracy"]["fog"][0] == found["clean"]
    report = write(folder)
    assert report["corruptions"] == json.loads((folder / "corruptions.json").read_text()) == found
    page = (folder / "report.md").read_text()
    cells = " | ".join(f"{100 * a:.1f}" for a in found["accuracy"]["snow"])
    assert f"| snow | {cells} | {100 * found['mean']['snow']:.1f} |" in page


@pytest.mark.slow
def test_each_severity_has_images_and_each_mean_its_part(evaluated):
    *_, found = evaluated
    assert {name: len(a) for name, a in found["accuracy"].items()} == {"fog": 5, "snow": 5}
    table = np.array([found["accuracy"][c][s - 1] for c, s in KINDS])
    assert len(np.unique(table)) > 3
    assert found["mean"]["all"] == pytest.approx(table.mean())
    assert found["mean"]["snow"] == pytest.approx(table[5:].mean())


def test_means_are_of_what_they_say():
    accuracy = {"fog": [0.8, 0.6], "snow": [0.4, 0.2], "saturate": [1.0, 1.0]}
    found = corruptions.means(accuracy, corruptions.CIFAR_SUBSETS)
    assert found == pytest.approx({"all": 4 / 6, "without the extra four": 0.5, "snow": 0.3})


@pytest.mark.slow
def test_a_missing_set_is_said_first_with_the_command(evaluated, monkeypatch):
    folder, experiment, _ = evaluated
    monkeypatch.setattr(tfds_sets, "corruptions", lambda: ("fog", "zoom_blur"))
    message = "zoom_blur_1.*\n.*--mode=prepare --config=configs/cifar10_corrupted.py"
    with pytest.raises(ValueError, match=message):
        evaluate_corrupted(experiment, folder)


def test_images_without_labels_are_refused(tmp_path, tiny):
    write_json(tmp_path / "training.json", TRAINING)
    data = arrays(np.zeros((480, 8, 8), np.uint8), name="mine")
    with pytest.raises(ValueError, match="by a probe of classes; mine has no labels"):
        evaluate_corrupted(build(tiny(), dataset=data), tmp_path)


@pytest.mark.slow
def test_a_run_on_other_images_is_judged_on_corruptions_made_on_the_fly(
    tmp_path, tiny, monkeypatch
):
    monkeypatch.setattr(corruptions.corruptions, "SEVERITIES", (1, 5))
    experiment = build(tiny("ince", **{"evaluation.strengths": (1.0,)}))
    save(experiment, tmp_path)
    found = evaluate_corrupted(experiment, tmp_path)
    assert found == json.loads((tmp_path / "corruptions.json").read_text())
    assert set(found) == {"step", "clean", "accuracy", "mean", "baselines"}
    assert len(found["accuracy"]) == 11
    assert all(len(shares) == 2 for shares in found["accuracy"].values())


def test_a_run_judged_on_validation_images_is_refused(tmp_path, tiny):
    write_json(tmp_path / "training.json", TRAINING)
    experiment = build(tiny(**{"evaluation.split": "validation"}))
    images = dataclasses.replace(experiment.data.dataset, name="cifar10")
    data = dataclasses.replace(experiment.data, dataset=images)
    with pytest.raises(ValueError, match=f"{tmp_path} is evaluated on validation images"):
        evaluate_corrupted(dataclasses.replace(experiment, data=data), tmp_path)


def test_a_run_of_another_config_is_refused(tmp_path, tiny):
    write_json(tmp_path / "training.json", TRAINING)
    write_json(tmp_path / "config.json", as_json(tiny(seed=4)))
    with pytest.raises(ValueError, match=r"holds a run of another config .*seed: 4 there, 3 here"):
        evaluate_corrupted(build(tiny(seed=3)), tmp_path)


def test_no_run(tmp_path, tiny):
    with pytest.raises(FileNotFoundError, match="there is no run in"):
        evaluate_corrupted(build(tiny()), tmp_path)
