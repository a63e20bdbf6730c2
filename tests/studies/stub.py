"""A program that does a run at once: files as a real one leaves them, with numbers of a formula.

`python tests/studies/stub.py MODE RUN_FOLDER` reads the run's `config.json`, as the program of a
real run does; MODE is the name of one of the functions below `run`.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np

from gca_jax.files import write_json

METHODS = {
    "ince": 0.7,
    "simclr": 0.80,
    "gca_ince": 0.82,
    "gca_uot": 0.86,
    "gca_rince": 0.85,
    "byol": 0.78,
}
STEPS = 40


def score(config):
    """Best at ε = 0.3; a batch of another size stands for what a condition changes."""
    rng = np.random.default_rng([config["seed"], sum(map(ord, config["method"]))])
    epsilon = config["loss"].get("epsilon", 0.3)
    base = METHODS[config["method"]] - 0.1 * abs(epsilon - 0.3)
    base -= config["train"]["batch_size"] / 4096
    return base + 0.01 * rng.normal() + 0.01 * config["seed"] % 3


def do(run, workdir):
    """Do a run of a study in this process."""
    folder = workdir / run.folder
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", run.record)
    write(folder)


def write(folder):
    """Write what training, evaluation and report write, of the config that is there."""
    config = json.loads((folder / "config.json").read_text())
    with (folder / "times.txt").open("a") as file:  # how often it was done
        file.write("once\n")
    rows = [
        {"step": k, "epoch": k / 4, "loss": 3 / k + 0.05 * config["seed"] * (k % 3)}
        for k in range(1, STEPS + 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    summary = {
        "finished": True,
        "steps": STEPS,
        "train_seconds": 2.5,
        "images_per_second": 1000.0,
        "device": "1 x none",
        "parameters": 10,
    }
    write_json(folder / "training.json", summary)
    value = score(config)
    found = {
        "method": config["method"],
        "seed": config["seed"],
        "step": STEPS,
        "dataset": {"name": config["data"]["name"]},
        "accuracy": {"linear": value, "knn": value - 0.05},
        "rank": 100 * value,
        "none": None,
        "results": [],
    }
    right = np.random.default_rng(config["seed"]).uniform(size=200) < value
    plan = np.full((4, 4), value) + np.eye(4)
    arrays = {"right": right, "plan": plan, "plan_labels": [0, 0, 1, 1]}
    np.savez_compressed(folder / "evaluation.npz", **arrays)
    write_json(folder / "evaluation.json", found)
    write_json(folder / "report.json", {})


def program(mode):
    """What `studies.launch.execute` takes: the command of a run, by the run's folder."""
    return lambda folder: [sys.executable, __file__, mode, str(folder)]


def run(config, folder):
    """Do it."""
    print(f"{config['method']}, seed {config['seed']}")
    write(folder)


def bad(config, folder):
    """Fail with a message, by an exception, without a word, by a signal, or without a report."""
    if config["method"] == "byol":
        sys.exit(3)
    print("a note")
    match config["method"]:
        case "gca_ince":
            sys.exit("error: loss is nan at step 3\n\n    and so on\n")
        case "ince":
            raise RuntimeError("no such thing")
        case "gca_uot":
            os.kill(os.getpid(), signal.SIGKILL)
        case "gca_rince":
            return
    run(config, folder)


def never(config, folder):
    """Not to be asked for."""
    sys.exit(f"error: {folder} was done")


def slow(config, folder):
    """Wait to be stopped, as training can be."""
    if config["seed"]:

        def stop(number, frame):
            with (folder / "signals.txt").open("a") as file:
                file.write(f"{signal.Signals(number).name}\n")
            sys.exit("stopped")

        for kind in (signal.SIGTERM, signal.SIGINT):
            signal.signal(kind, stop)
        (folder / "begun").touch()
        time.sleep(60)
    run(config, folder)


def hung(config, folder):
    """Never end for one method, as a child of it does not."""
    if config["method"] == "gca_ince":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        write_json(folder / "child.json", child.pid)
        child.wait()
    run(config, folder)


def moment(config, folder):
    """Take as long as is said, and say for whom it was done."""
    time.sleep(float(os.environ["SECONDS"]))
    (folder / "by.txt").write_text(os.environ["BY"])
    run(config, folder)


def surroundings(config, folder):
    """Write down what the process was given."""
    write_json(folder / "environment.json", dict(os.environ))
    run(config, folder)


if __name__ == "__main__":
    mode, where = sys.argv[1:]
    path = pathlib.Path(where)
    globals()[mode](json.loads((path / "config.json").read_text()), path)
