"""`--mode=study` and `--seeds` as a user types them, with real runs on digits."""

import json
import re
import runpy
import shutil

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


@pytest.mark.slow
def test_parts_of_a_study_on_two_machines_make_one_report(tmp_path):
    """Two parts at once in one folder, the third elsewhere; it is copied without checkpoints."""
    file, here, there = tmp_path / "mine.py", tmp_path / "study", tmp_path / "elsewhere"
    file.write_text(STUDY)

    def start(mode, workdir, *words):
        return processes.start(
            "main.py", f"--mode={mode}", f"--config={file}", f"--workdir={workdir}", *words
        )

    def ended(process):
        out, err = process.communicate(timeout=300)
        return process.returncode, out.splitlines(), err.splitlines()

    status, _, err = ended(start("report", here))
    assert (status, len(err)) == (1, 1)
    assert err[0].startswith(f"error: no run of this study is done in {here}")
    for process in [start("study", here, f"--runs={k}/3") for k in (1, 2)]:
        status, out, err = ended(process)
        assert (status, err[-1]) == (0, "1 run done, 0 failed, 0 left")
        assert out[0].endswith(" is done: --mode=report writes the study's report")
    assert ended(start("study", there, "--runs=3/3"))[0] == 0
    assert not (here / "study.md").exists()
    assert ended(start("report", here))[1] == [
        f"report: {here}/study.md",
        "1 of 3 runs missing: the report names them",
    ]
    assert "- not done: runs/all/GCA/seed2" in (here / "study.md").read_text()

    skip = shutil.ignore_patterns("checkpoints", "report.*", "lock", "claim")
    shutil.copytree(there / "runs", here / "runs", ignore=skip, dirs_exist_ok=True)
    for name in ("evaluation.json", "evaluation.npz", "report.json"):
        (here / "runs/all/GCA/seed0" / name).unlink()
    assert ended(start("status", here, "--runs=1/1"))[1] == [
        "1    begun    runs/all/GCA/seed0",
        "2    done     runs/all/GCA/seed1",
        "3    done     runs/all/GCA/seed2",
    ]
    copied = here / "runs/all/GCA/seed2"
    before = {path: path.stat().st_mtime_ns for path in copied.iterdir()}
    status, _, err = ended(start("study", here))
    assert (status, err[-1]) == (0, "3 runs done, 0 failed, 0 left")
    assert before == {path: path.stat().st_mtime_ns for path in copied.iterdir()}
    assert "it is not trained again" in (here / "runs/all/GCA/seed0/log.txt").read_text()
    assert ended(start("report", here))[1] == [f"report: {here}/study.md"]
    found = json.loads((here / "study.json").read_text())
    assert found["complete"]
    assert "--mode=study" in found["command"]
    assert "report" not in found["command"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--runs=3/2", "--seeds=0-4"), "--runs must be K/N with K from 1 to N"),
        (("--runs=1/2",), "--runs is for --mode=study and --mode=status"),
        (("--runs=1/2", "--mode=status"), "--runs is for a study's config, or that of a run"),
        (("--runs=1/2", "--seeds=0,1", "--mode=report"), "--runs is for --mode=study"),
        (("--seeds=0,1", "--mode=preview"), "it goes with --mode=all, report and status"),
        (("--seeds=0,1", "--mode=report"), "no run of this study is done in "),
    ],
)
def test_a_flag_of_studies_out_of_place_is_one_line(words, message, tmp_path):
    process = processes.start(
        "main.py", "--config=digits:ince,smoke", f"--workdir={tmp_path}/w", *words
    )
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert len(err.splitlines()) == 1
    assert message in err
