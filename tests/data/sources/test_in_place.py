"""Pictures of any folder, read where they lie at the size of a run's images."""

import numpy as np
import PIL.Image
import pytest

from gca_jax.data.sources import in_place
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


def test_a_tree_of_any_form_is_read(root):
    assert in_place.scan(root, "--images").classes == ("x", "x", "y", "y")
    (root / "x" / "deeper").mkdir()
    (root / "x" / "deeper" / "d.png").write_bytes((root / "x" / "a.png").read_bytes())
    found = in_place.scan(root, "--images")
    assert (len(found.files), found.classes) == (5, None)


def test_a_large_set_was_cut_out_of_the_centre(root):
    """As torchvision does for evaluation, and `Streamed`: 224 pixels of 256."""
    found = in_place.scan(root, "--images")
    row = found.files.index("x/b.png")
    read = in_place.read(found, np.array([row]), (8, 8, 3), 10)
    picture = PIL.Image.open(root / "x/b.png").resize((15, 10), PIL.Image.BILINEAR)
    np.testing.assert_array_equal(read.images[0], np.asarray(picture)[1:9, 3:11])


def test_pictures_of_a_run_on_rectangles_must_have_their_size(root):
    found = in_place.scan(root, "--images")
    read = in_place.read(found, np.arange(len(found.files)), (12, 8, 1), 12)
    assert [found.files[row] for row in read.rows] == ["y/c.png"]
    assert read.faults["x/b.png"] == "is of 16 x 24 pixels, not of 12 x 8"


def test_what_cannot_be_read_is_left_out_and_named(root):
    found = in_place.scan(root, "--images")
    read = in_place.read(found, np.arange(4), (8, 8, 3), 8)
    assert [found.files[row] for row in read.rows] == ["x/a.png", "x/b.png", "y/c.png"]
    assert read.images.shape == (3, 8, 8, 3)
    assert in_place.describe(read.faults, 4) == (
        "left out 1 of 4 pictures (unreadable): y/bad.png (is no picture)"
    )
    none = in_place.read(found, np.array([found.files.index("y/bad.png")]), (8, 8, 3), 8)
    assert (len(none.rows), none.images.shape) == (0, (0, 8, 8, 3))
