"""`--mode=export`: each file, read by the library that it is meant for, gives the same features."""

import json
import re
from types import SimpleNamespace

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from flax import linen as nn

import gca_jax
from gca_jax import models
from gca_jax.commands import COMMANDS, Command
from gca_jax.data import arrays
from gca_jax.experiment import build
from gca_jax.export import FORMATS
from gca_jax.models.formats import by_name
from gca_jax.training.state import init_variables
from tests import saved


@pytest.fixture(scope="module")
def colours():
    images = np.random.default_rng(0).integers(0, 256, (20, 20, 16, 3), dtype=np.uint8)
    return arrays(images)


@pytest.fixture(scope="module")
def runs(tiny, colours, tmp_path_factory):
    """A folder for each kind of encoder."""
    folder = tmp_path_factory.mktemp("runs")
    saved.encoders(tiny, colours, folder)
    return folder


@pytest.fixture
def export(runs, tmp_path, capsys):
    def export(name, file):
        out = tmp_path / file
        COMMANDS["export"](Command(None, str(runs / name), out=str(out)))
        assert f"{out}: " in capsys.readouterr().out
        return out

    return export


def features(state, x, lib):
    """Torchvision's ResNet in inference mode by its state_dict, images [n, c, h, w], without fc."""

    def conv(x, name, stride):
        weight = state[f"{name}.weight"]
        return lib.conv(x, weight, stride, weight.shape[-1] // 2)

    def norm(x, name):
        parts = ("running_mean", "running_var", "weight", "bias")
        mean, var, weight, bias = (state[f"{name}.{part}"].reshape(1, -1, 1, 1) for part in parts)
        return (x - mean) / (var + 1e-5) ** 0.5 * weight + bias

    large = state["conv1.weight"].shape[-1] == 7
    x = lib.relu(norm(conv(x, "conv1", 2 if large else 1), "bn1"))
    x = lib.max_pool(x) if large else x
    for block in sorted({m[0] for m in map(re.compile(r"layer\d+\.\d+").match, state) if m}):
        convs = sum(name.startswith(f"{block}.conv") for name in state)
        stride = 2 if block.endswith(".0") and not block.startswith("layer1") else 1
        y = x
        for i in range(1, convs + 1):
            strided = i == (1 if convs == 2 else 2)
            y = norm(conv(y, f"{block}.conv{i}", stride if strided else 1), f"{block}.bn{i}")
            y = lib.relu(y) if i < convs else y
        if f"{block}.downsample.0.weight" in state:
            x = norm(conv(x, f"{block}.downsample.0", stride), f"{block}.downsample.1")
        x = lib.relu(x + y)
    return x.mean((2, 3))


def jax_library():
    """PyTorch's layout by JAX."""

    def conv(x, weight, stride, padding):
        around = [(padding, padding)] * 2
        return jax.lax.conv_general_dilated(x, weight, (stride, stride), around)

    def max_pool(x):
        around = [(0, 0), (0, 0), (1, 1), (1, 1)]
        window = (1, 1, 3, 3), (1, 1, 2, 2)
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, *window, around)

    return SimpleNamespace(conv=conv, max_pool=max_pool, relu=jax.nn.relu, array=jnp.asarray)


def torch_library():
    torch = pytest.importorskip("torch")
    return SimpleNamespace(
        conv=lambda x, weight, stride, padding: torch.conv2d(x, weight, None, stride, padding),
        max_pool=lambda x: torch.nn.functional.max_pool2d(x, 3, 2, 1),
        relu=torch.relu,
        array=torch.tensor,
    )


@pytest.mark.slow
@pytest.mark.parametrize("library", [jax_library, torch_library])
@pytest.mark.parametrize("name", saved.RESNETS)
def test_a_resnet_has_torchvision_s_names_and_its_features(runs, export, name, library, colours):
    lib, file = library(), export(name, "x.safetensors")
    with safetensors.safe_open(file, "numpy") as opened:
        about = {key: json.loads(value) for key, value in opened.metadata().items()}
    state = {key: lib.array(x) for key, x in safetensors.numpy.load_file(file).items()}
    assert (about["names"], about["input_shape"]) == ("torchvision", [20, 16, 3])
    assert (about["block"], about["stem"]) in (("basic", "cifar"), ("bottleneck", "imagenet"))
    images = colours.test_images
    x = (images / 255 - np.array(about["mean"])) / np.array(about["std"])
    x = lib.array(x.transpose(0, 3, 1, 2).astype(np.float32))
    found = np.asarray(features(state, x, lib))
    np.testing.assert_allclose(found, gca_jax.load(runs / name)(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("make", "count"), [(models.ResNet18, 122), (models.ResNet50, 320)])
def test_all_entries_of_torchvision_s_state_dict_are_there(make, count):
    """But the scores' two and the counters that batch norm does without."""
    network = models.Network(make(stem="imagenet"), 8, 8)
    shapes = init_variables.eval_shape(network, jax.random.key(0), (64, 64, 3))
    empty = jax.tree.map(lambda x: np.broadcast_to(np.float32(0), x.shape), shapes)
    state = by_name(network, empty)
    norms = sum(name.endswith("running_var") for name in state)
    assert len(state) == count - 2 - norms
    assert state["conv1.weight"].shape == (64, 3, 7, 7)
    wide = 512 if count == 122 else 2048
    assert state["layer4.0.downsample.0.weight"].shape == (wide, wide // 2, 1, 1)
    assert state["layer4.1.bn2.running_mean"].shape == (512,)


def test_other_encoders_keep_flax_s_names(runs, export):
    named = safetensors.numpy.load_file(export("vit", "x.safetensors"))
    params = gca_jax.load(runs / "vit").variables["params"]["encoder"]
    np.testing.assert_array_equal(named["norm.scale"], params["norm"]["scale"])
    assert len(named) == len(jax.tree.leaves(params))


def test_msgpack_is_flax_s(runs, export):
    found = flax.serialization.msgpack_restore(export("basic", "x.msgpack").read_bytes())
    jax.tree.map(np.testing.assert_array_equal, found, gca_jax.load(runs / "basic").variables)


@pytest.mark.parametrize("name", ["bottleneck", "vit"])
def test_jax_has_the_features_of_any_number_of_images(runs, export, name, colours):
    called = jax.export.deserialize(export(name, "x.jax").read_bytes())
    assert set(called.platforms) == {"cpu", "cuda", "tpu"}
    encoder = gca_jax.load(runs / name)
    for images in (colours.test_images, colours.train_images[:1]):
        expected = encoder(images)
        np.testing.assert_allclose(called.call(images), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"out": "x.pt"}, "--out must name a file that ends in one of .safetensors, .msgpack"),
        ({}, "--out must name a file .*; got None"),
        ({"out": "none/x.jax"}, "is in no folder: make none first"),
    ],
)
def test_a_mistake_is_one_line(runs, flags, message):
    with pytest.raises(ValueError, match=message):
        COMMANDS["export"](Command(None, str(runs / "vit"), **flags))


class Counting(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(x.reshape(len(x), -1))


def test_an_encoder_that_counts_its_images_is_refused_in_one_line(tiny, colours, tmp_path):
    saved.save(build(tiny("ince"), dataset=colours, encoder=Counting()), tmp_path)
    with pytest.raises(ValueError, match=r"the encoder Counting cannot be .* x\.shape\[0\]") as it:
        FORMATS[".jax"](gca_jax.load(tmp_path, encoder=Counting()))
    assert "\n" not in str(it.value)
