"""What the tests of pages rest on: a fault is found, and a missing browser is named."""

import pathlib
import subprocess

import pytest

from tests import browser

ROOT = pathlib.Path(__file__).parents[1]
FAULTS = {
    "an error": "<script>throw new Error('meant')</script>",
    "a message": "<script>console.warn('meant')</script>",
    "a missing picture": "<img src='gone.png'>",
    "another host": "<script src='https://example.org/a.js'></script>",
    "too wide for a telephone": "<p style='width: 500px'>wide</p>",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_a_page_is_found(fault, tmp_path, browse):
    page = tmp_path / "page.html"
    page.write_text(f"<!doctype html><title>faulty</title>{FAULTS[fault]}")
    with pytest.raises(AssertionError, match=r"page\.html"):
        browse(page)


def test_without_a_browser_pages_are_skipped(monkeypatch):
    monkeypatch.setattr(browser, "PROGRAMS", ())
    with pytest.raises(pytest.skip.Exception, match="apt-get install chromium"), browser.started():
        pass


def test_without_a_browser_ci_fails_in_one_line(tmp_path):
    (tmp_path / "dirname").symlink_to("/usr/bin/dirname")
    made = {"env": {"PATH": str(tmp_path)}, "capture_output": True, "text": True, "timeout": 5}
    done = subprocess.run(["/bin/bash", ROOT / ".ci/run"], **made)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.endswith("(apt-get install chromium)")
    assert not done.stdout


def test_the_first_page_opens_with_its_picture(browse):
    def use(page):
        assert page.locator("img").count() == 1
        first = page.locator("p").first.bounding_box()
        assert first["y"] + first["height"] < page.viewport_size["height"]

    browse(ROOT / "README.md", use)
