"""The study of Fig. 1B: one target swept, all else alike."""

import runpy

import pytest

from gca_jax.studies.grid import cells
from tests.conftest import ROOT

PATH = str(ROOT / "configs" / "studies" / "figure1.py")


@pytest.mark.parametrize("words", ["", "pacs"])
def test_only_the_target_differs(words):
    study = runpy.run_path(PATH)["get_config"](words)
    configs = [cell.finals[0][0].config for cell in cells(study)]
    targets = [config.target.to_dict() for config in configs]
    weights = [(target["alpha"] or 0) - (target["beta"] or 0) for target in targets]
    assert weights == sorted(set(weights))
    assert [target["name"] for target in targets] == ["identity"] + ["blocks"] * 3
    for config in configs:
        assert config.method == "gca_ince"
        assert config.data.name == (words or "icons")
        config.unlock()
        config.target = None
    assert all(config == configs[0] for config in configs)


def test_another_word_is_refused():
    with pytest.raises(ValueError, match="unknown option 'digits'"):
        runpy.run_path(PATH)["get_config"]("digits")
