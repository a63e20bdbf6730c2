"""The command as a user types it: one line for a mistake, the three programs in turn."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from gca_jax import config
from tests import processes
from tests.data import prepared

pytestmark = pytest.mark.slow

TINY = [f"--config.{key}={value}" for key, value in processes.NETWORK.items()]


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """Run main.py with some arguments: its status, and what it says."""
    with processes.forked(tmp_path_factory.mktemp("said")) as main:

        def run(*arguments):
            main.start(*arguments)
            return main.wait(), *main.said()

        yield run


def test_mistakes_are_one_line_and_status_1(command, tmp_path):
    workdir = f"--workdir={tmp_path / 'run'}"
    digits = "--config=configs/digits.py:gca_uot"
    study = "--config=configs/studies/digits_methods.py"
    broken = tmp_path / "broken.py"
    broken.write_text("def get_config(words=''):\n    return nonsense\n")
    unfinished = tmp_path / "unfinished.py"
    unfinished.write_text("def get_config(words=''):\n    'Without its return.'\n")
    damaged = tmp_path / "damaged" / "config.json"
    damaged.parent.mkdir()
    damaged.write_text("[]")
    cases = {
        ("--config=cifar11", workdir): "no config file cifar11; configs has: arrays, cifar10, ",
        ("--config=digits:moco", workdir): "flag --config=digits:moco: unknown method 'moco'; one",
        ("--config=configs/none.py", workdir): "no config file configs/none.py; configs has: arr",
        (digits, workdir, "--config.loss.epsilonn=1"): 'Did you mean "epsilon" instead of "epsil',
        (digits, workdir, "--noconfig.foo.bar"): "no key of the config: 'foo' (--config=NAME --hel",
        (digits, workdir, "--config.seed.x=1"): "Attribute <class 'int'>.x does not exist",
        (digits, workdir, "--config.loss.epsilon=x"): "could not convert string to float: 'x",
        (digits, workdir, "--config.seed=None"): "invalid literal for int() with base 10: 'None'",
        (digits, workdir, "--config.loss.epsilon=0"): "config.loss: epsilon",
        (digits, workdir, "--config.evaluation.draws=0"): "config.evaluation: draws",
        (digits, workdir, "--mode=train"): "one of <all|pretrain|evaluate|report|prepare|preview|",
        (digits, workdir, "--mode=study"): "this config is of a run and not of a study",
        (digits, workdir, "--jobs=2"): "--jobs is for --mode=study and --seeds",
        (digits, workdir, "--limit_minutes=5"): "--limit_minutes is for --mode=study",
        (study, workdir, "--mode=study", "--limit_minutes=0"): "flag --limit_minutes=0",
        (digits, workdir, "--seeds=1-"): "--seeds must be like 0-4 or 0,3,7, got '1-'",
        (digits, workdir, "--seeds=1", "--mode=evaluate"): "--seeds makes a study of the config of",
        (digits, workdir, "--seeds=1", "--mode=report"): "no run of this study is done in",
        (study, workdir): "this config is of a study: add --mode=study",
        (study, workdir, "--mode=study", "--jobs=0"): "flag --jobs=0: ",
        (study, workdir, "--mode=study", "--config.reference=x"): "reference 'x' is no method",
        (study, workdir, "--mode=study", "--config.base=x.py"): "there is no config file x.py",
        (study, workdir, "--mode=study", "--config.seed=1"): "Field seed not found on dataclass",
        (study, workdir, "--mode=study", "--process_id=0"): "--mode=study is for one process",
        (digits, "--workdir="): "--workdir must have a value",
        (digits, workdir, "again"): "'again' is no flag; flags begin with --",
        (f"--config={broken}", workdir): f"{broken}, line 2: NameError: name 'nonsense' is not def",
        (f"--config={unfinished}", workdir): f"get_config of {unfinished} returns nothing",
        (f"--config={tmp_path}", workdir): f"{tmp_path} is no config file",
        (f"--config={damaged}", workdir): f"{damaged} is damaged (config.json is '[]', which does",
        # Without --config, keys are those of the run in --workdir.
        (f"--workdir={damaged.parent}", "--config.seed=1"): f"{damaged} is damaged (config.json is",
        (f"--config={damaged}:ince", workdir): "a run's config takes no options: --config.KEY=VAL",
        (f"--config={tmp_path}/config.json", workdir): "there is no config file",
        ("--config=", workdir): "--config must have a value: NAME:METHOD or FILE:METHOD; configs",
        (digits, workdir, "--epochs=1"): "Unknown command line flag 'epochs'",
        (digits, workdir, "--work_dir=x"): "'work_dir'. Did you mean: workdir ?",
        (workdir, "--config.loss.lr=1"): "no key of the config: 'lr' (--config=NAME --help lists",
        (digits, workdir, "--mode=evaluate"): "there is no run in",
        (workdir, "--mode=status"): "there is no run and no study in",
    }
    for case, message in cases.items():
        status, out, err = command(*case)
        assert status == 1, (case, err)
        assert message in err, case
        assert err.startswith("error: "), case
        assert len(err.splitlines()) == 1, case
        assert out in ("", "evaluating ...\n"), case
    assert not (tmp_path / "run").exists()


def test_a_picture_that_cannot_be_read_is_named_and_may_be_left_out(command, tmp_path):
    prepared.write_folder(tmp_path / "p", {f"{a}/{b}": 3 for a in ("train", "test") for b in "xy"})
    (tmp_path / "p/train/x/bad.png").write_text("no picture")
    words = ("--mode=prepare", "--config=configs/folder.py", f"--config.data.data_dir={tmp_path}")
    words += (f"--config.data.root={tmp_path / 'p'}",)
    status, _, err = command(*words)
    assert status == 1
    assert err.startswith(f"error: {tmp_path}/p/train/x/bad.png: ")
    assert "--config.data.skip_unreadable" in err
    status, out, _ = command(*words, "--config.data.skip_unreadable")
    assert status == 0
    assert "left out 1 of 13 images" in out


def test_a_missing_set_is_one_message_with_the_command_that_prepares_it(command, tmp_path):
    data = ("--config=configs/cifar10.py", f"--config.data.data_dir={tmp_path}")
    status, _, err = command(*data, f"--workdir={tmp_path / 'run'}")
    assert status == 1
    assert f"config.data: data set cifar10 cannot be read: it is not in {tmp_path}" in err
    advice = f"python main.py --mode=prepare {' '.join(data)}"
    assert f"    {advice}\n" in err
    # That command needs no workdir. Without the archive that it is told to use, it stops.
    status, out, err = command(*advice.split()[2:], f"--archives={tmp_path}")
    assert status == 1
    assert err.startswith(f"error: there is no {tmp_path}/cifar-10-binary.tar.gz")
    assert "preparing 1 set" in out


def test_help_names_what_there_is_and_the_keys_of_a_config(command):
    for words, expected in {
        ("--help",): ("gca_uot", "vit", "cifar10", "studies/epsilon", "corruptions", "--workdir"),
        ("--config=digits:ince", "--config.seed=3", "--help"): (
            *("--config.method='ince'", "--config.seed=3", "--config.loss.epsilon=0.2"),
            "--config.data.limit=None",
        ),
    }.items():
        status, out, err = command(*words)
        assert (status, err) == (0, "")
        for part in expected:
            assert part in out


def test_settings_that_are_none_take_a_value_of_their_type(command):
    given = {
        "data.limit": ("300", "300"),
        "optimizer.clip_norm": ("1", "1.0"),
        "train.online_probe": ("true", "True"),
        "model.dtype": ("bfloat16", "'bfloat16'"),
        "loss.block_size": ("16", "16"),
    }
    status, before, _ = command("--config=digits:ince", "--help")
    changes = [f"--config.{key}={typed}" for key, (typed, _) in given.items()]
    status, out, err = command("--config=digits:ince", *changes, "--help")
    assert (status, err) == (0, "")
    for key, (_, shown) in given.items():
        assert f"--config.{key}=None\n" in before
        assert f"--config.{key}={shown}\n" in out


def test_the_config_of_a_run_can_be_changed_by_flags(command, tmp_path):
    file = tmp_path / "config.json"
    made = config.load("digits", "ince,smoke")
    file.write_text(made.to_json())
    changes = ("--config.data.limit=9", "--config.seed=3", "--config.model.dtype=bfloat16")
    status, out, err = command(f"--config={file}", *changes, "--help")
    assert (status, err) == (0, "")
    _, before, _ = command("--config=digits:ince,smoke", "--help")
    changed = {
        "--config.data.limit=400": "--config.data.limit=9",
        "--config.seed=0": "--config.seed=3",
        "--config.model.dtype=None": "--config.model.dtype='bfloat16'",
    }
    assert set(changed) <= set(before.splitlines())
    assert sorted(out.splitlines()) == sorted(changed.get(x, x) for x in before.splitlines())


def test_help_may_be_read_in_part():
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "main.py", "--help"]
    found = subprocess.run(command, cwd=processes.ROOT, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (found.returncode, found.stderr) == (0, b"")


def test_verbose_shows_where(command, tmp_path):
    arguments = (f"--workdir={tmp_path}", "--config.loss.epsilon=0", "--verbose")
    status, _, err = command(*arguments, "--mode=pretrain")
    assert status == 1
    assert "Traceback" in err
    assert "config.loss: epsilon" in err


def test_the_three_programs_run_quietly(command, tmp_path):
    """That two runs are alike to the last bit is shown in tests/test_kills.py."""
    arguments = ["--config=digits:gca_uot", f"--workdir={tmp_path}", *TINY]
    arguments += ["--config.train.epochs=2", "--config.evaluation.draws=2"]
    status, out, err = command(*arguments, "--config.evaluation.strengths=(1.0,)")
    assert status == 0, err
    assert f"report: {tmp_path}/report.md" in out
    assert "images/s" in err
    assert "left" in err
    lines = [line for line in err.replace("\r", "\n").splitlines() if line.strip()]
    assert all("| step" in line for line in lines), err  # the bar and nothing else
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["train_seconds"] > 0
    assert report["images_per_second"] > 0


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path):
    process = processes.start(
        "main.py", "--mode=pretrain", f"--workdir={tmp_path}", *TINY, "--config.train.epochs=5000"
    )
    log = tmp_path / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (log.exists() and log.read_text().count("\n") > 3):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    status = process.returncode
    assert status == 1
    assert "Traceback" not in err
    assert "of 25000, saved in" in err.splitlines()[-1]
    assert "run the same command again" in err.splitlines()[-1]
    step = json.loads((tmp_path / "training.json").read_text())["steps"]
    assert (tmp_path / "checkpoints" / str(step)).is_dir()
    assert log.read_text().count("\n") == step
