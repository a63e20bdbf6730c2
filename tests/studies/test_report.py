"""The report's tables, files and pictures, of whole and of stopped studies."""

import csv
import json
import re

import numpy as np
import pytest
from scipy import stats

from gca_jax import studies
from gca_jax.files import write_json
from gca_jax.report import study_figures
from gca_jax.report.study import write
from gca_jax.studies.grid import all_runs, cells
from gca_jax.studies.results import collect
from gca_jax.studies.statistics import analyse
from gca_jax.studies.study import of_one
from tests.studies import stub

M = studies.Method
CHOOSE = {"loss.epsilon": (0.1, 0.3)}
METHODS = {
    "InfoNCE": M("simclr", choose=CHOOSE),
    "GCA-UOT": M("gca_uot", choose=CHOOSE),
    "BYOL": M("byol"),
}
NOISE = {f"noise {x}": studies.Condition({"train.batch_size": 256 + 10 * x}, x) for x in (0, 4)}
COMMAND = "python main.py --mode=study"


@pytest.fixture(scope="module")
def described(planned):
    published = {"noise 0": {"GCA-UOT": (80.0, 0.5, 4)}}
    return planned(
        methods=METHODS,
        conditions=NOISE,
        x_label="wrong pairs, %",
        published=published,
        items="right",
    )


@pytest.fixture(scope="module")
def whole(described, tmp_path_factory):
    """The folder of a study that is done, and its page."""
    workdir = tmp_path_factory.mktemp("study")
    do(described[1], workdir)
    write(*described, workdir, COMMAND)
    return workdir, (workdir / "study.md").read_text()


def do(grid, workdir, keep=lambda run: True):
    for run in all_runs(grid):
        if keep(run):
            stub.do(run, workdir)


def tables(page):
    """Tables of the page by their first head: {row: {column: cell}}."""
    found = {}
    for block in re.findall(r"(?m)(?:^\|.*\n)+", page):
        lines = [[cell.strip() for cell in row.split("|")[1:-1]] for row in block.splitlines()]
        head = lines[0]
        found[head[0]] = {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in lines[2:]}
    return found


def scores(described, condition, method, epsilon=None):
    """The points of the final runs, by the formula of the stub."""
    (cell,) = [c for c in described[1] if (c.condition, c.method) == (condition, method)]
    runs = [r for group in cell.finals for r in group]
    chosen = [r for r in runs if r.settings.get("loss.epsilon") == epsilon]
    return 100 * np.array([stub.score(run.record) for run in chosen])


def test_tables_have_scipy_s_numbers(described, whole):
    found = tables(whole[1])
    values = found["linear probe, %, mean ± sd"]
    assert list(values) == [*METHODS]
    reference = {c: scores(described, c, "InfoNCE", 0.3) for c in NOISE}
    compared = {}
    for method, epsilon in (("GCA-UOT", 0.3), ("BYOL", None)):
        for condition in NOISE:
            ours = scores(described, condition, method, epsilon)
            assert values[method][condition] == f"{ours.mean():.2f} ± {ours.std(ddof=1):.2f}"
            compared[method, condition] = stats.ttest_rel(ours, reference[condition])
    p_values = sorted(test.pvalue for test in compared.values())
    holm = np.maximum.accumulate([min(1, (4 - k) * p) for k, p in enumerate(p_values)])
    adjusted = dict(zip(p_values, holm, strict=True))
    cells = found["minus InfoNCE, points ± half-width (p after Holm)"]
    assert list(cells) == ["GCA-UOT", "BYOL"]
    for (method, condition), test in compared.items():
        low, high = test.confidence_interval(0.95)
        words = f"{(low + high) / 2:+.2f} ± {(high - low) / 2:.2f}"
        p = adjusted[test.pvalue]
        words = f"**{words}**" if p < 0.05 else words
        shown = "< 0.001" if p < 0.001 else f"{p:.3f}"
        assert cells[method][condition] == f"{words} ({shown})"


def test_a_plain_measure_is_shown_as_it_is(described, whole):
    found = tables(whole[1])
    ours = scores(described, "noise 0", "BYOL")
    shown = found["rank, mean ± sd"]["BYOL"]["noise 0"]
    assert shown == f"{ours.mean():.4g} ± {ours.std(ddof=1):.4g}"
    assert "minus InfoNCE, as measured ± half-width (p after Holm)" in found


def test_choices_budgets_and_published_numbers_are_said(described, whole):
    page = whole[1]
    assert f"\n    {COMMAND}\n" in page
    assert "3 methods, 2 conditions, seeds 0, 1, 2: 18 of 18 final runs are in this report" in page
    lines = page.splitlines()
    assert [
        line for line in lines if line.startswith("| noise 4 | GCA-UOT | loss.epsilon = 0.3 | 2")
    ]
    assert [line for line in lines if line.startswith("| noise 4 | BYOL | as configured | 0 | – |")]
    assert "(InfoNCE 2, GCA-UOT 2, BYOL 1)" in " ".join(page.split())
    half = stats.t.ppf(0.975, 3) * 0.5 / 2
    ours = scores(described, "noise 0", "GCA-UOT", 0.3)
    width = stats.t.ppf(0.975, 2) * ours.std(ddof=1) / np.sqrt(3)
    row = f"| 80.00 ± {half:.2f} (n = 4) | {ours.mean():.2f} ± {width:.2f} (n = 3) |"
    assert f"| noise 0 | GCA-UOT {row}" in page
    assert "What is missing" not in page


def test_equal_budgets_need_no_warning(planned, tmp_path):
    study, grid = planned(methods={"InfoNCE": M("simclr"), "BYOL": M("byol")})
    do(grid, tmp_path)
    page = write(study, grid, tmp_path, COMMAND).read_text()
    assert "Warning" not in page
    assert "## Settings" not in page


def test_the_bootstrap_over_items_is_beside_the_one_over_seeds(described, whole):
    results = collect(*described, whole[0])
    headline, other = analyse(described[0], results, whole[0])
    mean, low, high = headline.entries["noise 0", "BYOL"].items
    arrays = {"BYOL": [], "InfoNCE": []}
    for row in results.rows:
        if row.condition == "noise 0" and row.method in arrays:
            with np.load(whole[0] / row.folder / "evaluation.npz") as stored:
                arrays[row.method].append(stored["right"])
    difference = 100 * (np.mean(arrays["BYOL"]) - np.mean(arrays["InfoNCE"]))
    assert mean == pytest.approx(difference)
    assert low < mean < high
    assert headline.entries["noise 0", "InfoNCE"].items is None
    assert other.entries["noise 0", "BYOL"].items is None
    cell = tables(whole[1])["minus InfoNCE, bootstrap over test items"]["BYOL"]["noise 0"]
    assert cell == f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]"


def test_files_hold_every_final_run(described, whole):
    workdir, _ = whole
    with (workdir / "study.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 18
    last = rows[-1]
    assert (last["condition"], last["method"], last["seed"]) == ("noise 4", "BYOL", "2")
    assert float(last["linear probe"]) == scores(described, "noise 4", "BYOL")[2] / 100
    assert (last["loss.epsilon"], rows[0]["loss.epsilon"]) == ("", "0.3")
    assert (workdir / last["folder"] / "report.json").exists()
    found = json.loads((workdir / "study.json").read_text(), parse_constant=pytest.fail)
    assert found["complete"]
    assert found["command"] == COMMAND
    assert found["study"]["methods"]["BYOL"]["words"] == "byol"
    assert len(found["runs"]) == 18
    entry = found["measures"][0]["entries"][-1]
    assert entry["values"] == pytest.approx(scores(described, "noise 4", "BYOL").tolist())
    assert sorted(path.name for path in (workdir / "figures").iterdir()) == [
        "differences.png",
        "headline.png",
        "training.png",
    ]


def test_the_pages_open_in_a_browser(whole, browse):
    folder, _ = whole

    def use(page):
        assert page.locator("img").count() == len([*(folder / "figures").glob("*.png")])

    browse(folder / "study.md", use)
    browse(folder / "study.html", use)
    browse(folder / "index.html")


def test_a_stopped_study_is_reported_with_what_is_missing(described, tmp_path):
    study, grid = described
    left = {"runs/noise_0/BYOL/seed1", "runs/noise_4/GCA-UOT/epsilon=0.1-seed1000-validation"}
    failed = "runs/noise_0/BYOL/seed2"
    do(grid, tmp_path, lambda run: run.folder not in left | {failed})
    one = {"folder": failed, "error": "loss is nan"}
    write_json(tmp_path / "failed.json", [one])
    page = write(study, grid, tmp_path, COMMAND).read_text()
    assert "13 of 18 final runs" in page
    assert "**It is not complete**" in " ".join(page.split())
    missing = page.split("## What is missing")[1]
    assert f"- failed: `{failed}`: loss is nan" in missing
    assert "- not done: noise 4, GCA-UOT: 3 final runs" in missing
    assert all(f"- not done: {folder}\n" in missing for folder in left)
    found = tables(page)
    one = scores(described, "noise 0", "BYOL")[0]
    assert found["linear probe, %, mean ± sd"]["BYOL"]["noise 0"] == f"{one:.2f} (n = 1)"
    assert found["linear probe, %, mean ± sd"]["GCA-UOT"]["noise 4"] == "–"
    assert not json.loads((tmp_path / "study.json").read_text())["complete"]


def test_its_html_leads_to_what_is_missing_and_names_are_text(planned, tmp_path, browse):
    harm = '<img src=x onerror="document.title=1"> | *a*'
    methods = {harm: M("simclr"), "BYOL": M("byol")}
    study, grid = planned(methods=methods, conditions={harm: {}}, reference=harm)
    do(grid, tmp_path, lambda run: run.seed != 2)
    write_json(tmp_path / "failed.json", [{"folder": grid[0].finals[0][2].folder, "error": harm}])
    write(study, grid, tmp_path, f"{COMMAND} {harm}")

    def use(page):
        assert page.locator("img").count() == 3
        row = page.locator("table").first.locator("tr").all_inner_texts()
        assert [line.split("\t")[0] for line in row[1:]] == [harm, "BYOL"]
        assert row[0].split("\t")[1:] == [harm]
        assert harm in page.locator("li").first.inner_text()
        page.get_by_role("link", name="what is missing").click()
        assert page.evaluate("document.querySelector(location.hash).innerText") == "What is missing"

    browse(tmp_path / "study.html", use)


ODD = ("_private $q_$", "猫 $5", "=cmd|' /C calc'!A0", "Chordata_Aves_Accipitriformes_" * 3)


@pytest.mark.parametrize("alone", [True, False])
def test_any_name_is_text_in_pictures_and_tables(planned, tmp_path, alone, capsys):
    methods = dict(zip(ODD, map(M, ("simclr", "gca_uot", "byol", "gca_ince")), strict=True))
    conditions = {"$1_$5 <b>\n|": {}, ODD[0]: {"train.batch_size": 300}}
    conditions = {"-1+2": {}} if alone else conditions
    correlate = ("linear probe", "$k$-NN")
    study, grid = planned(
        methods=methods,
        conditions=conditions,
        reference=ODD[0],
        seeds=(0, 1),
        measures={correlate[0]: "accuracy.linear", correlate[1]: "accuracy.linear"},
        correlate=correlate,
        plain=(),
        x_label="$x_",
    )
    do(grid, tmp_path)
    write(study, grid, tmp_path, COMMAND)  # a warning would be an error
    said = capsys.readouterr().out
    assert said.count("no font here has 1 letter of the names (猫)") == (said != "")
    results = collect(study, grid, tmp_path)
    drawn = study_figures.draw(study, results, [*analyse(study, results, tmp_path)], tmp_path)
    shown = [r"_private \$q_\$", r"猫 \$5", ODD[2], "Chordata_Aves_A…cipitriformes_"]
    (legend,) = drawn["correlation"].legends
    assert [text.get_text().lstrip("\u200b") for text in legend.get_texts()] == shown
    with (tmp_path / "study.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    named = {row["method"]: row["condition"] for row in rows}
    assert [*named] == [*ODD[:2], f"'{ODD[2]}", ODD[3]]
    assert named[ODD[1]] == ("'-1+2" if alone else ODD[0])
    assert all(float(row["linear probe"]) > 0 for row in rows)


def test_nothing_done_is_a_report_too(described, tmp_path):
    page = write(*described, tmp_path / "new", COMMAND).read_text()
    assert "0 of 18 final runs" in page


@pytest.mark.parametrize("xs", [None, (None, None)])
def test_one_condition_or_conditions_without_numbers_are_drawn(planned, tmp_path, xs):
    conditions = xs and {"clean": {}, "large batches": {"train.batch_size": 300}}
    study, grid = planned(conditions=conditions, reference="GCA-UOT")
    do(grid, tmp_path)
    write(study, grid, tmp_path, COMMAND)
    for name in ("headline", "differences", "training"):
        assert (tmp_path / "figures" / f"{name}.png").stat().st_size > 5000


def test_raw_pixels_are_a_line_beside_one_condition(planned, tmp_path):
    study, grid = planned(conditions=None, reference=None)
    do(grid, tmp_path)
    results = collect(study, grid, tmp_path)
    first, *_ = analyse(study, results, tmp_path)
    assert study_figures.raw_pixels(results, first, tmp_path) is None
    reached = {}
    for seed, row in enumerate(results.rows):
        path = tmp_path / row.folder / "evaluation.json"
        reached[seed] = 0.6 + 0.01 * (seed % 3)
        pixels = {"baselines": {"pixels": {"linear": reached[seed]}}}
        write_json(path, json.loads(path.read_text()) | pixels)
    (axes,) = study_figures.draw(study, results, [first], tmp_path)["headline"].axes
    (line,) = (line for line in axes.lines if line.get_linestyle() == "--")
    expected = 100 * sum(reached.values()) / len(reached)
    np.testing.assert_allclose(line.get_xdata(), expected)
    low, high = axes.get_xlim()
    assert low < expected < high
    assert [text.get_text() for text in axes.texts] == ["raw pixels"]


def test_measures_of_one_config_are_all_its_accuracies(digits, tmp_path):
    config = digits.get_config("ince")
    study = of_one(config, (0, 1))
    do(grid := cells(study, config), tmp_path)
    found = tables(write(study, grid, tmp_path, COMMAND).read_text())
    assert set(found) == {"linear, %, mean ± sd", "knn, %, mean ± sd"}


def test_a_method_may_have_a_reference_of_its_own(planned, tmp_path):
    methods = {
        "INCE": M("simclr"),
        "GCA-INCE": M("gca_ince", against="INCE"),
        "BYOL": M("byol"),
        "GCA-UOT": M("gca_uot", against="BYOL"),
    }
    extras = {"plans": True, "correlate": ("linear probe", "rank")}
    study, grid = planned(methods=methods, reference=None, **extras)
    do(grid, tmp_path)
    write(study, grid, tmp_path, COMMAND)
    page = (tmp_path / "study.md").read_text()
    runs = {(row["method"], row["seed"]): row["values"]["linear probe"] for row in loaded(tmp_path)}
    for ours, reference in (("GCA-INCE", "INCE"), ("GCA-UOT", "BYOL")):
        mean = np.mean([100 * (runs[ours, s] - runs[reference, s]) for s in (0, 1, 2)])
        assert re.search(rf"\| {ours} minus {reference} \| \**{re.escape(f'{mean:+.2f}')} ± ", page)
    assert "INCE minus" not in page.replace("GCA-INCE minus INCE", "")
    assert re.search(r"\| all \| 12 \| \+1.00 \| \+1.00 \|", page)  # rank is 100 accuracies
    axes = study_figures.correlation(study, collect(study, grid, tmp_path)).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("linear probe, %", "rank")
    for line in axes.lines:  # whose rank is 100 accuracies
        np.testing.assert_allclose(line.get_xdata(), line.get_ydata())
    for name in ("plans", "correlation"):
        assert (tmp_path / "figures" / f"{name}.png").stat().st_size > 5_000
        assert f"figures/{name}.png" in page


def loaded(workdir):
    return json.loads((workdir / "study.json").read_text())["runs"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"correlate": ("rank", "speed")}, "correlate 'speed' is no measure"),
        ({"correlate": ("rank",)}, "must name two measures"),
        ({"methods": {"A": M("simclr", against="B")}, "reference": None}, "'B' is no method"),
    ],
)
def test_what_is_compared_must_be_there(make, changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)
