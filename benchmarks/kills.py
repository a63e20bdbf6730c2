"""Kills a small run at random moments, lets it go on, and compares it with one that was left alone.

python -m benchmarks.kills               # 30 kills, about five minutes on two cores
python -m benchmarks.kills --kills=100

Each run is killed five times (SIGKILL): at a random moment of its start-up, its steps, a save,
of its evaluation and of its report. Then it runs to its end, and weights, log, evaluation and
report must be those of the undisturbed run, to the last digit.
"""

import collections
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np

from benchmarks import measure
from gca_jax.training import checkpoint
from gca_jax.workdir import RunFolder

SMALL = (
    "model.stage_sizes=(1,)", "model.width=4", "model.projector_hidden=8", "model.projector_dim=8",
    "train.epochs=8", "train.checkpoint_every_epochs=1", "train.log_every_steps=1",
    "evaluation.draws=2",
)  # fmt: skip
OWN = ("train_seconds", "images_per_second", "command")  # times, and what names the folder
PATIENCE = 120.0  # seconds until a moment must have come


def start(workdir, cache):
    """Start the run, or let it go on."""
    keys = [f"--config.{setting}" for setting in SMALL]
    quick = {"JAX_COMPILATION_CACHE_DIR": cache, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    return subprocess.Popen(
        [sys.executable, "main.py", f"--workdir={workdir}", *keys],
        env={**os.environ, "JAX_PLATFORMS": "cpu", **quick},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


def moments(draw, workdir):
    """What each kill waits for, and at most how many seconds it comes later."""
    log, logged = workdir / "metrics.jsonl", lines(workdir / "metrics.jsonl")
    return {
        "start-up": (lambda process: True, 4.0),
        "step": (lambda process: lines(log) > logged, 0.5),
        "save": (lambda process: [*(workdir / "checkpoints").glob("*tmp*")], 0.02),
        "evaluation": (lambda process: process.stdout.readline() == "evaluating ...\n", 2.0),
        "report": (lambda process: (workdir / "evaluation.json").exists(), 1.0),
    }[draw]


def kill(moment, workdir, cache, rng):
    """Start the run and kill it at a moment; False if it came to its end before."""
    waits, most = moments(moment, workdir)
    process, began = start(workdir, cache), time.monotonic()
    while not waits(process) and process.poll() is None:
        if time.monotonic() - began > PATIENCE:
            raise RuntimeError(f"the moment of {moment} did not come")
        time.sleep(0.001)
    time.sleep(rng.uniform(0, most))
    process.kill()
    return process.wait() != 0


def finish(workdir, cache):
    process = start(workdir, cache)
    process.communicate()
    if process.returncode:
        raise RuntimeError(f"the run in {workdir} does not go on: status {process.returncode}")


def content(workdir):
    """All that a run leaves and that is not its own."""
    variables, step = checkpoint.restore_variables(RunFolder(workdir))
    rows = [json.loads(row) for row in (workdir / "metrics.jsonl").read_text().splitlines()]
    reports = [
        json.loads((workdir / f"{name}.json").read_text()) for name in ("evaluation", "report")
    ]
    for table in (*rows, *reports):
        for name in OWN:
            table.pop(name, None)
    return rows, reports, step, [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(variables)]


def work(kills, seed):
    rng, counts, equal = random.Random(int(seed)), collections.Counter(), 0
    with tempfile.TemporaryDirectory() as folder:
        cache, alone = f"{folder}/cache", pathlib.Path(folder, "alone")
        finish(alone, cache)
        expected, done, number = content(alone), 0, 0
        while done < int(kills):
            number += 1
            workdir = pathlib.Path(folder, str(number))
            training = rng.sample(["start-up", "step", "save"], 3)
            for moment in (*training, "evaluation", "report"):
                hit = kill(moment, workdir, cache, rng)
                counts[moment if hit else f"{moment}, too late"] += 1
                done += hit
            finish(workdir, cache)
            same = content(workdir) == expected
            equal += same
            print(
                f"run {number}: {done} kills, {'equal' if same else 'ANOTHER RESULT'}", flush=True
            )
    return {"kills": done, "moments": dict(counts), "runs": number, "runs_equal": equal}


if __name__ == "__main__":
    measure.command("kills", __doc__, work, kills=30, seed=0)
