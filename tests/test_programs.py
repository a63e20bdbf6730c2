"""The programs in one process: what is done in which order, and what is made once."""

import json

import jax
import pytest

from gca_jax import distributed, experiment, programs, studies
from gca_jax.data import sources
from gca_jax.evaluation import evaluate as run
from gca_jax.programs import PROGRAMS, Command
from gca_jax.report import run as report
from gca_jax.training import train as loop
from gca_jax.workdir import Summary, as_json


def command(config, folder, place=None):
    return Command(config, str(folder), place=place)


@pytest.fixture
def trained(tiny, tmp_path):
    """A folder as a run leaves it that has come to its end."""
    for item in ("variables", "optimizer"):
        (tmp_path / "checkpoints" / "6" / item).mkdir(parents=True)
        (tmp_path / "checkpoints" / "6" / item / "_METADATA").touch()
    (tmp_path / "config.json").write_text(json.dumps(as_json(tiny())))
    summary = dict.fromkeys(Summary.__annotations__, 1) | {"finished": True, "steps": 6}
    (tmp_path / "training.json").write_text(json.dumps(summary))
    return tmp_path


@pytest.fixture
def no_images(monkeypatch):
    def load(name, **options):
        pytest.fail("images were loaded")

    monkeypatch.setattr(sources, "load", load)


@pytest.mark.usefixtures("no_images")
@pytest.mark.parametrize("program", ["all", "pretrain"])
def test_a_folder_of_another_run_is_refused_before_images_are_loaded(tiny, trained, program):
    with pytest.raises(ValueError, match=r"holds a run of another config.*seed: 0 there, 1 here"):
        PROGRAMS[program](command(tiny(seed=1), trained))


@pytest.mark.usefixtures("no_images")
def test_a_run_is_judged_with_its_own_settings_or_not_at_all(tiny, trained):
    (trained / "checkpoints" / "6" / "config").mkdir()
    (trained / "checkpoints" / "6" / "config" / "metadata").write_text(json.dumps(as_json(tiny())))
    other = command(tiny(**{"evaluation.draws": 3}), trained)
    with pytest.raises(ValueError, match=r"own settings \(evaluation\.draws: 2 there, 3 here\)"):
        PROGRAMS["evaluate"](other._replace(typed="main.py --config.evaluation.draws=3"))


@pytest.mark.usefixtures("no_images")
def test_a_finished_run_is_left_as_it_is_without_its_images(tiny, trained, capsys):
    PROGRAMS["pretrain"](command(tiny(), trained))
    assert "it is not trained again" in capsys.readouterr().out


def test_a_folder_that_is_not_named_is_named_by_the_run_or_the_study(tiny):
    run = Command(tiny(seed=3))
    assert run.folder == "runs/digits-gca_uot-3"
    assert run._replace(seeds="0-4").folder == "runs/digits-gca_uot-seeds0-4"
    few = dict(seeds=(0,), measures={"linear probe": "accuracy.linear"})
    study = studies.make("configs/digits.py", methods={"a": studies.Method("ince")}, **few)
    assert (
        Command(study, config_file="configs/studies/table2.py:extreme").folder
        == "runs/table2-extreme"
    )
    assert Command(study, config_file="mine.py").folder == "runs/mine"


def test_processes_join_before_anything_is_made(tiny, tmp_path, monkeypatch):
    done = []

    def build(config):
        done.append("build")
        raise ValueError

    monkeypatch.setattr(distributed, "join", lambda place, folder: done.append(place))
    monkeypatch.setattr(jax, "devices", lambda: done.append("devices"))
    monkeypatch.setattr(experiment, "build", build)
    with pytest.raises(ValueError, match=r"^$"):
        PROGRAMS["pretrain"](command(tiny(), tmp_path, place=("host:1", 0, 2)))
    assert done == [("host:1", 0, 2), "build"]


def test_all_programs_of_a_run_take_one_experiment(tiny, tmp_path, monkeypatch, capsys):
    made, seen, build = [], [], experiment.build
    monkeypatch.setattr(experiment, "build", lambda config: made.append(build(config)) or made[-1])
    monkeypatch.setattr(loop, "pretrain", lambda *arguments: seen.append(arguments[:2]))
    found = {"left_out": ["k-NN: no labels"]}
    monkeypatch.setattr(run, "evaluate", lambda *arguments: seen.append(arguments) or found)
    monkeypatch.setattr(report, "write", lambda folder: {"accuracy": {}})
    PROGRAMS["all"](command(tiny(), tmp_path))
    assert len(made) == 1
    assert seen == [(made[0], str(tmp_path))] * 2
    assert "left out: k-NN: no labels\n" in capsys.readouterr().out


def test_a_report_evaluates_first_what_is_not_evaluated(trained, monkeypatch, capsys):
    done = []

    def evaluate(experiment, folder):
        done.append(experiment)
        (trained / "evaluation.json").write_text(json.dumps({"step": 6, "results": []}))
        (trained / "evaluation.npz").touch()
        return {"left_out": []}

    monkeypatch.setattr(programs, "_restored", lambda command: "the run")
    monkeypatch.setattr(run, "evaluate", evaluate)
    monkeypatch.setattr(report, "write", lambda folder: {"accuracy": {"linear": 0.5}})
    for _ in range(2):
        PROGRAMS["report"](command(None, trained))
    assert done == ["the run"]
    said = capsys.readouterr().out
    assert said.startswith("the run has not been evaluated at step 6: that comes first\n")
    assert said.count("linear: 50.0%") == 2
    (trained / "evaluation.json").write_text(json.dumps({"step": 3}))
    PROGRAMS["report"](command(None, trained))
    assert len(done) == 2


def test_evaluation_s_mistakes_are_said_before_training(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "pretrain", lambda *arguments: pytest.fail("it was trained"))
    config = tiny(**{"evaluation.draws": 0})
    for program in ("all", "pretrain"):
        with pytest.raises(ValueError, match=r"^config\.evaluation: draws"):
            PROGRAMS[program](command(config, tmp_path))
