"""`--mode=neighbours`: a page that is complete in itself, with the right pictures in it."""

import base64
import html.parser
import io
import json
import re

import numpy as np
import PIL.Image
import pytest

import gca_jax
from gca_jax.commands import COMMANDS, Command
from gca_jax.experiment import build
from gca_jax.report import neighbours
from tests import saved
from tests.data import prepared

pytestmark = pytest.mark.usefixtures("quick_evaluation")


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory):
    """A run on twenty test images."""
    folder = tmp_path_factory.mktemp("run")
    saved.save(build(tiny("ince", **{"data.limit": 20, "train.batch_size": 20})), folder)
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Three domains with two classes of three pictures each, one of them named to do harm."""
    folder = tmp_path_factory.mktemp("root")
    domains = ("a", "b", 'c "&<script>')
    names = {f"{domain}/{label}": 3 for domain in domains for label in ("x", "y<i>")}
    prepared.write_folder(folder, names)
    return folder


class Page(html.parser.HTMLParser):
    """Elements of a page, whose tags must be balanced."""

    VOID = ("meta",)

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.texts = [], [], {}
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        if self.open:
            self.texts[self.open[-1]] = self.texts.get(self.open[-1], "") + text

    def all(self, kind):
        """Attributes of the elements of a class."""
        named = [attributes for _, attributes in self.elements if "class" in attributes]
        return [each for each in named if kind in each["class"].split()]


def make(run, tmp_path, **flags):
    out = tmp_path / "page.html"
    COMMANDS["neighbours"](Command(None, str(run), out=str(out), **flags))
    text = out.read_text(encoding="utf-8")
    page = Page(text)
    for _, attributes in page.elements:
        assert not {"src", "href", "srcset"} & set(attributes)
    assert not re.search(r"https?:|@import|url\((?!\"data:)", text)
    data = json.loads(re.search(r"const data = (.*);\n", page.texts["script"])[1])
    return page, data


def test_test_images_stand_beside_their_nearest(run, tmp_path):
    page, data = make(run, tmp_path)
    images = build(gca_jax.load(run).config).data.dataset.test_images
    x = gca_jax.load(run)(images).astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    cosine = x @ x.T - 3 * np.eye(20)
    expected = np.array(data["neighbours"]["nearest"])  # found in float32: nearly equal ones swap
    found = np.take_along_axis(cosine, expected, axis=1)
    np.testing.assert_allclose(found, -np.sort(-cosine, axis=1)[:, :8], atol=1e-6)
    assert all(len(set(row)) == 8 for row in expected)
    assert [dot["data-i"] for dot in page.all("dot")] == [*map(str, range(20))]
    drawn = [int(picture["data-i"]) for picture in page.all("pic")]
    queries = drawn[::9]
    assert len(set(queries)) == len(queries) == len(drawn) / 9
    assert drawn == [i for query in queries for i in (query, *expected[query])]
    labels = data["classes"]
    framed = ["other" in picture["class"] for picture in page.all("pic")]
    assert framed == [labels[i] != labels[q] for q in queries for i in (q, *expected[q])]
    # Each picture is where its style says, in the sheet as it is shown.
    sheet = re.search(r"base64,([\w+/=]+)", page.texts["style"])[1]
    sheet = np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(sheet))))
    for picture in page.all("pic"):
        x, y = (int(number) // 6 for number in re.findall(r"-(\d+)px", picture["style"]))
        tile = sheet[y : y + 8, x : x + 8]
        np.testing.assert_array_equal(tile, images[int(picture["data-i"]), ..., 0])


def test_pictures_of_a_folder_have_neighbours_in_other_domains(run, root, tmp_path):
    page, data = make(run, tmp_path, images=str(root))
    domains = [label.split("domain ")[1] for label in data["labels"]]
    assert len(data["labels"]) == len(page.all("dot")) == 18
    for i, rows in enumerate(data["neighbours"]["in other domains"]):
        assert len(rows) == 8
        assert all(domains[j] != domains[i] for j in rows)
    assert len(page.all("pic")) == 9 * len(page.all("row"))
    assert sorted({label.split(", ")[1] for label in data["labels"]}) == ["class x", "class y<i>"]


def test_large_pictures_are_shrunk(run):
    encoder = gca_jax.load(run)
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), dtype=np.uint8)
    found = neighbours.find(encoder, images, ["a", "b", "c"], {}, "three")
    wide = found._replace(images=np.full((3, 100, 200, 3), 7, np.uint8))
    page = Page(neighbours.render(wide))
    sheet = re.search(r"base64,([\w+/=]+)", page.texts["style"])[1]
    assert PIL.Image.open(io.BytesIO(base64.b64decode(sheet))).size == (2 * 48, 2 * 24)
    assert len(page.all("pic")) == 3 * 3


def test_one_picture_has_no_neighbour(run):
    with pytest.raises(ValueError, match="neighbours need at least 2 pictures, got 1"):
        neighbours.find(gca_jax.load(run), np.zeros((1, 8, 8, 1), np.uint8), ["a"], {}, "one")


def test_the_page_works_in_a_browser(run, root, tmp_path, browse):
    _, data = make(run, tmp_path, images=str(root))

    def use(page):
        dot = page.locator("#map .dot").last  # no other dot lies over it
        dot.hover()
        hint = page.locator("#hint")
        assert hint.inner_text().strip() == data["labels"][17]
        assert hint.locator("i").get_attribute("data-i") == "17"
        box, window = hint.bounding_box(), page.viewport_size
        assert min(box["x"], box["y"]) >= 0
        assert box["x"] + box["width"] <= window["width"]
        assert box["y"] + box["height"] <= window["height"]
        dot.click()
        near = "rows => rows.map(row => [...row.children].map(picture => +picture.dataset.i))"
        near = page.locator("#chosen .row").evaluate_all(near)
        assert near == [rows[17] for rows in data["neighbours"].values()]
        name = page.locator('.legend[data-kind="domain"] li[data-of]').first
        name.hover()
        seen = "dots => dots.map(dot => +getComputedStyle(dot).opacity > 0.5)"
        seen = page.locator("#map .dot").evaluate_all(seen)
        of = f"domain {name.inner_text()}"
        assert seen == [label.endswith(of) for label in data["labels"]]

    browse(tmp_path / "page.html", use)
