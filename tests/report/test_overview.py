"""`index.html` over all runs below a folder: what it shows is what their files hold."""

import json
import re
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest

from gca_jax.programs import PROGRAMS, Command
from gca_jax.report import runs
from tests.report.conftest import CONFIG, TRAINING, evaluation, metrics_row


class Page(HTMLParser):
    """Rows of the table as lists of text, and all elements with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.elements = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data):
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip()


def leave(folder, rows=20, finished=True, judged=True, **changes):
    """A folder as a run leaves it."""
    folder.mkdir(parents=True)
    config = {**CONFIG, "train": {"epochs": 4, "steps": None}, **changes}
    (folder / "config.json").write_text(json.dumps(config))
    lines = [json.dumps(metrics_row(step)) for step in range(1, rows + 1)]
    (folder / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines))
    if finished:
        (folder / "training.json").write_text(json.dumps(TRAINING))
    if judged:
        (folder / "evaluation.json").write_text(json.dumps(evaluation()))
        (folder / "report.md").write_text("found")


def report(folder, capsys):
    PROGRAMS["report"](Command(None, str(folder)))
    assert capsys.readouterr().out == f"report: {folder / 'index.html'}\n"
    text = (folder / "index.html").read_text(encoding="utf-8")
    return text, Page(text)


def test_a_page_over_runs_done_and_under_way(tmp_path, capsys):
    leave(tmp_path / "a", loss={"epsilon": 0.1, "layout": "joint"})
    leave(tmp_path / "study/x & <b>", loss={"epsilon": 0.5, "layout": "joint"})
    leave(tmp_path / "study/later", rows=5, finished=False, judged=False)
    leave(tmp_path / "study/trained", judged=False)
    leave(tmp_path / "unlike", method="ince", model={"encoder": "vit"})
    (tmp_path / "a/checkpoints/20").mkdir(parents=True)
    (tmp_path / "a/checkpoints/20/config.json").write_text("of no run")
    (tmp_path / "study/study.md").write_text("a study")
    text, page = report(tmp_path, capsys)
    head, *rows = page.rows
    assert head[:4] == ["run", "method", "data", "seed"]
    assert set(head[4:7]) == {"model.encoder", "loss.epsilon", "state"}
    named = [dict(zip(head, row, strict=True)) for row in rows]
    found = {row["run"]: row for row in named}
    assert [*found] == ["a", "study/later", "study/trained", "study/x & <b>", "unlike"]
    assert [row["loss.epsilon"] for row in named] == ["0.1", "0.2", "0.2", "0.5", "0.2"]
    assert found["a"]["linear, %"] == "90.0"
    assert found["a"]["training, s"] == "12"
    assert found["study/later"]["state"] == "step 5 of 20 (25%)"
    assert found["study/trained"]["state"] == "trained, not evaluated"
    assert not found["study/later"]["linear, %"]
    assert "5 runs, 2 of them unfinished." in text
    marked = [a["data-run"] for tag, a in page.elements if tag == "tr" and "class" in a]
    assert marked == ["1", "2"]
    # Every link is of this folder and there; nothing else is loaded.
    links = [attributes["href"] for _, attributes in page.elements if "href" in attributes]
    assert len(links) == 6
    assert "study/study.md" in links
    assert all((tmp_path / unquote(link)).exists() for link in links)
    assert not any({"src", "srcset"} & set(attributes) for _, attributes in page.elements)
    assert not re.search(r"https?:|@import|url\(", text)


def test_a_curve_is_the_log_s(tmp_path, capsys):
    leave(tmp_path / "a")
    _, page = report(tmp_path, capsys)
    lines = [a["points"].split() for tag, a in page.elements if tag == "polyline"]
    assert [len(points) for points in lines] == [20, 20, 20]  # loss, alignment, uniformity
    loss = [tuple(map(float, point.split(","))) for point in lines[0]]
    (x, y), (right, bottom) = loss[0], loss[-1]
    assert (y, right, bottom) == (0, 420, 240)  # from the highest loss to the lowest
    assert x == pytest.approx(420 / 20, abs=0.1)
    assert loss[9][1] == pytest.approx(240 * 9 / 19, abs=0.1)  # a straight line


def test_long_logs_are_thinned_out_and_what_is_not_finite_is_left_out(tmp_path):
    leave(tmp_path / "a", rows=1000)
    with (tmp_path / "a/metrics.jsonl").open("a") as file:
        file.write('{"step": 1001, "epoch": 200.2, "loss": null}\n')
        file.write('{"step": 1002, "epoch": 200.4, "loss": NaN}\n')
    (run,) = runs.collect(tmp_path)
    assert len(run.curves["loss"]) == runs.POINTS
    assert run.curves["loss"][-1] == (200.0, 5.0 - 100)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("config.json", "{", "cannot be read: "),
        ("config.json", "{}", "cannot be read: config.json has no method"),
        ("metrics.jsonl", "x\ny\n", "is damaged in line 1"),
        ("training.json", "{}", "cannot be read: 'finished'"),
    ],
)
def test_a_damaged_run_is_a_row_that_says_so(tmp_path, file, content, words, capsys):
    leave(tmp_path / "a")
    leave(tmp_path / "b")
    (tmp_path / "a" / file).write_text(content)
    text, page = report(tmp_path, capsys)
    states = [row[page.rows[0].index("state")] for row in page.rows[1:]]
    assert words in states[0]
    assert states[1] == "finished"
    assert "2 runs, 1 of them unfinished." in text


def test_settings_of_like_runs_are_told_from_those_of_unlike_ones(tmp_path):
    leave(tmp_path / "a", loss={"epsilon": 0.1})
    leave(tmp_path / "b", loss={"epsilon": 0.2})
    leave(tmp_path / "c", loss={"epsilon": 0.2}, method="ince", model={"encoder": "vit"})
    found = runs.collect(tmp_path)
    assert runs.varied(found) == {"loss.epsilon": True, "model.encoder": False}


def test_a_folder_without_runs_is_no_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no run in"):
        PROGRAMS["report"](Command(None, str(tmp_path)))


def test_the_page_works_in_a_browser(tmp_path, capsys, browse):
    for name, epsilon in (("a", 0.5), ("b", 0.1), ("c", 10.0)):
        model = {"encoder": "resnet", "initial": "runs/" + name * 200}
        leave(tmp_path / "runs" / name, loss={"epsilon": epsilon}, model=model)
    report(tmp_path / "runs", capsys)
    found = browse(
        tmp_path / "runs/index.html",
        """
        const names = () => [...body.rows].map(row => row.cells[0].textContent);
        const heads = [...document.querySelectorAll("thead button")];
        const epsilon = heads.find(head => head.textContent === "loss.epsilon");
        const orders = [0, 1].map(() => { epsilon.click(); return names(); });
        const row = body.rows[1], chosen = () => document.querySelectorAll("polyline.chosen");
        row.cells[0].dispatchEvent(new MouseEvent("mouseover", {bubbles: true}));
        const curves = [...chosen()].map(one => one.querySelector("title").textContent);
        body.dispatchEvent(new MouseEvent("mouseleave"));
        const long = [...row.cells].find(cell => cell.title);
        const cut = long.offsetWidth < 250 && long.scrollWidth > long.clientWidth;
        return {orders, curves, after: chosen().length, cut, long: long.title};
        """,
    )
    assert found["orders"] == [["b", "a", "c"], ["c", "a", "b"]]
    assert found["curves"] == ["a"] * 3
    assert found["after"] == 0
    assert found["cut"]  # but whole under the pointer
    assert found["long"] == "runs/" + "a" * 200
