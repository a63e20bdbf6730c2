"""Two processes of two devices each, from the command line: equal to one, stopped, killed."""

import json
import shutil
import signal
import sys
import time

import jax
import numpy as np
import pytest

from gca_jax import distributed as module
from gca_jax import files
from gca_jax.experiment import build
from gca_jax.workdir import RunFolder
from tests import processes
from tests.runs import evaluate, pretrain, restore_variables

pytestmark = pytest.mark.slow

SETTINGS = {
    "train.batch_size": 240,
    "train.epochs": 2,
    "train.log_every_steps": 1,
    "evaluation.draws": 2,
    "evaluation.strengths": (1.0,),
    "evaluation.corruptions": True,
}
ENDED = "ends, as another one was killed or met an error"


@pytest.fixture(scope="module")
def experiment(tiny):
    return build(tiny(**SETTINGS, **{"train.checkpoint_every_epochs": 10}))


def start(workdir, *arguments):
    """Start a run in two processes of two devices."""
    place = [f"--coordinator=127.0.0.1:{processes.free_port()}", "--num_processes=2"]
    keys = [f"--config.{key}={value}" for key, value in {**SETTINGS, **processes.NETWORK}.items()]
    keys += ["--config.train.checkpoint_every_epochs=10", f"--workdir={workdir}", *arguments]
    return [
        processes.start("main.py", *place, f"--process_id={index}", *keys, devices=2)
        for index in range(2)
    ]


def finish(pair):
    """Wait for both; their statuses, outputs but Gloo's, and standard errors but the bar."""
    try:
        results = [process.communicate(timeout=240) for process in pair]
    finally:
        for process in pair:
            process.kill()
    said = [
        [
            line
            for line in err.replace("\r", "\n").splitlines()
            if line.strip() and "left" not in line
        ]
        for _, err in results
    ]
    outs = ["\n".join(x for x in out.split("\n") if "[Gloo]" not in x) for out, _ in results]
    return [process.returncode for process in pair], outs, said


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """The workdir of a run of ten steps that two processes have trained and evaluated."""
    workdir = tmp_path_factory.mktemp("together")
    statuses, (first, second), said = finish(start(workdir))
    assert statuses == [0, 0], said
    assert f"report: {workdir}/report.md" in first
    assert second == ""
    assert said == [[], []]
    return workdir


def rows(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def compare_weights(one, other):
    ours, theirs = (restore_variables(path)[0] for path in (one, other))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-4), ours, theirs)


def test_two_processes_train_as_one_does(together, experiment, tmp_path):
    pretrain(experiment, tmp_path)
    compare_weights(together, tmp_path)
    for ours, theirs in zip(rows(together), rows(tmp_path), strict=True):
        for key in ("loss", "gradient_norm", "learning_rate", "alignment"):
            np.testing.assert_allclose(ours[key], theirs[key], rtol=1e-3)


def test_two_processes_evaluate_as_one_does(together, experiment, tmp_path):
    """The same checkpoint: features to the last digit, and so all that is made of them."""
    run = shutil.copytree(together, tmp_path / "run")
    evaluate(experiment, run)
    ours, theirs = (json.loads((path / "evaluation.json").read_text()) for path in (together, run))
    assert ours == theirs
    with np.load(together / "evaluation.npz") as a, np.load(run / "evaluation.npz") as b:
        assert a.files == b.files
        for name in a.files:
            np.testing.assert_array_equal(a[name], b[name], name)


def test_sigterm_stops_all_at_one_step_and_the_run_goes_on_elsewhere(
    together, experiment, tmp_path
):
    pair = start(tmp_path)
    while "compiling" not in pair[0].stderr.readline():  # the first step comes soon after it
        pass
    for process in pair:
        process.send_signal(signal.SIGTERM)
    asked = time.monotonic()
    statuses, _, said = finish(pair)
    assert statuses == [0, 0], said
    assert time.monotonic() - asked < 60  # seconds on a quiet machine
    step = RunFolder(tmp_path).newest
    assert 0 < step < 10
    for lines in said:
        assert lines[-1].startswith(f"stopped at step {step} of 10, saved in {tmp_path}; run the")
    assert files.fault_of(tmp_path / "checkpoints" / str(step)) is None
    assert pretrain(experiment, tmp_path)["device"].startswith("8 x cpu")
    compare_weights(together, tmp_path)
    assert [row["step"] for row in rows(tmp_path)] == [*range(1, 11)]


def test_a_killed_process_ends_the_other_with_one_line(tmp_path):
    first, second = start(tmp_path, "--config.train.epochs=1000")
    log = tmp_path / "metrics.jsonl"
    while not (log.exists() and log.read_text().count("\n") > 3):
        assert first.poll() is None, first.stderr.read()
        time.sleep(0.1)
    second.kill()
    killed = time.monotonic()
    statuses, _, said = finish([first, second])
    assert time.monotonic() - killed < module.SILENCE + 15
    assert statuses[0] != 0
    assert statuses[1] == -signal.SIGKILL
    assert len(said[0]) == 1
    assert said[0][0].startswith(f"error: process 0 of 2 {ENDED}")


@pytest.mark.parametrize(
    ("error", "own"),
    [
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes"), True),
        (ValueError("UNKNOWN: Gloo AllGather failed: Connection reset by peer"), False),
        (RuntimeError("UNAVAILABLE: The following tasks are unhealthy"), False),
    ],
)
def test_an_error_of_its_own_is_said_as_it_is(error, own, monkeypatch, capfd):
    monkeypatch.setattr(module.os, "_exit", sys.exit)
    with pytest.raises(SystemExit):
        module.leave(error, f"error: {error}")
    _, err = capfd.readouterr()
    assert (err == f"\nerror: {error}\n") == own
    assert (f"error: process 0 of 1 {ENDED} ({error})" in err) != own


JOIN = """
from gca_jax import distributed
for place in [("host", 0, 2), ("host:1", 2, 2), (None, None, None)]:
    try:
        distributed.join(*place)
    except ValueError as error:
        print(error)
"""


def test_a_place_that_is_none_is_said_at_once():
    with processes.start("-c", JOIN) as process:
        said = process.communicate(timeout=60)[0].splitlines()
    assert "--coordinator must be HOST:PORT, got host" in said[0]
    assert "Got process_id=2, num_processes=2" in said[1]
    assert "Outside SLURM, TPU pods, Kubernetes and Open MPI say --coordinator=HOST" in said[2]
