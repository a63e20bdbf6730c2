"""`--mode=study` and `--seeds` as a user types them, with real runs on digits."""

import json
import re

import pytest

from gca_jax import programs
from tests import processes
from tests.studies import stub

STUDY = """
from gca_jax import studies


def get_config(words: str = "") -> studies.ConfigDict:
    tiny = {"model.stage_sizes": (1,), "model.width": 4, "train.batch_size": 200}
    return studies.make(
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
    """Two candidates and one of three seeds; the second time nothing is done."""
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
    seeds = ("main.py", f"--config={file}", f"--workdir={workdir}", "--seeds=0-1")
    status, _, err = finish(processes.start(*seeds))
    assert (status, err.count("\n")) == (1, 1)
    assert "--config.seeds='(0, 1)' changes a study's" in err


def test_seeds_of_one_config_are_a_table(digits, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(programs, "one_run", stub.run)
    config = digits.get_config("ince").lock()
    typed = "python main.py --seeds=0,3"
    programs.study(programs.Command(config, str(tmp_path), seeds="0,3", typed=typed))
    assert capsys.readouterr().out == f"report: {tmp_path}/study.md\n"
    values = []
    for seed in (0, 3):
        found = json.loads((tmp_path / f"runs/all/ince/seed{seed}/evaluation.json").read_text())
        values.append(100 * found["accuracy"]["linear"])
    a, b = values
    row = rf"\| ince \| {(a + b) / 2:.2f} ± {abs(a - b) / 2**0.5:.2f} \|"
    page = (tmp_path / "study.md").read_text()
    assert re.search(r"\| linear, %, mean ± sd \| all \|\n\| --- \| --- \|\n" + row, page)
    assert "    python main.py --seeds=0,3\n" in page


def test_failed_runs_are_the_status_of_the_command(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "one_run", stub.bad)
    config = digits.get_config("gca_ince").lock()
    with pytest.raises(SystemExit, match=r"^1 run failed .*failed.json"):
        programs.study(programs.Command(config, str(tmp_path), seeds="0"))
    assert "0 of 1 final runs" in (tmp_path / "study.md").read_text()
