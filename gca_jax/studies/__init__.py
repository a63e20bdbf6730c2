"""Studies: resumable grids of ordinary runs, with a report of means and intervals.

A study's file defines `get_config(options="")`, which returns a `Study` (docs/studies.md).
"""

from collections.abc import Collection
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from gca_jax.config import SMOKE
from gca_jax.studies.study import Condition, Method, Study

__all__ = ["Condition", "ConfigDict", "Method", "Study", "make", "read_options", "variant"]

make = Study
"""The name of `Study` until 0.3.0."""

CONFIGS = {"fashion": "fashion_mnist"}  # config files that are not named as the option
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
    """Data set and size of a study's runs: short, for two CPU cores, or full."""

    data: str  # the option that names the data set
    base: str  # config file of the runs
    small: bool  # whether the runs are short
    common: dict[str, Any]  # changes that make them short; none in a smoke run
    suffix: str  # appended to a method's options: ",small", ",smoke" or nothing
    few: int  # labels per class of the few-label probe
    accuracy_of_few: str  # path of that probe's accuracy in `evaluation.json`
    smoke: bool  # whether every part of a run is over in a minute
    flags: frozenset[str]  # the study's own options that were given

    @property
    def again(self) -> bool:
        """Whether to test a difference again, with seeds that it was not found with."""
        return "again" in self.flags

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the final runs: five, or ten others to test a difference again."""
        return tuple(range(5, 15)) if self.again else (0, 1, 2, 3, 4)


def read_options(options: str, known: Collection[str]) -> frozenset[str]:
    """Parse comma-separated options; raise ValueError for an unknown one."""
    named = frozenset(options.split(",")) - {""}
    for option in sorted(named - set(known)):
        raise ValueError(f"unknown option {option!r}; there are: {', '.join(known)}")
    return named


def variant(
    options: str, *, sets: Collection[str] = ("cifar10",), flags: Collection[str] = ()
) -> Variant:
    """Parse the options of a study into its variant; the default data set is digits.

    Args:
        options: The text after the colon of --config.
        sets: Options that name a data set other than digits.
        flags: Other options of the study; every study has `smoke`.

    Raises:
        ValueError: An unknown option, or two data sets.
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
        smoke=smoke,
        flags=named & set(flags),
    )
