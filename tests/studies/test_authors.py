"""The table of docs/authors_code.md on Table 2 is what the configs and the study have."""

import json
import re

import pytest

from gca_jax import config, experiment
from gca_jax.studies.grid import cells, number_of_runs
from gca_jax.workdir import flatten
from tests import processes
from tests.conftest import ROOT
from tests.studies.test_paper import study

SETS = {
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "svhn": "SVHN",
    "imagenet100": "ImageNet-100",
}
METHODS = {label: m.words for label, m in study("table2", "").methods.items()}
TEXT = (ROOT / "docs" / "authors_code.md").read_text()


def rows():
    """Each row with a key: its keys, and its cells by column."""
    lines = [line.strip("| \n").split(" | ") for line in TEXT.split("## Table 2")[1].splitlines()]
    (head,) = [line for line in lines if line[0] == "setting"]
    for first, *others in lines:
        if keys := re.findall(r"`([a-z]+\.\w+)`", first):
            found = [cell.replace("as published", others[0]) for cell in others]
            yield keys, dict(zip(head[1:], found, strict=False))


def value(cell, method, name):
    """What a cell says of a method on a set: the last clause that is of both, all its values."""
    found = None
    for clause in cell.split("; "):
        named = [one for one in (*METHODS, *SETS.values()) if _names(one, clause)]
        methods, sets = {*named} & {*METHODS}, {*named} & {*SETS.values()}
        if (not methods or method in methods) and (not sets or SETS.get(name) in sets):
            found = clause
            for one in sorted(named, key=len, reverse=True):
                found = found.replace(one, "")
    words = re.sub(r"\b(and|on)\b|,", "", found).split(" or ")
    return {_literal(word.strip()) for word in words}


def _names(one, clause):
    return re.search(rf"(?<![\w-]){re.escape(one)}(?![\w-])", clause) is not None


def _literal(word):
    try:
        return float(word)
    except ValueError:
        return None if word == "none" else word


def of_runs(made):
    """All values of each setting, by method."""
    found = {}
    for cell in cells(made):
        for runs in cell.finals:
            for key, x in flatten(runs[0].config):
                one = float(x) if isinstance(x, int | float) else x
                found.setdefault(cell.method, {}).setdefault(key, set()).add(
                    tuple(one) if isinstance(one, list) else one
                )
    return found


def compare(column, name, found):
    compared = 0
    for keys, row in rows():
        for key in keys:
            for method in METHODS:
                if key in found[method]:
                    assert found[method][key] == value(row[column], method, name), (key, method)
                    compared += 1
    assert compared > 9 * 10


def test_the_table_has_every_setting_that_is_asked_about():
    keys = {key for keys, _ in rows() for key in keys}
    assert {f"loss.{name}" for name in ("epsilon", "layout", "q", "lam", "w_rince")} < keys
    assert {"loss.penalty_a", "loss.self_pairs", "loss.similarity_floor"} < keys
    assert {"optimizer.name", "train.epochs", "evaluation.finetune_epochs"} < keys
    assert value("1; IOT and IOT-uni none", "IOT", "svhn") == {None}
    assert value("1; RINCE on SVHN 2 or 3", "RINCE", "svhn") == {2.0, 3.0}
    assert value("1; RINCE on SVHN 2 or 3", "GCA-RINCE", "svhn") == {1.0}
    assert value("1; CIFAR-100 2", "RINCE", "cifar10") == {1.0}


@pytest.mark.parametrize("name", SETS)
def test_configs_have_what_the_table_says(name):
    runs = {label: config.load(name, words) for label, words in METHODS.items()}
    found = {
        label: {
            key: {float(x) if isinstance(x, int | float) else x}
            for key, x in flatten(one)
            if not isinstance(x, list | tuple)
        }
        for label, one in runs.items()
    }
    compare("in `configs/SET.py`", name, found)


@pytest.mark.parametrize("name", SETS)
def test_the_published_study_is_the_authors_protocol(name):
    made = study("table2", f"{name},published")
    compare("`published`", name, of_runs(made))
    assert {label: len(row) for label, row in made.published.items()} == dict.fromkeys(
        made.conditions, 9
    )
    headline = next(iter(made.measures.values()))
    cifar = name.startswith("cifar")
    assert headline == ("accuracy.finetune_best_on_test" if cifar else "accuracy.linear")
    assert number_of_runs(made, cells(made)) == (90 if cifar else 45)


def test_the_study_on_digits_has_what_the_table_says():
    compare("`table2.py`", "digits", of_runs(study("table2", "")))


@pytest.mark.parametrize("words", ["", "fashion", *SETS])
def test_published_numbers_stand_beside_their_own_protocol_alone(words):
    assert not study("table2", words).published


def test_published_is_of_the_sets_of_the_paper():
    with pytest.raises(ValueError, match=r"^'published' goes with one of cifar10, cifar100, svhn"):
        study("table2", "fashion,published")


def test_the_cost_in_its_docstring_is_of_its_runs():
    text = (ROOT / "configs/studies/table2.py").read_text()
    runs, hours, all_hours = re.search(r"(\d+) runs × ([\d.]+) h = (\d+) A100-hours", text).groups()
    made = study("table2", "cifar10,published")
    assert int(runs) == number_of_runs(made, cells(made))
    assert int(runs) * float(hours) == int(all_hours)
    assert f"about {hours} hours" in (ROOT / "configs/cifar10.py").read_text()
    train = cells(made)[0].finals[0][0].config
    again = 2 * train.evaluation.finetune_epochs / (2 * train.train.epochs)
    assert again == pytest.approx(2 / 5)  # encoders fine-tuned by views pretrained with


def test_runs_of_the_authors_protocol_can_be_built():
    made = study("table2", "cifar10,published,smoke")
    made.base, made.seeds = "configs/digits.py", (0,)
    for cell in cells(made)[:9]:
        experiment.build(cell.finals[0][0].config)


@pytest.mark.slow
def test_the_authors_protocol_runs(tmp_path):
    """On digits, as CIFAR-10 is not here: two methods, one seed."""
    mine = tmp_path / "mine.py"
    mine.write_text(
        "import runpy\n"
        "def get_config(options=''):\n"
        f"    path = {str(ROOT / 'configs/studies/table2.py')!r}\n"
        "    made = runpy.run_path(path)['get_config']('cifar10,published,standard,smoke')\n"
        "    made.base, made.seeds = 'configs/digits.py', (0,)\n"
        "    made.methods = {k: made.methods[k] for k in ('SimCLR', 'GCA-UOT')}\n"
        "    made.published = {'standard': {'SimCLR': (92.16, 0.16, 5)}}\n"
        "    return made\n"
    )
    workdir = tmp_path / "study"
    process = processes.start(
        "main.py", "--mode=study", f"--config={mine}", f"--workdir={workdir}", "--jobs=2"
    )
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    found = json.loads((workdir / "study.json").read_text())
    assert found["complete"]
    assert len(found["runs"]) == 2
    for row in found["runs"]:
        best, last, _ = row["values"].values()
        assert 0 < last <= best <= 1
    page = (workdir / "study.md").read_text()
    assert "| standard | SimCLR | 92.16 ± 0.20 (n = 5) |" in page
