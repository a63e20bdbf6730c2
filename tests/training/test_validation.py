"""`stop_by=validation`: ℓ against NumPy, which weights a run leaves, and that it resumes."""

import json
import shutil
import signal

import jax
import numpy as np
import pytest

from gca_jax import config
from gca_jax.data.pairs import pair
from gca_jax.experiment import build
from gca_jax.models.closed_form import unit
from gca_jax.signals import Stopped
from gca_jax.training import checkpoint, initial, start, step, validation
from gca_jax.training.hooks import STOP
from gca_jax.training.log import Log
from gca_jax.training.state import TrainState
from gca_jax.workdir import RunFolder
from tests import processes
from tests.runs import evaluate, pretrain, restore_variables, write

pytestmark = pytest.mark.usefixtures("one_device")


def experiment(**changes):
    """Linear towers of 300 pairs, of which 24 are to validate, among 192 others."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=(300, 5))
    b = a @ rng.normal(size=(5, 4)) + 0.3 * rng.normal(size=(300, 4))
    made = config.make("pairs", "gce,linear")
    settings = {
        "model.dim": 4,
        "train.batch_size": 48,
        "train.steps": 120,
        "train.log_every_steps": 40,
        "train.stop_by": "validation",
        "model.start": "random",
        "optimizer.learning_rate": 0.1,
        **changes,
    }
    made.update_from_flattened_dict(settings)
    return build(made.lock(), dataset=pair(a, b, shuffled=1 / 3))


def begun(made, folder):
    """The weights that a run begins with."""
    fresh = RunFolder(folder / "fresh")
    return initial.draw(made, maps=start.prepare(made, fresh).maps)


HARMFUL = {"model.start": "cca", "optimizer.learning_rate": 1.0, "train.patience": 1}


def weights_of(path):
    """The variables of the network that the newest checkpoint holds, and its step."""
    variables, at = restore_variables(path)
    variables.pop("remembered", None)
    return variables, at


def summary(path):
    return json.loads((path / "training.json").read_text())


def test_looks_are_denser_at_first():
    looks = [k for k in range(1_001) if validation.is_due(k)]
    assert looks == [0, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1_000]


def test_likelihood_is_that_of_the_plan_without_prior_in_float64():
    made = experiment()
    look = validation.Validation(step.trace(made))
    drawn = initial.draw(made)
    look.begin(TrainState(jax.numpy.zeros((), int), drawn["params"], {}, ()))
    ((at, found),) = look.memory["looks"]
    assert at == 0
    data, part = made.data, made.data.validation
    others = (np.setdiff1d(train, held) for train, held in zip(data.train, part, strict=True))
    held = [np.concatenate([*each]) for each in zip(part, others, strict=True)]
    rows = data.a.features(held[0]), data.b.features(held[1])
    z_a, z_b = made.network.apply(drawn, *map(jax.numpy.asarray, rows))
    k = np.exp((unit(np.float64(z_a)) @ unit(np.float64(z_b)).T - 1) / 0.05)
    n, v = len(k), np.ones(len(k))
    for _ in range(40):
        u = 1 / n / (k @ v)
        v = 1 / n / (k.T @ u)
    p = n * np.diag(u[:, None] * k * v)[:24]
    shares = np.linspace(0, 0.999, 200)
    likelihood = max(np.mean(np.log(share * n * p + 1 - share)) for share in shares)
    np.testing.assert_allclose(found, likelihood if 24 * likelihood > 2 else 0.0, rtol=1e-4)


def test_many_pairs_are_looked_at_in_plans_of_equal_size(monkeypatch):
    monkeypatch.setattr(validation, "IN_PLAN", 10)
    monkeypatch.setattr(validation, "FEW", 0)
    look = validation.Validation(step.trace(experiment()))
    assert [x.shape for x in look._features] == [(3, 8, 5), (3, 8, 4)]
    assert look.pairs == 24
    monkeypatch.setattr(validation, "MOST", 17)
    few = validation.Validation(step.trace(experiment()))
    assert [x.shape[:2] for x in few._features] == [(2, 8)] * 2


@pytest.mark.parametrize(
    ("found", "chosen", "ended_at"),
    [
        ([1.0, 2.0, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5], 10, 150),
        ([0.0] * 10, 200, None),
        ([2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 3.0, 1.0], 150, None),
    ],
)
def test_the_best_look_is_chosen_and_patience_counts_from_step_100(found, chosen, ended_at):
    look = object.__new__(validation.Validation)
    look.memory, look._patience = {"looks": []}, 2
    ended = []
    for at, value in zip((0, 10, 15, 20, 30, 50, 70, 100, 150, 200), found, strict=True):
        look.memory["looks"].append([at, value])
        ended += [at] * look.ended
    assert look.chosen[0] == chosen
    assert ended[:1] == ([] if ended_at is None else [ended_at])


@pytest.mark.parametrize(("rows", "chooses"), [(300, True), (200, False)])
def test_auto_needs_some_validation_pairs(rows, chooses):
    made = config.make("pairs", "gce,linear").lock()
    assert made.train.stop_by == "auto"
    x = np.random.default_rng(0).normal(size=(rows, 3))
    assert build(made, dataset=pair(x, x)).by_validation == chooses
    made.train.stop_by = "steps"
    assert not build(made, dataset=pair(x, x)).by_validation


@pytest.mark.usefixtures("unchecked")
def test_images_and_data_of_one_s_own_have_none(tiny):
    for changes, message in (
        ({"train.steps": 0}, "config.train: steps must be an integer >= 1, got 0"),
        ({"train.stop_by": "validation"}, "config.train: stop_by=validation is for runs on pairs"),
    ):
        made = tiny().unlock()
        made.update_from_flattened_dict(changes)
        with pytest.raises(ValueError, match=message):
            build(made)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that was never stopped."""
    path = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
        patch.setattr(step, "make_mesh", lambda: mesh)
        pretrain(experiment(), path)
    return path


def state_of(path):
    """The whole of the state that the newest checkpoint holds."""
    training = step.trace(experiment())
    with checkpoint.open_manager(RunFolder(path), clean=False) as manager:
        device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        return checkpoint.restore(manager, training.abstract, device)[0]


@pytest.mark.slow
def test_a_run_leaves_the_weights_of_its_best_look(whole, tmp_path):
    found = summary(whole)
    assert (found["finished"], found["steps"], found["validation"]["pairs"]) == (True, 120, 24)
    looks = dict(found["validation"]["looks"])
    assert list(looks) == [0, 10, 15, 20, 30, 50, 70, 100, 120]
    at = found["validation"]["step"]
    assert looks[at] == found["validation"]["likelihood"] == max(looks.values()) > 1
    assert 0 < at < 120
    logged = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    curve = {row["step"]: row["validation_likelihood"] for row in logged if row["step"] in looks}
    np.testing.assert_allclose([*curve.values()], [looks[k] for k in curve], rtol=1e-6)
    assert curve.keys() == looks.keys() - {0}

    def stop(k, state, metrics):
        return STOP if k == at else None

    stop.name, stop.memory = "stops at the best", {}
    plain = experiment(**{"train.stop_by": "steps"})
    with pytest.raises(Stopped):
        pretrain(plain, tmp_path, hooks=[stop])
    chosen, last = weights_of(whole)
    assert last == 120
    jax.tree.map(np.testing.assert_array_equal, chosen, weights_of(tmp_path)[0])


@pytest.mark.slow
@pytest.mark.parametrize("k", [5, 60, 115])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(whole, tmp_path, monkeypatch, k):
    take = Log.__call__

    def patched(self, at, state, metrics):
        take(self, at, state, metrics)
        if at == k:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Log, "__call__", patched)
        with pytest.raises(Stopped):
            pretrain(experiment(), tmp_path)
    before = summary(tmp_path)
    assert not before["finished"]
    assert [at for at, _ in before["validation"]["looks"]] == [
        at for at in range(k + 1) if validation.is_due(at)
    ]
    pretrain(experiment(), tmp_path)
    assert summary(tmp_path)["validation"] == summary(whole)["validation"]
    jax.tree.map(np.testing.assert_array_equal, state_of(tmp_path), state_of(whole))


@pytest.mark.slow
def test_pairs_are_remembered_up_to_the_chosen_step_and_judged_by_it(whole, tmp_path):
    """Embeddings of the weights at each look, in NumPy's plan; the evaluation reads their mean."""
    made, at = experiment(), summary(whole)["validation"]["step"]
    kept, looks = {}, [k for k in range(at + 1) if validation.is_due(k)]

    def take(k, state, metrics):
        if k in looks:
            kept[k] = jax.device_get(state.params)

    take.name, take.memory = "takes", {}
    pretrain(made, tmp_path, hooks=[take])
    part, log_p = made.data.train, []
    for params in (begun(made, tmp_path)["params"], *kept.values()):
        rows = map(jax.numpy.asarray, (made.data.a.features(part.a), made.data.b.features(part.b)))
        z_a, z_b = (unit(np.float64(z)) for z in made.network.apply({"params": params}, *rows))
        k = np.exp((z_a @ z_b.T - 1) / 0.05)
        n, v = len(k), np.ones(len(k))
        for _ in range(40):
            u = 1 / n / (k @ v)
            v = 1 / n / (k.T @ u)
        log_p.append(np.log(n * u * np.diag(k) * v))
    remembered = restore_variables(tmp_path)[0]["remembered"]
    assert (remembered["looks"] == len(looks)).all()
    mean = remembered["total"][0] / len(looks)
    np.testing.assert_allclose(mean, np.mean(log_p, axis=0), atol=0.02)
    evaluate(made, tmp_path)
    right = np.load(tmp_path / "evaluation.npz")["posterior"]
    order = np.argsort(mean)
    assert (np.diff(right[order]) >= -1e-9).all()  # q rises with what is remembered


@pytest.mark.slow
def test_a_run_that_only_harms_ends_early_with_its_start(tmp_path, capsys):
    made = experiment(**HARMFUL)
    first = pretrain(made, tmp_path)
    assert (first["finished"], first["steps"], first["validation"]["step"]) == (True, 100, 0)
    chosen, _ = weights_of(tmp_path)
    jax.tree.map(np.testing.assert_array_equal, chosen, begun(made, tmp_path))
    assert pretrain(made, tmp_path) == first  # it is not trained again
    (tmp_path / "training.json").unlink()  # killed before it was written
    again = pretrain(made, tmp_path)
    assert (again["steps"], again["validation"]) == (100, first["validation"])
    assert again["finished"]
    longer = pretrain(experiment(**HARMFUL, **{"train.steps": 400}), tmp_path)
    assert (longer["steps"], longer["finished"]) == (100, True)
    assert "validation pairs have ended this run at step 100" in capsys.readouterr().out
    evaluate(experiment(**HARMFUL, **{"train.steps": 400}), tmp_path)
    report = write(tmp_path)
    assert report["validation"]["step"] == 0
    page = (tmp_path / "report.md").read_text()
    assert "The weights are those of **step 0**" in page
    assert "frozen at step 0 of 100" in page
    assert (tmp_path / "figures" / "validation.png").stat().st_size > 5_000


@pytest.mark.slow
def test_a_run_from_before_there_was_a_choice_goes_on_as_it_was_begun(tmp_path):
    """Its config has no such keys; the same command, now with "auto", resumes it."""
    old, new = experiment(**{"train.stop_by": "steps"}), experiment(**{"train.stop_by": "auto"})

    def stop(k, state, metrics):
        return STOP if k == 110 else None

    stop.name, stop.memory = "stops", {}
    pretrain(old, tmp_path / "old")
    with pytest.raises(Stopped):
        pretrain(old, tmp_path / "run", hooks=[stop])
    path = tmp_path / "run" / "config.json"
    record = json.loads(path.read_text())
    del record["train"]["stop_by"], record["train"]["patience"]
    path.write_text(json.dumps(record))
    shutil.copytree(tmp_path / "run", tmp_path / "again")
    for name, made in (("run", old), ("again", new)):
        assert "validation" not in pretrain(made, tmp_path / name)
        ours, theirs = (weights_of(tmp_path / each)[0] for each in (name, "old"))
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.slow
def test_no_step_at_all_is_a_run(tmp_path):
    made = experiment(**{"train.steps": 0, "model.start": "cca"})
    found = pretrain(made, tmp_path)
    assert (found["finished"], found["steps"]) == (True, 0)
    assert weights_of(tmp_path)[1] == 0
    begins = begun(made, tmp_path)
    jax.tree.map(np.testing.assert_array_equal, weights_of(tmp_path)[0], begins)
    assert pretrain(made, tmp_path) == found
    evaluate(made, tmp_path)
    write(tmp_path)
    page = (tmp_path / "report.md").read_text()
    for name in ("training", "alignment_uniformity", "validation"):
        assert f"figures/{name}.png" not in page
    assert "figures/recall.png" in page
    longer = pretrain(experiment(**{"train.steps": 20, "model.start": "cca"}), tmp_path)
    assert (longer["steps"], longer["validation"]["looks"][0][0]) == (20, 0)


PROGRAM = """
import json, sys
index, count, port, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
from gca_jax import distributed
distributed.join(f"127.0.0.1:{port}", index, count)
from tests.training.test_validation import HARMFUL, experiment
from tests.runs import pretrain
found = pretrain(experiment(**HARMFUL), path)
print(json.dumps([found["steps"], found["validation"]]), file=sys.__stdout__)
"""


@pytest.mark.slow
def test_two_processes_decide_alike(tmp_path):
    said = processes.run(PROGRAM, 2, 2, tmp_path / "two")
    first, second = (json.loads(each.splitlines()[-1]) for each in said)
    assert first == second
    alone = pretrain(experiment(**HARMFUL), tmp_path / "one")
    assert (first[0], first[1]["step"]) == (alone["steps"], alone["validation"]["step"]) == (100, 0)
    (_, ours), (_, theirs) = first[1]["looks"][0], alone["validation"]["looks"][0]
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
