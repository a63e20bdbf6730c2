"""`auto` of pairs: what is tried, that it goes on after a kill, and that the best one is kept."""

import jax
import numpy as np
import pytest

from gca_jax import align
from gca_jax import config as configs
from gca_jax.commands import COMMANDS, Command
from gca_jax.data.pairs import pair
from gca_jax.experiment import build
from gca_jax.models import choice, closed_form
from gca_jax.report.status import status
from gca_jax.training import candidates
from gca_jax.training.log import NonFiniteError
from gca_jax.training.start import Fitted
from gca_jax.workdir import RunFolder, as_json
from tests.runs import restore_variables, write

pytestmark = pytest.mark.usefixtures("one_device")


def config(words="auto,smoke", **changes):
    made = configs.make("pairs", words).lock()
    settings = {"model.start": "cca", "optimizer.learning_rate": 0.01, "evaluation.rounds": 1}
    made.update_from_flattened_dict({**settings, "train.steps": 30, **changes})
    return made


def test_a_candidate_is_the_run_that_its_words_name():
    asked = {"train.steps": 7, "loss.epsilon": 0.3, "seed": 5, "data.shuffled": 0.1}
    made = configs.candidates(config("auto", **asked))
    assert len(made) == 12
    for one in made.values():
        words = f"{one.method},{one.model.tower_a}"
        plain = config(words, **asked, **{"target.name": one.target.name})
        assert as_json(one) == as_json(plain)
    assert [*configs.candidates(config("mlp,auto"))][:2] == ["gce-mlp", "clip-mlp"]


@pytest.mark.parametrize(
    ("words", "changes", "message"),
    [
        ("auto,clip", {}, "one method at a time, got auto, clip"),
        ("auto", {"target.name": "smoothed"}, "config.target: auto tries targets of its own: le"),
        ("auto", {"train.stop_by": "steps"}, "config.train: auto is judged by validation pairs, w"),
        ("auto", {"evaluation.rounds": 0}, "config.evaluation: rounds must be an integer >= 1"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_mistake_is_one_line_before_anything_is_written(words, changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        COMMANDS["all"](Command(config(words, **changes), str(tmp_path / "run")))
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match="auto is for one run: name the methods of a study"):
        COMMANDS["study"](Command(config("auto"), str(tmp_path / "study"), seeds="0-1"))


def test_few_validation_pairs_choose_nothing(tmp_path, capsys):
    made = candidates.best(config(**{"data.limit": 100}), tmp_path / "run")
    assert as_json(made) == as_json(config("gce,residual,smoke", **{"data.limit": 100}))
    assert "8 validation pairs do not tell them apart, 20 would: gce-" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()


def test_all_known_pairs_validate_where_the_plan_finds_others(tmp_path):
    """Of 40 given pairs 3 are held out; with partners for the other rows all 40 are."""
    rows = np.random.default_rng(0).normal(size=(200, 3))
    both = pair(rows, rows, pairs=np.stack([np.arange(40)] * 2, axis=1))
    first = build(config("gce,linear"), dataset=both)
    maps = closed_form.identity(np.zeros(3), np.zeros(3))
    assert "as 3 validation pairs" in str(candidates._why_not(first, lambda: Fitted(maps, None)))
    found = {"a": np.arange(50, 90), "b": np.arange(50, 90), "quality": np.ones(40, np.float32)}
    assert candidates._why_not(first, lambda: Fitted(maps, found)) is None


@pytest.mark.slow
def test_the_best_is_the_run_that_it_would_be_alone(tmp_path, monkeypatch):
    """Killed at the third, after one whose loss is not finite, and gone on with."""
    made, own, fit = configs.candidates, candidates.train, choice.linear_start
    few = ("gce-linear", "rince-linear", "clip-linear")
    trained, fitted = [], []

    def train(experiment, *args):
        trained.append(experiment.method)
        if experiment.method == "rince":
            raise NonFiniteError
        if trained == ["gce", "rince", "clip"]:
            raise KeyboardInterrupt
        return own(experiment, *args)

    def linear_start(*args, **keywords):
        fitted.append(args)
        return fit(*args, **keywords)

    monkeypatch.setattr(configs, "candidates", lambda asked: {x: made(asked)[x] for x in few})
    monkeypatch.setattr(candidates, "train", train)
    monkeypatch.setattr(candidates, "SHORT", 10)
    monkeypatch.setattr(choice, "linear_start", linear_start)
    rng = np.random.default_rng(0)
    a = rng.normal(size=(300, 4))
    b = a @ rng.normal(size=(4, 3)) + rng.normal(size=(300, 3))
    settings = {"train.steps": 15, "model.start": "cca", "evaluation.rounds": 1}
    asked = dict(words="auto,linear", settings=settings, workdir=tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        align(a, b, **asked)
    first, *_ = status(tmp_path / "run", config())
    assert first.startswith("candidate gce-linear: step 10 of 15")
    found = align(a, b, **asked).report["candidates"]
    assert trained[3:-2] == ["rince", "clip"]  # gce is not begun again
    assert {*trained[-2:]} == {"gce", "clip"}
    assert len(fitted) == 2  # once in each process
    gce, failed, clip = found["tried"]
    assert (failed["name"], failed["likelihood"]) == ("rince-linear", None)
    assert gce["steps"] == clip["steps"] == 15
    assert gce["start"] == clip["start"]
    best = max((gce, clip), key=lambda one: one["likelihood"])
    assert found["chosen"] == best["name"]
    report = write(tmp_path / "run")
    assert report["candidates"] == found
    page = (tmp_path / "run" / "report.md").read_text()
    assert f"| **{best['name']}** | {best['likelihood']:.3f} | {best['step']} | 15 |" in page
    assert "| rince-linear | not finite |" in page

    words, trained[:] = best["name"].replace("-", ","), []
    align(a, b, **{**asked, "words": words, "workdir": tmp_path / "alone"})
    assert report["validation"] == RunFolder(tmp_path / "alone").summary["validation"]
    both = (restore_variables(tmp_path / each)[0] for each in ("run", "alone"))
    jax.tree.map(np.testing.assert_array_equal, *both)

    left = tmp_path / "run" / "candidates" / best["name"]
    left.mkdir()  # as if it had been killed when this was not yet in its place
    (tmp_path / "run" / "training.json").rename(left / "training.json")
    assert align(a, b, **asked).report["candidates"] == found
    assert (trained, left.exists()) == ([], False)
    with pytest.raises(ValueError, match=r"holds candidates of another config .*loss.epsilon: 0.1"):
        align(a, b, **{**asked, "settings": {**settings, "loss.epsilon": 0.2}})
