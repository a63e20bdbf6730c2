"""`--mode=study` and `--seeds` as a user types them, with real runs on digits."""

import json
import re
import runpy

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
        methods={"GCA": studies.Method("gca_ince,smoke")},
        seeds=(0, 1, 2),
        measures={"k-NN": "accuracy.knn", "alignment": "alignment"},
        plain=("alignment",),
    )
"""


@pytest.mark.slow
def test_the_same_command_goes_on_with_a_study_that_met_its_time_limit(tmp_path, monkeypatch):
    """A run is killed while it is evaluated; then it is evaluated, not trained again."""
    file, workdir = tmp_path / "mine.py", tmp_path / "study"
    file.write_text(STUDY)
    study = runpy.run_path(str(file))["get_config"]()
    study.seeds = (0,)
    run = workdir / "runs/all/GCA/seed0"
    trained = run / "training.json"
    passed = lambda job: float(trained.exists() and json.loads(trained.read_text())["finished"])  # noqa: E731
    with monkeypatch.context() as patch:
        patch.setattr(launch.Job, "minutes", passed)
        for name, value in processes.environment().items():
            patch.setenv(name, value)
        with pytest.raises(SystemExit, match=r"^1 run failed .*failed.json"):
            commands.study(commands.Command(study, str(workdir), limit_minutes=0.5))
    (failed,) = json.loads((workdir / "failed.json").read_text())
    assert failed["error"] == "no end after 0.5 minutes"
    assert not (run / "evaluation.json").exists()
    before = trained.read_bytes()

    words = ("main.py", "--mode=study", f"--config={file}", f"--workdir={workdir}")
    process = processes.start(*words, "--config.seeds=(0,)", "--jobs=1", "--limit_minutes=60")
    out, err = process.communicate(timeout=300)
    assert (process.returncode, out) == (0, f"report: {workdir}/study.md\n"), err
    assert err.splitlines() == ["0 runs done, 0 failed, 1 left", "1 run done, 0 failed, 0 left"]
    assert trained.read_bytes() == before
    assert "it is not trained again" in (run / "log.txt").read_text()
    assert json.loads((workdir / "failed.json").read_text()) == []
    found = json.loads((workdir / "study.json").read_text())
    assert found["complete"]
    assert found["study"]["seeds"] == [0]
    (row,) = found["runs"]
    evaluation = json.loads((workdir / row["folder"] / "evaluation.json").read_text())
    assert evaluation["dataset"]["train_images"] == 400
    assert evaluation["accuracy"]["knn"] == row["values"]["k-NN"]
    assert evaluation["seed"] == row["seed"]
    page = (workdir / "study.md").read_text()
    assert re.search(r"    python main\.py --mode=study .*'--config\.seeds=\(0,\)'", page)


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
    named = {"config_file": "digits:ince,smoke", "changed": ["loss.epsilon", "seed"]}
    flags = {"jobs": 2, "limit_minutes": 5.0, "launcher": "env X=1"}
    commands.study(
        commands.Command(config, str(tmp_path), seeds="0,3", typed=typed, **named, **flags)
    )
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
    assert page.startswith(
        f"# A study of `digits:ince,smoke`\n\nIts runs have loss.epsilon = {config.loss.epsilon}.\n"
    )


def test_failed_runs_are_the_status_of_the_command(digits, tmp_path, done_by):
    done_by("bad")
    config = digits.get_config("gca_ince").lock()
    with pytest.raises(SystemExit, match=r"^1 run failed .*failed.json"):
        commands.study(commands.Command(config, str(tmp_path), seeds="0"))
    assert "0 of 1 final runs" in (tmp_path / "study.md").read_text()
