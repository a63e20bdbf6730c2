"""A short real run on digits, evaluated and reported."""

import hashlib
import json
import types
from functools import partial
from unittest import mock

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from gca_jax import config, losses, models
from gca_jax.data import sources
from gca_jax.evaluation import evaluate, features, plan
from gca_jax.evaluation.frozen import Frozen
from gca_jax.experiment import build
from gca_jax.training import checkpoint, state
from gca_jax.workdir import RunFolder
from tests.runs import evaluate as run_evaluation
from tests.runs import pretrain, restore_variables, write

CONFIG = {
    "method": "gca_uot",
    "seed": 3,
    "data": {"kind": "images", "name": "digits"},
    "augment": {"policy": "digits", "mean": [0.3054], "std": [0.3760]},
    "model": {
        "encoder": "resnet",
        "stage_sizes": (1,),
        "block": "basic",
        "width": 8,
        "stem": "cifar",
        "projector_hidden": 16,
        "projector_dim": 8,
    },
    "optimizer": {
        "name": "adamw",
        "learning_rate": 2e-3,
        "final_learning_rate": 0.0,
        "warmup_epochs": 0.0,
        "weight_decay": 1e-4,
    },
    "train": {
        "batch_size": 256,
        "epochs": 1,
        "checkpoint_every_epochs": 1,
        "log_every_steps": 1,
    },
    "log": {"wandb": None},
    "target": {"name": "identity"},
    "loss": {"epsilon": 0.2, "layout": "joint"},
    "evaluation": {
        "labels_per_class": 5,
        "split": "test",
        "draws": 2,
        "validation_fraction": 0.2,
        "strengths": (0.1, 1.0),
    },
}
FEW = "linear_5_per_class"


@pytest.fixture(scope="module")
def experiment():
    return build(ConfigDict(CONFIG).lock())


@pytest.fixture(scope="module")
def workdir(experiment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    pretrain(experiment, folder)
    return folder


@pytest.fixture(scope="module")
def evaluated(experiment, workdir, quick_evaluation):
    """The result, and the variables in memory: as they were before, and as they are now."""
    restored = []
    original = checkpoint.restore_variables

    def remember(folder, at):
        variables, step = original(folder)
        restored.append((variables, jax.tree.map(np.array, variables)))
        return variables, step

    files = hashes(workdir / "checkpoints")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "restore_variables", remember)
        result = run_evaluation(experiment, workdir)
    assert hashes(workdir / "checkpoints") == files
    return result, *restored[0]


def hashes(folder):
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.mark.slow
def test_every_weight_and_batch_statistic_is_what_it_was(workdir, evaluated):
    _, now, before = evaluated
    assert len(jax.tree.leaves(before["batch_stats"])) == 6
    on_disk, _ = restore_variables(workdir)
    for after in (now, on_disk):
        jax.tree.map(np.testing.assert_array_equal, before, after)


@pytest.mark.slow
def test_features_come_from_running_statistics_not_from_the_batch(evaluated):
    _, variables, _ = evaluated
    network = models.create(**CONFIG["model"])
    images = sources.load("digits").test_images[:20]

    def prepare(x):
        return x / 255.0

    encoders = {"it": partial(features.encode, network, prepare, variables)}
    together = features.extract(encoders, images, 20)["it"]
    alone = features.extract(encoders, images[:1], 20)["it"]
    np.testing.assert_allclose(together[:1], alone, rtol=1e-5)


@pytest.mark.slow
def test_the_files_hold_what_is_promised(workdir, evaluated):
    result = evaluated[0]
    assert json.loads((workdir / "evaluation.json").read_text()) == result
    assert (result["method"], result["seed"], result["step"]) == ("gca_uot", 3, 5)
    assert set(result["baselines"]) == {"pixels", "random_encoder"}
    for accuracies in (result["accuracy"], *result["baselines"].values()):
        assert all(0.1 < accuracies[name] < 1 for name in ("linear", FEW, "knn"))
    assert result["baselines"]["pixels"]["linear"] > 0.93
    assert 0 < result["alignment"] < 4
    assert -8 < result["uniformity"] < 0
    assert 1 < result["effective_rank"] <= 8
    assert 0.5 < result["gradient_cosine_to_ince"] <= 1 + 1e-6
    with np.load(workdir / "evaluation.npz") as arrays:
        labels = arrays["plan_labels"]
        assert np.bincount(labels).tolist() == [12] * 10
        assert (np.diff(labels) >= 0).all()
        assert arrays["plan"].shape == arrays["target"].shape == (240, 240)
        swap = np.kron(1 - np.eye(2), np.eye(120)) / 240
        np.testing.assert_allclose(arrays["target"], swap, atol=1e-7)
        assert (np.diag(arrays["plan"]) == 0).all()
        assert arrays["plane"].shape == (360, 2)
        np.testing.assert_array_equal(arrays["plane_labels"], sources.load("digits").test_labels)


@pytest.mark.slow
def test_evaluating_the_folder_s_own_config_gives_the_same_numbers(workdir, evaluated):
    with np.load(workdir / "evaluation.npz") as stored:
        first = dict(stored)
    restored = build(config.restore(RunFolder(workdir).config).lock())
    assert run_evaluation(restored, workdir) == evaluated[0]
    with np.load(workdir / "evaluation.npz") as stored:
        for name, values in first.items():
            np.testing.assert_array_equal(values, stored[name])


@pytest.mark.slow
def test_the_report_takes_the_numbers_of_the_run(workdir, evaluated):
    report = write(workdir)
    assert report["accuracy"] == evaluated[0]["accuracy"]
    assert report["train_seconds"] > 0
    assert report["config"]["loss"]["epsilon"] == 0.2
    assert len(list((workdir / "figures").glob("*.png"))) == 6


def test_a_workdir_without_a_run_is_refused(experiment, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no run in"):
        run_evaluation(experiment, tmp_path)


@pytest.mark.slow
def test_a_workdir_of_another_run_is_refused(workdir):
    other = build(ConfigDict(CONFIG | {"seed": 4}).lock())
    with pytest.raises(ValueError, match="seed: 3 there, 4 here"):
        run_evaluation(other, workdir)


def test_evaluation_is_checked_before_training(tiny):
    with pytest.raises(ValueError, match=r"^config\.evaluation: neighbours .*5000"):
        evaluate.check(build(tiny(**{"evaluation.neighbours": (5000,)})))


@pytest.mark.slow
def test_byol_compares_predictions_with_embeddings_and_others_embeddings():
    network = models.create(
        stage_sizes=(1,),
        block="basic",
        width=4,
        stem="cifar",
        projector_hidden=8,
        projector_dim=6,
        predictor_hidden=8,
    )
    variables = state.init_variables(network, jax.random.key(0), (8, 8, 1))
    z_a, z_b = jax.random.normal(jax.random.key(1), (2, 5, 6))
    prediction = network.apply(variables, z_a, method="predict")
    for method, first in (("byol", prediction), ("ince", z_a)):
        experiment = types.SimpleNamespace(method=method, network=network)
        frozen = mock.Mock(Frozen, variables=variables, experiment=experiment)
        frozen.loss_keywords.return_value = {}
        found, target = plan._transport(frozen)(z_a, z_b, {})
        expected = losses.transport(method, first, z_b)
        np.testing.assert_array_equal(found, expected[0].matrix)
        np.testing.assert_array_equal(target, expected[1].matrix)
