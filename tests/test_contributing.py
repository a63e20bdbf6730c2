"""The worked examples of CONTRIBUTING.md, carried out on a copy of the project."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
COPIED = ("gca_jax", "configs", "tests", "main.py", "pyproject.toml")
CHECKED = (  # the examples' own tests, and those of the project that find the new loss and data set
    "tests/test_soft_classes.py",
    "tests/models/test_perceptron.py",
    "tests/data/sources/test_mnist.py",
    "tests/evaluation/test_centroids.py",
    "tests/test_losses_invariants.py::test_every_hyper_parameter_changes_the_value[half_gca_ince]",
    "tests/test_losses_invariants.py::test_the_embeddings_dtype[half_gca_ince-float32]",
    "tests/test_configs.py::test_a_docstring_has_commands_time_and_numbers[mnist]",
    "tests/test_docstrings.py::test_every_loss_has_an_example",
)


def carry_out(block, tree):
    """Write a block's file, append to it, or add the block's lines to a table."""
    head, body = block.split("\n", 1)
    if head.startswith("# "):
        path = tree / head[2:]
        old = path.read_text().rstrip() + "\n\n\n" if path.exists() else ""
        path.parent.mkdir(exist_ok=True)
        path.write_text(old + body)
        return
    name, table = head[2:].split(": ")
    path = tree / name
    begin = re.compile(rf"^ *{table}\b.*=.*[\[{{(](?=.*[)}}]$|$)", re.M)  # the literal's first line
    text, found = begin.subn(lambda match: f"{match[0]}\n{body}", path.read_text(), count=1)
    assert found == 1, head
    module = re.search(r": (\w+)[.,]", body)  # that the line names
    new = module and module[1]
    if new and (path.parent / f"{new}.py").exists() and f"import {new}" not in text:
        package = ".".join(path.parent.relative_to(tree).parts)
        text = text.replace("\nfrom ", f"\nfrom {package} import {new}\nfrom ", 1)
    path.write_text(text)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the project with every example carried out."""
    tree = tmp_path_factory.mktemp("tree")
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tree / name)
    blocks = BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text())
    for block in blocks:
        if block.startswith(("# ", "+ ")):
            carry_out(block, tree)
    assert len(blocks) >= 18
    return tree


def run(tree, *arguments):
    """Run Python in the copy, which comes first on its path."""
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=tree, env=environment, capture_output=True, text=True
    )


@pytest.mark.slow
def test_the_examples_pass_their_tests(tree):
    done = run(tree, "-m", "pytest", "-q", "-p", "no:cacheprovider", *CHECKED)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.slow
def test_a_run_takes_the_new_loss_target_encoder_and_probe(tree, tmp_path):
    words = "half_gca_ince,perceptron,smoke"
    target = ("--config.target.name=soft_classes", "--config.target.alpha=0.25")
    config = f"--config=configs/digits.py:{words}"
    done = run(tree, "main.py", config, *target, f"--workdir={tmp_path}")
    assert done.returncode == 0, done.stderr[-3000:]
    assert re.search(r"^centroids: \d", done.stdout, re.M), done.stdout
    assert "class means" in (tmp_path / "report.md").read_text()


@pytest.mark.slow
def test_a_kind_of_data_from_outside_trains_is_judged_reported_and_loaded(tree):
    done = run(tree, "run_sensors.py")
    assert done.returncode == 0, done.stderr[-3000:]
    folder = tree / "runs/sensors"
    found = json.loads((folder / "report.json").read_text())
    raw, untrained = (found["baselines"][name]["ridge"] for name in ("raw", "random_encoder"))
    assert found["accuracy"]["ridge"] > max(raw, untrained)
    page = (folder / "report.md").read_text()
    assert f"| raw input | {100 * raw:.1f} |" in page
    assert "recordings per second" in page
    assert (folder / "figures/training.png").exists()
    assert done.stdout.splitlines()[-1] == "(120, 32)"
    again = run(tree, "run_sensors.py")
    assert "trained to its end: it is not trained again" in again.stdout
