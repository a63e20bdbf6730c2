"""A run that is done at once: files as a real one leaves them, with numbers of a formula."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np

from gca_jax.files import write_json
from gca_jax.workdir import as_json

METHODS = {
    "ince": 0.7,
    "simclr": 0.80,
    "gca_ince": 0.82,
    "gca_uot": 0.86,
    "gca_rince": 0.85,
    "byol": 0.78,
}


def score(config):
    """Best at ε = 0.3; a batch of another size stands for what a condition changes."""
    rng = np.random.default_rng([config.seed, sum(map(ord, config.method))])
    epsilon = config.loss.epsilon if "epsilon" in config.loss else 0.3
    base = METHODS[config.method] - 0.1 * abs(epsilon - 0.3) - config.train.batch_size / 4096
    return base + 0.01 * rng.normal() + 0.01 * config.seed % 3


def run(config, folder):
    """What `programs.one_run` does, without training."""
    folder = pathlib.Path(folder)
    print(f"{config.method}, seed {config.seed}")
    with (folder / "times.txt").open("a") as file:  # how often it was done
        file.write("once\n")
    write_json(folder / "config.json", as_json(config))
    rows = [
        {"step": k, "epoch": k / 4, "loss": 3 / k + 0.05 * config.seed * (k % 3)}
        for k in range(1, 41)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    value = score(config)
    found = {"accuracy": {"linear": value, "knn": value - 0.05, "none": None}, "rank": 100 * value}
    write_json(folder / "evaluation.json", found)
    right = np.random.default_rng(config.seed).uniform(size=200) < value
    plan = np.full((4, 4), value) + np.eye(4)
    np.savez(folder / "evaluation.npz", right=right, plan=plan, plan_labels=[0, 0, 1, 1])
    write_json(folder / "report.json", {})


def bad(config, folder):
    """One that fails for one method, dies for another, and stays half-done in a third."""
    match config.method:
        case "gca_ince":
            raise ValueError("loss is nan at step 3\nand so on")
        case "gca_uot":
            os.kill(os.getpid(), signal.SIGKILL)
        case "gca_rince":
            return
    run(config, folder)


def never(config, folder):
    """One that must not be asked for."""
    raise AssertionError(folder)


def slow(config, folder):
    """One that can be stopped, as training can."""
    if config.seed:
        pathlib.Path(folder, "begun").touch()
        time.sleep(60)
    run(config, folder)


def hung(config, folder):
    """One that never ends for one method, as a child of it does not."""
    if config.method == "gca_ince":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        write_json(pathlib.Path(folder, "child.json"), child.pid)
        child.wait()
    run(config, folder)
