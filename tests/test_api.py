"""`gca_jax.load` and `align`, and `--mode=embed`: what a run learned, as functions of new data."""

import dataclasses
import re
import runpy
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest
from flax import linen as nn
from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

import gca_jax
from gca_jax import align
from gca_jax.commands import COMMANDS, Command
from gca_jax.data import sources
from gca_jax.data.pairs import pair
from gca_jax.evaluation import features
from gca_jax.experiment import build
from tests import saved
from tests.conftest import ROOT
from tests.data import prepared


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


def test_a_folder_without_a_run_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no run in"):
        gca_jax.load(tmp_path / "none")


def test_a_run_on_pairs_is_left_to_align(tmp_path):
    config = runpy.run_path(str(ROOT / "configs" / "pairs.py"))["get_config"]("ince,linear,smoke")
    a = np.random.default_rng(0).normal(size=(400, 3))
    saved.save(build(config.lock(), dataset=pair(a, a)), tmp_path)
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


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Grey pictures as they are and larger ones of two sizes, and one that cannot be read."""
    folder, rng = tmp_path_factory.mktemp("root"), np.random.default_rng(0)
    for name, shape in {"x/a": (8, 8), "x/b": (16, 24), "y/c": (12, 8)}.items():
        path = folder / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(prepared.encode(prepared.picture(rng, *shape)))
    (folder / "y" / "bad.png").write_text("no picture")
    return folder


def pixels(path):
    """The picture in grey, its shorter side brought to 8 pixels, the centre of 8 x 8 cut out."""
    picture = PIL.Image.open(path).convert("L")
    width, height = picture.size
    scale = 8 / min(width, height)
    picture = picture.resize((round(width * scale), round(height * scale)), PIL.Image.BILINEAR)
    left, top = (picture.size[0] - 8) // 2, (picture.size[1] - 8) // 2
    return np.asarray(picture)[top : top + 8, left : left + 8]


def test_pictures_of_all_sizes_are_embedded_and_the_unreadable_named(run, root, tmp_path, capsys):
    out = tmp_path / "features.npz"
    out.write_text("an older file")
    COMMANDS["embed"](Command(None, str(run[0]), images=str(root), out=str(out)))
    said = capsys.readouterr().out
    assert f"left out 1 of 4 images (unreadable): {root}/y/bad.png (is no picture)" in said
    assert f"{out}: path, class, features [3, 4]" in said
    with np.load(out) as found:
        assert found["path"].tolist() == ["x/a.png", "x/b.png", "y/c.png"]
        assert found["class"].tolist() == ["x", "x", "y"]
        images = np.stack([pixels(root / name) for name in found["path"]])
        expected = gca_jax.load(run[0])(images)
        np.testing.assert_allclose(found["features"], expected, rtol=1e-5, atol=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == ["features.npz"]


@pytest.mark.parametrize(("mode", "ending"), [("embed", ".csv"), ("neighbours", ".html")])
def test_arrays_beside_the_pictures_are_counted(run, root, tmp_path, capsys, mode, ending):
    folder = shutil.copytree(root, tmp_path / "root")
    for name in ("x/a.npy", "y/.hidden.npy", "stray.NPY"):
        (folder / name).touch()
    out = str(tmp_path / f"out{ending}")
    COMMANDS[mode](Command(None, str(run[0]), images=str(folder), out=out))
    said = capsys.readouterr().out
    assert f"note: left out of {folder}: 2 .npy (.npy is read with --config.data.chan" in said


def test_a_run_that_was_told_its_channels_reads_arrays(run):
    def reads(**data):
        return dataclasses.replace(encoder, config=ConfigDict({"data": data})).reads_arrays

    encoder = gca_jax.load(run[0])
    assert not encoder.reads_arrays
    assert not reads(channels=placeholder(int))
    assert reads(channels=3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"out": None},
            "--out must name a file that ends in one of .parquet, .npz, .csv",
        ),
        ({"out": "x.txt"}, "a file that ends in one of .parquet, .npz, .csv; got x.txt"),
        ({"out": "none/x.npz"}, "--out=none/x.npz is in no folder: make none first"),
        ({"images": None}, "--images must have a value: a folder of pictures"),
        ({"images": "none"}, r"there is no folder .*none; name yours with --images=DIR"),
        ({"images": "gca_jax"}, r"no pictures in .*gca_jax or below, but .*\d+ .py, "),
        ({"workdir": "none"}, "there is no run in none"),
    ],
)
def test_a_mistake_in_the_flags_is_one_line(run, root, changes, message):
    given = {"workdir": str(run[0]), "images": str(root), "out": "x.npz", **changes}
    with pytest.raises((ValueError, OSError), match=message) as caught:
        COMMANDS["embed"](Command(None, **given))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train.step": 3}, "config.make('pairs') has no key train.step"),
        ({"tran.steps": 3}, "config.make('pairs') has no key tran.steps"),
        ({"data.test_fraction": 0.5}, "data.test_fraction is of files; align takes it as a keywor"),
        ({"train.batch_size": 1.5}, "Could not override field 'batch_size'"),
        ({"seed": 1.5}, "seed must be an integer from 0 to 2^32 - 1, got 1.5"),
        ({"seed": None}, "seed must be an integer from 0 to 2^32 - 1, got None"),
        ({"seed": "0"}, "seed must be an integer from 0 to 2^32 - 1, got '0'"),
        ({"seed": True}, "seed must be an integer from 0 to 2^32 - 1, got True"),
    ],
)
def test_a_setting_that_would_be_passed_over_is_refused(settings, message):
    with pytest.raises(ValueError, match=re.escape(f"settings: {message}")) as caught:
        align(np.eye(20), np.eye(20), settings=settings)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.usefixtures("one_device")
def test_align_gives_functions_of_both_sets(capsys):
    """The lines in the README."""
    section = (ROOT / "README.md").read_text().split("## Two sets")[1].split("\n## ")[0]
    found = {}
    exec(section.split("```python\n")[1].split("```")[0], found)
    a, b, aligned = found["a"], found["b"], found["aligned"]
    recall = float(capsys.readouterr().out.splitlines()[-1])
    assert recall == aligned.report["retrieval"]["a_to_b"]["recall_1"] > 0.5
    judged = pair(a, b).evaluated.a
    z_a, z_b = aligned.a(a[judged]), aligned.b(b[judged])
    np.testing.assert_allclose(np.linalg.norm(z_a, axis=1), 1, rtol=1e-5)
    hits = (z_a @ z_b.T).argmax(axis=1) == np.arange(len(judged))
    assert hits.mean() == pytest.approx(recall)
    np.testing.assert_array_equal(found["doubtful_a"], found["doubtful_b"])
    right = dict(zip(aligned.rows[0].tolist(), aligned.probabilities, strict=True))
    worst = [right[row] for row in aligned.suspects(30)[0].tolist()]
    assert worst == sorted(right.values())[:30]
    unsure = [abs(right[row] - 0.5) for row in aligned.to_check(30)[0].tolist()]
    assert unsure == sorted(abs(q - 0.5) for q in right.values())[:30]
    with pytest.raises(ValueError, match=r"rows of b have shape \[8\], got \[4\]"):
        aligned.b(b[:, :4])
