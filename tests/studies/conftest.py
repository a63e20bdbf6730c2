import pytest

from gca_jax import studies
from gca_jax.studies.grid import cells

EPSILON = {"loss.epsilon": (0.1, 0.3, 0.5)}


@pytest.fixture(scope="session")
def make():
    """A factory of studies on digits, of runs that `stub` does."""

    def factory(**changes):
        settings = {
            "methods": {
                "InfoNCE": studies.Method("simclr"),
                "GCA-UOT": studies.Method("gca_uot", choose=EPSILON),
            },
            "seeds": (0, 1, 2),
            "measures": {"linear probe": "accuracy.linear", "rank": "rank"},
            "plain": ("rank",),
            "choose_by": "accuracy.linear",
            "reference": "InfoNCE",
        }
        return studies.Study(changes.pop("base", "configs/digits.py"), **settings | changes)

    return factory


@pytest.fixture(scope="session")
def planned(make):
    """A factory of (study, grid)."""

    def factory(**changes):
        study = make(**changes)
        return study, cells(study)

    return factory
