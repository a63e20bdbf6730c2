"""The site, opened in a browser: `make docs` runs this file, which `make test` does not collect."""

import pathlib

import pytest

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
    browse(SITE / page)
