"""The parts of a run: mistakes named with their group; parts of the caller's in their place."""

import dataclasses
import json
from functools import partial
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from gca_jax import config as configs
from gca_jax import experiment as experiments
from gca_jax import losses
from gca_jax.data.dataset import Dataset
from gca_jax.experiment import build
from gca_jax.training import step
from gca_jax.workdir import RunFolder
from tests.runs import evaluate, pretrain, write


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"method": "moco"}, "config.method: method must be one of byol, .*ince.*; got 'moco'"),
        ({"method": "byol"}, "config.method: this config is not one of byol"),
        ({"seed": -1}, "config.seed must be an integer from 0 to 2"),
        ({"seed": None}, "config.seed must be an integer from 0 to 2.*, got None"),
        ({"seed": True}, "config.seed must be an integer from 0 to 2.*, got True"),
        ({"train.batch_size": 1001}, "config.train: .* divide by the number of devices, 8"),
        ({"train.batch_size": 1440}, "config.train: batch_size must be from 1 to 1437"),
        ({"train.batch_size": 1}, "config.train: batch_size must be an integer >= 2, got 1"),
        ({"train.epochs": 0}, "config.train: epochs must be an integer >= 1, got 0"),
        ({"train.epochs": 10**11}, r"config.train: epochs must give less than 2\^31 steps"),
        ({"augment.policy": "imagenet"}, "config.augment: policy must be one of "),
        ({"model.block": "dense"}, "config.model: block must be one of basic,"),
        ({"model.encoder": "vit"}, "config.model: encoder vit takes .*--config=FILE:METHOD,vit"),
        ({"data.name": "mnist"}, "config.data: data set must be one of "),
        ({"data.kind": "sound"}, "config.data: kind must be one of images, own, pairs; got 'sound"),
        ({"optimizer.name": "lamb"}, "config.optimizer: name must be one of adam,"),
        ({"loss.epsilon": 0.0}, "config.loss: epsilon"),
        ({"loss.q": 1.5}, "config.loss: q"),
        ({"loss.w_kl": -1.0}, "config.loss: w_kl must be finite and >= 0"),
        ({"loss.w_kl": 0.0, "loss.w_rince": 0.0}, "config.loss: one of w_kl, w_rince, .* above 0"),
        ({"loss.layout": "diagonal"}, "config.loss: .*diagonal"),
        ({"loss.iterations": 0}, "config.loss: iterations"),
    ],
)
def test_mistakes_are_named_with_their_group(tiny, tmp_path, overrides, message):
    with pytest.raises(ValueError, match=message) as caught:
        pretrain(build(tiny(**overrides)), tmp_path / "run")
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_policy_for_other_images_is_a_mistake_of_the_augmentation(digits):
    config = digits.get_config()
    config.augment.policy = "cifar"
    with pytest.raises(ValueError, match=r"config\.augment: policy cifar needs RGB images"):
        build(config)


def test_key_of_another_method_is_refused_by_name(digits):
    config = digits.get_config("ince")
    config.loss.q = 0.5
    with pytest.raises(ValueError, match=r"config\.method: ince takes no loss\.q; choose the meth"):
        build(config)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"dataset": ([], [])}, "dataset must be a Dataset, got a tuple"),
        ({"loss": 3}, "a Callable"),
    ],
)
def test_a_part_of_another_type_is_refused(tiny, part, message):
    with pytest.raises(ValueError, match=message):
        build(tiny(), **part)


def distance(z_a, z_b):
    """A loss as a user would write it."""
    return jnp.mean(jnp.sum((z_a - z_b) ** 2, axis=1))


def contrast(z_a, z_b, *, target=None):
    """One that takes the target plan and logs a number."""
    value, aux = losses.ince(z_a, z_b, target=target)
    return value, {"bound": aux["alignment"] + 1}


def two_steps(config, **parts):
    """A run of two steps, with everything after it."""
    config = config.copy_and_resolve_references().unlock()
    config.train.update(epochs=1, batch_size=712)
    config.evaluation.update(labels_per_class=5, draws=1, strengths=(1.0,), neighbours=(1,))
    return build(config.lock(), **parts)


@pytest.mark.slow
@pytest.mark.usefixtures("one_device")
@pytest.mark.parametrize("method", ["gca_uot", "byol"])
def test_the_method_s_own_loss_given_as_a_function_is_the_same_program(tiny, method):
    config = tiny(method)
    given = partial(losses.METHODS[method], **config.loss)
    programs = (step.trace(build(config, loss=loss)).lowered.as_text() for loss in (None, given))
    assert len(set(programs)) == 1


class Unreadable:
    """Test images that nobody may look at."""

    shape, dtype = (360, 8, 8, 1), np.dtype(np.uint8)

    def __len__(self):
        return 360

    def __getitem__(self, rows):
        raise AssertionError("test images were read")


@pytest.mark.slow
@pytest.mark.usefixtures("one_device", "quick_evaluation")
def test_a_run_judged_on_validation_images_never_reads_the_test_images(tiny, tmp_path):
    config = tiny("ince", **{"evaluation.split": "validation"})
    data = dataclasses.replace(build(tiny()).data.dataset, test_images=Unreadable())
    experiment = two_steps(config, dataset=data)
    pretrain(experiment, tmp_path)
    result = evaluate(experiment, tmp_path)
    sizes = {key: result["dataset"][f"{key}_images"] for key in ("train", "pretrain", "test")}
    assert sizes == {"train": 1150, "pretrain": 1150, "test": 287}
    write(tmp_path)
    assert "**Evaluated on validation images**" in (tmp_path / "report.md").read_text()


def test_an_unknown_split_is_a_mistake_of_the_evaluation(tiny):
    with pytest.raises(
        ValueError, match=r"config\.evaluation: split must be one of test, validation"
    ):
        build(tiny(**{"evaluation.split": "dev"}))


@pytest.mark.slow
@pytest.mark.usefixtures("one_device", "quick_evaluation")
def test_a_loss_of_the_caller_s_is_trained_and_evaluated_without_a_plan(tiny, tmp_path):
    experiment = two_steps(tiny(), loss=distance)
    summary = pretrain(experiment, tmp_path)
    assert (summary["finished"], summary["steps"]) == (True, 2)
    first = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])
    assert {"loss", "alignment", "uniformity", "gradient_norm"} <= set(first)
    result = evaluate(experiment, tmp_path)
    assert result["method"] == "distance"
    assert result["gradient_cosine_to_ince"] is None
    assert 0 < result["alignment"] < 4
    with np.load(tmp_path / "evaluation.npz") as arrays:
        assert not {"plan", "target"} & set(arrays)
    report = write(tmp_path)
    assert report["plan_within_class"] is None
    page = (tmp_path / "report.md").read_text()
    assert "## Left out\n\n- plan, gradient_cosine: " in page
    assert "build(config, loss=distance)" in page
    assert "plan.png" not in page
    assert sorted(p.stem for p in (tmp_path / "figures").iterdir()) == [
        "alignment_uniformity",
        "confusion",
        "nearest",
        "plane",
        "training",
    ]
    # Its config alone does not say what was trained, here or in another run of this folder.
    with pytest.raises(ValueError, match=r"build\(config, loss=distance\)"):
        build(configs.restore(RunFolder(tmp_path).config))
    again = build(configs.restore(RunFolder(tmp_path).config), loss=distance)
    assert evaluate(again, tmp_path) == result
    with pytest.raises(ValueError, match=r"given\.loss: .*distance.* there, nothing here"):
        pretrain(two_steps(tiny()), tmp_path)


def test_a_loss_of_the_caller_s_gets_the_target_if_it_takes_one(tiny):
    config = tiny(**{"target.name": "classes"})
    training = step.trace(build(config, loss=contrast))
    assert set(training.lowered.out_info[1]) >= {"loss", "bound", "alignment", "uniformity"}
    with pytest.raises(
        ValueError, match=r"^config\.target: .* takes no target=.*target\.name=iden"
    ):
        build(config, loss=distance)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda z_a, z_b: z_a[:, 0], r"one number.* got value of shape \(472,\)"),
        (lambda z_a, z_b: (z_a.mean(), {"z": z_b}), r"one number.* got z of shape \(472, 8\)"),
        (lambda z_a: z_a.mean(), "argument"),
    ],
)
def test_a_loss_of_another_form_is_one_line(tiny, loss, message):
    with pytest.raises(ValueError, match=f"^loss: .*{message}") as caught:
        step.trace(build(tiny(), loss=loss))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("one_device")
def test_a_data_set_of_the_caller_s_replaces_that_of_the_config(tiny, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (960, 8, 8, 1), dtype=np.uint8)
    labels = np.arange(960, dtype=np.int32) % 10
    noise = Dataset("noise", images, labels, images[:100], labels[:100], 10)
    experiment = build(tiny(**{"data.name": "none", "train.epochs": 1}), dataset=noise)
    assert pretrain(experiment, tmp_path)["steps"] == 960 // 472
    record = json.loads((tmp_path / "config.json").read_text())
    assert record["given"] == {"dataset": "noise"}
    with pytest.raises(ValueError, match=r"holds a run of another config.*given\.dataset"):
        pretrain(build(tiny(**{"train.epochs": 1})), tmp_path)


class Means(nn.Module):
    """Any encoder at all: the mean of each channel and its square."""

    @nn.compact
    def __call__(self, x):
        mean = x.mean((1, 2))
        return nn.Dense(4)(jnp.concatenate([mean, mean**2], axis=1))


@pytest.mark.slow
@pytest.mark.usefixtures("one_device", "quick_evaluation")
def test_an_encoder_of_the_caller_s_is_trained_and_judged(tiny, tmp_path):
    experiment = two_steps(tiny(), encoder=Means())
    assert experiment.given == {"encoder": "Means"}
    assert pretrain(experiment, tmp_path)["finished"]
    assert 0 <= evaluate(experiment, tmp_path)["accuracy"]["linear"] <= 1


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([1, 2**32 + 1]), "labels are beyond int32, which a step takes: numpy.unique"),
        (np.array([1.7e9, 1.7e9 + 1]), "labels lose their differences in float32, .*: subtract"),
        (np.array([1e-170, 0.0]), "labels lose their differences in float32"),
        (np.array([1e300, -1e308]), "labels lose their differences in float32"),
        (np.array(["2024"], "M8[D]"), "labels must be numbers, got times such as 2024"),
        (np.array([7, -1]), None),
        (np.array([0.1, 0.1]), None),
        (np.random.default_rng(0).normal(size=9), None),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_a_step_cannot_hold_is_refused_before_training(labels, message):
    class Given(SimpleNamespace):
        unit, remedy, info = "rows", "", {"labels": labels}

    if message is None:
        experiments.require_info(Given(), ("labels",), "classes")
        return
    with pytest.raises(ValueError, match=message) as caught:
        experiments.require_info(Given(), ("labels",), "classes")
    assert "\n" not in str(caught.value)
