import json
import re
import shutil
import types

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from gca_jax.files import write_json
from gca_jax.report import run as reports
from gca_jax.report.markdown import report
from gca_jax.report.run import summary
from gca_jax.studies import grid
from gca_jax.workdir import RunFolder
from tests.report.conftest import PROBES, SHOWN, arrays, corruptions, evaluation, leave, probe
from tests.runs import write

pytestmark = pytest.mark.slow


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run with its report, corruptions too: drawn once for all tests."""
    folder = tmp_path_factory.mktemp("run")
    leave(folder)
    (folder / "corruptions.json").write_text(json.dumps(corruptions()))
    write(folder)
    return folder


def test_report_json_has_every_promised_number(whole):
    report = json.loads((whole / "report.json").read_text())
    assert report["accuracy"] == {"linear": 0.9, "linear_4_per_class": 0.8, "knn": 0.85}
    assert report["baselines"] == {
        "pixels": {"linear": 0.7, "linear_4_per_class": 0.6, "knn": 0.65},
        "random_encoder": {"linear": 0.5, "linear_4_per_class": 0.4, "knn": 0.45},
    }
    expected = {
        "method": "gca_uot",
        "seed": 7,
        "dataset": "digits",
        "alignment": 0.25,
        "uniformity": -2.5,
        "effective_rank": 8.5,
        "gradient_cosine_to_ince": 0.9321,
        "train_seconds": 12.5,
        "images_per_second": 2048.0,
        "device": "cpu",
        "steps": 20,
        "parameters": 12345,
        "plan_within_class": {"share": 0.5, "share_of_uniform_plan": 0.25},
        "corruptions": corruptions(),
        "left_out": [],
    }
    assert {name: report[name] for name in expected} == expected
    assert report["config"]["loss"]["epsilon"] == 0.2
    assert report["draws"]["trained"]["sd"] == 0.0141
    assert report["settings"]["pixels"]["knn_neighbours"] == 5
    assert report["split"]["test_images"] == 36
    assert report["nearest_neighbours"]["queries"] == [0, 20]
    assert report["versions"]["jax"] == "0.10.2"


AGAIN = "    python main.py --config=config.json --workdir=DIR  # this folder's config.json"


def rendered(workdir):
    """The page of the files as they are now."""
    return report("images.md", summary(RunFolder(workdir)))


def page_of(workdir):
    """The page's words, one space between them."""
    return " ".join(rendered(workdir).split())


def test_report_md_says_what_was_run_how_well_and_how_each_number_came_about(workdir):
    page = page_of(workdir)
    for words in (
        "# gca_uot on digits, seed 7",
        "**80.0 %** of the test images are classified rightly (few, mean over 2 draws of 12",
        "raw pixels reach 60.0 %, the untrained encoder 40.0 %",
        "| test accuracy, % | few | linear, all labels | k-NN | | --- | --- | --- | --- |",
        "| trained encoder | 80.0 ± 1.4 | 90.0 | 85.0 |",
        "| untrained encoder | 40.0 ± 1.4 | 50.0 | 45.0 |",
        "| raw pixels | 60.0 ± 1.4 | 70.0 | 65.0 |",
        "at most 6.7 points",  # 100 sqrt(0.8 (1 - 0.8) / 36)
        " ".join(AGAIN.split()),
        "90 training and 36 test images",
        "- **k-NN**: how knn was obtained. A word",
        "Gradients have cosine 0.9321.",
        '"epsilon": 0.2',
        "jax 0.10.2",
    ):
        assert words in page
    assert "{" not in page.split("## Config")[0]
    assert "Left out" not in page
    assert "Pretraining saw" not in page


def test_the_folder_and_the_held_out_domain_are_named(workdir):
    evaluation = json.loads((workdir / "evaluation.json").read_text())
    data = {"name": "folder", "root": "/pictures/birds/", "held_out": "sketch", "file": None}
    change(workdir / "config.json", data={"kind": "images", **data})
    change(workdir / "evaluation.json", dataset=evaluation["dataset"] | {"name": "folder"})
    page = page_of(workdir)
    assert "# gca_uot on folder birds, domain sketch held out, seed 7" in page
    assert "36 test images of folder (/pictures/birds/), the latter all of domain sketch" in page


def test_the_command_is_the_one_that_was_typed(workdir):
    typed = "python main.py --config=/home/me/mine.py:ince '--config.model.stage_sizes=(1, 2)'"
    change(workdir / "training.json", command=typed)
    said = f"## What was run\n\n    {typed}\n\nAgain, with the same config:\n\n{AGAIN}\n"
    assert said in rendered(workdir)
    training = json.loads((workdir / "training.json").read_text())
    del training["command"]
    (workdir / "training.json").write_text(json.dumps(training))
    assert f"## What was run\n\n{AGAIN}\n" in rendered(workdir)


def test_a_run_of_given_parts_is_repeated_by_the_call_that_built_it(workdir):
    change(workdir / "config.json", given={"encoder": "Small", "dataset": "mine"})
    page = rendered(workdir)
    assert "    experiment = build(config, encoder=Small, dataset=mine)  # in Python, with" in page
    assert "main.py" not in page


def test_an_encoder_below_raw_pixels_is_said_to_be(workdir):
    assert "Below raw pixels" not in page_of(workdir)
    probes = [*PROBES, probe("shape", "class mean", (0.5, 0.4, 0.55))]
    change(workdir / "evaluation.json", results=probes + SHOWN)
    assert "**Below raw pixels**: class mean (50.0 against 55.0 %). There" in page_of(workdir)


def test_lines_are_short_and_a_number_stays_beside_its_per_cent(workdir):
    page = rendered(workdir).split("## Config")[0]
    lines = [line for line in page.splitlines() if not line.startswith((" " * 4, "|", "!"))]
    assert max(map(len, lines)) <= 100
    assert not any(line.startswith("%") for line in lines)


def test_a_probe_that_the_report_has_never_heard_of_is_a_column_and_a_line(workdir):
    probes = [*PROBES, probe("shape", "class mean", (0.95, 0.75, 0.55))]
    change(workdir / "evaluation.json", results=probes + SHOWN)
    page = page_of(workdir)
    assert "| k-NN | class mean |" in page
    assert "| trained encoder | 80.0 ± 1.4 | 90.0 | 85.0 | 95.0 |" in page
    assert "**class mean**: how shape was obtained" in page


def test_classes_and_domains_are_named_in_tables(workdir):
    shares = {f"kind {k:02d}": (13 - k) / 13 for k in range(13)}
    change(
        workdir / "evaluation.json",
        per_class=shares,
        per_domain={"sketch": 0.5, "photo": 0.75},
        per_unseen_domain={"sketch": 0.25},
    )
    page = rendered(workdir)
    assert "| domain | linear, all labels | linear, unseen domain |\n" in page
    assert "| sketch | 50.0 | 25.0 |\n| photo | 75.0 |  |\n" in page
    # Of thirteen classes the six with the lowest and the six with the highest accuracy.
    assert "kind 06" not in page
    assert page.index("| kind 12 | 7.7 |") < page.index("| kind 05 |") < page.index("| kind 00 |")


def test_a_run_without_labels_says_what_was_left_out(workdir):
    evaluation = json.loads((workdir / "evaluation.json").read_text())
    evaluation["dataset"] |= {"classes": 0, "pretrain_images": 500}
    evaluation |= {"accuracy": {}, "baselines": {"pixels": {}, "random_encoder": {}}, "draws": {}}
    others = ("plan", "confusion", "nearest_across")
    results = [one for one in SHOWN if one["name"] not in others]
    left_out = ["k-NN and the mean transport plan: the images have no labels"]
    evaluation |= {"left_out": left_out, "results": results}
    change(workdir / "evaluation.json", **evaluation)
    kept = {k: v for k, v in arrays().items() if k in ("plane", "nearest_images")}
    np.savez(workdir / "evaluation.npz", **kept)
    page = page_of(workdir)
    assert "No probe was fitted. On views of test images: alignment 0.250, uniformity -2.5" in page
    assert "## Accuracy" not in page
    assert "**raw pixels**" not in page
    assert f"## Left out - {left_out[0]}." in page
    assert "Pretraining saw 500 images in place of the training images." in page
    pictures = re.findall(r"\(figures/(\w+)\.png\)", page)
    assert pictures == ["training", "alignment_uniformity", "nearest", "plane"]


def test_every_picture_of_the_page_exists_and_shows_something(whole):
    page = (whole / "report.md").read_text(encoding="utf-8")
    pictures = sorted((whole / "figures").glob("*.png"))
    assert len(pictures) == 8
    for picture in pictures:
        assert f"(figures/{picture.name})" in page
        with Image.open(picture) as image:
            assert min(image.size) > 500
            assert image.convert("RGB").getcolors(50) is None, "has more colours"


def test_the_report_opens_in_a_browser(whole, browse):
    def use(page):
        assert page.locator("img").count() == 8
        assert page.get_by_role("heading", name="gca_uot on digits, seed 7").is_visible()

    browse(whole / "report.md", use)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_its_html_is_a_page_of_its_own(whole, browse, tmp_path, scheme):
    alone = tmp_path / "sent.html"
    alone.write_bytes((whole / "report.html").read_bytes())

    def use(page):
        page.emulate_media(color_scheme=scheme)
        assert page.title() == "gca_uot on digits, seed 7"
        sizes = page.locator("img").evaluate_all("all => all.map(one => one.naturalWidth)")
        assert len(sizes) == 8
        assert min(sizes) > 500
        ground = "all => all.map(one => getComputedStyle(one).backgroundColor)"
        assert {*page.locator("img").evaluate_all(ground)} == {"rgb(255, 255, 255)"}  # black ink
        rows = page.locator("table").first.locator("tr").all_inner_texts()
        assert rows[1].split("\t") == ["trained encoder", "80.0 ± 1.4", "90.0", "85.0"]
        page.emulate_media(color_scheme="light")

    browse(alone, use)


NAMES = [
    '<img src=x onerror="document.title=1">',
    "=cmd|' /C calc'!A0",
    "a | b",
    "*two* _words_ in_one",
    "`code` [link](javascript:alert(1))",
    "two\nlines",
    "# head &amp; ~~tail~~ \\",
    "- 1. item",
]


def test_names_are_text(workdir, browse):
    """Of classes, of the folder, of the domain held out: in a viewer that lets HTML through too."""
    found = json.loads((workdir / "evaluation.json").read_text())
    found["dataset"] |= {"name": "folder"}
    found |= {"per_class": dict.fromkeys(NAMES, 0.5), "left_out": [f"k-NN: {NAMES[0]}"]}
    found["results"] = PROBES
    (workdir / "evaluation.json").write_text(json.dumps(found))
    data = {"kind": "images", "name": "folder", "root": f"/{NAMES[0]}", "held_out": NAMES[3]}
    change(workdir / "config.json", data=data)
    change(workdir / "training.json", command=f"python main.py '{NAMES[5]}\n<b>'")
    write(workdir)
    shown = [" ".join(name.split()) for name in NAMES]

    def use(page):
        assert page.locator("h1").inner_text() == (
            f"gca_uot on folder {NAMES[0]}, domain {NAMES[3]} held out, seed 7"
        )
        table = page.locator("table").nth(1)
        rows = [row.split("\t") for row in table.locator("tr").all_inner_texts()]
        assert rows == [["class", "linear, all labels"], *([name, "50.0"] for name in shown)]
        assert page.locator("img").count() == 1
        assert page.locator("table em, table a, table code, h1 em, li img, b").count() == 0
        assert page.locator("li").filter(has_text="k-NN: ").first.inner_text() == (
            f"k-NN: {NAMES[0]}."
        )
        assert page.title() in ("report.md", page.locator("h1").inner_text())

    browse(workdir / "report.md", use)
    browse(workdir / "report.html", use)


def test_the_same_files_give_the_same_report(whole):
    names = ("report.json", "report.md", "report.html", "figures/plan.png", "figures/plane.png")
    first = [(whole / name).read_bytes() for name in names]
    write(whole)
    assert first == [(whole / name).read_bytes() for name in names]


def test_a_workdir_without_a_run_is_one_clear_line(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no run in .*--mode=pretrain") as error:
        write(tmp_path)
    assert "\n" not in str(error.value)


def test_an_unfinished_run_is_reported_as_one_and_counts_as_none(workdir):
    step = json.loads((workdir / "training.json").read_text())["steps"]
    change(workdir / "training.json", finished=False)
    page = rendered(workdir)
    write_json(workdir / "report.json", summary(RunFolder(workdir)))
    assert f"**Training has not ended**: these numbers are of step {step:,}." in page
    config = json.loads((workdir / "config.json").read_text())
    run = grid.Run("all", "gca_uot", {}, 0, True, ConfigDict(config))
    study = workdir.parent / "study"
    (study / run.folder).parent.mkdir(parents=True)
    (study / run.folder).symlink_to(workdir)
    assert not run.is_finished(study)
    change(workdir / "training.json", finished=True)
    assert run.is_finished(study)


def test_a_run_that_was_not_evaluated_is_refused(workdir):
    (workdir / "evaluation.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"not been evaluated.*--mode=evaluate"):
        write(workdir)


def test_an_evaluation_of_an_earlier_step_is_refused(workdir):
    change(workdir / "evaluation.json", step=15)
    with pytest.raises(ValueError, match="of step 15, the run is at step 20"):
        write(workdir)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("metrics.jsonl", "", "nothing was logged"),
        ("metrics.jsonl", '{"step": 1\n', r"metrics.jsonl is damaged in line 1: delete that line"),
        ("metrics.jsonl", '{"step": 1}\n', "has no 'epoch'"),
        ("evaluation.json", "{", "evaluation.json is damaged"),
        ("evaluation.npz", "PK", r"evaluation.npz is damaged .*: evaluate again"),
    ],
)
def test_damaged_files_are_named(workdir, name, content, message):
    (workdir / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        write(workdir)


def test_corruptions_of_an_earlier_step_are_left_out(workdir, capsys):
    """A run that was trained further has a report, though its images are still to be judged."""
    (workdir / "corruptions.json").write_text(json.dumps({**corruptions(), "step": 1}))
    assert "## Corruptions" not in page_of(workdir)
    assert "again with --mode=corruptions" in capsys.readouterr().err


def test_corruptions_stand_beside_those_of_the_baselines(workdir):
    (workdir / "corruptions.json").write_text(json.dumps(corruptions()))
    page = page_of(workdir)
    assert "## Corruptions" in page
    assert "| mean | mean, untrained encoder | mean, raw pixels |" in page
    assert "| occlusion | 85.0 | 80.0 | 75.0 | 70.0 | 65.0 | 75.0 | 35.0 | 55.0 |" in page
    assert "Of the raw pixels: clean test images 70.0 %; all 55.0 %" in page
    found = {**evaluation(), "corruptions": corruptions()}
    (workdir / "corruptions.json").unlink()
    (workdir / "evaluation.json").write_text(json.dumps(found))
    assert page_of(workdir) == page


@pytest.mark.parametrize("free", [(2**20 - 1,), (2**30, 2**20 + 1000)])
def test_a_full_disk_is_said_before_what_would_wait_for_it(tmp_path, monkeypatch, free):
    """At once, or once the pictures are written: TensorBoard's thread dies on a full disk."""
    leave(tmp_path)
    left = iter(free)
    usage = types.SimpleNamespace
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(free=next(left)))
    monkeypatch.setattr(reports, "show", lambda *given: pytest.fail("it is written to"))
    with pytest.raises(OSError, match=r"^the disk of .* has 1\.05 MB left, and .* are needed"):
        write(tmp_path)
    assert not (tmp_path / "report.json").exists()
