"""Curves beside the loss: k-NN among training images, and the page at Weights & Biases."""

import contextlib
import dataclasses
import json
import pathlib
import sys
import types

import jax
import numpy as np
import pytest

from gca_jax.experiment import build
from gca_jax.training.log import wandb_run
from tests.evaluation.test_knn import brute_force
from tests.runs import pretrain, restore_variables


@pytest.fixture
def board(monkeypatch):
    """A module in the place of `wandb`, that keeps what it is given."""
    given = types.SimpleNamespace(init=[], finished=0)

    @contextlib.contextmanager
    def init(**settings):
        given.init.append(settings)
        # Files that are there already when it begins are not seen.
        assert not (pathlib.Path(settings["dir"]) / "tensorboard").exists()
        yield
        given.finished += 1

    stub = types.ModuleType("wandb")
    stub.init = init
    monkeypatch.setitem(sys.modules, "wandb", stub)
    monkeypatch.setitem(sys.modules, "tensorboard", types.ModuleType("tensorboard"))
    return given


@pytest.mark.slow
@pytest.mark.usefixtures("one_device")
def test_knn_is_logged_every_n_epochs_and_wandb_is_opened_before_tensorboard(tiny, tmp_path, board):
    """Of training images alone, whatever the interval of the log."""
    keys = {"train.knn_every_epochs": 1, "train.log_every_steps": 4, "log.wandb": "mine"}
    experiment = build(tiny("ince", **keys))
    data = experiment.data.dataset
    pretrain(experiment, tmp_path / "run")
    log = (tmp_path / "run" / "metrics.jsonl").read_text()
    rows = [json.loads(line) for line in log.splitlines()]
    assert [(row["step"], "knn_accuracy" in row) for row in rows] == [
        (3, True),
        (4, False),
        (6, True),
    ]
    assert all(row["uniformity"] < 0 for row in rows)

    variables, _ = restore_variables(tmp_path / "run")
    encode = jax.jit(
        lambda x: experiment.network.apply(
            variables, experiment.data.policy.plain(x), method="encode"
        )
    )
    h = np.concatenate([encode(part) for part in np.array_split(data.train_images, 1)])
    expected = brute_force(h[::2], data.train_labels[::2], h[1::2], 20)
    assert rows[2]["knn_accuracy"] == pytest.approx(np.mean(expected == data.train_labels[1::2]))

    with wandb_run(experiment, tmp_path / "another"):
        pass
    first, second = board.init
    assert first["id"] != second["id"]
    assert (first["project"], first["config"]["method"]) == ("mine", "ince")
    assert first["sync_tensorboard"]
    assert board.finished == 2


def test_what_cannot_be_is_said_at_once(tiny, tmp_path, monkeypatch):
    data = build(tiny()).data.dataset
    bare = dataclasses.replace(
        data, train_labels=None, test_labels=None, pretrain_labels=None, num_classes=0
    )
    with pytest.raises(ValueError, match=r"^config.train: knn_every_epochs needs labels"):
        build(tiny(**{"train.knn_every_epochs": 1}), dataset=bare)
    with pytest.raises(ValueError, match=r"^config.train: knn_every_epochs must be an integer"):
        build(tiny(**{"train.knn_every_epochs": 0}), dataset=data)
    monkeypatch.setitem(sys.modules, "wandb", None)  # as if it were not installed
    with pytest.raises(
        ValueError, match=r"^config.log: wandb=mine needs .*pip install wandb tensorboard"
    ):
        pretrain(build(tiny(**{"log.wandb": "mine"}), dataset=data), tmp_path)
    assert not list(tmp_path.iterdir())
