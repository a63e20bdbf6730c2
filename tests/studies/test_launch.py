"""What is done, what is not done again, and what a failure costs; runs are those of `stub`."""

import contextlib
import json
import math
import os
import pathlib
import signal
import threading
import time

import pytest

from gca_jax import studies
from gca_jax.files import write_json
from gca_jax.signals import Stopped, handled
from gca_jax.studies import launch
from gca_jax.studies.grid import Part, all_runs, number_of_runs, part, slots
from gca_jax.studies.launch import execute
from gca_jax.studies.results import choose, collect, resolve
from gca_jax.workdir import RunFolder
from tests import processes
from tests.studies import stub

M = studies.Method


@pytest.fixture(autouse=True)
def own_environment(monkeypatch):
    """What a study sets for its runs is unset afterwards."""
    for name in ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"):
        if name in os.environ:
            monkeypatch.setenv(name, os.environ[name])


def do_here(grid, workdir, keep=lambda run: True):
    """Do runs in this process."""
    for run in all_runs(grid):
        if keep(run):
            stub.do(run, workdir)


def times(workdir):
    """How often each run was done."""
    found = workdir.rglob("times.txt")
    return {str(p.parent.relative_to(workdir)): p.read_text().count("once") for p in found}


def test_candidates_are_tried_the_best_is_run_and_nothing_is_done_twice(planned, tmp_path, capfd):
    study, grid = planned(seeds=(0, 1))
    here = [run for run in all_runs(grid) if run.method == "InfoNCE" and run.seed == 0]
    do_here(grid, tmp_path, lambda run: run in here)
    capfd.readouterr()
    assert execute(study, grid, tmp_path, program=stub.program("run")) == 0
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
    assert execute(study, grid, tmp_path, program=stub.program("never")) == 0
    assert times(tmp_path) == dict.fromkeys(done, 1)
    assert json.loads((tmp_path / "failed.json").read_text()) == []


def test_a_run_that_fails_or_dies_is_named_and_tried_again_and_the_others_go_on(
    planned, tmp_path, capfd
):
    methods = {
        method: M(method)
        for method in ("simclr", "gca_ince", "ince", "gca_uot", "gca_rince", "byol")
    }
    study, grid = planned(methods=methods, seeds=(0,), reference="simclr")
    assert execute(study, grid, tmp_path, program=stub.program("bad"), jobs=2) == 5
    assert set(times(tmp_path)) == {"runs/all/simclr/seed0"}
    errors = {
        "runs/all/gca_ince/seed0": "loss is nan at step 3 and so on",
        "runs/all/ince/seed0": "RuntimeError: no such thing",
        "runs/all/gca_uot/seed0": "its process ended by signal SIGKILL",
        "runs/all/gca_rince/seed0": "it ended without evaluation",
        "runs/all/byol/seed0": "its process ended with status 3",
    }
    failed = json.loads((tmp_path / "failed.json").read_text())
    assert {one["folder"]: one["error"] for one in failed} == errors
    said = capfd.readouterr().err
    for folder, error in errors.items():
        assert f"failed: {folder}: {error}\n" in said
    assert "Traceback" not in said
    assert "Traceback" in (tmp_path / "runs/all/ince/seed0/log.txt").read_text()
    assert execute(study, grid, tmp_path, program=stub.program("run")) == 0
    assert times(tmp_path) == dict.fromkeys([*errors, "runs/all/simclr/seed0"], 1)
    assert json.loads((tmp_path / "failed.json").read_text()) == []


def test_a_run_that_hangs_is_killed_with_its_children_and_the_others_go_on(
    planned, tmp_path, monkeypatch
):
    methods = {"hung": M("gca_ince"), "other": M("simclr")}
    study, grid = planned(methods=methods, seeds=(0,), reference="other")
    child = tmp_path / "runs/all/hung/seed0/child.json"
    passed = {"hung": lambda: float(child.exists()), "other": lambda: 0.0}
    monkeypatch.setattr(launch.Job, "minutes", lambda job: passed[job.run.method]())
    assert execute(study, grid, tmp_path, program=stub.program("hung"), limit_minutes=0.001) == 1
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
    measures = {"few labels": "accuracy.few", "none": "none"}
    study, grid = planned(seeds=(0,), measures=measures, plain=(), methods={"InfoNCE": M("simclr")})
    do_here(grid, tmp_path)
    assert execute(study, grid, tmp_path, program=stub.program("never")) == 1
    (failed,) = json.loads((tmp_path / "failed.json").read_text())
    assert failed["error"] == "evaluation.json has no accuracy.few: there is linear, knn"


def test_a_measure_may_be_null_but_not_what_chooses(planned, tmp_path):
    measures = {"linear": "accuracy.linear", "none": "none"}
    study, grid = planned(seeds=(0,), measures=measures, plain=(), choose_by="none")
    do_here(grid, tmp_path)
    assert execute(study, grid, tmp_path, program=stub.program("never")) == 3
    failed = json.loads((tmp_path / "failed.json").read_text())
    assert {one["error"] for one in failed} == {"none in evaluation.json is null: it cannot choose"}
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
            score_with(tmp_path / run.folder, value)
    assert choose(study, cell, tmp_path, {}) == (0, pytest.approx((0.6, 0.6, 0.5)), True)
    without = {cell.trials[0][1].folder: "it failed"}
    assert choose(study, cell, tmp_path, without) == (
        1,
        (None, *map(pytest.approx, (0.6, 0.5))),
        True,
    )
    every = {run.folder: "it failed" for runs in cell.trials for run in runs}
    assert choose(study, cell, tmp_path, every) == (None, (None, None, None), True)


def score_with(folder, value):
    """Let a run's evaluation have found this."""
    path = folder / "evaluation.json"
    found = json.loads(path.read_text())
    write_json(path, found | {"accuracy": {"linear": value}})


def run_epsilon(runs):
    return runs[0].config.loss.epsilon


def test_the_choice_reads_validation_runs_alone(planned, tmp_path):
    """Final runs that are there, of whatever number, change nothing."""
    study, grid = planned()
    do_here(grid, tmp_path, lambda run: not run.final)
    before = choose(study, grid[1], tmp_path, {})
    do_here(grid, tmp_path, lambda run: run.final)
    for run in grid[1].finals[0]:
        score_with(tmp_path / run.folder, 1.0)
    assert choose(study, grid[1], tmp_path, {}) == before
    assert before.best == 1


def test_a_study_whose_candidates_all_failed_does_the_rest(planned, tmp_path):
    methods = {"InfoNCE": M("simclr"), "b": M("gca_ince", choose={"loss.epsilon": (0.1, 0.2)})}
    study, grid = planned(methods=methods, seeds=(0,))
    assert execute(study, grid, tmp_path, program=stub.program("bad")) == 2
    results = collect(study, grid, tmp_path)
    assert [row.method for row in results.rows] == ["InfoNCE"]
    assert results.missing == ["all, b: 1 final runs"]


def test_runs_of_an_edited_study_are_refused_in_one_line(planned, tmp_path):
    _, grid = planned(seeds=(0,))
    do_here(grid, tmp_path, lambda run: run.method == "InfoNCE" or not run.final)
    study, other = planned(seeds=(0,), common={"train.epochs": 7})
    message = (
        r"InfoNCE/seed0 holds a run of another config: .*"
        r"train.epochs: 60 there, 7 here.*Choose another --workdir"
    )
    with pytest.raises(ValueError, match=message) as caught:
        execute(study, other, tmp_path, program=stub.program("run"))
    assert len(str(caught.value).splitlines()) == 1
    assert times(tmp_path) == dict.fromkeys(times(tmp_path), 1)


def test_a_folder_that_training_has_only_begun_is_gone_on_with(planned, tmp_path):
    _, grid = planned(seeds=(0,))
    run = grid[0].finals[0][0]
    do_here(grid, tmp_path, lambda one: one is run)
    assert run.is_finished(tmp_path)
    (tmp_path / run.folder / "report.json").unlink()  # a study reads the evaluation
    assert run.is_finished(tmp_path)
    (tmp_path / run.folder / "evaluation.json").unlink()
    assert not run.is_finished(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 1), (signal.SIGUSR1, 0)], ids=["ctrl-c", "sigusr1"]
)
def test_a_study_is_stopped_with_its_runs_and_gone_on_with(planned, tmp_path, number, status):
    of_one = {"methods": {"a": M("simclr")}, "measures": {}, "plain": (), "reference": None}
    study, grid = planned(seeds=(0, 1), **of_one)
    last = tmp_path / "runs/all/a/seed1"

    def stop():
        wait_for(last / "begun")
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=stop)
    thread.start()
    says = "^stopped, 1 of 2 runs left; run the same command again to go on from there$"
    # A session in the background ignores Ctrl-C.
    ctrl_c = handled({signal.SIGINT: signal.default_int_handler})
    with ctrl_c, pytest.raises(Stopped, match=says) as caught:
        execute(study, grid, tmp_path, program=stub.program("slow"))
    thread.join()
    assert caught.value.status == status
    assert (tmp_path / "runs/all/a/seed0/report.json").exists()
    assert (last / "signals.txt").read_text() == "SIGTERM\n"
    assert (last / "log.txt").read_text() == "stopped\n"
    assert execute(study, grid, tmp_path, program=stub.program("run")) == 0
    assert times(tmp_path) == {f"runs/all/a/seed{seed}": 1 for seed in (0, 1)}


def wait_for(path, patience=60.0):
    """Wait until a file is there."""
    end = time.monotonic() + patience
    while not path.exists():
        assert time.monotonic() < end, path
        time.sleep(0.05)


TOGETHER = """
import os, pathlib, sys, time
from gca_jax import studies
from gca_jax.studies.grid import cells
from gca_jax.studies.launch import execute
from tests.studies import stub
workdir, name, other, seconds = pathlib.Path(sys.argv[1]), *sys.argv[2:]
study = studies.Study(
    "configs/digits.py",
    methods={
        "a": studies.Method("simclr"),
        "b": studies.Method("gca_uot", choose={"loss.epsilon": (0.1, 0.3, 0.5)}),
    },
    seeds=(0, 1, 2),
    measures={"linear": "accuracy.linear"},
    choose_by="accuracy.linear",
)
grid = cells(study)
pathlib.Path(f"{workdir}-{name}").touch()
while not pathlib.Path(f"{workdir}-{other}").exists():
    time.sleep(0.01)
program = stub.program("moment")
launcher = f"env BY={name} SECONDS={seconds}"  # one of both overtakes the other
sys.exit(execute(study, grid, workdir, launcher=launcher, program=program))
"""


@pytest.mark.slow
def test_two_commands_work_on_one_study_and_each_run_is_done_once(tmp_path):
    workdir = tmp_path / "study"
    both = [
        processes.start("-c", TOGETHER, workdir, *names)
        for names in (("slow", "quick", 1.5), ("quick", "slow", 0))
    ]
    for process in both:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert err.splitlines()[-1] == "9 runs done, 0 failed, 0 left"
    tried = {f"runs/all/b/epsilon={e}-seed1000-validation" for e in (0.1, 0.3, 0.5)}
    finals = {f"runs/all/{one}seed{k}" for one in ("a/", "b/epsilon=0.3-") for k in (0, 1, 2)}
    assert times(workdir) == dict.fromkeys(tried | finals, 1)
    assert {path.read_text() for path in workdir.rglob("by.txt")} == {"slow", "quick"}
    assert json.loads((workdir / "failed.json").read_text()) == []


def test_a_run_that_another_command_is_at_is_waited_for(planned, tmp_path):
    """A study's claim and a run's lock alike; it is done here if the other ends without it."""
    study, grid = planned(methods={"a": M("simclr")}, seeds=(0, 1), reference=None)
    first, second = grid[0].finals[0]
    others = contextlib.ExitStack()
    assert RunFolder(tmp_path / first.folder).claim(others)
    others.enter_context(RunFolder(tmp_path / second.folder).locked())

    def end_both():
        before.update(times(tmp_path))
        stub.do(first, tmp_path)
        others.close()

    before = {}
    timer = threading.Timer(1.5, end_both)
    timer.start()
    assert execute(study, grid, tmp_path, program=stub.program("surroundings")) == 0
    timer.join()
    assert before == {}
    assert times(tmp_path) == {first.folder: 1, second.folder: 1}
    assert not (tmp_path / first.folder / "environment.json").exists()
    assert (tmp_path / second.folder / "environment.json").exists()


@pytest.mark.parametrize("launcher", ["", "env X='a b' Y=2"])
def test_a_run_has_its_part_of_the_machine_or_what_a_launcher_gives_it(
    planned, tmp_path, monkeypatch, launcher
):
    monkeypatch.setenv("MKL_NUM_THREADS", "7")
    for name in ("OMP_NUM_THREADS", "XLA_PYTHON_CLIENT_MEM_FRACTION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    study, grid = planned(methods={"a": M("simclr")}, seeds=(0, 1), reference=None)
    asked = {"jobs": 2, "launcher": launcher, "program": stub.program("surroundings")}
    assert execute(study, grid, tmp_path, **asked) == 0
    for run in grid[0].finals[0]:
        given = json.loads((tmp_path / run.folder / "environment.json").read_text())
        assert (given.get("X"), given.get("Y")) == (("a b", "2") if launcher else (None, None))
        assert given.get("OMP_NUM_THREADS") == (None if launcher else "1")
        assert given["MKL_NUM_THREADS"] == "7"  # the user's word counts
        assert given.get("XLA_PYTHON_CLIENT_MEM_FRACTION") == (None if launcher else "0.450")
        assert given["PYTHONPATH"].split(os.pathsep)[0] == str(processes.ROOT)


def test_a_launcher_that_is_not_there_fails_every_run_in_one_line(planned, tmp_path):
    study, grid = planned(methods={"a": M("simclr")}, seeds=(0, 1), reference=None)
    asked = {"launcher": "no_such_launcher -n1", "program": stub.program("run")}
    assert execute(study, grid, tmp_path, **asked) == 2
    failed = json.loads((tmp_path / "failed.json").read_text())
    assert [one["error"] for one in failed] == ["no_such_launcher: No such file or directory"] * 2
    assert execute(study, grid, tmp_path, program=stub.program("run")) == 0


def remove(path):
    path.unlink()


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def put_a_list(path):
    path.write_text("[]")


DAMAGE = [
    ("config.json", cut),
    ("evaluation.json", put_a_list),
    ("evaluation.npz", cut),
    ("report.json", put_a_list),
    ("training.json", put_a_list),
    ("config.json", remove),
    ("evaluation.json", cut),
    ("evaluation.json", remove),
    ("evaluation.npz", remove),
    ("report.json", cut),
    ("config.json", put_a_list),
]


def test_a_run_that_was_damaged_is_not_finished(planned, tmp_path):
    _, grid = planned(seeds=(0,))
    run = grid[0].finals[0][0]
    stub.do(run, tmp_path)
    assert run.is_finished(tmp_path)
    for name, damage in DAMAGE:
        path = tmp_path / run.folder / name
        before = path.read_bytes()
        damage(path)
        assert not run.is_finished(tmp_path), (name, damage)
        path.write_bytes(before)


def test_finished_runs_that_were_damaged_are_done_again(planned, tmp_path):
    study, grid = planned(seeds=(0, 1))
    do_here(grid, tmp_path)
    # Those that are chosen, of the other method, and one that served to choose.
    runs = (*grid[1].finals[1], *grid[0].finals[0], grid[1].trials[1][0])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
    for run, (name, damage) in zip(runs, DAMAGE[: len(runs)], strict=True):
        damage(tmp_path / run.folder / name)
    assert execute(study, grid, tmp_path, program=stub.program("run"), jobs=2) == 0
    assert times(tmp_path) == {one.folder: 1 + (one in runs) for one in all_runs(grid)}
    results = collect(study, grid, tmp_path)
    assert (results.missing, results.failed, len(results.rows)) == ([], [], 4)
    assert before == {path: path.read_bytes() for path in before}


def test_a_file_in_place_of_a_run_s_folder_is_a_failure_of_one_line(planned, tmp_path, capfd):
    study, grid = planned(methods={"a": M("simclr")}, seeds=(0, 1), reference=None)
    path = tmp_path / "runs/all/a/seed0"
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    assert execute(study, grid, tmp_path, program=stub.program("run")) == 1
    (failed,) = json.loads((tmp_path / "failed.json").read_text())
    assert failed["error"] == f"{path}: File exists"
    said = [line for line in capfd.readouterr().err.splitlines() if "failed: " in line]
    assert said == [f"failed: runs/all/a/seed0: {path}: File exists"]
    assert path.read_text() == "mine"
    assert times(tmp_path) == {"runs/all/a/seed1": 1}


def test_cores_are_shared(monkeypatch):
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("this system has no such thing")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 6, 7, 8})
    assert launch.share(0, 1) == []
    assert [launch.share(place, 2) for place in range(2)] == [[3, 5], [6, 7]]
    assert [launch.share(place, 8) for place in range(6)] == [[3], [5], [6], [7], [8], [3]]


def parts(study, grid, workdir, *numbers, of, mode="run", **asked):
    """Do parts of a study, and give the error of each, if any."""
    found = []
    for number in numbers:
        try:
            found.append(
                execute(
                    study, grid, workdir, part=Part(number, of), program=stub.program(mode), **asked
                )
            )
        except ValueError as error:
            found.append(str(error))
    return found


def test_the_list_of_runs_has_each_once_and_trials_first(planned):
    study, grid = planned()
    every = slots(grid)
    assert len(every) == number_of_runs(study, grid) == 3 + 2 * 3
    folders = [run.folder for slot in every for run in slot.runs]
    assert sorted(folders) == sorted(run.folder for run in all_runs(grid))
    assert [len(slot.runs) for slot in every] == [1] * 3 + [1, 3] * 3
    assert [slot.runs[0].seed for slot in every[3:]] == [0, 0, 1, 1, 2, 2]
    split = [number for k in (1, 2, 3, 4) for number, _ in Part(k, 4).numbered(grid)]
    assert sorted(split) == [*range(1, 10)]
    assert Part(12, 12).numbered(grid) == []


@pytest.mark.parametrize("text", ["", "3", "0/4", "5/4", "1/0", "a/b", "1/2/3", "-1/2", "1/ 2"])
def test_a_part_that_there_is_not_is_one_line(text):
    with pytest.raises(ValueError, match=r"^--runs must be K/N with K from 1 to N, .*3/12, got "):
        part(text)


def test_parts_do_each_run_once_and_leave_what_depends_on_a_choice(planned, tmp_path):
    study, grid = planned()
    waits = "1 of 1 run left, whose settings runs of other parts choose: run the same command"
    first = parts(study, grid, tmp_path, 4, 5, 1, 2, of=9)
    assert first == [0, waits + " again when those are done", 0, 0]
    assert times(tmp_path) == {
        "runs/all/InfoNCE/seed0": 1,
        **{f"runs/all/GCA-UOT/epsilon={e}-seed1000-validation": 1 for e in (0.1, 0.3)},
    }
    assert parts(study, grid, tmp_path, *range(1, 10), of=9) == [0] * 9
    done = [run.folder for _, _, run in resolve(study, grid, tmp_path)]
    assert times(tmp_path) == dict.fromkeys(done, 1)
    assert collect(study, grid, tmp_path).missing == []
    assert execute(study, grid, tmp_path, program=stub.program("never")) == 0


def test_a_part_goes_on_with_finals_whose_trials_others_did_meanwhile(planned, tmp_path):
    """Part 1 of 2 has two trials, part 2 the third, which is done while part 1 is at work."""
    study, grid = planned(seeds=(0,))
    trial = slots(grid)[1].runs[0]
    begun = threading.Timer(0.5, lambda: stub.do(trial, tmp_path))
    begun.start()
    assert parts(study, grid, tmp_path, 1, of=2, mode="moment", launcher="env BY=1 SECONDS=2") == [
        0
    ]
    begun.join()
    assert "runs/all/GCA-UOT/epsilon=0.3-seed0" in times(tmp_path)


def test_parts_forget_their_own_failures_alone(planned, tmp_path):
    methods = {"a": M("ince"), "b": M("gca_ince")}
    study, grid = planned(methods=methods, seeds=(0,), reference=None)
    assert parts(study, grid, tmp_path, 1, 2, of=2, mode="bad") == [1, 1]
    failed = json.loads((tmp_path / "failed.json").read_text())
    assert [one["method"] for one in failed] == ["a", "b"]
    assert parts(study, grid, tmp_path, 2, of=2) == [0]
    failed = json.loads((tmp_path / "failed.json").read_text())
    assert [one["method"] for one in failed] == ["a"]


def test_a_failed_trial_of_another_part_cannot_be_chosen(planned, tmp_path):
    methods = {"b": M("gca_uot", choose={"loss.epsilon": (0.1, 0.3)})}
    study, grid = planned(methods=methods, seeds=(0,), reference=None)
    trial = slots(grid)[1].runs[0]  # the better one
    entry = {"folder": trial.folder, "condition": "all", "method": "b", "error": "no memory"}
    do_here(grid, tmp_path, lambda run: run is slots(grid)[0].runs[0])
    assert "settings runs of other parts choose" in parts(study, grid, tmp_path, 3, of=3)[0]
    write_json(tmp_path / "failed.json", [entry])
    assert parts(study, grid, tmp_path, 3, of=3) == [0]
    assert "runs/all/b/epsilon=0.1-seed0" in times(tmp_path)


def test_a_part_does_not_wait_for_a_run_at_work_elsewhere(planned, tmp_path, capfd):
    study, grid = planned(methods={"a": M("simclr")}, seeds=(0, 1), reference=None)
    with contextlib.ExitStack() as other:
        assert RunFolder(tmp_path / grid[0].finals[0][0].folder).claim(other)
        assert parts(study, grid, tmp_path, 1, of=1) == [0]
    assert times(tmp_path) == {"runs/all/a/seed1": 1}
    said = capfd.readouterr().err.splitlines()
    assert "at work elsewhere: runs/all/a/seed0" in said
    assert said[-1] == "1 run done, 0 failed, 0 left"


def test_runs_made_elsewhere_count(planned, tmp_path):
    """Without checkpoints, reports, or the same folder of prepared data."""
    study, grid = planned(methods={"a": M("simclr")}, seeds=(0, 1), reference=None)
    for run in grid[0].finals[0]:
        stub.do(run, tmp_path)
        folder = tmp_path / run.folder
        (folder / "report.json").unlink()
        record = json.loads((folder / "config.json").read_text())
        write_json(
            folder / "config.json", record | {"data": record["data"] | {"data_dir": "/their/own"}}
        )
    assert execute(study, grid, tmp_path, program=stub.program("never")) == 0
    assert len(collect(study, grid, tmp_path).rows) == 2


def test_a_run_that_goes_on_here_reads_the_data_that_are_here(tmp_path):
    record = {"data": {"name": "cifar10", "data_dir": "/theirs"}, "method": "ince", "seed": 0}
    record |= {"train": {"epochs": 1}}
    folder = RunFolder(tmp_path)
    folder.plan(record)
    here = record | {"data": {"kind": "images", "name": "cifar10", "data_dir": "/ours"}}
    RunFolder(tmp_path).plan(here)
    assert json.loads((tmp_path / "config.json").read_text()) == here
