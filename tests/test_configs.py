"""The configs: their words, their keys, the paper's settings, and a smoke run of each."""

import inspect
import json
import os
import pathlib
import runpy
import subprocess
import sys

import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from gca_jax import config, losses
from gca_jax.data import sources
from gca_jax.evaluation.evaluate import check
from gca_jax.experiment import build
from gca_jax.training.step import trace
from tests import processes
from tests.data import prepared
from tests.runs import evaluate, pretrain, write

ROOT = pathlib.Path(__file__).parents[1]
NAMES = sorted(path.stem for path in (ROOT / "configs").glob("*.py") if path.stem != "pairs")


def get(name, words=""):
    return runpy.run_path(str(ROOT / "configs" / f"{name}.py"))["get_config"](words)


def keys(config):
    return set(flatten_dict(config.to_dict(), sep="."))


def test_every_data_set_has_a_config():
    assert set(NAMES) == set(sources.SOURCES)
    for name in NAMES:
        assert get(name).data.name == name
        assert get(name).data.kind == "images"
    assert (get("pairs").data.name, get("pairs").data.kind) == ("pairs", "pairs")


@pytest.mark.parametrize("name", NAMES)
def test_every_method_has_all_its_settings_and_no_others(name):
    for method in losses.METHODS:
        config = get(name, method)
        assert config.method == method
        taken = set(losses.keywords(method))
        arrays = {
            "target",
            "mu",
            "nu",
            "cost_fn",
            "axis_name",
            "epsilon_min",
            "diagnose",
            "keep_plan",
            "valid",
            "ignore",
        }
        assert set(config.loss) == taken - arrays
        assert ("target_decay" in config.train) == (method == "byol")
        assert ("predictor_hidden" in config.model) == (method == "byol")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("method", ["gca_uot", "byol", "ince,vit"])
def test_a_config_has_the_keys_that_digits_has(name, method):
    """Of which another test checks that each one changes the run; the data's are of each set."""

    differ = keys(get(name, method)) ^ keys(get("digits", method))
    assert all(key.startswith("data.") for key in differ)


@pytest.mark.parametrize("name", NAMES)
def test_data_keys_are_what_the_reader_takes(name):
    parameters = inspect.signature(sources.SOURCES[name].read).parameters.values()
    taken = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    assert set(get(name).data) == {"kind", "name", "file"} | taken


@pytest.mark.parametrize("name", NAMES)
def test_any_config_reads_arrays_in_place_of_its_set(name, tmp_path):
    """Its recipe stays; what names other images is refused."""
    np.savez(tmp_path / "x.npz", images=np.zeros((10, 8, 8, 3), np.uint8))
    made = get(name)
    made.data.file = str(tmp_path / "x.npz")
    given = {key: value for key, value in made.data.items() if key != "kind"}
    if name in ("cifar10_corrupted", "icons"):
        with pytest.raises(ValueError, match=r"file and (corruption|root) name two data sets"):
            sources.load(**given)
        return
    if given.get("size") is not None:
        with pytest.raises(ValueError, match=r"are 8 x 8 x 3, and size is 224: --config\.data\."):
            sources.load(**given)
        given["size"] = 8
    data = sources.load(**given)
    assert (data.name, data.train_images.shape) == ("arrays", (8, 8, 8, 3))
    with pytest.raises(ValueError, match="takes no colour"):
        sources.load(**given, colour=1)


def test_words_may_stand_in_any_order_and_be_left_out():
    assert get("cifar10") == get("cifar10", "gca_uot")
    assert get("pacs") == get("pacs", "gca_ince")
    assert get("svhn", "smoke,byol") == get("svhn", "byol,smoke") != get("svhn", "byol")
    assert get("svhn", "smoke") == get("svhn", "gca_uot,smoke")
    assert get("svhn", "resnet") == get("svhn")
    assert get("svhn", "vit,smoke") == get("svhn", "smoke,gca_uot,vit") != get("svhn", "smoke")


def test_fashion_mnist_has_a_recipe_for_two_cores():
    small, large = get("fashion_mnist", "small,byol"), get("fashion_mnist", "byol")
    assert small == get("fashion_mnist", "byol,small") != large
    assert keys(small) == keys(large)
    assert small.model.width < large.model.width
    assert get("fashion_mnist", "small,smoke").train.epochs == 1
    with pytest.raises(ValueError, match=r"'smal'.* and 'smoke' or 'small' may be added"):
        get("fashion_mnist", "smal")


@pytest.mark.parametrize(
    ("method", "group", "key", "value"),
    [
        ("byol", "model", "projector_batch_norm", True),
        ("rince", "loss", "q", 0.1),
        ("gca_rince", "loss", "q", 0.1),
    ],
)
def test_the_revised_recipe_of_cifar10_changes_one_setting_of_a_method(method, group, key, value):
    revised, published = get("cifar10", f"{method},revised"), get("cifar10", method)
    assert revised[group][key] == value != published[group][key]
    published[group][key] = value
    assert revised == published
    assert get("cifar10", "ince,revised") == get("cifar10", "ince")


@pytest.mark.parametrize("name", NAMES)
def test_the_word_of_an_encoder_changes_it_and_nothing_else(name):
    ours, plain = get(name, "vit"), get(name)
    assert ours.model.encoder == "vit"
    assert set(ours.model) - set(plain.model) == {"depth", "heads", "patch", "positions"}
    heads = "projector_hidden", "projector_dim"
    assert [ours.model[key] for key in heads] == [plain.model[key] for key in heads]
    ours.model = plain.model = None
    assert ours == plain


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("moco", "unknown method 'moco'; one of: ince, .*; an encoder .*resnet, vit.* and 'smoke'"),
        ("gca_uot,smok", "unknown method 'smok'; one of"),
        ("ince,byol", "one method at a time, got ince, byol"),
        ("vit,resnet", "one encoder at a time, got vit, resnet"),
    ],
)
def test_a_wrong_word_is_one_line(name, words, message):
    with pytest.raises(ValueError, match=message) as caught:
        get(name, words)
    assert len(str(caught.value).splitlines()) == 1


PUBLISHED = [
    "ince",
    "gca_ince",
    "rince",
    "gca_rince",
    "gca_uot",
    "simclr",
    "byol",
    "iot",
    "iot_uni",
]
PAPER = {  # settings of the published runs
    "cifar10": dict(epochs=500, batch=512, rate=0.12, q=0.98, penalty=0.2, r2=0.02),
    "cifar100": dict(epochs=500, batch=512, rate=0.12, q=0.98, penalty=0.2, r2=1),
    "svhn": dict(epochs=500, batch=512, rate=3e-4, q=0.6, penalty=0.2, r2=0.02),
    "imagenet100": dict(epochs=200, batch=128, rate=3e-4, q=0.6, penalty=0.5, r2=0.02),
}


@pytest.mark.parametrize("name", PAPER)
def test_the_paper_s_settings(name):
    config, paper = get(name), PAPER[name]
    loss, train, model = config.loss, config.train, config.model
    assert (train.epochs, train.batch_size) == (paper["epochs"], paper["batch"])
    assert (loss.epsilon, loss.iterations, loss.q, loss.lam) == (0.5, 10, paper["q"], 0.01)
    assert loss.penalty_a == loss.penalty_b == paper["penalty"]
    assert (loss.w_kl, loss.w_rince) == (1, paper["r2"])
    assert config.optimizer.learning_rate == paper["rate"]
    assert (model.projector_hidden, model.projector_dim, model.width) == (2048, 128, 64)
    cifar = name.startswith("cifar")
    assert config.optimizer.name == ("sgd" if cifar else "adam")
    assert config.optimizer.final_learning_rate == (2e-4 if cifar else 3e-4)
    assert (model.block, model.stage_sizes) == (
        ("basic", (2, 2, 2, 2)) if cifar else ("bottleneck", (3, 4, 6, 3))
    )
    assert config.augment.policy == ("cifar" if cifar else "strong")
    if not cifar:
        assert config.augment.mean == config.augment.std == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("name", NAMES)
def test_a_docstring_has_commands_time_and_numbers(name):
    text = runpy.run_path(str(ROOT / "configs" / f"{name}.py"))["__doc__"]
    text = " ".join(text.split())
    assert "arXiv 2502.20141" in text
    assert f"python main.py --config=configs/{name}.py:{get(name).method}" in text
    assert f"configs/{name}.py:{get(name).method},smoke" in text
    assert "Expected time: " in text
    assert "estimate" in text
    assert "Expected numbers" in text
    if name in PAPER:
        assert all(f" {method} " in text for method in PUBLISHED)


@pytest.mark.parametrize("name", NAMES)
def test_a_config_file_is_short(name):
    text = (ROOT / "configs" / f"{name}.py").read_text()
    code = text.rsplit('"""', 1)[1].splitlines()
    assert len([line for line in code if line.strip()]) < 40


def test_corrupted_images_are_all_that_cifar10_corrupted_has_of_its_own():
    for words in ("gca_uot", "byol,smoke"):
        ours, clean = get("cifar10_corrupted", words), get("cifar10", words)
        assert ours.data.to_dict() == {
            **clean.data.to_dict(),
            **dict(name="cifar10_corrupted", corruption="snow", severity=5),
        }
        ours.data = clean.data = None
        assert ours == clean


@pytest.mark.parametrize("words", ["byol", "byol,smoke", "ince", "gca_uot,vit"])
def test_byol_alone_has_batch_norm_in_its_projector_where_the_recipe_is_our_own(words):
    assert get("digits", words).model.projector_batch_norm == words.startswith("byol")
    assert not get("cifar10", words).model.projector_batch_norm  # as published


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": {"epoch": 5}}, "train has no epoch; it has: batch_size, epochs"),
        ({"loss": {"epsilonn": 0.1}}, "no method takes epsilonn"),
        ({"resnet": {"depth": 5}}, "resnet has no depth; it has: stage_sizes"),
    ],
)
def test_a_change_of_a_key_that_there_is_not_is_refused(change, message):
    augment = dict(policy="digits", mean=(0.3,), std=(0.4,))
    with pytest.raises(TypeError, match=message):
        config.make("images", "ince", data=dict(name="digits"), side=8, augment=augment, **change)


def test_a_kind_of_data_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="kind must be one of images, own, pairs; got 'sounds'"):
        config.make("sounds", "ince")


@pytest.mark.slow
def test_a_config_file_works_from_any_folder(tmp_path):
    copy = tmp_path / "mine.py"
    copy.write_text((ROOT / "configs/cifar10_corrupted.py").read_text())
    assert config.load(str(copy), "smoke,byol") == get("cifar10_corrupted", "smoke,byol")
    done = subprocess.run(  # a wrong option is refused before most of the package is imported
        [sys.executable, str(ROOT / "main.py"), f"--config={copy}:moco"],
        cwd=tmp_path,
        env={**os.environ, **processes.environment()},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stderr.startswith(f"error: flag --config={copy}:moco: unknown method 'moco'")
    assert len(done.stderr.splitlines()) == 1


# Real formats, few images: as many classes and the sizes of the real sets, or nearly.
TFDS = {
    "cifar10": ("cifar10", {"train": 120, "test": 40}),
    "cifar10_corrupted": ("cifar10_corrupted/snow_5", {"test": 40}),
    "cifar100": ("cifar100", {"train": 600, "test": 100}),
    "svhn": ("svhn_cropped", {"train": 120, "test": 40}),
    "stl10": ("stl10", {"train": 60, "test": 40, "unlabelled": 48}),
    "fashion_mnist": ("fashion_mnist", {"train": 120, "test": 40}),
}
WORDS = dict(  # one method for each set; digits has runs of its own in other tests
    cifar10="gca_uot,vit", cifar10_corrupted="gca_ince", cifar100="byol", svhn="gca_rince",
    stl10="ince", fashion_mnist="rince", imagenet100="simclr", pacs="gca_ince", folder="simclr",
    icons="gca_uot",
)  # fmt: skip


def write_images(name, where):
    """Write the set below `where`; return what its config has to say of that."""
    options = {"data_dir": str(where / "prepared")}
    if name in TFDS:
        prepared.write_tfds(TFDS[name][0], where / "prepared", TFDS[name][1])
        if name == "cifar10_corrupted":
            prepared.write_tfds("cifar10", where / "prepared", {"train": 120, "test": 40})
    elif name == "imagenet100":
        from gca_jax.data.sources.imagenet100 import class_list

        names = tfds_labels()
        labels = [names.index(wordnet) for wordnet in class_list()]
        prepared.write_tfds(
            "imagenet2012",
            where / "prepared",
            {"train": 600, "validation": 100},
            labels=lambda i: labels[i % 100],
        )
        options |= {"size": 32}
    elif name in ("pacs", "folder", "icons"):
        domains = ("art_painting", "cartoon", "photo", "sketch")
        first = ("train", "test") if name == "folder" else domains
        classes = [f"class{k}" for k in range({"pacs": 7, "icons": 6, "folder": 3}[name])]
        tree = {f"{a}/{b}": 20 if name == "folder" else 5 for a in first for b in classes}
        prepared.write_folder(where / "pictures", tree, size=[(40, 48), (50, 44)])
        options |= {"root": str(where / "pictures"), "size": 32}
    return options


def tfds_labels():
    import tensorflow_datasets as tfds

    return tfds.builder("imagenet2012").info.features["label"].names


@pytest.mark.usefixtures("one_device")
@pytest.mark.parametrize("name", WORDS)
def test_the_smoke_variant_of_every_set_is_ready_to_run(name, tmp_path):
    """Read from images in its real format, and its step and its evaluation have all they need.

    A step is traced once for each kind of input, of encoder and of loss among the sets.
    """
    experiment = smoke(name, tmp_path)
    check(experiment)
    assert experiment.data.describe()["name"] == name
    if name in ("cifar10", "cifar100", "svhn", "fashion_mnist", "imagenet100"):
        trace(experiment)


@pytest.mark.slow
@pytest.mark.usefixtures("one_device", "quick_evaluation")
def test_a_smoke_variant_runs_from_images_to_report(tmp_path):
    """Images in color of four domains; other tests run grey ones of one domain, digits."""
    workdir = tmp_path / "run"
    experiment = smoke("pacs", tmp_path, width=4)
    summary = pretrain(experiment, workdir)
    assert summary["finished"]
    result = evaluate(experiment, workdir)
    assert result["dataset"]["name"] == "pacs"
    assert result["dataset"]["image_shape"][-1] == 3
    rows = [json.loads(row) for row in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == summary["steps"] >= 1
    assert all(np.isfinite(row["loss"]) for row in rows)
    with np.load(workdir / "evaluation.npz") as arrays:
        target = arrays["target"]  # with images of one domain off the positives
        assert np.count_nonzero(target) > len(target)
    read = set(write(workdir)["accuracy"])
    assert read >= {"linear", "linear_5_per_class", "knn", "linear_domain", "linear_unseen_domain"}


def smoke(name, folder, **network):
    """The experiment of a smoke run on images that are written into a folder.

    A stage of the network has one block: more are only traced for longer.
    """
    config = get(name, f"smoke,{WORDS[name]}")
    config.data.update(write_images(name, folder))
    config.train.update(batch_size=48)
    depth = {"depth": 1} if "vit" in WORDS[name] else {"stage_sizes": (1,) * 4}
    config.model.update(depth | network)
    return build(config.lock())
