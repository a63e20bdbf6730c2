"""`index.html` over all runs below a folder: what it shows is what their files hold."""

import json
import re
import shutil
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pytest
from ml_collections import ConfigDict

from gca_jax.commands import COMMANDS, Command
from gca_jax.files import write_checksums
from gca_jax.report import runs
from gca_jax.report.figures import COLOURS
from gca_jax.report.status import status
from tests.report import conftest
from tests.report.conftest import CONFIG, TRAINING, corruptions, evaluation, metrics_row


class Page(HTMLParser):
    """Rows of the table as lists of text, and all elements with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.elements, self.cell = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.cell = True

    def handle_endtag(self, tag):
        self.cell = self.cell and tag not in ("td", "th")

    def handle_data(self, data):
        if self.cell:
            self.rows[-1][-1] += data.strip()


def leave(folder, judged=True, **changes):
    """Write what a run leaves in its folder."""
    conftest.leave(folder, judged=judged, **changes)
    if judged:
        (folder / "report.md").write_text("found")
        (folder / "report.html").write_text("found")


def report(folder, capsys):
    COMMANDS["report"](Command(None, str(folder)))
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
    (tmp_path / "study/study.html").write_text("a study")
    (tmp_path / "unlike/report.html").unlink()  # written before there were such
    text, page = report(tmp_path, capsys)
    head, *rows = page.rows
    assert head[:5] == ["run", "method", "data", "seed", "state"]
    assert set(head[-2:]) == {"model.encoder", "loss.epsilon"}  # on the right of all results
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
    assert {"study/study.html", "a/report.html", "unlike/report.md"} < {*links}
    assert not {"study/study.md", "a/report.md"} & {*links}
    assert all((tmp_path / unquote(link)).exists() for link in links)
    assert not any({"src", "srcset"} & set(attributes) for _, attributes in page.elements)
    assert not re.search(r"@import|url\((?!#)", text)  # but SVG's own parts


def test_a_curve_is_the_log_s(tmp_path, capsys):
    leave(tmp_path / "a")
    text, _ = report(tmp_path, capsys)
    for key in runs.CURVES:
        (path,) = re.findall(rf'<g id="curve-{key}-0">\s*<path d="([^"]*)"', text)
        x, y = np.array([point.split() for point in re.split("[ML]", path)[1:]], float).T
        rows = [conftest.metrics_row(step) for step in range(1, 21)]
        epochs, values = np.array([[row["epoch"], row[key]] for row in rows]).T
        # Straight scales, of which that of SVG's y points down.
        np.testing.assert_allclose(np.diff(x), np.diff(x)[0] * np.diff(epochs) / 0.2, atol=1e-4)
        assert np.corrcoef(y, values)[0, 1] == pytest.approx(-1, abs=1e-9)


def test_long_logs_are_thinned_out_and_what_is_not_finite_is_left_out(tmp_path):
    leave(tmp_path / "a", rows=1000)
    with (tmp_path / "a/metrics.jsonl").open("a") as file:
        file.write('{"step": 1001, "epoch": 200.2, "loss": null}\n')
        file.write('{"step": 1002, "epoch": 200.4, "loss": NaN}\n')
    (run,) = runs.collect(tmp_path)
    assert len(run.curves["loss"]) == runs.POINTS
    assert run.curves["loss"][-1] == (200.0, 5.0 - 100)


def changed(content, **changes):
    """JSON with other values."""
    return json.dumps({**content, **changes})


def without(content, key):
    """JSON without a key."""
    return json.dumps({name: value for name, value in content.items() if name != key})


ROW = metrics_row(1)
DEEP = "[" * 100_000
HUGE = "1" + "0" * 400
DAMAGES = {
    "config.json": {
        "cut": '{"method": ',
        "empty": "",
        "no text": b"\xff\xfe",
        "a list": "[]",
        "null": "null",
        "a word": '"a word"',
        "no method": without(CONFIG, "method"),
        "method a list": changed(CONFIG, method=["ince"]),
        "method null": changed(CONFIG, method=None),
        "no data": without(CONFIG, "data"),
        "data a word": changed(CONFIG, data="digits"),
        "data without a name": changed(CONFIG, data={"kind": "images"}),
        "name a number": changed(CONFIG, data={"kind": "images", "name": 3}),
        "kind a list": changed(CONFIG, data={"kind": [], "name": "digits"}),
        "kind unknown": changed(CONFIG, data={"kind": "sounds", "name": "digits"}),
        "seed a word": changed(CONFIG, seed="7"),
        "no train": without(CONFIG, "train"),
        "train a list": changed(CONFIG, train=[]),
        "no epochs": changed(CONFIG, train={"steps": 9}),
        "epochs a word": changed(CONFIG, train={"epochs": "4"}),
        "steps a word": changed(CONFIG, train={"epochs": 4, "steps": "9"}),
        "batch size a word": changed(CONFIG, train={"epochs": 4, "batch_size": "9"}),
        "half a character": changed(CONFIG, method="\ud800"),
        "half a character in a key": changed(CONFIG, **{"\ud800": 1}),
        "too deep": DEEP,
    },
    "training.json": {
        "cut": '{"finished": ',
        "null": "null",
        "a list": "[]",
        **{f"no {key}": without(TRAINING, key) for key in TRAINING},
        "finished a number": changed(TRAINING, finished=1),
        "steps a word": changed(TRAINING, steps="20"),
        "steps true": changed(TRAINING, steps=True),
        "seconds null": changed(TRAINING, train_seconds=None),
        "seconds not finite": changed(TRAINING, train_seconds=float("inf")),
        "device a list": changed(TRAINING, device=[]),
        "400 digits": changed(TRAINING).replace("20,", f"{HUGE},"),
        "seconds of 400 digits": changed(TRAINING).replace("12.5", HUGE),
        "half a character": changed(TRAINING, device="\ud800"),
        "too deep": DEEP,
    },
    "evaluation.json": {
        "cut": '{"step": ',
        "a list": "[]",
        "null": "null",
        "baselines null": changed(evaluation(), baselines=None),
        "a baseline null": changed(evaluation(), baselines={"pixels": None}),
        "accuracy a list": changed(evaluation(), accuracy=[0.5]),
        "an accuracy a word": changed(evaluation(), accuracy={"linear": "0.5"}),
        "results a word": changed(evaluation(), results="none"),
        "a result a number": changed(evaluation(), results=[1]),
        "step a word": changed(evaluation(), step="20"),
        "dataset a word": changed(evaluation(), dataset="digits"),
        "no accuracy": without(evaluation(), "accuracy"),
        "half a character": changed(evaluation(), method="\ud800"),
    },
    "metrics.jsonl": {
        "words": "x\ny\n",
        "a list": "[]\n",
        "null": "null\n",
        "no step": without(ROW, "step") + "\n",
        "step with a point": changed(ROW, step=1.5) + "\n",
        "step of 400 digits": changed(ROW).replace('"step": 1', f'"step": {HUGE}') + "\n",
        "step null": changed(ROW, step=None) + "\n",
        "epoch a word": changed(ROW, epoch="0.2") + "\n",
        "epoch a list": changed(ROW, epoch=[]) + "\n",
        "loss a word": changed(ROW, loss="5.0") + "\n",
        "loss true": changed(ROW, loss=True) + "\n",
        "400 digits": changed(ROW).replace("4.9", HUGE) + "\n",
        "no text": b"\xff\xfe\n",
        "too deep": DEEP + "\n",
    },
    "evaluation.npz": {"cut": b"PK", "empty": b"", "text": "of no archive"},
    "corruptions.json": {"cut": "{", "a list": "[]", "no step": without(corruptions(), "step")},
    "report.json": {"cut": "{", "a list": "[]", "finished a word": '{"finished": "no"}'},
}
UNDER_WAY = {"rows": 5, "finished": False, "judged": False}
STATES = {"finished": {}, "under way": UNDER_WAY}
CASES = [("finished", file, kind) for file, kinds in DAMAGES.items() for kind in kinds]
CASES += [
    ("under way", file, kind) for file in ("config.json", "metrics.jsonl") for kind in DAMAGES[file]
]


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """A folder with two runs that are whole, and room for a third, `b`."""
    folder = tmp_path_factory.mktemp("runs")
    leave(folder / "a", rows=5)
    leave(folder / "c", **UNDER_WAY)
    return folder


@pytest.fixture
def one(others):
    """The place of one more run among others."""
    yield others / "b"
    shutil.rmtree(others / "b")


def write(path, content):
    """Write another content, which may be bytes."""
    before = path.read_bytes() if path.exists() else None
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert path.read_bytes() != before


def check_damaged(folder, file):
    """One line names the file of the run, on the page of all runs too, which has all the others."""
    found = runs.collect(folder.parent)
    state = found[1].state
    assert state.splitlines() == [state]
    assert state.startswith(f"damaged: {folder / file} ")
    assert len(state) < len(f"{folder / file}") + 250
    text = runs.render("runs", found, [])
    page = Page(text)
    head, *rows = page.rows
    states = {row[0]: row[head.index("state")] for row in rows}
    assert states == {"a": "finished", "b": state, "c": "step 5 of 20 (25%)"}
    accuracies = {row[0]: row[head.index("linear, %")] for row in rows}
    assert accuracies == {"a": "90.0", "b": "", "c": ""}
    lines = [a["id"] for _, a in page.elements if a.get("id", "").startswith("curve-")]
    assert lines == [f"curve-{key}-{i}" for key in runs.CURVES for i in (0, 2)]
    assert "3 runs, 2 of them unfinished." in text
    text.encode()
    (line,) = status(folder, ConfigDict())
    assert line == f"{folder}: {state}"


@pytest.mark.parametrize(("state", "file", "kind"), CASES)
def test_a_damaged_run_takes_no_other_with_it(one, state, file, kind):
    leave(one, **STATES[state])
    write(one / file, DAMAGES[file][kind])
    check_damaged(one, file)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("config.json", "{", "is damaged (Expecting property name"),
        ("config.json", "{}", "is damaged (config.json has no method): run again the program"),
        ("config.json", '{"method": 3}', "is damaged (config.json.method is '3', which does not"),
        ("metrics.jsonl", "x\ny\n", "is damaged in line 1: delete that line"),
        (
            "training.json",
            "{}",
            "is damaged (training.json has no finished): run again",
        ),
    ],
)
def test_the_page_says_what_is_wrong_with_a_damaged_run(one, file, content, words, capsys):
    leave(one)
    write(one / file, content)
    text, page = report(one.parent, capsys)
    states = [row[page.rows[0].index("state")] for row in page.rows[1:]]
    assert states[1].startswith(f"damaged: {one / file} {words}")
    assert (states[0], states[2]) == ("finished", "step 5 of 20 (25%)")
    assert "3 runs, 2 of them unfinished." in text


RECALL = {"a_to_b": {"recall_1": 0.5}, "b_to_a": {"recall_1": 0.25}}
OF_PAIRS = {**evaluation(), "accuracy": {}, "baselines": {}, "retrieval": RECALL}


def test_a_run_on_pairs_stands_beside_one_on_images(one, capsys):
    leave(one, data={"kind": "pairs", "name": "pairs"})
    write(one / "evaluation.json", json.dumps(OF_PAIRS))
    _, page = report(one.parent, capsys)
    head, _, row, *_ = page.rows
    assert [cell for name, cell in zip(head, row, strict=True) if "recall" in name] == [
        "50.0",
        "25.0",
    ]


@pytest.mark.parametrize(
    "content",
    [
        without(OF_PAIRS, "retrieval"),
        changed(OF_PAIRS, retrieval=None),
        changed(OF_PAIRS, retrieval=[]),
        changed(OF_PAIRS, retrieval={"a_to_b": {"recall_1": 0.5}}),
        changed(OF_PAIRS, retrieval=RECALL | {"b_to_a": {"recall_1": None}}),
    ],
)
def test_nor_does_one_on_pairs(one, content):
    leave(one, data={"kind": "pairs", "name": "pairs"})
    write(one / "evaluation.json", content)
    check_damaged(one, "evaluation.json")


FILES = ("training.json", "evaluation.json", "evaluation.npz", "metrics.jsonl", "report.json")


@pytest.mark.parametrize("file", [*FILES, "corruptions.json"])
def test_a_folder_in_place_of_a_file_is_damage(one, file):
    leave(one)
    (one / file).unlink(missing_ok=True)
    (one / file).mkdir()
    check_damaged(one, file)


def test_a_config_that_is_a_link_to_nothing_is_damage(one):
    leave(one)
    (one / "config.json").unlink()
    (one / "config.json").symlink_to(one / "gone.json")
    first, second, third = (run.state for run in runs.collect(one.parent))
    assert second == f"damaged: {one}/config.json cannot be read (No such file or directory)"
    assert (first, third) == ("finished", "step 5 of 20 (25%)")


def test_a_study_names_its_damaged_runs(tmp_path):
    where = tmp_path / "runs/all/gca_uot"
    for name, (file, kinds) in zip("abcd", DAMAGES.items(), strict=False):
        leave(where / name)
        write(where / name / file, kinds["a list"])
    leave(where / "e", **UNDER_WAY)
    first, _, *rest = status(tmp_path, ConfigDict())
    assert first == f"{tmp_path}: 0 runs done, 0 failed"
    assert len(rest) == 5
    for line, name, file in zip(rest, "abcd", DAMAGES, strict=False):
        assert line.startswith(f"begun   runs/all/gca_uot/{name}: damaged: {where / name / file} ")
    assert rest[4].startswith("begun   runs/all/gca_uot/e: step 5 of 20 (25%)")


HARMLESS = {
    "no evaluation": lambda run: (run / "evaluation.json").unlink(),
    "no arrays of it": lambda run: (run / "evaluation.npz").unlink(),
    "of another step": lambda run: write(run / "evaluation.json", changed(evaluation(), step=10)),
    "no summary": lambda run: (run / "training.json").unlink(),
    "no log": lambda run: (run / "metrics.jsonl").unlink(),
    "an empty log": lambda run: write(run / "metrics.jsonl", ""),
    "no page": lambda run: (run / "report.md").unlink(),
    "a last row that is cut": lambda run: write(run / "metrics.jsonl", changed(ROW) + '\n{"ste'),
    "a loss that was not finite": lambda run: write(
        run / "metrics.jsonl", changed(ROW, loss=None) + "\n"
    ),
    "a row of a step alone": lambda run: write(run / "metrics.jsonl", '{"step": 0}\n'),
    "an epoch near zero": lambda run: write(
        run / "metrics.jsonl", changed(ROW, epoch=5e-324) + "\n"
    ),
    "keys of a later version": lambda run: [
        write(run / file, changed(json.loads((run / file).read_text()), new={"a": [None, {}]}))
        for file in ("config.json", "training.json", "evaluation.json")
    ],
    "no kind of data": lambda run: write(
        run / "config.json", changed(CONFIG, data={"name": "digits"})
    ),
    "unknown files": lambda run: (run / "notes.json").write_text("{"),
}


@pytest.mark.parametrize("state", ["finished", "under way"])
@pytest.mark.parametrize("kind", HARMLESS)
def test_what_harms_nothing_is_no_damage(one, kind, state):
    leave(one)
    HARMLESS[kind](one)
    if state == "under way":
        (one / "training.json").unlink(missing_ok=True)
    found = runs.collect(one.parent)
    assert "damaged" not in runs.render("runs", found, [])
    assert [run.folder for run in found] == ["a", "b", "c"]
    lines = [*status(one, ConfigDict())]
    assert lines[0] == f"{one}: gca_uot on digits, seed 7"
    assert not any("damaged" in line for line in lines)


def test_a_damaged_config_of_which_a_checkpoint_has_another_is_no_damage(one, capsys):
    leave(one, **UNDER_WAY)
    checkpoint = one / "checkpoints/5/config"
    checkpoint.mkdir(parents=True)
    (checkpoint / "metadata").write_text((one / "config.json").read_text())
    (one / "checkpoints/5/variables").mkdir()
    (one / "checkpoints/5/variables/_METADATA").write_text("{}")
    write_checksums(one / "checkpoints")
    write(one / "config.json", "[]")
    found = {run.folder: run for run in runs.collect(one.parent)}
    assert found["b"].state == "step 5 of 20 (25%)"
    assert found["b"].settings["loss.epsilon"] == 0.2
    assert "config.json is missing or damaged; a checkpoint has it too" in capsys.readouterr().out
    (checkpoint / "metadata").write_text("{}")  # of other bytes than were written
    capsys.readouterr()
    assert [run.state for run in runs.collect(one.parent)][1].startswith(
        f"damaged: {one / 'config.json'} "
    )


def test_settings_of_like_runs_are_told_from_those_of_unlike_ones(tmp_path):
    leave(tmp_path / "a", loss={"epsilon": 0.1})
    leave(tmp_path / "b", loss={"epsilon": 0.2})
    leave(tmp_path / "c", loss={"epsilon": 0.2}, method="ince", model={"encoder": "vit"})
    found = runs.collect(tmp_path)
    assert runs.varied(found) == {"loss.epsilon": True, "model.encoder": False}


def test_settings_of_the_evaluation_are_unfolded(tmp_path, capsys, browse):
    asked = CONFIG["evaluation"]
    leave(tmp_path / "runs/a", loss={"epsilon": 0.1})
    leave(tmp_path / "runs/b", loss={"epsilon": 0.2}, evaluation={**asked, "draws": 5})
    report(tmp_path / "runs", capsys)

    def use(page):
        heads = page.locator("thead th")
        seen = [head.inner_text() for head in heads.all() if head.is_visible()]
        assert seen[0] == "run"
        assert seen[-1] == "loss.epsilon"
        assert not [text for text in seen if text.startswith("evaluation")]
        page.get_by_role("checkbox").check()
        more = page.locator("thead th").all_inner_texts()
        assert sorted(more[-2:]) == ["evaluation.draws", "loss.epsilon"]
        column = more.index("evaluation.draws")
        cells = [row.locator("td, th").nth(column) for row in page.locator("tbody tr").all()]
        assert [cell.inner_text() for cell in cells] == ["2", "5"]

    browse(tmp_path / "runs/index.html", use)


def contrast(one, other):
    """The ratio of two sRGB colours' luminances, by WCAG 2.1."""

    def luminance(colour):
        x = np.array([int(part) for part in re.findall(r"\d+", colour)[:3]]) / 255
        linear = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_is_legible_in_light_and_in_the_dark(tmp_path, capsys, browse, scheme):
    """Runs of every colour; text at 4.5 (WCAG's AA), in the dark curves and marks at 3."""
    names = [f"run {k}" for k in range(len(COLOURS))]
    for name in names:
        leave(tmp_path / name)
    leave(tmp_path / name, rows=5, finished=False, judged=False)
    report(tmp_path, capsys)
    style = "all => all.map(one => getComputedStyle(one).{})"

    def use(page):
        page.emulate_media(color_scheme=scheme)
        paper = page.locator("body").evaluate("body => getComputedStyle(body).backgroundColor")
        assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 22, 22)"}[scheme]
        for part, kind in (("svg text", "fill"), ("h1, h2, p, a, td, th, .below", "color")):
            words = page.locator(part).evaluate_all(style.format(kind))
            assert len(words) > 20
            assert min(contrast(colour, paper) for colour in words) >= 4.5
        curves = page.locator("svg .curve path").evaluate_all(style.format("stroke"))
        marks = page.locator("tbody b").evaluate_all(style.format("backgroundColor"))
        assert curves == 3 * marks
        assert len(marks) == len({*marks}) == len(COLOURS)
        if scheme == "dark":
            assert min(contrast(colour, paper) for colour in marks) >= 3
        axes = page.locator('svg [style*="stroke: #000000"]').evaluate_all(style.format("stroke"))
        assert min(contrast(colour, paper) for colour in axes) >= 4.5
        ground = page.locator('svg [style*="fill: #ffffff"]').evaluate_all(style.format("opacity"))
        assert {*ground} <= {"0"}
        page.emulate_media(color_scheme="light")

    browse(tmp_path / "index.html", use)


def test_a_folder_without_runs_is_no_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no run in"):
        COMMANDS["report"](Command(None, str(tmp_path)))


def test_the_page_works_in_a_browser(tmp_path, capsys, browse):
    for name, epsilon in (("a", 0.5), ("b", 0.1), ("c", 10.0)):
        model = {"encoder": "resnet", "initial": "runs/" + name * 200}
        leave(tmp_path / "runs" / name, loss={"epsilon": epsilon}, model=model)
    report(tmp_path / "runs", capsys)

    def use(page):
        epsilon, rows = page.get_by_role("button", name="loss.epsilon"), page.locator("tbody tr")
        for order in (["b", "a", "c"], ["c", "a", "b"]):
            epsilon.click()
            assert page.locator("tbody th").all_inner_texts() == order
        chosen = page.locator("svg .chosen title")
        rows.nth(1).locator("th").hover()
        assert chosen.all_text_contents() == ["a"] * 3
        page.get_by_role("heading", name="Training").hover()
        assert chosen.count() == 0
        long = rows.nth(1).get_by_title("runs/" + "a" * 200)  # whole under the pointer
        assert long.evaluate(
            "cell => cell.offsetWidth < 250 && cell.scrollWidth > cell.clientWidth"
        )

    browse(tmp_path / "runs/index.html", use)
