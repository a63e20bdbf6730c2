"""`model.initial`: the encoder of a run or a file, and everything else as without it."""

import jax
import numpy as np
import pytest
import safetensors.numpy

import gca_jax
from gca_jax import config, models
from gca_jax.data import arrays
from gca_jax.experiment import build
from gca_jax.export import write
from gca_jax.models import formats
from gca_jax.signals import Stopped
from gca_jax.training import initial, train
from gca_jax.training.state import init_variables
from gca_jax.workdir import RunFolder
from tests import saved
from tests.runs import pretrain, restore_variables

SMALL, LARGE = saved.RESNETS["basic"], saved.RESNETS["bottleneck"]


@pytest.fixture(scope="module")
def colours():
    images = np.random.default_rng(0).integers(0, 256, (60, 12, 12, 3), dtype=np.uint8)
    return arrays(images)


@pytest.fixture(scope="module")
def folder(tiny, colours, tmp_path_factory):
    """Runs by name, and each in every format."""
    folder = tmp_path_factory.mktemp("runs")
    saved.encoders(tiny, colours, folder)
    for name in ("basic", "bottleneck", "vit"):
        for kind in ("safetensors", "msgpack"):
            write(gca_jax.load(folder / name), folder / f"{name}.{kind}")
    return folder


def begun(tiny, colours, source, words="ince", **changes):
    """The variables that a run of another method and seed begins with, and its experiment."""
    keys = {**changes, "model.initial": str(source), "seed": 5, "train.batch_size": 24}
    experiment = build(tiny(words, **keys), dataset=colours)
    return initial.draw(experiment), experiment


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "suffix", "words", "changes"),
    [
        ("basic", "", "gca_uot", SMALL),
        ("basic", ".safetensors", "gca_uot", SMALL),
        ("bottleneck", ".msgpack", "byol", LARGE),
        ("bottleneck", "/checkpoints/3", "byol", LARGE),
        ("vit", ".safetensors", "ince,vit", {}),
        ("vit", "/checkpoints/3", "ince,vit", {}),
    ],
)
def test_the_encoder_is_the_one_that_was_exported(
    tiny, colours, folder, name, suffix, words, changes
):
    variables, experiment = begun(tiny, colours, f"{folder / name}{suffix}", words, **changes)
    source = gca_jax.load(folder / name).variables
    drawn = init_variables(experiment.network, experiment.key, (12, 12, 3))
    for kind, tree in variables.items():
        for part, weights_of in tree.items():
            expected = source if part == "encoder" else drawn
            jax.tree.map(np.testing.assert_array_equal, weights_of, expected[kind][part])
    assert jax.tree.structure(variables) == jax.tree.structure(drawn)


@pytest.mark.slow
def test_a_run_begins_with_that_encoder(tiny, unbroken, tmp_path):
    """Adam's first update of a weight is at most the learning rate, but for the decay."""
    experiment = build(tiny(**{"model.initial": str(unbroken), "seed": 5}))

    class StopAtOnce:
        name, memory = "stop at once", {}

        def __call__(self, step, state, metrics):
            return train.STOP

    folder = RunFolder.open(tmp_path, experiment.record)
    with pytest.raises(Stopped, match="stopped at step 1 of 6"):
        train.train(experiment, folder, [StopAtOnce()])
    source, after = (restore_variables(path)[0]["params"] for path in (unbroken, tmp_path))
    close = lambda x, y: np.testing.assert_allclose(x, y, atol=2.1e-3)  # noqa: E731
    jax.tree.map(close, after["encoder"], source["encoder"])
    drawn = init_variables(experiment.network, experiment.key, (8, 8, 1))["params"]
    rest = [{k: x for k, x in tree.items() if k != "encoder"} for tree in (after, drawn)]
    jax.tree.map(close, *rest)
    kept = config.restore(RunFolder(tmp_path).config)
    assert kept.model.initial == str(unbroken)


def torchvision_file(path, **changes):
    """A file as torchvision's weights give it, with scores and counters."""
    network = models.Network(models.ResNet((1, 2), width=4), 8, 8)
    shapes = init_variables.eval_shape(network, jax.random.key(0), (12, 12, 3))
    ones = jax.tree.map(lambda x: np.ones(x.shape, np.float32), shapes)
    state = formats.by_name(network, ones)
    state |= {"fc.weight": np.ones((10, 8)), "bn1.num_batches_tracked": np.array(7)}
    state |= changes
    safetensors.numpy.save_file({k: x for k, x in state.items() if x is not None}, path)
    return path


def test_scores_and_counters_of_torchvision_are_left_out(tiny, colours, tmp_path):
    file = torchvision_file(tmp_path / "x.safetensors")
    variables, _ = begun(tiny, colours, file, **SMALL)
    assert all((leaf == 1).all() for leaf in jax.tree.leaves(variables["params"]["encoder"]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conv1.weight": None}, r"it has no conv1\.weight \[4, 3, 3, 3\], which this run's"),
        (
            {"bn1.bias": np.ones(5, np.float32)},
            r"bn1\.bias is \[5\] there and \[4\] in this run's",
        ),
        ({"layer3.0.x": np.ones(2)}, r"it has layer3\.0\.x, which this run's encoder does not"),
    ],
)
def test_the_first_entry_that_differs_is_named(tiny, colours, tmp_path, changes, message):
    file = torchvision_file(tmp_path / "x.safetensors", **changes)
    with pytest.raises(ValueError, match=f"^config.model.initial={file}: {message}") as caught:
        begun(tiny, colours, file, **SMALL)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "changes", "message"),
    [
        ("basic", {**SMALL, "model.width": 8}, r"conv_stem\.kernel is \[3, 3, 3, 4\] there and \["),
        ("vit.msgpack", SMALL, r"it has no .*kernel"),
        ("none", SMALL, "there is no file and no folder"),
        ("", SMALL, "the folder has no run with a checkpoint"),
        ("x.pt", SMALL, r"must be the folder of a run or a file \.safetensors or \.msgpack"),
        ("x.safetensors", SMALL, "cannot be read"),
        ("x.msgpack", SMALL, "msgpack"),
    ],
)
def test_a_wrong_source_is_refused_before_anything_is_written(
    tiny, colours, folder, tmp_path, source, changes, message
):
    for suffix in ("pt", "safetensors", "msgpack"):
        (folder / f"x.{suffix}").write_bytes(b"torch")
    keys = {**changes, "model.initial": str(folder / source), "train.batch_size": 24}
    experiment = build(tiny("ince", **keys), dataset=colours)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        pretrain(experiment, tmp_path / "run")
    assert str(caught.value).startswith("config.model.initial")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
