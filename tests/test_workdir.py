"""What may be written over, and what is said where it may not; the log's repair."""

import json
import subprocess
import sys

import pytest

from gca_jax.training.log import Writer
from gca_jax.workdir import (
    differences,
    locked,
    refuse_another_run,
    training_summary,
    write_json,
)


def test_differences_name_keys_on_either_side():
    there = {"a": 1, "loss": {"epsilon": 0.2, "gone": False}}
    here = {"a": 1, "loss": {"epsilon": 0.1, "new": [1, 2], "unset": None}}
    assert list(differences(there, here)) == [
        "loss.epsilon: 0.2 there, 0.1 here",
        "loss.gone: false there, nothing here",
        "loss.new: nothing there, [1, 2] here",
    ]
    assert not list(differences(here, here))


def hold(workdir, config):
    (workdir / "checkpoints" / "7").mkdir(parents=True)
    write_json(workdir / "config.json", config)


def test_many_differences_are_cut_short(tmp_path):
    hold(tmp_path, {str(k): 0 for k in range(9)})
    with pytest.raises(ValueError, match=r"0: 0 there, 1 here; .*3: 0 there, 1 here; \.\.\.\)"):
        refuse_another_run(tmp_path, {str(k): 1 for k in range(9)})


def test_same_config_and_empty_folders_pass(tmp_path):
    refuse_another_run(tmp_path / "new", {"a": 1})
    refuse_another_run(tmp_path, {"a": 1})
    hold(tmp_path, {"a": 1})
    refuse_another_run(tmp_path, {"a": 1})


def test_file_in_place_of_a_folder_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file; choose a folder with --workdir"):
        refuse_another_run(tmp_path / "file", {})


@pytest.mark.parametrize("content", ["{", "3", '{"finished": true}', "\udcff"])
def test_a_damaged_summary_is_named(tmp_path, content):
    path = tmp_path / "training.json"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=r"training\.json is damaged") as caught:
        training_summary(tmp_path)
    assert len(str(caught.value).splitlines()) == 1


HOLD = """
import pathlib, sys, time
from gca_jax.workdir import locked
with locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_folder_is_locked_until_its_process_is_gone(tmp_path):
    command = [sys.executable, "-c", HOLD, tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        says = f"another process trains in {tmp_path}: wait"
        with pytest.raises(ValueError, match=says), locked(tmp_path):
            pass
        holder.kill()
    with locked(tmp_path):
        pass


def test_a_line_of_the_log_that_is_damaged_is_named(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\nnonsense\n{"step": 3}\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl is damaged in line 2: delete"):
        Writer(tmp_path, 3)
    assert "nonsense" in (tmp_path / "metrics.jsonl").read_text()


def test_writer_drops_what_was_not_saved_and_writes_valid_json(tmp_path):
    log = Writer(tmp_path, 0)
    for step in (1, 2, 3):
        log.write(step, {"loss": float(step), "ratio": float("nan")})
    log.close()
    log = Writer(tmp_path, 1)
    log.write(2, {"loss": 20.0, "ratio": 1.0})
    log.close()
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"step": 1, "loss": 1.0, "ratio": None},
        {"step": 2, "loss": 20.0, "ratio": 1.0},
    ]


def test_a_write_that_fails_names_its_file_and_keeps_the_old_one(tmp_path):
    path = tmp_path / "evaluation.json"
    write_json(path, 1)
    (tmp_path / "evaluation.json.partial").symlink_to("/dev/full")  # every write: no space left
    with pytest.raises(OSError, match=rf"No space left on device: '{path}'"):
        write_json(path, 2)
    assert path.read_text() == "1\n"
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
