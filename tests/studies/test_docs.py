"""The example of docs/studies.md is a study."""

import dataclasses
import pathlib
import re

from gca_jax import studies
from gca_jax.studies.grid import all_runs, cells

DOCS = pathlib.Path(__file__).parents[2] / "docs" / "studies.md"


def test_the_example_is_a_study():
    (block,) = re.findall(r"^```python\n(.*?)^```", DOCS.read_text(), re.M | re.S)
    names = {}
    exec(block, names)
    study = names["get_config"]()
    grid = cells(study)
    assert len([run for run in all_runs(grid) if not run.final]) == 2 * 2 * 3
    assert study.reference == "InfoNCE"


def test_it_names_every_argument():
    text = DOCS.read_text()
    for field in dataclasses.fields(studies.Study):
        assert field.name in text, field.name
