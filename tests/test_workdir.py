"""Where the run in a folder stands, what may be written over, what is said of damage; the lock."""

import errno
import json
import os
import subprocess
import sys
from contextlib import ExitStack

import pytest

from gca_jax.files import DamagedError, write_checksums, write_json
from gca_jax.training.log import Writer
from gca_jax.workdir import RunFolder, differences

RECORD = {
    "method": "ince",
    "seed": 0,
    "data": {"kind": "images", "name": "digits"},
    "loss": {"epsilon": 0.5},
    "train": {"epochs": 2, "steps": None},
}
ENDED = {
    "finished": True,
    "steps": 7,
    "train_seconds": 1.5,
    "images_per_second": 10,
    "device": "1 x cpu (2 cores)",
    "parameters": 12,
}


def lasting(**train):
    """The record of a run of another length."""
    return RECORD | {"train": {**RECORD["train"], **train}}


def save(workdir, step):
    """A checkpoint that is intact."""
    for item in ("variables", "optimizer", "config"):
        (workdir / "checkpoints" / str(step) / item).mkdir(parents=True)
        (workdir / "checkpoints" / str(step) / item / "_METADATA").write_text("{}")
    write_json(workdir / "checkpoints" / str(step) / "config" / "metadata", RECORD)
    write_checksums(workdir / "checkpoints")


def hold(workdir, record=RECORD, steps=(7,), summary=None):
    """A folder as a run leaves it that has saved these steps."""
    for step in steps:
        save(workdir, step)
    write_json(workdir / "config.json", record)
    if summary is not None:
        write_json(workdir / "training.json", summary)


def test_differences_name_keys_on_either_side():
    there = {"a": 1, "loss": {"epsilon": 0.2, "gone": False}}
    here = {"a": 1, "loss": {"epsilon": 0.1, "new": [1, 2], "unset": None}}
    assert list(differences(there, here)) == [
        "loss.epsilon: 0.2 there, 0.1 here",
        "loss.gone: false there, nothing here",
        "loss.new: nothing there, [1, 2] here",
    ]
    assert not list(differences(here, here))


def test_a_run_goes_on_by_auto_and_by_what_it_did_before_there_was_a_key():
    before, unset = {"train": {"epochs": 2}}, {"train": {"epochs": 2, "stop_by": None}}
    for there in (before, unset):
        for here in ("auto", "steps", None):
            assert not list(differences(there, {"train": {"epochs": 2, "stop_by": here}}))
        now = {"train": {"epochs": 2, "stop_by": "validation"}}
        assert list(differences(there, now))
        assert list(differences(now, there))
    assert list(differences({"train": {"stop_by": "auto"}}, {"train": {"stop_by": "steps"}}))


def test_many_differences_are_cut_short(tmp_path):
    hold(tmp_path, RECORD | {str(k): 0 for k in range(9)})
    with pytest.raises(ValueError, match=r"0: 0 there, 1 here; .*3: 0 there, 1 here; \.\.\.\)"):
        RunFolder.open(tmp_path, RECORD | {str(k): 1 for k in range(9)})


def test_a_run_that_did_not_stream_from_the_hub_goes_on(tmp_path):
    """The setting went in 0.3.0; a run that did stream is another one."""
    now = RECORD | {"data": {"kind": "images", "name": "hf"}}
    before = RECORD | {"data": now["data"] | {"streaming": False}}
    hold(tmp_path / "kept", before)
    assert RunFolder.open(tmp_path / "kept", now).state == "unfinished"
    hold(tmp_path / "streamed", RECORD | {"data": now["data"] | {"streaming": True}})
    with pytest.raises(ValueError, match=r"data\.streaming: true there, nothing here"):
        RunFolder.open(tmp_path / "streamed", now)


def test_a_run_of_another_config_is_refused_once_it_has_saved_something(tmp_path):
    other = RECORD | {"seed": 1}
    assert RunFolder.open(tmp_path / "new", RECORD).state == "new"
    assert not (tmp_path / "new").exists()
    hold(tmp_path, other, steps=())  # stopped before it saved anything
    assert RunFolder.open(tmp_path, RECORD).state == "new"
    hold(tmp_path, other)
    assert RunFolder.open(tmp_path, other).state == "unfinished"
    with pytest.raises(ValueError, match=r"another config and is left as it is \(seed: 1 there, 0"):
        RunFolder.open(tmp_path, RECORD)


@pytest.mark.parametrize(
    ("there", "here", "steps", "finished", "state", "says"),
    [
        (RECORD, RECORD, (3,), None, "unfinished", None),
        (RECORD, RECORD, (3,), False, "unfinished", None),
        (RECORD, RECORD, (3, 7), True, "finished", "trained to its end: it is not trained again"),
        (RECORD, RECORD, (3,), True, "unfinished", "it is trained on from step 3"),
        (RECORD, RECORD, (), True, "new", "it is trained from the start"),
        (RECORD, lasting(epochs=3), (7,), True, "longer", "ended at step 7: it is trained further"),
        (lasting(steps=7), lasting(steps=8), (7,), True, "longer", "it is trained further"),
        (lasting(steps=9), lasting(steps=10), (7,), False, "longer", "saved at step 7: it is trai"),
        (RECORD, lasting(log_every_steps=5), (3,), None, "unfinished", "make no other run (train."),
    ],
)
def test_where_a_run_stands_is_found_out_and_said(
    tmp_path, capsys, there, here, steps, finished, state, says
):
    hold(tmp_path, there, steps, None if finished is None else ENDED | {"finished": finished})
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    folder = RunFolder.open(tmp_path, here)
    assert folder.state == state
    out = capsys.readouterr().out
    assert out == "" if says is None else says in out
    assert folder.newest == (steps[-1] if steps else None)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("there", "here", "finished"),
    [
        (RECORD, lasting(epochs=1), True),
        (RECORD, lasting(epochs=3) | {"seed": 1}, True),
        (lasting(steps=7), lasting(steps=6), True),
        (lasting(steps=7), lasting(epochs=3, steps=7), True),
    ],
)
def test_a_run_that_is_shorter_or_differs_otherwise_is_another_one(tmp_path, there, here, finished):
    hold(tmp_path, there, summary=ENDED | {"finished": finished})
    with pytest.raises(ValueError, match="holds a run of another config and is left as it is"):
        RunFolder.open(tmp_path, here)


def test_a_longer_run_is_unfinished_from_its_beginning(tmp_path):
    """Killed at once it must not pass for one that has ended."""
    hold(tmp_path, summary=ENDED)
    longer = lasting(epochs=3)
    other = RunFolder.open(tmp_path, longer)  # of another process
    RunFolder.open(tmp_path, longer).begin(longer)
    assert RunFolder.open(tmp_path).state == "unfinished"
    other.changed()
    assert (other.config, other.summary["finished"]) == (longer, False)


def test_file_in_place_of_a_folder_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file; choose a folder with --workdir"):
        RunFolder.open(tmp_path / "file", RECORD)


def test_a_folder_without_a_run_is_said(tmp_path):
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(FileNotFoundError, match=r"there is no run in .* \(no training\.json\)"):
            RunFolder.open(path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "content",
    ["{", "3", '{"finished": true}', "\udcff", json.dumps(ENDED | {"steps": "7"})],
)
def test_a_damaged_summary_is_named_and_written_anew_by_training(tmp_path, capsys, content):
    hold(tmp_path)
    path = tmp_path / "training.json"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(
        DamagedError, match=r"training\.json is damaged \(.*\): run again"
    ) as caught:
        RunFolder.open(tmp_path)
    assert len(str(caught.value).splitlines()) == 1
    assert RunFolder(tmp_path).damage == str(caught.value)
    assert RunFolder.open(tmp_path, RECORD).state == "unfinished"
    out = capsys.readouterr().out
    assert out == f"note: {caught.value}; it is written anew by training\n"


@pytest.mark.parametrize("content", [None, "{", "[]", '{"method": "ince"}'])
def test_a_config_that_is_damaged_or_gone_is_the_checkpoint_s(tmp_path, capsys, content):
    hold(tmp_path, summary=ENDED)
    path = tmp_path / "config.json"
    path.unlink() if content is None else path.write_text(content)
    folder = RunFolder.open(tmp_path)
    assert folder.config == folder.config == RECORD
    note = f"note: {path} is missing or damaged; a checkpoint has it too\n"
    assert capsys.readouterr().out == note  # once
    (tmp_path / "checkpoints/7/variables/_METADATA").unlink()
    says = "holds checkpoints without a config.json" if content is None else "is damaged"
    with pytest.raises(DamagedError, match=says):
        _ = RunFolder(tmp_path).config


HOLD = """
import sys, time
from gca_jax.workdir import RunFolder
with RunFolder(sys.argv[1]).locked():
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_folder_is_locked_until_its_process_is_gone(tmp_path):
    command = [sys.executable, "-c", HOLD, tmp_path]
    folder = RunFolder(tmp_path)
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        says = f"another process trains in {tmp_path}: wait"
        with pytest.raises(ValueError, match=says), folder.locked():
            pass
        assert folder.is_locked
        holder.kill()
    assert not folder.is_locked
    with folder.locked():
        pass


def is_free(path):
    """Whether another process could train in the folder."""
    return not RunFolder(path).is_locked


def test_a_lock_is_its_holder_s_to_ask_for_again(tmp_path):
    folder = RunFolder(tmp_path)
    with folder.locked():
        with folder.locked():
            assert not is_free(tmp_path)
        assert not is_free(tmp_path)
        assert not folder.is_locked  # by another
    assert is_free(tmp_path)


def test_of_several_processes_the_first_holds_a_folder(tmp_path):
    with RunFolder(tmp_path).locked(first=False):
        assert is_free(tmp_path)


def test_a_claim_is_of_one_study_and_not_of_a_run_at_work(tmp_path):
    first, other = RunFolder(tmp_path), RunFolder(tmp_path)
    with ExitStack() as mine, ExitStack() as theirs:
        assert first.claim(mine)
        assert not other.claim(theirs)
    with first.locked(), ExitStack() as theirs:
        assert not other.claim(theirs)
    with ExitStack() as theirs:
        assert other.claim(theirs)


def test_a_line_of_the_log_that_is_damaged_is_named(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\nnonsense\n{"step": 3}\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl is damaged in line 2: delete"):
        Writer(RunFolder(tmp_path), 3)
    assert "nonsense" in (tmp_path / "metrics.jsonl").read_text()


def test_writer_drops_what_was_not_saved_and_writes_valid_json(tmp_path):
    log = Writer(RunFolder(tmp_path), 0)
    for step in (1, 2, 3):
        log.write(step, {"loss": float(step), "ratio": float("nan")})
    log.close()
    log = Writer(RunFolder(tmp_path), 1)
    log.write(2, {"loss": 20.0, "ratio": 1.0})
    log.close()
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"step": 1, "loss": 1.0, "ratio": None},
        {"step": 2, "loss": 20.0, "ratio": 1.0},
    ]


def test_a_write_that_fails_names_its_file_and_keeps_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "evaluation.json"
    write_json(path, 1)

    def full(file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=rf"No space left on device: '{path}'"):
        write_json(path, 2)
    assert path.read_text() == "1\n"
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_files_that_a_killed_writer_left_are_gone_after_an_hour(tmp_path):
    old, new = tmp_path / "report.md.1.partial", tmp_path / "report.md.2.partial"
    for path in (old, new):
        path.write_text("half")
    os.utime(old, (0, 0))
    RunFolder.open(tmp_path, RECORD).begin(RECORD)
    assert not old.exists()
    assert new.exists()


def test_data_may_have_moved_where_they_are_known_by_content(tmp_path, capsys):
    """Else a folder of another name is another run."""
    there, here = (RECORD | {"data": {**RECORD["data"], "root": root}} for root in ("t/d", "t/e/"))
    hold(tmp_path, there)
    with pytest.raises(ValueError, match=r'data\.root: "t/d" there, "t/e/" here'):
        RunFolder.open(tmp_path, here)
    known = {"train_images": {"shape": [2, 4, 4, 3], "hash": "0"}}
    write_json(tmp_path / "identity.json", known)
    folder = RunFolder.open(tmp_path, here)
    assert folder.state == "unfinished"
    assert 'make no other run (data.root: "t/d" there' in capsys.readouterr().out
    folder.refuse_other_data(known)
    other = {"train_images": {"shape": [3, 4, 4, 3], "hash": "1"}, "train_labels": {}}
    with pytest.raises(
        ValueError, match=r"train_images: \[2, 4, 4, 3\] there, \[3, .*; train_label"
    ):
        folder.refuse_other_data(other)
