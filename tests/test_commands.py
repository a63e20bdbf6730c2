"""The commands in one process: what is done in which order, and what is made once."""

import json
import pathlib
import shutil
import types

import jax
import numpy as np
import pytest

from gca_jax import commands, distributed, experiment, studies
from gca_jax.commands import COMMANDS, Command
from gca_jax.data import sources
from gca_jax.evaluation import evaluate as evaluation
from gca_jax.files import write_checksums
from gca_jax.report import run as reports
from gca_jax.shapes import Summary
from gca_jax.training import train as training
from gca_jax.workdir import RunFolder, as_json
from tests.data import prepared


def command(config, folder, place=None):
    return Command(config, str(folder), place=place)


@pytest.fixture
def trained(tiny, tmp_path):
    """A folder as a run leaves it that has come to its end."""
    for item in ("variables", "optimizer"):
        (tmp_path / "checkpoints" / "6" / item).mkdir(parents=True)
        (tmp_path / "checkpoints" / "6" / item / "_METADATA").touch()
    write_checksums(tmp_path / "checkpoints")
    (tmp_path / "config.json").write_text(json.dumps(as_json(tiny())))
    known = {"finished": True, "steps": 6, "device": "1 x cpu"}
    summary = {**dict.fromkeys(Summary.__required_keys__, 1), **known}
    (tmp_path / "training.json").write_text(json.dumps(summary))
    return tmp_path


@pytest.fixture
def no_images(monkeypatch):
    def load(name, **options):
        pytest.fail("images were loaded")

    monkeypatch.setattr(sources, "load", load)


@pytest.mark.usefixtures("no_images")
@pytest.mark.parametrize("name", ["all", "pretrain"])
def test_a_folder_of_another_run_is_refused_before_images_are_loaded(tiny, trained, name):
    with pytest.raises(ValueError, match=r"holds a run of another config.*seed: 0 there, 1 here"):
        COMMANDS[name](command(tiny(seed=1), trained))


@pytest.mark.usefixtures("no_images")
def test_a_run_is_judged_with_its_own_settings_or_not_at_all(tiny, trained):
    (trained / "checkpoints" / "6" / "config").mkdir()
    (trained / "checkpoints" / "6" / "config" / "metadata").write_text(json.dumps(as_json(tiny())))
    other = command(tiny(**{"evaluation.draws": 3}), trained)
    with pytest.raises(ValueError, match=r"own settings \(evaluation\.draws: 2 there, 3 here\)"):
        COMMANDS["evaluate"](other._replace(typed="main.py --config.evaluation.draws=3"))


@pytest.mark.usefixtures("no_images")
def test_a_finished_run_is_left_as_it_is_without_its_images(tiny, trained, capsys):
    COMMANDS["pretrain"](command(tiny(), trained))
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

    monkeypatch.setattr(distributed, "join", lambda *place: done.append(place))
    monkeypatch.setattr(jax, "devices", lambda: done.append("devices"))
    monkeypatch.setattr(experiment, "build", build)
    with pytest.raises(ValueError, match=r"^$"):
        COMMANDS["pretrain"](command(tiny(), tmp_path, place=("host:1", 0, 2)))
    assert done == [("host:1", 0, 2), "build"]


def test_all_parts_of_a_run_take_one_experiment_and_one_folder(tiny, tmp_path, monkeypatch, capsys):
    made, seen, held, build, fit = [], [], [], experiment.build, commands.fit

    def train(run, folder, hooks, command):
        seen.append((run, folder))
        with folder.locked():
            folder.begin(run.record)
        return {"steps": 1}

    def fit_and_look(*arguments):
        fit(*arguments)
        held.append(RunFolder(tmp_path).is_locked)

    def evaluate(run, folder, step, changed):
        seen.append((run, folder))
        return {"left_out": ["k-NN: no labels"]}

    def write(folder):
        seen.append((made[0], folder))
        return {"accuracy": {}}

    monkeypatch.setattr(experiment, "build", lambda config: made.append(build(config)) or made[-1])
    monkeypatch.setattr(commands, "fit", fit_and_look)
    monkeypatch.setattr(training, "train", train)
    monkeypatch.setattr(evaluation, "evaluate", evaluate)
    monkeypatch.setattr(reports, "write", write)
    COMMANDS["all"](command(tiny(), tmp_path))
    assert held == [True]  # no other program finds the folder free between training and evaluation
    assert not RunFolder(tmp_path).is_locked
    assert len(made) == 1
    folder = seen[0][1]
    assert folder.path == tmp_path
    assert seen == [(made[0], folder)] * 3
    assert "left out: k-NN: no labels\n" in capsys.readouterr().out


def test_a_report_evaluates_first_what_is_not_evaluated(trained, monkeypatch, capsys):
    done = []
    found = {"step": 6, "method": "gca_uot", "seed": 0, "dataset": {"name": "digits"}}
    found |= {"accuracy": {}, "results": []}

    def evaluate(run, folder, step, changed):
        done.append(run)
        folder.write_json("evaluation.json", found)
        folder.write_arrays("evaluation.npz", {"x": [1]})
        return {"left_out": []}

    monkeypatch.setattr(commands, "restored", lambda command, folder: "the run")
    monkeypatch.setattr(evaluation, "evaluate", evaluate)
    monkeypatch.setattr(reports, "write", lambda folder: {"accuracy": {"linear": 0.5}})
    for _ in range(2):
        COMMANDS["report"](command(None, trained))
    assert done == ["the run"]
    said = capsys.readouterr().out
    assert said.startswith("the run has not been evaluated at step 6: that comes first\n")
    assert said.count("linear: 50.0%") == 2
    (trained / "evaluation.json").write_text(json.dumps({**found, "step": 3}))
    COMMANDS["report"](command(None, trained))
    assert len(done) == 2
    (trained / "evaluation.npz").write_bytes(b"cut")
    COMMANDS["report"](command(None, trained))
    assert len(done) == 3


def test_evaluation_s_mistakes_are_said_before_training(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "train", lambda *arguments: pytest.fail("it was trained"))
    with pytest.raises(ValueError, match=r"^config\.evaluation: draws"):
        COMMANDS["all"](command(tiny(**{"evaluation.draws": 0}), tmp_path))


def test_pretraining_needs_no_labels(tiny, tmp_path, monkeypatch):
    """Classes that no probe could be fitted to are the evaluation's, which may never be asked."""
    trained = []
    monkeypatch.setattr(training, "train", lambda *given: trained.append(given) or {"steps": 0})
    file = tmp_path / "x.npz"
    np.savez(file, images=np.zeros((60, 8, 8), np.uint8), labels=np.zeros(60, int))
    config = tiny().unlock()
    config.data = {"kind": "images", "name": "arrays", "file": str(file)}
    with pytest.raises(ValueError, match="all images are of one class"):
        COMMANDS["all"](command(config, tmp_path / "run"))
    assert not trained
    COMMANDS["pretrain"](command(config, tmp_path / "run"))
    assert len(trained) == 1


def test_a_full_disk_is_said_before_the_work(tiny, trained, tmp_path, monkeypatch):
    full = types.SimpleNamespace(free=2**20 - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: full)
    monkeypatch.setattr(evaluation, "evaluate", lambda *given: pytest.fail("it was evaluated"))
    with pytest.raises(OSError, match=f"^the disk of {trained} has"):
        COMMANDS["evaluate"](command(tiny(), trained))
    asked = command(tiny(), trained)._replace(out=str(tmp_path / "x.npz"))
    with pytest.raises(OSError, match=f"^the disk of {tmp_path} has"):
        COMMANDS["embed"](asked)


@pytest.fixture
def opened(monkeypatch):
    """Folders that were opened as a run's, each as often as it was."""
    paths, make = [], RunFolder.__init__

    def init(self, path):
        paths.append(pathlib.Path(path))
        make(self, path)

    monkeypatch.setattr(RunFolder, "__init__", init)
    return paths


@pytest.mark.slow
@pytest.mark.usefixtures("one_device", "quick_evaluation")
def test_each_command_opens_its_run_s_folder_once(digits, tmp_path, opened):
    """Real ones, in the order in which a user may type them."""
    config = digits.get_config("ince,smoke").lock()
    prepared.write_folder(tmp_path / "pictures", {"x": 2, "y": 2})
    parts, whole = tmp_path / "parts", tmp_path / "whole"
    images = str(tmp_path / "pictures")
    typed = [
        ("pretrain", parts, {}),
        ("pretrain", parts, {}),  # which is finished
        ("report", parts, {}),  # which evaluates first
        ("evaluate", parts, {}),
        ("corruptions", parts, {}),
        ("report", parts, {}),
        ("embed", parts, {"images": images, "out": str(tmp_path / "features.npz")}),
        ("export", parts, {"out": str(tmp_path / "encoder.msgpack")}),
        ("neighbours", parts, {"out": str(tmp_path / "tests.html")}),
        ("neighbours", parts, {"images": images, "out": str(tmp_path / "folder.html")}),
        ("all", whole, {}),
    ]
    for name, folder, flags in typed:
        opened.clear()
        COMMANDS[name](command(config, folder)._replace(**flags))
        assert opened == [folder], name
        assert pathlib.Path(flags.get("out", folder)).exists(), name
    assert (parts / "corruptions.json").exists()
    assert (parts / "report.json").exists()
    assert (whole / "report.json").exists()


def with_changes(made, folder, **changes):
    """The command of a finished run with settings typed; a dot is two underscores."""
    keys = {key.replace("__", "."): value for key, value in changes.items()}
    other = made.copy_and_resolve_references().unlock()
    other.update_from_flattened_dict(keys)
    typed = " ".join(["main.py --config=digits", *(f"--config.{key}=" for key in keys)])
    return command(other.lock(), folder)._replace(changed=[*keys], typed=typed)


@pytest.mark.slow
@pytest.mark.usefixtures("one_device", "quick_evaluation")
def test_a_finished_encoder_is_evaluated_again_beside_its_own_evaluation(tiny, tmp_path, capsys):
    """With other settings, then on other data; each says what was changed, and the first stays."""
    run, made = tmp_path / "run", tiny("ince")
    COMMANDS["pretrain"](command(made, run))
    COMMANDS["evaluate"](command(made, run))
    first = (run / "evaluation.json").read_bytes()
    rng = np.random.default_rng(0)
    for name, side in (("other", 8), ("large", 16)):
        images = rng.integers(0, 256, (120, side, side), dtype=np.uint8)
        np.savez(tmp_path / f"{name}.npz", images=images, labels=np.arange(120) % 2)
    other, large = (str(tmp_path / f"{name}.npz") for name in ("other", "large"))
    COMMANDS["evaluate"](with_changes(made, run, evaluation__draws=3))
    assert "other data" not in capsys.readouterr().out
    COMMANDS["evaluate"](with_changes(made, run, data__file=other, evaluation__draws=3))
    said = f"note: these are other data than {run} was trained on (train_images: ["
    assert said in capsys.readouterr().out
    assert (run / "evaluation.json").read_bytes() == first
    by_draws, by_data = sorted((run / "evaluations").iterdir())
    assert by_draws.name == "draws=3"
    assert by_data.name.startswith("file=other.npz_draws=3-")
    found = json.loads((by_draws / "evaluation.json").read_text())
    assert found["changed"] == {"evaluation.draws": 3}
    assert len(found["draws"]["trained"]["accuracy"]) == 3
    assert found["accuracy"]["linear"] == json.loads(first)["accuracy"]["linear"]
    found = json.loads((by_data / "evaluation.json").read_text())
    assert found["changed"] == {"data.file": other, "evaluation.draws": 3}
    assert found["dataset"]["name"] == "arrays"
    assert found["dataset"]["classes"] == 2
    with pytest.raises(ValueError, match=r"trained on images \[8, 8, 1\].* are \[16, 16, 1\]"):
        COMMANDS["evaluate"](with_changes(made, run, data__file=large))
    with pytest.raises(ValueError, match=r"not with other settings \(loss\.epsilon: 0\.2 there"):
        COMMANDS["evaluate"](with_changes(made, run, evaluation__draws=3, loss__epsilon=0.5))
    with pytest.raises(ValueError, match=r"own settings \(evaluation\.draws: 2 there, 3 here\)"):
        COMMANDS["corruptions"](with_changes(made, run, evaluation__draws=3))
