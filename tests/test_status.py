"""Where a run or a study stands, read off files as they are left."""

import json
import os
import subprocess
import sys
import time

import pytest

from gca_jax import distributed, studies
from gca_jax.files import write_json
from gca_jax.report.status import of_part, status
from gca_jax.studies.grid import Part, all_runs, cells
from gca_jax.training.log import progress_bar
from gca_jax.workdir import RunFolder, as_json
from tests.studies import stub


def write_run(folder, config, steps, per_epoch):
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", as_json(config))
    rows = [
        {"step": k, "epoch": k / per_epoch, "loss": 5 - k, "gradient_norm": 1 / 3}
        for k in range(1, steps + 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_run_under_way_and_finished(tiny, tmp_path):
    config = tiny("ince", **{"train.epochs": 4})
    write_run(tmp_path, config, steps=3, per_epoch=3)
    (tmp_path / "checkpoints" / "2").mkdir(parents=True)
    then = time.time() - 7_300
    os.utime(tmp_path / "metrics.jsonl", (then, then))
    assert [*status(tmp_path, config)] == [
        f"{tmp_path}: ince on digits, seed 0",
        "training    step 3 of 12 (25%), epoch 1.0, logged 2:01:40 ago",
        "loss        2 and gradient norm 0.33333 at step 3",
        "checkpoint  step 2",
        "evaluation  not yet",
        "report      not yet",
    ]
    write_run(tmp_path, tiny("ince", **{"train.steps": 5}), steps=3, per_epoch=3)
    assert "step 3 of 5 (60%)" in [*status(tmp_path, config)][1]
    summary = {"finished": True, "steps": 12, "train_seconds": 41.7, "parameters": 9}
    summary |= {"images_per_second": 1.0, "device": "1 x cpu"}
    write_json(tmp_path / "training.json", summary)
    write_json(tmp_path / "evaluation.json", {})
    found = [*status(tmp_path, config)]
    assert found[1] == "training    finished, 12 steps in 42 s"
    assert found[-2:] == ["evaluation  written", "report      not yet"]


@pytest.mark.parametrize(
    ("rates", "left"),
    [
        ([10, 40, 40], "02:24"),  # 9 steps of 640 images, at 40 a second
        ([0.032], "2 d 2 h"),  # 180,000 s
        ([0.064], "1 d 1 h"),
        ([0.1], "16:00:00"),  # 57,600 s
        ([None, 0], None),
        ([5e-324], None),
    ],
)
def test_the_time_left_is_in_days_where_it_exceeds_one(tiny, tmp_path, rates, left):
    config = tiny("ince", **{"train.epochs": 4, "train.batch_size": 640})
    write_run(tmp_path, config, steps=3, per_epoch=3)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    for row, rate in zip(reversed(rows), reversed(rates), strict=False):
        row["images_per_second"] = rate
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    line = [*status(tmp_path, config)][1]
    assert f"(25%), {f'{left} left, ' if left else ''}epoch 1.0" in line


@pytest.mark.parametrize(
    ("seconds", "left"), [(0.0, "?"), (86_399, "23:59:59"), (183_600.5, "2 d 3 h"), (65, "01:05")]
)
def test_the_line_of_training_says_days_too(seconds, left, capsys):
    """Half of the steps took as long as the others will."""
    bar = progress_bar("ince", 200, 0)
    now = bar._time()
    bar.n, bar.start_t, bar._time = 100, now - seconds, lambda: now
    bar.refresh()
    bar.close()  # draws it again
    assert f"step 100/200, {left} left" in capsys.readouterr().err.splitlines()[-1]


def test_a_bar_that_is_not_drawn_counts(monkeypatch, capsys):
    monkeypatch.setattr(distributed, "first", lambda: False)
    with progress_bar("ince", 2, 0) as bar:
        bar.update(1)
        bar.set_postfix_str("loss 1", refresh=False)
        assert "left" not in str(bar)
    assert capsys.readouterr().err == ""


def test_a_study_with_and_without_its_config(tmp_path, tiny):
    methods = {"InfoNCE": studies.Method("ince"), "GCA": studies.Method("gca_ince")}
    config = studies.make(
        "configs/digits.py", methods=methods, seeds=(0, 1), measures={"linear": "accuracy.linear"}
    )
    runs = [*all_runs(cells(config))]
    for run in runs[:2]:
        stub.do(run, tmp_path)
    write_run(tmp_path / runs[2].folder, runs[2].config, steps=10, per_epoch=5)
    named = {"folder": runs[3].folder, "error": "loss is nan at step 3"}
    write_json(tmp_path / "failed.json", [named])
    first, hint, *others = status(tmp_path, tiny())
    assert first == f"{tmp_path}: 2 runs done, 1 failed"
    assert "--config" in hint
    assert others[0].startswith(f"begun   {runs[2].folder}: step 10 of 300 (3%), epoch 2.0, logged")
    assert others[1:] == [f"failed  {runs[3].folder}: loss is nan at step 3"]
    assert next(status(tmp_path, config)) == f"{tmp_path}: 2 runs done of 4, 1 left, 1 failed"


def test_a_run_of_a_study_whose_config_alone_is_written_has_not_begun(tmp_path, tiny):
    methods = {"InfoNCE": studies.Method("ince")}
    config = studies.make("configs/digits.py", methods=methods, seeds=(0, 1, 2), measures={})
    done, planned, begun = all_runs(cells(config))
    stub.do(done, tmp_path)
    for run in (planned, begun):
        folder = RunFolder(tmp_path / run.folder)
        folder.path.mkdir(parents=True)
        folder.plan(run.record)
        (folder.path / "claim").touch()
        (folder.path / "log.txt").touch()
    first, *others = status(tmp_path, config)
    assert (first, others) == (f"{tmp_path}: 1 run done of 3, 2 left, 0 failed", [])
    for name in ("lock", "metrics.jsonl"):
        (tmp_path / begun.folder / name).touch()
        first, *others = status(tmp_path, config)
        assert first == f"{tmp_path}: 1 run done of 3, 2 left, 0 failed"
        assert others == [f"begun   {begun.folder}: no step is logged yet"]
        (tmp_path / begun.folder / name).unlink()


def test_a_folder_of_neither_is_refused(tmp_path, tiny):
    with pytest.raises(FileNotFoundError, match="there is no run and no study in"):
        next(status(tmp_path, tiny()))


def test_a_status_draws_nothing():
    """It is asked again and again: what pictures need is not imported for it."""
    code = "import sys, gca_jax.commands, gca_jax.report.status; print('matplotlib' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"


def test_the_runs_of_a_part_have_numbers_and_states(tmp_path):
    methods = {
        "InfoNCE": studies.Method("ince"),
        "GCA": studies.Method("gca_ince", choose={"loss.epsilon": (0.1, 0.3)}),
    }
    study = studies.Study(
        "configs/digits.py",
        methods=methods,
        seeds=(0, 1),
        measures={"linear": "accuracy.linear"},
        choose_by="accuracy.linear",
    )
    grid = cells(study)
    trial, other = (runs[0] for runs in grid[1].trials)
    stub.do(trial, tmp_path)
    write_json(tmp_path / "failed.json", [{"folder": grid[0].finals[0][1].folder, "error": "x"}])
    assert [*of_part(tmp_path, study, grid, Part(1, 2))] == [
        "1    done     runs/all/GCA/epsilon=0.1-seed1000-validation",
        "3    left     runs/all/InfoNCE/seed0",
        "5    failed   runs/all/InfoNCE/seed1",
    ]
    waiting = [
        f"{number}    waits    all, GCA, seed {seed}: settings not chosen yet"
        for number, seed in ((4, 0), (6, 1))
    ]
    folder = RunFolder(tmp_path / other.folder)
    with folder.locked():
        found = [*of_part(tmp_path, study, grid, Part(2, 2))]
    assert found == [f"2    at work  {other.folder}", *waiting]
    stub.do(other, tmp_path)
    assert [*of_part(tmp_path, study, grid, Part(2, 2))][1:] == [
        f"{number}    left     runs/all/GCA/epsilon=0.3-seed{seed}"
        for number, seed in ((4, 0), (6, 1))
    ]
