"""What is done, what is not done again, and what a failure costs; runs are those of `stub`."""

import json
import math
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from gca_jax.studies.execute import execute

from gca_jax import studies
from gca_jax.files import write_json
from gca_jax.studies import pool
from gca_jax.studies.grid import all_runs, finished
from gca_jax.studies.results import choose, collect
from tests.studies import stub

M = studies.Method


@pytest.fixture(autouse=True)
def own_environment(monkeypatch):
    """What a study sets for its workers is unset afterwards."""
    for name in ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"):
        if name in os.environ:
            monkeypatch.setenv(name, os.environ[name])


def do_here(grid, workdir, keep=lambda run: True):
    """Do runs in this process."""
    for run in all_runs(grid):
        if keep(run):
            (workdir / run.folder).mkdir(parents=True, exist_ok=True)
            stub.run(run.config, workdir / run.folder)


def times(workdir):
    """How often each run was done."""
    found = workdir.rglob("times.txt")
    return {str(p.parent.relative_to(workdir)): p.read_text().count("once") for p in found}


def test_candidates_are_tried_the_best_is_run_and_nothing_is_done_twice(planned, tmp_path, capfd):
    study, grid = planned(seeds=(0, 1))
    here = [run for run in all_runs(grid) if run.method == "InfoNCE" and run.seed == 0]
    do_here(grid, tmp_path, lambda run: run in here)
    capfd.readouterr()
    assert execute(study, grid, tmp_path, stub.run) == 0
    done = times(tmp_path)
    chosen = {f"runs/all/GCA-UOT/epsilon=0.3-seed{seed}" for seed in (0, 1)}
    tried = {f"runs/all/GCA-UOT/epsilon={e}-seed1000-validation" for e in (0.1, 0.3, 0.5)}
    assert set(done) == chosen | tried | {f"runs/all/InfoNCE/seed{seed}" for seed in (0, 1)}
    log = tmp_path / "runs/all/GCA-UOT/epsilon=0.3-seed1/log.txt"
    assert log.read_text() == "gca_uot, seed 1\n"
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines()[0] == "1 run done, 0 failed, 6 left"
    assert err.splitlines()[-1] == "7 runs done, 0 failed, 0 left"
    assert execute(study, grid, tmp_path, stub.never) == 0
    assert times(tmp_path) == dict.fromkeys(done, 1)
    assert json.loads((tmp_path / "failed.json").read_text()) == []


def test_a_run_that_fails_or_dies_is_named_and_tried_again_and_the_others_go_on(
    planned, tmp_path, capfd
):
    methods = {method: M(method) for method in ("simclr", "gca_ince", "gca_uot", "gca_rince")}
    study, grid = planned(methods=methods, seeds=(0,), reference="simclr")
    assert execute(study, grid, tmp_path, stub.bad, jobs=2) == 3
    assert set(times(tmp_path)) == {"runs/all/simclr/seed0"}
    errors = {
        "runs/all/gca_ince/seed0": "loss is nan at step 3 and so on",
        "runs/all/gca_uot/seed0": "its process ended by signal SIGKILL",
        "runs/all/gca_rince/seed0": "it ended without a report",
    }
    failed = json.loads((tmp_path / "failed.json").read_text())
    assert {one["folder"]: one["error"] for one in failed} == errors
    said = capfd.readouterr().err
    for folder, error in errors.items():
        assert f"failed: {folder}: {error}\n" in said
    assert "Traceback" not in said
    assert "Traceback" in (tmp_path / "runs/all/gca_ince/seed0/log.txt").read_text()
    assert execute(study, grid, tmp_path, stub.run) == 0
    assert times(tmp_path) == dict.fromkeys([*errors, "runs/all/simclr/seed0"], 1)
    assert json.loads((tmp_path / "failed.json").read_text()) == []


def test_a_run_that_hangs_is_killed_with_its_children_and_the_others_go_on(
    planned, tmp_path, monkeypatch
):
    methods = {"hung": M("gca_ince"), "other": M("simclr")}
    study, grid = planned(methods=methods, seeds=(0,), reference="other")
    child = tmp_path / "runs/all/hung/seed0/child.json"
    passed = {"hung": lambda: float(child.exists()), "other": lambda: 0.0}
    monkeypatch.setattr(pool.Worker, "minutes", lambda worker: passed[worker.run.method]())
    assert execute(study, grid, tmp_path, stub.hung, limit_minutes=0.001) == 1
    (failed,) = json.loads((tmp_path / "failed.json").read_text())
    assert (failed["method"], failed["error"]) == ("hung", "no end after 0.001 minutes")
    assert set(times(tmp_path)) == {"runs/all/other/seed0"}
    assert ended(json.loads(child.read_text()))


def ended(number, patience=5.0):
    """Whether a process ends; its parent is dead, and a zombie is no process."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        state = pathlib.Path(f"/proc/{number}/stat")
        try:
            if state.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
            time.sleep(0.05)
        except OSError:
            return True
    return False


def test_a_run_without_what_the_study_reads_has_failed(planned, tmp_path):
    measures = {"few labels": "accuracy.few", "none": "accuracy.none"}
    study, grid = planned(seeds=(0,), measures=measures, plain=(), methods={"InfoNCE": M("simclr")})
    do_here(grid, tmp_path)
    assert execute(study, grid, tmp_path, stub.never) == 1
    (failed,) = json.loads((tmp_path / "failed.json").read_text())
    assert failed["error"] == "evaluation.json has no accuracy.few: there is linear, knn, none"


def test_a_measure_may_be_null_but_not_what_chooses(planned, tmp_path):
    measures = {"linear": "accuracy.linear", "none": "accuracy.none"}
    study, grid = planned(seeds=(0,), measures=measures, plain=(), choose_by="accuracy.none")
    do_here(grid, tmp_path)
    assert execute(study, grid, tmp_path, stub.never) == 3
    failed = json.loads((tmp_path / "failed.json").read_text())
    assert {one["error"] for one in failed} == {
        "accuracy.none in evaluation.json is null: it cannot choose"
    }
    (row,) = collect(study, grid, tmp_path).rows  # of the method that chooses nothing
    assert math.isnan(row.values["none"])
    assert row.values["linear"] > 0


def test_the_best_candidate_that_finished_is_chosen_and_the_earlier_of_equal_ones(
    planned, tmp_path
):
    study, grid = planned(choose_seeds=(7, 8))
    cell = grid[1]
    assert not choose(study, cell, tmp_path, {}).complete
    scores = {0.1: (0.5, 0.7), 0.3: (0.6, 0.6), 0.5: (0.9, 0.1)}
    do_here(grid, tmp_path, lambda run: not run.final)
    for runs in cell.trials:
        for run, value in zip(runs, scores[run_epsilon(runs)], strict=True):
            path = tmp_path / run.folder / "evaluation.json"
            write_json(path, {"accuracy": {"linear": value}})
    assert choose(study, cell, tmp_path, {}) == (0, pytest.approx((0.6, 0.6, 0.5)), True)
    without = {cell.trials[0][1].folder: "it failed"}
    assert choose(study, cell, tmp_path, without) == (
        1,
        (None, *map(pytest.approx, (0.6, 0.5))),
        True,
    )
    every = {run.folder: "it failed" for runs in cell.trials for run in runs}
    assert choose(study, cell, tmp_path, every) == (None, (None, None, None), True)


def run_epsilon(runs):
    return runs[0].config.loss.epsilon


def test_the_choice_reads_validation_runs_alone(planned, tmp_path):
    """Final runs that are there, of whatever number, change nothing."""
    study, grid = planned()
    do_here(grid, tmp_path, lambda run: not run.final)
    before = choose(study, grid[1], tmp_path, {})
    do_here(grid, tmp_path, lambda run: run.final)
    for run in grid[1].finals[0]:
        write_json(tmp_path / run.folder / "evaluation.json", {"accuracy": {"linear": 1.0}})
    assert choose(study, grid[1], tmp_path, {}) == before
    assert before.best == 1


def test_a_study_whose_candidates_all_failed_does_the_rest(planned, tmp_path):
    methods = {"InfoNCE": M("simclr"), "b": M("gca_ince", choose={"loss.epsilon": (0.1, 0.2)})}
    study, grid = planned(methods=methods, seeds=(0,))
    assert execute(study, grid, tmp_path, stub.bad) == 2
    results = collect(study, grid, tmp_path)
    assert [row.method for row in results.rows] == ["InfoNCE"]
    assert results.missing == ["all, b: 1 final runs"]


def test_runs_of_an_edited_study_are_refused_in_one_line(planned, tmp_path):
    _, grid = planned(seeds=(0,))
    do_here(grid, tmp_path, lambda run: run.method == "InfoNCE" or not run.final)
    study, other = planned(seeds=(0,), common={"train.epochs": 7})
    message = (
        r"InfoNCE/seed0 holds a run of another config, as do 3 more folders: .*"
        r"train.epochs: 60 there, 7 here.*Choose another --workdir"
    )
    with pytest.raises(ValueError, match=message) as caught:
        execute(study, other, tmp_path, stub.run)
    assert len(str(caught.value).splitlines()) == 1
    assert times(tmp_path) == dict.fromkeys(times(tmp_path), 1)


def test_a_folder_that_training_has_only_begun_is_gone_on_with(planned, tmp_path):
    _, grid = planned(seeds=(0,))
    run = grid[0].finals[0][0]
    do_here(grid, tmp_path, lambda one: one is run)
    assert finished(tmp_path, run)
    (tmp_path / run.folder / "report.json").unlink()
    assert not finished(tmp_path, run)


STOPPED = """
import signal, sys, pathlib
signal.signal(signal.SIGINT, signal.default_int_handler)  # what a background job ignores
from gca_jax import studies
from gca_jax.studies import describe
from gca_jax.studies.execute import execute
from gca_jax.studies.grid import cells
from gca_jax.signals import Stopped
from tests.studies import stub
if __name__ == "__main__":
    config = studies.make(
        "configs/digits.py", methods={"a": studies.Method("simclr")}, seeds=(0, 1), measures={}
    )
    study = describe.read(config)
    try:
        execute(study, cells(study), pathlib.Path(sys.argv[1]), stub.slow)
    except Stopped as stopped:
        print(stopped)
        sys.exit(stopped.status)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 1), (signal.SIGTERM, 0)], ids=["ctrl-c", "sigterm"]
)
def test_a_study_is_stopped_with_its_workers(tmp_path, number, status):
    script = tmp_path / "stopped.py"
    script.write_text(STOPPED)
    root = pathlib.Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "study")],
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    begun, end = tmp_path / "study/runs/all/a/seed1/begun", time.monotonic() + 60
    while not begun.exists() and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (
        status,
        "stopped, 1 of 2 runs left; run the same command again to go on from there\n",
    ), err
    assert (tmp_path / "study/runs/all/a/seed0/report.json").exists()


def test_cores_are_shared(monkeypatch):
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("this system has no such thing")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 6, 7, 8})
    assert pool.share(0, 1) == []
    assert [pool.share(place, 2) for place in range(2)] == [[3, 5], [6, 7]]
    assert [pool.share(place, 8) for place in range(6)] == [[3], [5], [6], [7], [8], [3]]
