"""A run that is killed (SIGKILL) at random moments ends as one that was left alone.

GCA_JAX_KILLS=30 pytest tests/test_kills.py  # five unless it is set, one of each moment

A run is killed during its start-up, a step, a save, its evaluation and its report. Then it runs to
its end, and weights, log, evaluation and report must be those of the undisturbed run, bit for bit.
The method, the evaluation's plans and t-SNE are short ones: none of them is what a kill disturbs.
"""

import json
import os
import random
import time

import jax
import numpy as np
import pytest

from tests import processes
from tests.runs import restore_variables

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("GCA_JAX_KILLS", 5))
SMALL = processes.NETWORK | {
    "data.limit": 600,
    "train.batch_size": 160,  # three steps an epoch
    "train.epochs": 5,
    "train.checkpoint_every_epochs": 1,
    "train.log_every_steps": 1,
    "evaluation.draws": 1,
    "evaluation.strengths": (1.0,),
}
OWN = ("train_seconds", "images_per_second", "command")  # times, and what names the folder
PATIENCE = 120.0  # seconds until a moment must have come


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """main.py, in processes forked off one that has the imports."""
    folder, quick = tmp_path_factory.mktemp("said"), processes.QUICK_EVALUATION
    with processes.forked(folder, before=quick) as program:
        yield program


def start(program, workdir):
    keys = (f"--config.{key}={value}" for key, value in SMALL.items())
    program.start("--config=digits:ince", f"--workdir={workdir}", *keys)


def finish(program, workdir):
    start(program, workdir)
    assert program.wait() == 0, program.said()


def lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


def moments(workdir, program):
    """What each kill waits for, and at most how many seconds it comes later."""
    log, logged = workdir / "metrics.jsonl", lines(workdir / "metrics.jsonl")
    return {
        "start-up": (lambda: True, 1.0),
        "step": (lambda: lines(log) > logged, 0.2),
        "save": (lambda: [*(workdir / "checkpoints").glob("*tmp*")], 0.02),
        "evaluation": (lambda: "evaluating ..." in program.said()[0], 0.5),
        "report": (lambda: (workdir / "evaluation.json").exists(), 0.5),
    }


def kill(moment, workdir, program, rng):
    """Start the run and kill it at a moment, if it has not come to its end before."""
    come, most = moments(workdir, program)[moment]
    start(program, workdir)
    began = time.monotonic()
    while not come() and not program.ended():
        assert time.monotonic() - began < PATIENCE, moment
        time.sleep(0.001)
    time.sleep(rng.uniform(0, most))
    program.kill()
    return program.wait() != 0


def content(workdir):
    """All that a run leaves and that is not its own."""
    variables, step = restore_variables(workdir)
    rows = [json.loads(row) for row in (workdir / "metrics.jsonl").read_text().splitlines()]
    reports = [
        json.loads((workdir / f"{name}.json").read_text()) for name in ("evaluation", "report")
    ]
    for table in (*rows, *reports):
        for name in OWN:
            table.pop(name, None)
    return rows, reports, step, [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(variables)]


def test_a_run_killed_at_any_moment_ends_as_one_that_was_not(program, tmp_path):
    rng, done = random.Random(0), 0
    finish(program, tmp_path / "alone")
    expected = content(tmp_path / "alone")
    for number in range(KILLS):  # enough if each run is killed once
        if done >= KILLS:
            break
        workdir = tmp_path / str(number)
        moments = (*rng.sample(["start-up", "step", "save"], 3), "evaluation", "report")
        done += sum(kill(moment, workdir, program, rng) for moment in moments)
        finish(program, workdir)
        assert content(workdir) == expected, (number, moments)
    assert done >= KILLS
