"""The site, opened in a browser: `make docs` runs this file, which `make test` does not collect."""

import ast
import importlib
import pathlib
import re

import nbformat
import pytest

from gca_jax import theorems

ROOT = pathlib.Path(__file__).parents[1]
SITE = ROOT / "docs/_build/html"
OWN = [path for path in SITE.rglob("*.html") if not path.relative_to(SITE).parts[0].startswith("_")]
PAGES = sorted(f"{path.relative_to(SITE)}" for path in OWN)


def test_every_page_of_the_docs_is_there():
    docs = ROOT / "docs"
    written = [path.relative_to(docs) for path in docs.rglob("*.md")]
    own = [path for path in written if path.parts[0] != "_build"]
    assert {f"{path.with_suffix('.html')}" for path in own} <= {*PAGES}


@pytest.mark.parametrize("page", PAGES)
def test_the_page_opens_without_a_fault(page, browse):
    """And its mathematics is typeset, by what lies beside it: the browser has no network."""
    browse(SITE / page, typeset)


def typeset(page):
    formulas = page.locator(".math").count()
    if formulas:
        page.evaluate("MathJax.startup.promise")
    assert page.locator(".math mjx-container").count() == formulas
    assert page.locator("mjx-merror").count() == 0
    wide, size = page.evaluate("document.documentElement.scrollWidth"), page.viewport_size
    assert wide <= size["width"]
    loaded = page.evaluate("performance.getEntriesByType('resource').map(one => one.name)")
    assert all(name.startswith("file:") for name in loaded)


def test_formulas_are_on_the_pages_that_need_them():
    for page, least in {"idea": 10, "theorems": 40, "tutorials/theorem": 3}.items():
        assert (SITE / f"{page}.html").read_text().count('class="math ') >= least


def test_each_theorem_is_stated_with_the_function_that_checks_it():
    page = (SITE / "theorems.html").read_text()
    functions = [name for name in vars(theorems) if re.fullmatch(r"theorem_\d|limit_\w+", name)]
    assert len(functions) == 8
    for name in functions:
        assert f'href="reference.html#gca_jax.theorems.{name}"' in page


def test_the_reference_describes_every_public_name():
    text = (ROOT / "docs/reference.md").read_text()
    listed = re.search(r"## Public names\n.*?```text\n(.*?)```", text, re.S)[1]
    reference = (SITE / "reference.html").read_text()
    there = {each.split(".")[-1] for each in re.findall(r'id="(gca_jax[^"]*)"', reference)}
    for line in listed.splitlines():
        module, names = line.split(maxsplit=1)
        home = importlib.import_module(module)
        own = [name for name in names.split(", ") if getattr(home, name).__class__ is not type(re)]
        described = {name for name in own if name not in ("__version__", "ConfigDict")}
        constants = {name for name in described if name.isupper() and name != "METHODS"}
        assert described - constants <= there, module
    assert {"Aligned", "Encoder", "Aux"} <= there


NOTEBOOKS = [path for path in (ROOT / "docs").rglob("*.md") if "{code-cell}" in path.read_text()]
NOTEBOOKS = [path for path in NOTEBOOKS if "_build" not in path.parts]


def written(path):
    """The notebook that a page's link downloads."""
    html = (SITE / path.relative_to(ROOT / "docs").with_suffix(".html")).read_text()
    (link,) = re.findall(r'<a [^>]*download[^>]* href="([^"]*\.ipynb)"', html)
    file = (SITE / path.relative_to(ROOT / "docs").parent / link).resolve()
    return nbformat.read(file, as_version=4)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_can_be_downloaded(path):
    notebook = written(path)
    nbformat.validate(notebook)
    block = r"^```\{code-cell\}[^\n]*\n(?::[^\n]*\n)*(.*?)^```"
    cells = re.findall(block, path.read_text(), re.M | re.S)
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert [source.strip() for source in sources] == [cell.strip() for cell in cells]
    for source in sources:
        ast.parse(source)


# What a page says of its numbers: where it says so, where its cells print them, and how far apart
# they may be: other processors round otherwise.
SAID = {
    "tutorials/domains": [
        (r"more readable, from (\d+) to (\d+) %", r"domain ([\d.]+)%", 1),
        (r"pays for it: it falls from (\d+) to (\d+) %", r"class ([\d.]+)%", 1),
    ],
    "idea": [(r"At .* they agree, at 0.1 the cosine is ([\d.]+), and at 0.03 it is ([\d.]+)",
              r"epsilon = 0.(?:03|1): cosine ([\d.]+)", 0.01)],
}  # fmt: skip


@pytest.mark.parametrize("page", SAID)
def test_a_page_says_what_its_cells_print(page):
    path = ROOT / "docs" / f"{page}.md"
    text, printed = " ".join(path.read_text().split()), prints(path)
    for says, shows, apart in SAID[page]:
        said = [float(number) for number in re.search(says, text).groups()]
        shown = [float(number) for number in re.findall(shows, printed)]
        assert sorted(said) == pytest.approx(sorted(shown), abs=apart)


def prints(path):
    """What the page shows of them; a notebook whose outputs were cached has none."""
    html = (SITE / path.relative_to(ROOT / "docs").with_suffix(".html")).read_text()
    shown = re.findall(r'<div class="output stream.*?<pre>(.*?)</pre>', html, re.S)
    return re.sub(r"<[^>]*>", "", "".join(shown))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_cell_prints_nan(path):
    assert not re.search(r"\b(nan|inf)\b", prints(path))
