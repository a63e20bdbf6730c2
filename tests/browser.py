"""Pages as a reader opens them: in the system's Chromium, on a laptop and on a telephone."""

import concurrent.futures
import contextlib
import shutil
import typing

import pytest
from markdown_it import MarkdownIt
from playwright.sync_api import sync_playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")  # those of .ci/run
LEVELS = ("error", "warning")  # of what a page writes in its console, those that are faults
SIZES = ({"width": 1280, "height": 757}, {"width": 390, "height": 844})
# As a code host shows Markdown, but with raw HTML let through: the least careful viewer.
MARKDOWN = """<!doctype html><meta charset="utf-8"><title>{name}</title>
<style>img {{ max-width: 100% }} pre, table {{ display: block; overflow-x: auto }}
h1, h2, p, li, td {{ overflow-wrap: anywhere }}</style>{text}"""


class Window(typing.NamedTuple):
    """A window of one size, and what went wrong in it since its page was opened."""

    page: typing.Any
    faults: list[str]


@contextlib.contextmanager
def started():
    """Start the browser, and give the function that opens a page in it; without one, skip."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip("no Chromium is installed (apt-get install chromium)")
    # Playwright leaves an event loop running in its thread; Orbax can start none beside it.
    with concurrent.futures.ThreadPoolExecutor(1) as thread:

        def there(function, *arguments, **keywords):
            return thread.submit(function, *arguments, **keywords).result()

        playwright = there(sync_playwright().start)
        try:
            flags = ["--no-sandbox"]  # in a container Chromium may not make one
            launch = playwright.chromium.launch
            chromium = there(launch, executable_path=program, args=flags)
            windows = [there(open_window, chromium, size) for size in SIZES]
            yield lambda path, use=None: [there(visit, one, path, use) for one in windows]
            there(chromium.close)
        finally:
            there(playwright.stop)


def open_window(chromium, size):
    """Open a window without a network."""
    page, faults = chromium.new_context(viewport=size, offline=True).new_page(), []
    page.set_default_timeout(10_000)
    page.on("pageerror", lambda fault: faults.append(str(fault)))
    page.on("console", lambda said: faults.append(said.text) if said.type in LEVELS else None)
    page.on("requestfailed", lambda request: faults.append(f"not found: {request.url}"))
    return Window(page, faults)


def visit(window, path, use):
    """Open a page of the disk and use it: no fault in its console, and it is not too wide.

    `use(page)` is a function of Playwright's page, whose actions scroll to what they point at.
    Markdown is shown as HTML.
    """
    page, faults = window
    page.mouse.move(0, 0)  # or what the last page was pointed at would be pointed at here
    faults.clear()
    if path.suffix == ".md":
        shown = {"body": html(path), "content_type": "text/html"}
        page.route(path.as_uri(), lambda route: route.fulfill(**shown), times=1)
    page.goto(path.as_uri())
    wide, size = page.evaluate("document.documentElement.scrollWidth"), page.viewport_size
    assert wide <= size["width"], f"{path} is {wide} pixels wide in a window of {size}"
    if use is not None:
        use(page)
    assert not faults, f"{path} in a window of {size}"


def html(path):
    """Give a Markdown file as HTML."""
    text = MarkdownIt("commonmark").enable("table").render(path.read_text(encoding="utf-8"))
    return MARKDOWN.format(name=path.name, text=text)
