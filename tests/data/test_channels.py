"""Pictures of more than three channels: read from folders, augmented."""

import jax
import numpy as np
import pytest

from gca_jax.data import arrays, pictures, sources
from gca_jax.data.sources import reading, tree
from gca_jax.data.views import augment
from gca_jax.experiment import build
from tests.data.prepared import npy, tiff


@pytest.fixture
def root(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("ink/x", "ink/y", "pen/x", "pen/y"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for k in range(6):
            stack = rng.integers(0, 256, (12, 12, 5), dtype=np.uint8)
            encoded, end = (
                (npy(stack), "npy") if k % 2 else (tiff(*np.moveaxis(stack, 2, 0)), "tif")
            )
            (tmp_path / "pictures" / name / f"{k}.{end}").write_bytes(encoded)
    return tmp_path / "pictures"


def read(root, **options):
    where = {"root": str(root), "data_dir": str(root.parent / "prepared")}
    return sources.load("folder", **where, **options)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_folder_of_stacks_is_read_whole_or_streamed(root, streamed, monkeypatch):
    if streamed:
        monkeypatch.setattr(reading, "MEMORY_LIMIT", 0)
    data = read(root, channels=5, size=12 if not streamed else 8)
    assert data.train_images.shape == (20, *((8, 8) if streamed else (12, 12)), 5)
    assert (data.class_names, data.domain_names) == (("x", "y"), ("ink", "pen"))
    assert isinstance(data.train_images, np.ndarray) != streamed
    whole = sorted(path for path in root.rglob("*.*"))
    seen = {pictures.pixels(path.read_bytes(), 5).tobytes() for path in whole}
    found = (
        [data.train_images.decode(i) for i in range(20)] if streamed else list(data.train_images)
    )
    assert {image.tobytes() for image in found} <= seen


def test_a_file_of_another_depth_is_named(root):
    (root / "ink/x/0.tif").write_bytes(npy(np.zeros((12, 12, 4), np.uint8)))
    with pytest.raises(ValueError, match=r"ink/x/0\.tif: is \[12, 12, 4\], not \[h, w, 5\]"):
        read(root, channels=5)
    assert len(read(root, channels=5, skip_unreadable=True).train_images) == 19


def test_a_npy_is_no_picture_of_an_rgb_folder(root, capsys):
    found = tree.scan(root)
    assert {name[-4:] for name in found.files} == {".tif"}
    assert len(list(root.rglob("*.npy"))) == 12
    assert f"left out of {root}: 12 .npy (.npy is read with --con" in capsys.readouterr().out


def test_channels_below_one_are_refused(root):
    with pytest.raises(ValueError, match="channels must be an integer >= 1, got 0"):
        read(root, channels=0)


def test_what_needs_rgb_is_left_out_and_the_rest_is_done(tiny, capsys):
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 5), dtype=np.uint8)
    config = tiny("ince").unlock()
    config.augment.update(policy="strong", mean=(0.5,) * 3, std=(0.25,) * 3)
    experiment = build(config, dataset=arrays(images))
    assert capsys.readouterr().out == (
        "note: images have 5 channels, so views are made without random_jitter, random_grey\n"
    )
    key, views = jax.random.key(0), jax.jit(experiment.data.policy.views)
    one, _ = views(key, images[:2])
    # The same crop, flip and blur of each channel, as if it were a channel of a grey picture:
    # equal channels stay equal, and of unequal ones none is mixed with another.
    alike = np.repeat(images[:2, ..., :1], 5, axis=3)
    mixed, _ = views(key, alike)
    for k in range(5):
        np.testing.assert_allclose(mixed[..., k], mixed[..., 0], atol=1e-6)
    np.testing.assert_allclose(mixed[..., 0], one[..., 0], atol=1e-6)


def test_mean_and_std_that_differ_must_be_as_many_as_channels():
    policy = augment.make("digits", mean=(0.5, 0.4, 0.3), std=(1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="mean and std have 3 values, the images 5 channels"):
        policy.plain(np.zeros((1, 8, 8, 5), np.uint8))
    alike = augment.make("digits", mean=(0.5,) * 3, std=(0.25,) * 3)
    assert (alike.plain(np.zeros((1, 8, 8, 5), np.uint8)) == -2).all()
