"""The study of noisy pairs: the same number of candidates for all, and runs that can be built."""

import math
import runpy

import pytest

from gca_jax import experiment
from gca_jax.studies.grid import cells
from gca_jax.workdir import flatten
from tests.conftest import ROOT


def study(words):
    path = ROOT / "configs" / "studies" / "noisy_pairs.py"
    return runpy.run_path(str(path))["get_config"](words)


@pytest.mark.parametrize("words", ["", "emoji", "digits,smoke", "within", "small", "large", "many"])
def test_every_method_has_the_same_budget(words):
    made = study(words)
    counts = {
        math.prod(len(values) for _, values in flatten(m.choose)) for m in made.methods.values()
    }
    assert counts == {4}
    assert made.reference == "clip"
    assert len(made.seeds) == (5 if words in ("", "emoji", "digits,smoke") else 3)


def test_candidates_are_judged_on_validation_pairs_and_seeds_on_test_pairs():
    grid = cells(study("digits,smoke"))
    trials = [run for cell in grid for candidate in cell.trials for run in candidate]
    finals = [run for cell in grid for runs in cell.finals for run in runs]
    assert {run.config.evaluation.split for run in trials} == {"validation"}
    assert {run.config.evaluation.split for run in finals} == {"test"}
    assert not {run.seed for run in trials} & {run.seed for run in finals}
    for cell in grid:  # one of each can be built
        made = experiment.build(cell.finals[0][0].config)
        assert made.data.split == "test"
