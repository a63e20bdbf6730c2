"""A run's encoder as a function: the features that are evaluated, of images in any form."""

import json
import runpy

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import gca_jax
from gca_jax import pairs
from gca_jax.data import sources
from gca_jax.data.pairs import pair
from gca_jax.evaluation import features
from gca_jax.experiment import build
from tests import saved
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def experiment(tiny):
    return build(tiny("ince"))


@pytest.fixture(scope="module")
def run(experiment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return folder, saved.save(experiment, folder)


@pytest.fixture(scope="module")
def encoder(run):
    return gca_jax.load(run[0])


def test_features_are_those_of_the_network_on_normalised_images(run, encoder, experiment):
    images = experiment.data.dataset.test_images[:21]
    mean, std = (np.float32(experiment.config.augment[key][0]) for key in ("mean", "std"))
    x = (images.astype(np.float32) / 255 - mean) / std
    expected = experiment.network.apply(run[1], jnp.asarray(x), method="encode")
    found = encoder(images)
    assert (found.shape, found.dtype) == ((21, 4), np.float32)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    for same in (images / 255, images[..., 0], (images / 255).astype(np.float32)[..., 0]):
        np.testing.assert_array_equal(encoder(same), found)
    np.testing.assert_allclose(encoder(images[:1]), found[:1], rtol=1e-4, atol=1e-5)


def test_many_images_take_one_compilation(encoder, experiment, monkeypatch):
    monkeypatch.setattr(features, "batch_size", lambda shape: 32)
    images = experiment.data.dataset.test_images
    features.encode.clear_cache()
    whole = encoder(images[:90])
    np.testing.assert_allclose(encoder(images[70:]), encoder(images)[70:], rtol=1e-5)
    np.testing.assert_allclose(encoder(images[64:100])[:26], whole[64:], rtol=1e-5)
    assert features.encode._cache_size() == 1


def test_it_can_be_a_part_of_a_compiled_function(encoder, experiment):
    images = experiment.data.dataset.test_images[:8]
    doubled = jax.jit(lambda x: 2 * encoder.features(x))(images)
    np.testing.assert_allclose(doubled, 2 * encoder(images), rtol=1e-5)


def test_no_image_of_the_run_is_read(run, monkeypatch):
    monkeypatch.setattr(sources, "load", lambda *_, **__: pytest.fail("images were loaded"))
    found = gca_jax.load(str(run[0]))
    assert (found.step, found.shape, found.config.method) == (3, (8, 8, 1), "ince")
    assert repr(found) == "Encoder(step=3, shape=(8, 8, 1), shorter_side=8)"  # without its weights
    jax.tree.map(np.testing.assert_array_equal, found.variables, run[1])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 9, 8, 1), np.uint8), r"trained on images \[8, 8, 1\].*got \[9, 8, 1\]"),
        (np.zeros((2, 8, 8, 3), np.uint8), r"trained on images \[8, 8, 1\].*got \[8, 8, 3\]"),
        (np.zeros((2, 8, 8, 1), np.int64), "must be uint8 in 0..255 or floats"),
        (np.full((2, 8, 8, 1), 1.5), r"must lie in \[0, 1\]"),
        (np.zeros((8, 8), np.uint8), r"must be \[n, h, w, c\] or \[n, h, w\]"),
    ],
)
def test_images_of_another_kind_are_refused_in_one_line(encoder, images, message):
    with pytest.raises(ValueError, match=message) as caught:
        encoder(images)
    assert "\n" not in str(caught.value)


def test_a_folder_without_an_encoder_for_images_says_so(run, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no run in"):
        gca_jax.load(tmp_path / "none")
    older = json.loads((run[0] / "training.json").read_text())
    del older["input_shape"]
    for name in ("checkpoints", "config.json"):
        (tmp_path / name).symlink_to(run[0] / name)
    (tmp_path / "training.json").write_text(json.dumps(older))
    with pytest.raises(ValueError, match=r"add \"input_shape\": \[HEIGHT, WIDTH, CHANNELS\]"):
        gca_jax.load(tmp_path)


def test_a_run_on_pairs_is_left_to_align(tmp_path):
    config = runpy.run_path(str(ROOT / "configs" / "pairs.py"))["get_config"]("ince,linear,smoke")
    a = np.random.default_rng(0).normal(size=(400, 3))
    saved.save(pairs.build(config.lock(), data=pair(a, a)), tmp_path)
    with pytest.raises(ValueError, match=r"is a run on pairs.*gca_jax\.align\(a, b\)"):
        gca_jax.load(tmp_path)


class Flat(nn.Module):
    width: int = 3

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.width)(x.reshape(len(x), -1))


def test_an_encoder_given_in_python_is_given_again(tiny, experiment, tmp_path):
    saved.save(build(tiny("ince"), encoder=Flat(), dataset=experiment.data.dataset), tmp_path)
    with pytest.raises(ValueError, match=r"gca_jax\.load\('.*', encoder=Flat\(\.\.\.\)\) loads"):
        gca_jax.load(tmp_path)
    with pytest.raises(ValueError, match="are not of the encoder"):
        gca_jax.load(tmp_path, encoder=Flat(5))
    images = experiment.data.dataset.test_images[:4]
    assert gca_jax.load(tmp_path, encoder=Flat())(images).shape == (4, 3)
