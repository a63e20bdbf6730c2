"""The studies of the paper: the same number of candidates for all, and runs that can be built."""

import math
import runpy

import pytest

from gca_jax import experiment, losses
from gca_jax.studies.grid import cells
from gca_jax.workdir import flatten
from tests.conftest import ROOT

STUDIES = {
    "table2": (
        "",
        "standard",
        "fashion",
        "cifar10,standard",
        "cifar10",
        "cifar100",
        "svhn",
        "imagenet100",
    ),
    "figure_a4": ("", "cifar10"),
    "epsilon": ("", "again", "cifar10"),
    "iterations": ("", "cifar10"),
    "sensitivity": ("", "uot", "cifar10", "cifar10,uot"),
    "uniformity": ("", "again", "cifar10"),
    "view_noise": (
        "",
        "augmentation",
        "fashion",
        "fashion,again",
        "fashion,augmentation",
        "cifar10",
        "cifar10,augmentation",
    ),
}


def study(name, words):
    path = ROOT / "configs" / "studies" / f"{name}.py"
    return runpy.run_path(str(path))["get_config"](words)


@pytest.mark.parametrize(("name", "words"), [(n, w) for n in STUDIES for w in STUDIES[n]])
def test_every_method_has_the_same_budget(name, words):
    made = study(name, words)
    made.seeds = made.seeds[:1]  # their runs differ in nothing else
    counts = {
        math.prod(len(values) for _, values in flatten(m.choose)) for m in made.methods.values()
    }
    assert len(counts) == 1
    grid = cells(made)  # every key is one of its method's config
    assert len(grid) == len(made.methods) * len(made.conditions)
    assert {run.config.evaluation.split for c in grid for r in c.trials for run in r} <= {
        "validation"
    }


@pytest.mark.parametrize("name", [*STUDIES, "figure1", "noisy_pairs", "training_options"])
def test_a_word_that_is_not_known_is_refused(name):
    with pytest.raises(ValueError, match="unknown option 'cifra10'; there are: "):
        study(name, "cifra10")


def test_one_data_set_at_a_time():
    with pytest.raises(ValueError, match="one data set at a time, got cifar10, svhn"):
        study("table2", "svhn,cifar10")


@pytest.mark.parametrize(("words", "batch"), [("smoke", 96), ("", 256), ("cifar10", 512)])
def test_options_of_training_divide_the_batch_into_four(words, batch):
    for cell in cells(study("training_options", words)):
        train = cell.finals[0][0].config.train
        assert train.batch_size == batch
        assert (train.encoder_chunk == batch // 4) == (cell.method == "chunks")
        assert (train.batch_norm_groups == 4) == (cell.method == "groups")


@pytest.mark.parametrize("name", [*STUDIES, "training_options"])
def test_runs_can_be_built(name):
    made = study(name, "smoke")
    made.seeds = made.seeds[:1]
    grid = cells(made)
    for cell in (grid[0], grid[-1]):
        made = experiment.build(cell.finals[0][0].config)
        assert made.data.dataset.name == "digits"


def test_published_numbers_are_those_of_the_config():
    """The docstring of the CIFAR-10 config quotes Table 2 in full."""
    words = runpy.run_path(str(ROOT / "configs" / "cifar10.py"))["__doc__"]
    names = {"simclr": "SimCLR", "byol": "BYOL", "iot": "IOT", "iot_uni": "IOT-uni"}
    published = study("table2", "cifar10,published").as_json()["published"]
    numbers = {(condition, label): tuple(rest) for condition, label, *rest in published}
    for line in words.splitlines():
        parts = line.replace("±", "").split()
        if len(parts) == 9 and parts[0] in losses.METHODS:
            label = names.get(parts[0], parts[0].upper().replace("_", "-"))
            assert numbers.pop(("standard", label)) == (float(parts[1]), float(parts[2]), 5)
            assert numbers.pop(("extreme", label)) == (float(parts[3]), float(parts[4]), 5)
    assert not numbers
