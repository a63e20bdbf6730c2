"""Checkpoints damaged on the disk: found before they are read, and nothing else is lost."""

import json
import shutil
from typing import NamedTuple

import jax
import numpy as np
import pytest

import gca_jax
from gca_jax import files
from gca_jax.evaluation import evaluate as evaluation
from gca_jax.experiment import build
from gca_jax.training import checkpoint
from gca_jax.workdir import RunFolder
from tests.runs import evaluate, pretrain, restore_variables

pytestmark = pytest.mark.slow


@pytest.fixture
def run(unbroken, tmp_path):
    """A copy of a run of two checkpoints, of steps 3 and 6."""
    return shutil.copytree(unbroken, tmp_path / "run")


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def weights(workdir):
    return restore_variables(workdir)[0]


def files_in(folder):
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


@pytest.mark.parametrize("damage", [truncate, flip, lambda path: path.unlink()])
def test_every_damaged_file_is_found_or_does_no_harm(unbroken, run, damage):
    """All files of all items, one after the other; what is not found must read as before."""
    newest, before = run / "checkpoints" / "6", weights(unbroken)
    found = 0
    for path in files_in(newest):
        content = path.read_bytes()
        damage(path)
        if files.fault_of(newest) is None:
            assert path.name in (*files.LATER, files.CHECKSUMS)
            jax.tree.map(np.testing.assert_array_equal, weights(run), before)
        else:
            found += 1
        path.write_bytes(content)
    assert files.fault_of(newest) is None
    assert found > 20


def test_a_run_whose_end_is_damaged_is_trained_from_the_checkpoint_before(
    unbroken, run, experiment, capsys
):
    flip(max(files_in(run / "checkpoints/6/optimizer"), key=lambda path: path.stat().st_size))
    with pytest.raises(ValueError, match="lost its last checkpoint, of step 6: --mode=pretrain"):
        evaluate(experiment, run)
    assert restore_variables(run)[1] == 3
    capsys.readouterr()  # each has said so
    assert pretrain(experiment, run)["steps"] == 6
    out = capsys.readouterr().out
    assert out.count("checkpoints/6 is damaged (optimizer/") == 1
    assert "it is trained on from step 3" in out
    jax.tree.map(np.testing.assert_array_equal, weights(run), weights(unbroken))
    assert (run / "checkpoints/damaged-6").is_dir()
    assert files.fault_of(run / "checkpoints/6") is None


@pytest.mark.parametrize("item", ["variables", "optimizer", "progress", "config", "."])
def test_an_item_that_is_empty_or_gone_is_damage(run, item):
    folder = run / "checkpoints/6" / item
    shutil.rmtree(folder)
    folder.mkdir()
    assert RunFolder(run).newest == 3
    folder.rmdir()
    assert RunFolder(run).newest == 3


def test_a_run_without_an_intact_checkpoint_starts_again(unbroken, run, experiment, capsys):
    for step in (3, 6):
        shutil.rmtree(run / "checkpoints" / str(step))
    assert pretrain(experiment, run)["finished"]
    assert "its last checkpoint is gone: it is trained from the start" in capsys.readouterr().out
    jax.tree.map(np.testing.assert_array_equal, weights(run), weights(unbroken))


def test_a_checkpoint_without_checksums_is_damaged(run, capsys):
    (run / "checkpoints/6" / files.CHECKSUMS).unlink()
    assert RunFolder(run).newest == 3
    assert "checkpoints/6 is damaged (checksums.json is missing)" in capsys.readouterr().out


def test_reading_leaves_a_checkpoint_that_is_being_written(run):
    """A run may be judged while it trains."""
    written = run / "checkpoints/9.orbax-checkpoint-tmp"
    written.mkdir()
    weights(run)
    assert written.is_dir()


def test_the_checkpoint_before_is_there_until_the_next_one_is(run, experiment, monkeypatch):
    shutil.rmtree(run / "checkpoints/6")
    seen = []
    write = checkpoint.write_checksums

    def fail(folder):
        seen.append(sorted(path.name for path in folder.iterdir()))
        raise OSError("no more")

    monkeypatch.setattr(checkpoint, "write_checksums", fail)
    with pytest.raises(OSError, match="no more"):
        pretrain(experiment, run)
    assert "3" in seen[0]
    assert RunFolder(run).newest == 3
    monkeypatch.setattr(checkpoint, "write_checksums", write)
    assert pretrain(experiment, run)["steps"] == 6
    assert json.loads((run / "training.json").read_text())["finished"]


def disk(monkeypatch, *free):
    """Let the disk have so many bytes left, one number for each time it is asked."""
    left = iter(free)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Free(next(left)))


class Free(NamedTuple):
    free: int


def test_a_full_disk_is_said_before_training(experiment, tmp_path, monkeypatch):
    disk(monkeypatch, 2**20)
    with pytest.raises(
        OSError, match=r"^the disk of .* has 1\.05 MB left, and .* are needed: make"
    ):
        pretrain(experiment, tmp_path)
    assert not (tmp_path / "checkpoints").exists()


def test_a_disk_that_fills_up_costs_nothing_that_was_saved(
    unbroken, experiment, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        # Asked at the start, by three rows of the log, the save of step 3, and the next row.
        disk(patch, *[2**30] * 6, 1000)
        with pytest.raises(OSError, match="what is saved is kept"):
            pretrain(experiment, tmp_path)
    assert RunFolder(tmp_path).newest == 3
    pretrain(experiment, tmp_path)
    jax.tree.map(np.testing.assert_array_equal, weights(tmp_path), weights(unbroken))


@pytest.mark.usefixtures("one_device")
def test_checkpoints_of_every_few_epochs_are_kept_and_can_be_named(tiny, tmp_path, capsys):
    """Of five epochs of three steps the second and the fourth, beside the last two."""
    changes = {"train.epochs": 5, "train.checkpoint_every_epochs": 5}
    made = build(tiny(**changes, **{"train.keep_every_epochs": 2}))
    pretrain(made, tmp_path)
    assert [*RunFolder(tmp_path).saved] == [6, 12, 15]
    assert pretrain(made, tmp_path)["steps"] == 15
    encoder = gca_jax.load(tmp_path, step=6)
    jax.tree.map(
        np.testing.assert_array_equal, encoder.variables, restore_variables(tmp_path, 6)[0]
    )
    assert (encoder.step, gca_jax.load(tmp_path).step) == (6, 15)
    with pytest.raises(ValueError, match=r"step 7 is damaged, or is not there; .*: 6, 12, 15"):
        gca_jax.load(tmp_path, step=7)
    capsys.readouterr()
    folder = RunFolder.open(tmp_path)
    of_last, of_six = (evaluation.evaluate(made, folder, step) for step in (None, 6))
    assert f"written to {tmp_path}/evaluations/step-6" in capsys.readouterr().out
    assert (of_last["step"], of_six["step"]) == (15, 6)
    assert folder.evaluation == of_last
    there = json.loads((tmp_path / "evaluations/step-6/evaluation.json").read_text())
    assert there == of_six
    assert there["alignment"] != of_last["alignment"]
    assert (tmp_path / "evaluations/step-6/evaluation.npz").exists()
