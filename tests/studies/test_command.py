"""`--mode=study` and `--seeds` as a user types them, with real runs on digits."""

import json
import re

import pytest

from gca_jax import commands
from gca_jax.studies import launch
from tests import processes
from tests.studies import stub

STUDY = """
from gca_jax import studies


def get_config(options: str = "") -> studies.Study:
    tiny = {"model.stage_sizes": (1,), "model.width": 4, "train.batch_size": 200}
    return studies.Study(
        "configs/digits.py",
        common={"data.limit": 400, **tiny},
        methods={"GCA": studies.Method("gca_ince,smoke", choose={"loss.epsilon": (0.2, 0.5)})},
        seeds=(0, 1, 2),
        choose_by="accuracy.linear",
        measures={"k-NN": "accuracy.knn", "alignment": "alignment"},
        plain=("alignment",),
    )
"""


def finish(process):
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


@pytest.mark.slow
def test_a_study_from_its_file_to_its_report(tmp_path):
    """Two candidates and one of three seeds; only what is missing is done a second time."""
    file, workdir = tmp_path / "mine.py", tmp_path / "study"
    file.write_text(STUDY)
    words = ("main.py", "--mode=study", f"--config={file}", f"--workdir={workdir}")
    words += ("--config.seeds=(0,)", "--jobs=1")
    status, out, err = finish(processes.start(*words))
    assert (status, out) == (0, f"report: {workdir}/study.md\n"), err
    assert err.splitlines()[-1] == "3 runs done, 0 failed, 0 left"
    found = json.loads((workdir / "study.json").read_text())
    assert found["complete"]
    assert found["study"]["seeds"] == [0]
    (choice,) = found["choices"]
    scores = []
    for epsilon in (0.2, 0.5):
        run = workdir / f"runs/all/GCA/epsilon={epsilon}-seed1000-validation"
        evaluation = json.loads((run / "evaluation.json").read_text())
        sizes = evaluation["dataset"]
        assert sizes["train_images"] + sizes["test_images"] == 400
        assert abs(sizes["test_images"] - 80) < 10  # a fifth of each class
        scores.append(evaluation["accuracy"]["linear"])
    assert choice["scores"] == scores
    assert choice["best"] == scores.index(max(scores))
    for row in found["runs"]:
        evaluation = json.loads((workdir / row["folder"] / "evaluation.json").read_text())
        assert evaluation["dataset"]["train_images"] == 400
        assert evaluation["accuracy"]["knn"] == row["values"]["k-NN"]
        assert evaluation["seed"] == row["seed"]
    page = (workdir / "study.md").read_text()
    assert re.search(r"    python main\.py --mode=study .*'--config\.seeds=\(0,\)'", page)
    times = {path: path.stat().st_mtime_ns for path in workdir.rglob("report.json")}
    status, _, err = finish(processes.start(*words))
    assert (status, err) == (0, "3 runs done, 0 failed, 0 left\n")
    assert times == {path: path.stat().st_mtime_ns for path in workdir.rglob("report.json")}

    run = workdir / found["runs"][-1]["folder"]
    # It loses its evaluation: it is evaluated again, not trained.
    kept = ("training.json", "metrics.jsonl", "config.json", "evaluation.json", "report.json")
    before = {name: (run / name).read_bytes() for name in kept}
    trained = (run / "training.json").stat().st_mtime_ns
    (run / "evaluation.json").unlink()
    status, _, err = finish(processes.start(*words))
    assert status == 0, err
    assert err.splitlines() == ["2 runs done, 0 failed, 1 left", "3 runs done, 0 failed, 0 left"]
    assert {name: (run / name).read_bytes() for name in kept} == before
    assert (run / "training.json").stat().st_mtime_ns == trained
    assert "it is not trained again" in (run / "log.txt").read_text()
    assert json.loads((workdir / "study.json").read_text())["complete"]


@pytest.fixture
def done_by(monkeypatch):
    """Let the runs of a study be done by a mode of the stub, and tell what else was asked for."""
    asked = {}

    def set_mode(mode):
        def execute(*arguments, **options):
            asked.update(options)
            return do(*arguments, **options, program=stub.program(mode))

        do = launch.execute
        monkeypatch.setattr(launch, "execute", execute)
        return asked

    return set_mode


def test_seeds_of_one_config_are_a_table(digits, tmp_path, done_by, capsys):
    asked = done_by("surroundings")
    config = digits.get_config("ince").lock()
    typed = "python main.py --seeds=0,3"
    flags = {"jobs": 2, "limit_minutes": 5.0, "launcher": "env X=1"}
    commands.study(commands.Command(config, str(tmp_path), seeds="0,3", typed=typed, **flags))
    assert asked == flags
    assert capsys.readouterr().out == f"report: {tmp_path}/study.md\n"
    values = []
    for seed in (0, 3):
        run = tmp_path / f"runs/all/ince/seed{seed}"
        assert json.loads((run / "environment.json").read_text())["X"] == "1"
        found = json.loads((run / "evaluation.json").read_text())
        values.append(100 * found["accuracy"]["linear"])
    a, b = values
    row = rf"\| ince \| {(a + b) / 2:.2f} ± {abs(a - b) / 2**0.5:.2f} \|"
    page = (tmp_path / "study.md").read_text()
    assert re.search(r"\| linear, %, mean ± sd \| all \|\n\| --- \| --- \|\n" + row, page)
    assert "    python main.py --seeds=0,3\n" in page


def test_failed_runs_are_the_status_of_the_command(digits, tmp_path, done_by):
    done_by("bad")
    config = digits.get_config("gca_ince").lock()
    with pytest.raises(SystemExit, match=r"^1 run failed .*failed.json"):
        commands.study(commands.Command(config, str(tmp_path), seeds="0"))
    assert "0 of 1 final runs" in (tmp_path / "study.md").read_text()
