import json

import numpy as np
import pytest
from PIL import Image

from gca_jax.report.command import command
from gca_jax.report.run import write
from tests.report.conftest import CONFIG


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_report_json_has_every_promised_number(workdir):
    write(workdir)
    report = json.loads((workdir / "report.json").read_text())
    few = {"linear": 0.9, "linear_4_per_class": 0.8, "knn": 0.85}
    assert report["accuracy"] == few
    assert set(report["baselines"]) == {"pixels", "random_encoder"}
    for baseline in report["baselines"].values():
        assert set(baseline) == set(few)
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
    }
    assert {name: report[name] for name in expected} == expected
    assert report["config"]["loss"]["epsilon"] == 0.2
    assert report["draws"]["trained"]["sd"] == 0.0141
    assert report["settings"]["pixels"]["knn_neighbours"] == 5
    assert report["versions"]["jax"] == "0.10.2"


def test_report_md_says_what_was_run_how_well_and_how_each_number_came_about(workdir):
    write(workdir)
    page = (workdir / "report.md").read_text(encoding="utf-8")
    for words in (
        "# gca_uot on digits, seed 7",
        "**80.0 %** of the test images",
        "| trained encoder | 80.0 ± 1.4 | 90.0 | 85.0 |",
        "| untrained encoder | 40.0 ± 1.4 | 50.0 | 45.0 |",
        "| raw pixels | 60.0 ± 1.4 | 70.0 | 65.0 |",
        "2 draws of 12 labels",
        f"    {command(CONFIG)}\n",
        "90 training and 36 test images",
        "25 % of the\n  training split",
        '"epsilon": 0.2',
        "jax 0.10.2",
    ):
        assert words in page
    assert "{" not in page.split("## Config")[0]


def test_report_md_has_a_column_for_domains_where_they_were_read(workdir):
    path = workdir / "evaluation.json"
    evaluation = json.loads(path.read_text())
    rows = (evaluation["accuracy"], *evaluation["baselines"].values())
    for row, share in zip(rows, (0.95, 0.75, 0.55), strict=True):
        row["linear_domain"] = share
    for settings in evaluation["settings"].values():
        settings["linear_domain_strength"] = 100.0
    change(path, **evaluation)
    write(workdir)
    page = (workdir / "report.md").read_text(encoding="utf-8")
    assert "| k-NN | linear, domain |\n| --- | --- | --- | --- | --- |\n" in page
    assert "| trained encoder | 80.0 ± 1.4 | 90.0 | 85.0 | 95.0 |" in page
    assert "**Linear, domain**" in page
    assert "Chosen: 100 (trained encoder)" in page


def test_every_picture_of_the_page_exists_and_shows_something(workdir):
    write(workdir)
    page = (workdir / "report.md").read_text(encoding="utf-8")
    pictures = sorted((workdir / "figures").glob("*.png"))
    assert len(pictures) == 4
    for picture in pictures:
        assert f"(figures/{picture.name})" in page
        with Image.open(picture) as image:
            pixels = np.asarray(image.convert("RGB"))
        assert min(pixels.shape[:2]) > 600
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50


def test_the_same_files_give_the_same_report(workdir):
    write(workdir)
    names = ("report.json", "report.md", "figures/plan.png", "figures/plane.png")
    first = [(workdir / name).read_bytes() for name in names]
    write(workdir)
    assert first == [(workdir / name).read_bytes() for name in names]


def test_byol_without_a_cosine_is_reported_too(workdir):
    change(workdir / "evaluation.json", method="byol", gradient_cosine_to_ince=None)
    report = write(workdir)
    assert report["gradient_cosine_to_ince"] is None
    page = (workdir / "report.md").read_text(encoding="utf-8")
    assert "have cosine" not in page
    assert "online network stands in for the target" in page
    assert "BYOL's are predictions" in page


def test_a_workdir_without_a_run_is_one_clear_line(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no run in .*--mode=pretrain") as error:
        write(tmp_path)
    assert "\n" not in str(error.value)


def test_an_unfinished_run_is_refused_and_nothing_is_written(workdir):
    change(workdir / "training.json", finished=False, steps=11)
    with pytest.raises(ValueError, match="stopped at step 11, before its end"):
        write(workdir)
    assert not (workdir / "report.json").exists()


def test_a_run_that_was_not_evaluated_is_refused(workdir):
    (workdir / "evaluation.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"not been evaluated.*--mode=evaluate"):
        write(workdir)


def test_an_evaluation_of_an_earlier_step_is_refused(workdir):
    change(workdir / "evaluation.json", step=15)
    with pytest.raises(ValueError, match="of step 15, the run ended at step 20"):
        write(workdir)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("metrics.jsonl", "", "nothing was logged"),
        ("metrics.jsonl", '{"step": 1', "metrics.jsonl is damaged"),
        ("metrics.jsonl", '{"step": 1}\n', "has no 'epoch'"),
        ("evaluation.json", "{", "evaluation.json is damaged"),
    ],
)
def test_damaged_files_are_named(workdir, name, content, message):
    (workdir / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        write(workdir)
