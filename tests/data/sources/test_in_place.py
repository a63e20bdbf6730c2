"""Pictures of any folder, read where they lie at the size of a run's images."""

import numpy as np
import PIL.Image
import pytest

from gca_jax.data.sources import reading
from gca_jax.data.sources.in_place import Files
from gca_jax.data.sources.tree import scan_any
from tests.data import prepared


@pytest.fixture(name="root")
def several(root):
    """Pictures of three sizes, and one that cannot be read."""
    rng = np.random.default_rng(0)
    for name, shape in {"x/a": (8, 8), "x/b": (16, 24), "y/c": (12, 8)}.items():
        path = root / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(prepared.encode(prepared.picture(rng, *shape)))
    (root / "y" / "bad.png").write_text("no picture")
    return root


def read(root, shape, shorter_side, rows=range(4)):
    """The names and pixels of pictures, and what was wrong with others."""
    found, faults = scan_any(root, "--images"), reading.Faults("pictures", skip=True)
    good, loaded = reading.read(
        Files(found), np.array(rows), shape, faults, shorter_side=shorter_side
    )
    return [found.files[row] for row in good], loaded.images, faults


def test_a_tree_of_any_form_is_read(root):
    assert scan_any(root, "--images").classes == ("x", "x", "y", "y")
    (root / "x" / "deeper").mkdir()
    (root / "x" / "deeper" / "d.png").write_bytes((root / "x" / "a.png").read_bytes())
    found = scan_any(root, "--images")
    assert (len(found.files), found.classes) == (5, None)


def test_a_large_set_was_cut_out_of_the_centre(root):
    """As torchvision does for evaluation, and `Streamed`: 224 pixels of 256."""
    names, images, _ = read(root, (8, 8, 3), 10)
    picture = PIL.Image.open(root / "x/b.png").resize((15, 10), PIL.Image.BILINEAR)
    np.testing.assert_array_equal(images[names.index("x/b.png")], np.asarray(picture)[1:9, 3:11])


def test_pictures_of_a_run_on_rectangles_must_have_their_size(root):
    names, _, faults = read(root, (12, 8, 1), 12)
    assert names == ["y/c.png"]
    assert faults.reasons[1] == f"{root}/x/b.png (is of 16 x 24 pixels, not of 12 x 8)"


def test_what_cannot_be_read_is_left_out_and_named(root, capsys):
    names, images, faults = read(root, (8, 8, 3), 8)
    assert names == ["x/a.png", "x/b.png", "y/c.png"]
    assert images.shape == (3, 8, 8, 3)
    faults.report(np.arange(4))
    assert capsys.readouterr().out == (
        f"note: pictures: left out 1 of 4 images (unreadable): {root}/y/bad.png (is no picture)\n"
    )
    names, images, faults = read(root, (8, 8, 3), 8, rows=[2])
    assert (names, images.shape) == ([], (0, 8, 8, 3))
    with pytest.raises(ValueError, match="none of its 1 images can be read"):
        faults.report(np.array([2]))
