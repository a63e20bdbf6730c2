"""Runs on pairs: the commands on digits' halves, what they write, and mistakes."""

import csv
import json
import runpy
import shutil
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from gca_jax import align, losses, metrics
from gca_jax.commands import COMMANDS, Command
from gca_jax.data import arrays
from gca_jax.data.pairs import pair
from gca_jax.evaluation import pairs as evaluation
from gca_jax.evaluation.evaluate import check
from gca_jax.experiment import build
from gca_jax.files import write_arrays
from gca_jax.models import choice, closed_form, towers
from gca_jax.report.pairs import recall
from gca_jax.report.run import write
from gca_jax.training import initial, step
from gca_jax.training.start import prepare
from gca_jax.training.state import TrainState, init_variables
from gca_jax.workdir import RunFolder
from tests.conftest import ROOT
from tests.runs import evaluate, pretrain

pytestmark = pytest.mark.usefixtures("one_device")


def config(words="gca_ince,mlp,smoke", /, **changes):
    made = runpy.run_path(str(ROOT / "configs" / "pairs.py"))["get_config"](words)
    made.update_from_flattened_dict({"evaluation.rounds": 2, **changes})
    return made.lock()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose pairs are well told apart, with a third of them wrong, through all commands."""
    folder = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(0)
    a = rng.normal(size=(400, 6)).astype(np.float32)
    np.save(folder / "a.npy", a)
    np.save(folder / "b.npy", a[:, ::-1].reshape(400, 3, 2))
    changes = {
        "data.a": str(folder / "a.npy"),
        "data.b": str(folder / "b.npy"),
        "data.shuffled": 0.3,
        "target.name": "self_weighted",
        "target.warmup_steps": 20,
        "train.steps": 120,
        "optimizer.learning_rate": 0.02,
        "model.learn_epsilon": True,
        "loss.epsilon": 0.3,
        "evaluation.suspects": 40,
    }
    made = config("gca_ince,linear,smoke", **changes)
    typed = "python main.py --config=configs/pairs.py:gca_ince,linear,smoke"
    COMMANDS["all"](Command(made, str(folder / "run"), typed=typed))
    return folder / "run", made


def read(folder):
    report = json.loads((folder / "report.json").read_text())
    with np.load(folder / "evaluation.npz") as arrays:
        return report, dict(arrays)


@pytest.mark.slow
def test_the_report_has_recall_both_ways_and_finds_the_wrong_pairs(run):
    report, arrays = read(run[0])
    for way in ("a_to_b", "b_to_a"):
        found = report["retrieval"][way]
        assert found["recall_10"] >= found["recall_5"] >= found["recall_1"] > 0.3
        assert found["recall_1"] == np.mean(arrays[f"ranks_{way}"] <= 1)
    shuffled = arrays["weight_rows"][0] != arrays["weight_rows"][1]
    np.testing.assert_array_equal(shuffled, arrays["wrong"])
    auc = report["weights"]["auc"]
    assert auc == roc_auc_score(shuffled, -arrays["log_shares"]) > 0.9
    weights = np.exp(arrays["log_shares"])
    number = weights.sum() ** 2 / (weights**2).sum()
    np.testing.assert_allclose(report["weights"]["effective_pairs"], number, rtol=1e-6)
    assert report["epsilon"] != 0.3  # it was learned


@pytest.mark.slow
def test_the_posterior_tells_right_pairs_from_wrong_ones(run):
    """It is calibrated where most pairs are clear, and its mean and the estimate are the truth."""
    report, arrays = read(run[0])
    wrong, right = arrays["wrong"], arrays["posterior"]
    weights = report["weights"]
    assert weights["posterior_auc"] == roc_auc_score(wrong, -right) > 0.95
    sd = weights["wrong_estimate_sd"]
    np.testing.assert_allclose(weights["wrong_estimate"], wrong.mean(), atol=3 * sd + 0.02)
    assert 0 < sd < 0.06
    np.testing.assert_allclose(1 - right.mean(), wrong.mean(), atol=0.06)


@pytest.mark.slow
def test_the_list_of_suspects_is_of_those_least_likely_right(run):
    report, arrays = read(run[0])
    with (run[0] / "suspects.csv").open() as file:
        rows = list(csv.DictReader(file))
    least = np.lexsort((arrays["log_shares"], arrays["posterior"]))[:40]
    listed = [[int(row["row_a"]), int(row["row_b"])] for row in rows]
    np.testing.assert_array_equal(listed, arrays["weight_rows"][:, least].T)
    found = [float(row["probability"]) for row in rows]
    np.testing.assert_allclose(found, arrays["posterior"][least], atol=1e-4)
    wrong = [row["row_a"] != row["row_b"] for row in rows]
    assert wrong == [row["shuffled"] == "1" for row in rows]
    assert np.mean(wrong) > 0.9
    count = arrays["wrong"].sum()
    first = np.argsort(arrays["log_shares"], kind="stable")[:count]
    assert report["weights"]["precision"] == arrays["wrong"][first].mean()


@pytest.mark.slow
def test_towers_that_know_wrong_pairs_by_heart_are_found_out():
    """Pairs of noise: the training pairs look right, and validation pairs tell that none is."""
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(400, 40)).astype(np.float32) for _ in "ab")
    settings = {"train.steps": 150, "train.batch_size": 100, "optimizer.learning_rate": 0.01}
    aligned = align(a, b, words="gca_ince,mlp", settings=settings, validation_fraction=0.3)
    weights = aligned.report["weights"]
    assert weights["known_by_heart"]
    assert weights["wrong_estimate"] > 0.6
    assert 0.1 < weights["wrong_estimate_sd"] < 0.25
    assert aligned.probabilities.mean() < 0.5


@pytest.mark.slow
def test_an_evaluation_of_an_earlier_version_is_reported(run, tmp_path):
    """It has no posterior: the list is by weight, and the page says nothing of a share."""
    shutil.copytree(run[0], tmp_path / "run")
    arrays = read(run[0])[1]
    del arrays["posterior"]
    write_arrays(tmp_path / "run" / "evaluation.npz", arrays)
    path = tmp_path / "run" / "evaluation.json"
    old = json.loads(path.read_text())
    for key in ("wrong_estimate", "wrong_estimate_sd", "known_by_heart", "posterior_auc"):
        del old["weights"][key]
    path.write_text(json.dumps(old))
    write(RunFolder.open(tmp_path / "run"))
    assert "look wrong" not in (tmp_path / "run" / "report.md").read_text()
    with (tmp_path / "run" / "suspects.csv").open() as file:
        rows = [int(row["row_a"]) for row in csv.DictReader(file)]
    least = np.argsort(arrays["log_shares"], kind="stable")[:40]
    np.testing.assert_array_equal(rows, arrays["weight_rows"][0, least])


@pytest.mark.slow
def test_the_page_has_the_command_and_every_picture(run):
    page = (run[0] / "report.md").read_text()
    assert "\n    python main.py --config=configs/pairs.py:gca_ince,linear,smoke\n" in page
    assert "\n    python main.py --config=config.json --workdir=DIR  # " in page
    share, sd = (
        f"{100 * read(run[0])[0]['weights'][name]:.0f}"
        for name in ("wrong_estimate", "wrong_estimate_sd")
    )
    assert f"About **{share} ± {sd} %** of the " in page
    assert page.index("look wrong") < page.index("## Retrieval")
    for name in ("recall", "weights", "training", "alignment_uniformity"):
        assert f"figures/{name}.png" in page
        assert (run[0] / "figures" / f"{name}.png").stat().st_size > 5_000


@pytest.mark.slow
def test_a_finished_run_is_judged_again_without_training(run, capsys):
    folder, made = run
    before = (folder / "evaluation.json").read_text()
    COMMANDS["pretrain"](Command(made, str(folder)))
    assert "it is not trained again" in capsys.readouterr().out
    COMMANDS["evaluate"](Command(made, str(folder)))
    assert (folder / "evaluation.json").read_text() == before


@pytest.mark.parametrize("mode", ["preview", "prepare"])
def test_commands_for_images_say_so(mode):
    with pytest.raises(ValueError, match=f"--mode={mode} is for runs on images, not on pairs"):
        COMMANDS[mode](Command(config()))


@pytest.mark.usefixtures("unchecked")
def test_a_run_on_pairs_is_built_with_pairs_and_no_encoder(tiny):
    with pytest.raises(ValueError, match="two towers, and takes no encoder"):
        build(config(), encoder=object())
    images = arrays(np.zeros((10, 8, 8, 1), np.uint8))
    with pytest.raises(ValueError, match="dataset must be a Pairs, got a Dataset"):
        build(config(), dataset=images)
    with pytest.raises(ValueError, match="dataset must be a Dataset, got a Pairs"):
        build(tiny(), dataset=pair(np.eye(20), np.eye(20)))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["clip", "gca_rince", "gca_uot", "iot"])
def test_a_method_has_a_gradient_for_both_towers(method):
    made = build(config(f"{method},mlp,smoke"))
    variables = init_variables(made.network, made.key, made.data.input_shape)
    batch = tuple(
        jnp.asarray(side.features(part[:16]))
        for side, part in zip((made.data.a, made.data.b), made.data.train, strict=True)
    )

    def value(params):
        own = {**variables, "params": params}
        return made.loss(*made.network.embed(own, batch).pair, **made.network.learned(own))[0]

    for leaf in jax.tree.leaves(jax.jit(jax.grad(value))(variables["params"])):
        assert np.isfinite(leaf).all()
        assert np.abs(leaf).max() > 0


def test_a_learned_temperature_is_that_of_the_loss():
    made = build(config(**{"model.learn_epsilon": True, "loss.epsilon": 0.2}))
    variables = init_variables(made.network, made.key, made.data.input_shape)
    rng = np.random.default_rng(0)
    batch = tuple(jnp.asarray(rng.normal(size=(8, 32)), jnp.float32) for _ in "ab")
    state = TrainState(jnp.zeros((), jnp.int32), variables["params"], {}, ())
    loss = partial(step.contrastive_loss, made.network, made.network.embed, made.loss)
    value, forward = jax.jit(loss)(variables["params"], state, batch)
    z = made.network.apply(variables, *batch)
    plain, _ = losses.gca_ince(*z, epsilon=0.2)
    np.testing.assert_allclose(value, plain, rtol=1e-5)
    np.testing.assert_allclose(forward.aux["epsilon"], 0.2, rtol=1e-6)


@pytest.mark.parametrize(
    ("words", "changes", "message"),
    [
        ("byol", {}, "byol needs a network of its own"),
        ("ince", {"method": "byol"}, "config.method: this config is not one of byol"),
        ("ince", {"data.a": "no.npy", "data.b": "no.npy"}, "config.data: no.npy does not exist"),
        ("ince", {"data.shuffled": 2.0}, r"config.data: shuffled must lie in \[0, 1\]"),
        ("ince", {"model.tower_b": "cnn"}, "config.model: tower_b must be one of"),
        ("ince", {"target.name": "smoothed"}, "config.target: .*share"),
        ("ince", {"target.name": "bootstrapped", "target.share": 2.0}, "config.target: share"),
        ("ince", {"train.steps": -1}, "config.train: steps must be an integer >= 0"),
        ("ince", {"train.patience": 0}, "config.train: patience must be an integer >= 1"),
        ("ince", {"train.stop_by": "test"}, "config.train: stop_by must be one of auto, steps, v"),
        (
            "ince",
            {"train.stop_by": "validation", "data.validation_fraction": 0.0},
            "config.train: stop_by=validation needs validation pairs, and there are 0: raise val",
        ),
        ("ince", {"target.name": "evidence", "target.share": 2.0}, "config.target: share"),
        ("ince", {"evaluation.rounds": 0}, "config.evaluation: rounds must be an integer >= 1"),
        ("ince", {"evaluation.split": "train"}, "split must be one of test, validation"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_mistake_is_one_line_before_training(words, changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        check(build(config(words, **changes)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("target", "taken"),
    [({"name": "classes"}, "labels"), ({"name": "blocks", "alpha": 0.5}, "domains")],
)
def test_targets_of_groups_take_the_labels_of_the_pairs(target, taken):
    x, labels = np.eye(20, 3), np.arange(20) % 4
    made = config("ince", **{f"target.{key}": value for key, value in target.items()})
    both = pair(x, x, labels=labels)
    experiment = build(made, dataset=both)
    assert experiment.takes == (taken,)
    np.testing.assert_array_equal(experiment.data.info[taken], labels[both.train.a])
    message = rf"needs {taken}, and the pairs have none; --config\.data\.labels=FILE, or labels= in"
    with pytest.raises(ValueError, match=rf"^config\.target: {target['name']} {message}"):
        build(made, dataset=pair(x, x))


def test_the_words_name_methods_and_towers():
    assert config("ince,linear").model.tower_a == config("linear,ince").model.tower_b == "linear"
    with pytest.raises(ValueError, match=r"unknown method 'vit'.*residual, linear, mlp"):
        config("vit")


def test_a_run_with_a_loss_of_one_s_own_has_no_plan(tmp_path):
    def distance(z_a, z_b):
        return metrics.alignment(z_a, z_b)

    made = build(config(**{"train.steps": 2}), loss=distance)
    pretrain(made, tmp_path)
    found = evaluate(made, tmp_path)
    assert found["retrieval_plan"] is found["weights"] is None
    assert any("no transport plan" in words or "plan" in words for words in found["left_out"])


def test_chance_is_k_of_n_wherever_the_picture_shows_it(tmp_path):
    ranks = {f"ranks_{way}": np.arange(1, 101) for way in ("a_to_b", "b_to_a")}
    report = {"method": "ince", "dataset": "pairs", "config": {"data": {"name": "pairs"}}}
    write_arrays(tmp_path / "evaluation.npz", ranks)
    drawn = recall(report, RunFolder(tmp_path))
    chance = drawn.axes[0].get_lines()[-1]
    assert chance.get_label() == "by chance"
    k, share = chance.get_data()
    seen = np.interp(np.log(10), np.log(k), share)  # as the eye reads a logarithmic axis
    np.testing.assert_allclose(seen, 10, rtol=1e-6)


def test_the_plan_gives_every_candidate_the_same_mass():
    """Its ranking of a's candidates is that of OTT-free NumPy Sinkhorn iterations."""
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, 30, 4))
    a, b = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (a, b))
    k = np.exp(a @ b.T / 0.2)
    u = np.ones(30)
    for _ in range(500):
        v = 1 / (k.T @ u)
        u = 1 / (k @ v)
    found = evaluation._retrieve_by_plan(a.astype(np.float32), b.astype(np.float32), 0.2)
    p = u[:, None] * k * v
    for way, plan in (("a_to_b", p), ("b_to_a", p.T)):
        ranks = 1 + (plan > np.diag(plan)[:, None]).sum(axis=1)
        np.testing.assert_array_equal(found[way].ranks, ranks)


def test_few_lengths_are_compiled_whatever_number_of_rows_is_asked_for():
    network = towers.create(tower_a="linear", tower_b="linear", hidden_a=(), hidden_b=(), dim=2)
    x = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    variables = network.init(jax.random.key(0), *network.blank((3, 3)))
    want = x @ np.asarray(variables["params"]["a"]["out"]["kernel"])
    want /= np.linalg.norm(want, axis=1, keepdims=True)
    before = evaluation._embed._cache_size()
    for rows in range(1, 41):
        got = evaluation.embed_rows(network, "embed_a", variables, x[:rows])
        np.testing.assert_allclose(got, want[:rows], rtol=1e-4, atol=1e-5)
    assert evaluation._embed._cache_size() - before <= 7  # 1, 2, 4, ..., 64


@pytest.mark.parametrize(
    "start",
    [
        "identity",
        "procrustes",
        "cca",
        *(pytest.param(slow, marks=pytest.mark.slow) for slow in ("evidence", "auto")),
    ],
)
def test_linear_towers_start_from_a_closed_form(start, tmp_path):
    """Before the first step the towers are the maps: one cosine of each pair of rows by both."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=(120, 5)) * np.arange(1, 6)
    both = pair(a, a @ rng.normal(size=(5, 5)) + 0.1 * rng.normal(size=(120, 5)), shuffled=0.2)
    made = build(config("gce,linear", **{"model.start": start, "model.dim": 7}), dataset=both)
    drawn = initial.draw(made, maps=prepare(made, RunFolder(tmp_path)).maps)
    rows = both.a.features(both.train.a), both.b.features(both.train.b)
    maps = choice.linear_start(start, *rows, seed=made.seed).maps
    z_a, z_b = made.network.apply(drawn, *map(jnp.asarray, rows))
    cosines = closed_form.unit(np.asarray(z_a)) @ closed_form.unit(np.asarray(z_b)).T
    np.testing.assert_allclose(cosines, maps.map_x(rows[0]) @ maps.map_y(rows[1]).T, atol=1e-5)


def test_residual_towers_start_where_linear_ones_do(tmp_path):
    """Their branches add nothing at first: the same embeddings, and ranks, of all rows."""
    rng = np.random.default_rng(1)
    a = rng.normal(size=(120, 5))
    both = pair(a, np.tanh(a @ rng.normal(size=(5, 6))))
    found = []
    for tower in ("linear", "residual"):
        changes = {"model.start": "cca", "model.hidden_a": (9,), "model.hidden_b": (8, 7)}
        made = build(config(f"gce,{tower}", **changes), dataset=both)
        rows = both.a.features(both.evaluated.a), both.b.features(both.evaluated.b)
        drawn = initial.draw(made, maps=prepare(made, RunFolder(tmp_path)).maps)
        found.append(made.network.apply(drawn, *map(jnp.asarray, rows)))
    for linear, residual in zip(*found, strict=True):
        np.testing.assert_array_equal(linear, residual)
        assert np.abs(linear).max() > 0


def test_a_random_start_is_that_of_the_seed():
    both = pair(np.eye(40, 4), np.eye(40, 4))
    for words in ("gce,linear", "gce,residual", "gce,mlp"):
        drawn = [
            initial.draw(build(config(words, **{"model.start": start}), dataset=both))
            for start in (None, "random")
        ]
        jax.tree.map(np.testing.assert_array_equal, *drawn)


@pytest.mark.parametrize(
    ("words", "start", "message"),
    [
        (
            "gce,mlp",
            "cca",
            "config.model: start=cca is of linear and residual towers: take the word",
        ),
        ("gce,linear", "pca", "config.model: start must be one of auto, cca, evidence, ident"),
    ],
)
def test_a_start_that_cannot_be(words, start, message):
    rows = np.random.default_rng(0).normal(size=(60, 4))
    with pytest.raises(ValueError, match=message):
        build(config(words, **{"model.start": start}), dataset=pair(rows, rows))


def test_few_known_pairs_and_rows_in_no_order(tmp_path, capsys):
    """50 of 500 pairs are known; the plan's matches are trained with, and a run goes on with them.

    The partners of the others are known here, and most of the matches are these.
    """
    rng = np.random.default_rng(3)
    a = rng.gamma(1.0, size=(540, 8)) @ rng.normal(size=(8, 8))  # no mirror image of itself
    b = a @ rng.normal(size=(8, 8)) + 0.05 * rng.normal(size=(540, 8))
    order = rng.permutation(500)
    known = np.stack([order[:50], np.arange(50)], axis=1)
    test = {"test": (a[500:], b[500:])}
    both = pair(a[:500], b[order], pairs=known, **test)
    np.testing.assert_array_equal([len(rows) for rows in both.unpaired], [450, 450])
    assert (len(both.train.a), len(both.validation.a), len(both.evaluated.a)) == (45, 5, 40)
    made = build(config("gce,linear", **{"train.steps": 20, "model.dim": 8}), dataset=both)
    folder = RunFolder.open(tmp_path, made.record)
    prepared, maps = prepare(made, folder)
    assert "start: " in capsys.readouterr().out
    data = prepared.data
    assert not np.isin(data.train.a, known[:, 0]).any()
    assert not np.isin(data.train.b, known[:, 1]).any()
    assert np.mean(order[data.train.b] == data.train.a) > 0.9
    np.testing.assert_array_equal(np.sort(data.validation.a), np.sort(known[:, 0]))
    assert (prepared.target.takes, prepared.train.batch_size) == (("quality",), 256)
    rows = both.rows  # 5 are of validation pairs
    k = np.exp(maps.map_x(both.a.features(rows[0])) @ maps.map_y(both.b.features(rows[1])).T / 0.05)
    v = np.ones(495)
    for _ in range(40):
        v = 1 / (k.T @ (1 / (k @ v)))
    p = k * v / (k @ v)[:, None]
    at = [np.searchsorted(own, of) for own, of in zip(rows, data.train, strict=True)]
    np.testing.assert_allclose(data.quality, p[tuple(at)], atol=1e-4)
    summary = pretrain(made, tmp_path)
    assert (summary["validation"]["pairs"], summary["matched"]) == (50, len(data.train.a))
    kept = RunFolder.open(tmp_path).matches
    for name, values in zip("ab", data.train, strict=True):
        np.testing.assert_array_equal(kept[name], values)
    assert evaluate(made, tmp_path)["retrieval"]["a_to_b"]["recall_1"] > 0.9
    write(RunFolder.open(tmp_path))
    page = " ".join((tmp_path / "report.md").read_text().split())
    assert "450 rows of a and 450 of b are in no given pair; the towers were trained with" in page
    longer = build(config("gce,linear", **{"train.steps": 30, "model.dim": 8}), dataset=both)
    assert pretrain(longer, tmp_path)["steps"] == 30
    assert capsys.readouterr().out.count("start: ") == 1  # of the run that began


def test_too_few_validation_pairs_leave_the_towers_where_they_start(tmp_path, capsys):
    rng = np.random.default_rng(1)
    a = rng.normal(size=(60, 4))
    both = pair(a, a @ rng.normal(size=(4, 4)))
    made = build(config("gce,linear", **{"model.start": "cca", "model.dim": 4}), dataset=both)
    summary = pretrain(made, tmp_path)
    assert (summary["steps"], summary["finished"]) == (0, True)
    assert "5 validation pairs do not tell when to stop, 20 would" in capsys.readouterr().out
    assert pretrain(made, tmp_path) == summary


def test_matches_of_a_run_that_saved_nothing_are_not_those_of_another(tmp_path):
    """Else a run that trains with the given pairs would go on with them."""
    write_arrays(tmp_path / "matches.npz", {key: np.arange(3) for key in ("a", "b", "quality")})
    made = build(config("gce,linear", **{"model.start": "cca", "train.steps": 2}))
    assert "matched" not in pretrain(made, tmp_path)
    assert RunFolder.open(tmp_path).matches is None


def test_a_confidence_weighs_the_loss():
    """The value is that of the pairs weighted by it, and pairs of 0 count for nothing."""
    rng = np.random.default_rng(2)
    a, trust = rng.normal(size=(80, 3)), rng.uniform(size=80).round()
    both = pair(a, a[:, ::-1], confidence=trust, test_fraction=0.2)
    made = build(config("gce,mlp,smoke"), dataset=both)
    z = jnp.asarray(rng.normal(size=(2, len(both), 4)), jnp.float32)
    value, _ = made.loss(*z, **made.target.keywords(both.info, 0))
    np.testing.assert_array_equal(both.quality, trust[both.train.a])
    u = [np.float64(x) / np.linalg.norm(x, axis=1, keepdims=True) for x in np.asarray(z)]
    k = np.exp(u[0] @ u[1].T / 0.1)
    p = np.stack([np.diag(k) / k.sum(axis=axis) for axis in (0, 1)])
    expected = np.average(((1 - p**0.7) / 0.7).mean(axis=0), weights=both.quality)
    np.testing.assert_allclose(value, expected, rtol=1e-4)


def test_the_plan_needs_a_start_that_has_one():
    with pytest.raises(ValueError, match="partners=plan needs the plan of start=auto or evidence"):
        build(config("gce,mlp", **{"train.partners": "plan"}))
    with pytest.raises(ValueError, match="partners=plan matches rows that are in no pair"):
        build(config("gce,linear", **{"train.partners": "plan"}))
