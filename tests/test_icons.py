"""The data set of icons, made from themes of a few pictures."""

import sys

import numpy as np
import pytest
from PIL import Image

from gca_jax.data import sources
from scripts import icons

RED, BLUE, GREEN = (255, 0, 0, 255), (0, 0, 255, 255), (0, 128, 0, 255)


@pytest.fixture
def themes(tmp_path):
    """Two themes: document in both, of two sizes; only and its copy in one; a blank one in both."""
    root = tmp_path / "icons"
    for theme, context in (("gnome", "MimeTypes"), ("oxygen", "Mimetypes")):
        index = ["[Icon Theme]", "Name=any"]
        for size in (16, 64):
            folder = root / theme / f"{size}" / "types"
            folder.mkdir(parents=True)
            index += [f"[{size}/types]", f"Size={size}", f"Context={context}"]
            picture = Image.new("RGBA", (size, size), (0, 0, 0, 0))
            picture.save(folder / "blank.png")
            # A square in the middle, of another colour where it is small, which is not taken.
            colour = BLUE if size == 16 else RED if theme == "gnome" else GREEN
            picture.paste(colour, (size // 4, size // 4, 3 * size // 4, 3 * size // 4))
            picture.save(folder / "document.png")
            (folder / "a-document.png").symlink_to("document.png")
        (root / theme / "index.theme").write_text("\n".join(index))
    picture.save(root / "oxygen" / "64" / "types" / "only.png")
    return root


def make(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["icons", *map(str, arguments)])
    icons.main()


def test_shared_icons_are_drawn_once_on_white(themes, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    make(monkeypatch, f"--themes={themes}", f"--out={out}")
    written = sorted(str(path.relative_to(out)) for path in out.rglob("*.png"))
    # One name of the two of each file; no icon of one theme alone, none without a drawing.
    assert written == ["gnome/mimetypes/a-document.png", "oxygen/mimetypes/a-document.png"]
    assert "gnome: 1 (mimetypes 1)" in capsys.readouterr().out
    pixels = np.asarray(Image.open(out / written[0]))
    assert pixels.shape == (32, 32, 3)
    assert (pixels[0, 0] == 255).all()
    assert (pixels[16, 16] == RED[:3]).all()


def test_a_folder_with_files_and_too_few_themes_are_refused(themes, tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match="is not empty"):
        make(monkeypatch, f"--themes={themes}", f"--out={themes}")
    with pytest.raises(SystemExit, match="has none of Faenza, Papirus"):
        make(monkeypatch, f"--themes={tmp_path}", f"--out={tmp_path / 'out'}")
    assert not (tmp_path / "out").exists()


def test_what_is_missing_is_named_with_its_remedy():
    with pytest.raises(
        ValueError, match=r"no folder .*--config.data.root=DIR .*scripts.icons makes it"
    ):
        sources.load("icons", root="/nowhere/icons")
