"""Studies: grids of ordinary runs, resumable, from which a report with intervals is made.

A study's file defines `get_config(options="")`, which returns a `Study` (docs/studies.md).
"""

from collections.abc import Collection
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from gca_jax.config import SMOKE
from gca_jax.studies.study import Condition, Method, Study

__all__ = ["Condition", "ConfigDict", "Method", "Study", "make", "read_options", "variant"]

make = Study
"""The name until 0.3.0 of what makes a study."""

CONFIGS = {"fashion": "fashion_mnist"}  # of data sets that options name by another word
SHORT: dict[str, dict[str, Any]] = {  # changes that make a run short enough for two cores
    "digits": {"train.epochs": 20, "train.checkpoint_every_epochs": 20, "evaluation.draws": 5},
    "fashion": {
        "data.limit": 10_000,
        "train.epochs": 5,
        "evaluation.draws": 5,
        "evaluation.strengths": (1.0,),
        "evaluation.neighbours": (5,),
    },
}


class Variant(NamedTuple):
    """The data set of a study's runs and their size: short for two cores, or full."""

    data: str  # as the options name it
    base: str  # config file of the runs
    small: bool  # whether the runs are short
    common: dict[str, Any]  # changes that make them short; none in a smoke run
    suffix: str  # of a method's own options: ",small", ",smoke" or nothing
    few: int  # labels of each class that the few-label probe sees
    accuracy_of_few: str  # that probe's accuracy in `evaluation.json`
    flags: frozenset[str]  # the other options that were given

    @property
    def again(self) -> bool:
        """Whether a difference is asked again, of seeds that it was not found with."""
        return "again" in self.flags

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the final runs: five, and ten others where a difference is asked again."""
        return tuple(range(5, 15)) if self.again else (0, 1, 2, 3, 4)


def read_options(options: str, known: Collection[str]) -> frozenset[str]:
    """Read options, separated by commas; a ValueError for one that is not known."""
    named = frozenset(options.split(",")) - {""}
    for option in sorted(named - set(known)):
        raise ValueError(f"unknown option {option!r}; there are: {', '.join(known)}")
    return named


def variant(
    options: str, *, sets: Collection[str] = ("cifar10",), flags: Collection[str] = ()
) -> Variant:
    """Read which variant of a study is asked for; without an option that on digits.

    Args:
        options: After the colon of --config.
        sets: Options that name a data set other than digits.
        flags: Options that the study has besides; `smoke` is known to all.

    Raises:
        ValueError: An option that is not known, or two data sets.
    """
    named = read_options(options, (*sets, *flags, SMOKE))
    chosen = sorted(named & set(sets))
    if len(chosen) > 1:
        raise ValueError(f"one data set at a time, got {', '.join(chosen)}")
    data, smoke = (chosen or ["digits"])[0], SMOKE in named
    few = 5 if smoke else 10
    return Variant(
        data=data,
        base=f"configs/{CONFIGS.get(data, data)}.py",
        small=data in SHORT,
        common={} if smoke else SHORT.get(data, {}),
        suffix=",small" * (data == "fashion") + f",{SMOKE}" * smoke,
        few=few,
        accuracy_of_few=f"accuracy.linear_{few}_per_class",
        flags=named & set(flags),
    )
