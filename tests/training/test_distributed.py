"""Two processes of two devices each, from the command line: equal to one, stopped, killed."""

import contextlib
import json
import re
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
    "data.limit": 600,
    "train.batch_size": 96,  # six steps an epoch
    "train.epochs": 2,
    "train.log_every_steps": 1,
    "evaluation.draws": 1,
    "evaluation.strengths": (1.0,),
    "evaluation.corruptions": True,
}
ENDED = "ends, as another one was killed or met an error"


@pytest.fixture(scope="module")
def experiment(tiny):
    return build(tiny(**SETTINGS, **{"train.checkpoint_every_epochs": 10}))


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """main.py on two devices, twice."""
    with contextlib.ExitStack() as stack:
        folders = [tmp_path_factory.mktemp("said") for _ in range(2)]
        yield [
            stack.enter_context(processes.forked(folder, 2, processes.QUICK_EVALUATION))
            for folder in folders
        ]


def arguments(workdir, *more):
    """The flags of a run, for each of two processes."""
    place = [f"--coordinator=127.0.0.1:{processes.free_port()}", "--num_processes=2"]
    keys = [f"--config.{key}={value}" for key, value in {**SETTINGS, **processes.NETWORK}.items()]
    keys += ["--config.train.checkpoint_every_epochs=10", f"--workdir={workdir}", *more]
    return [[*place, f"--process_id={index}", *keys] for index in range(2)]


def start(pair, workdir):
    for process, flags in zip(pair, arguments(workdir), strict=True):
        process.start(*flags)


def finish(pair):
    """Wait for both; their statuses, outputs but Gloo's, and standard errors but the bar."""
    statuses = [process.wait() for process in pair]
    outs, errs = zip(*(process.said() for process in pair), strict=True)
    return statuses, [without_gloo(out) for out in outs], [errors(err) for err in errs]


def without_gloo(out):
    """Drop Gloo's lines, which its threads write piece by piece and at once.

    [Gloo] Rank 1 is connected to 3 peer ranks. Expected number of connected peer ranks is : 3
    """
    pieces = r"\[Gloo\] Rank \d*|\d* is connected to \d*|\d* peer ranks[.] | ?Expected number of "
    pieces += r"connected peer ranks is : \d*"
    lines = (re.sub(pieces, "", line) for line in out.split("\n"))
    return "\n".join(line for line in lines if not re.fullmatch(r"[\d ]*", line))


def errors(err):
    """The lines of a standard error but the progress bar's."""
    lines = err.replace("\r", "\n").splitlines()
    return [line for line in lines if line.strip() and "left" not in line]


@pytest.fixture(scope="module")
def together(pair, tmp_path_factory):
    """The workdir of a run of twelve steps that two processes have trained and evaluated."""
    workdir = tmp_path_factory.mktemp("together")
    start(pair, workdir)
    statuses, (first, second), said = finish(pair)
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


@pytest.mark.usefixtures("quick_evaluation")
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
    pair, together, experiment, tmp_path
):
    start(pair, tmp_path)
    while "compiling" not in pair[0].said()[1]:  # the first step comes soon after it
        assert not pair[0].ended(), pair[0].said()
        time.sleep(0.01)
    for process in pair:
        process.kill(signal.SIGTERM)
    asked = time.monotonic()
    statuses, _, said = finish(pair)
    assert statuses == [0, 0], said
    assert time.monotonic() - asked < 60  # seconds on a quiet machine
    step = RunFolder(tmp_path).newest
    assert 0 < step < 12
    for lines in said:
        assert lines[-1].startswith(f"stopped at step {step} of 12, saved in {tmp_path}; run the")
    assert files.fault_of(tmp_path / "checkpoints" / str(step)) is None
    assert pretrain(experiment, tmp_path)["device"].startswith("8 x cpu")
    compare_weights(together, tmp_path)
    assert [row["step"] for row in rows(tmp_path)] == [*range(1, 13)]


def test_a_killed_process_ends_the_other_with_one_line(tmp_path):
    flags = arguments(tmp_path, "--config.train.epochs=1000")
    # One device each: with two, one kill in about five is only noticed by JAX's heartbeat, which
    # ends the process after 30 seconds, in many lines (docs/distributed.md).
    first, second = (processes.start("main.py", *each) for each in flags)
    log = tmp_path / "metrics.jsonl"
    while not (log.exists() and log.read_text().count("\n") > 3):
        assert first.poll() is None, first.stderr.read()
        time.sleep(0.1)
    second.kill()
    killed = time.monotonic()
    _, err = first.communicate(timeout=240)
    assert time.monotonic() - killed < module.HEARTBEAT_TIMEOUT + 15
    assert first.returncode != 0
    second.communicate()
    assert second.returncode == -signal.SIGKILL
    said = errors(err)
    assert len(said) == 1, err
    assert said[0].startswith(f"error: process 0 of 2 {ENDED}")


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
