"""The words after the colon of a study's --config."""

from collections.abc import Collection
from typing import Any, NamedTuple

SMOKE = "smoke"  # as the words of a run have it; studies know nothing of those
FILES = {"fashion": "fashion_mnist"}  # configs of data sets whose words are other ones
SHORT: dict[str, dict[str, Any]] = {  # changes that make a run short, where two cores are enough
    "digits": {"train.epochs": 20, "train.checkpoint_every_epochs": 20, "evaluation.draws": 5},
    "fashion": {
        "data.limit": 10_000,
        "train.epochs": 5,
        "evaluation.draws": 5,
        "evaluation.strengths": (1.0,),
        "evaluation.neighbours": (5,),
    },
}


class Size(NamedTuple):
    """The runs of a study that has a version for two cores and full-size ones.

    Attributes:
        data: Word of the data set, whose config is the base of the runs.
        common: Changes that make a run short; none at full size, nor in a smoke run.
        suffix: What follows the method in a run's own words: ",small", ",smoke" or nothing.
        few: Labels of each class that the few-label probe sees.
        flags: The other words that were given.
    """

    data: str
    common: dict[str, Any]
    suffix: str
    few: int
    flags: frozenset[str]

    @property
    def base(self) -> str:
        """Name the config file of the runs."""
        return f"configs/{FILES.get(self.data, self.data)}.py"

    @property
    def small(self) -> bool:
        """Whether this is the version for two cores."""
        return self.data in SHORT

    @property
    def again(self) -> bool:
        """Whether a difference is asked again, of seeds that it was not found with."""
        return "again" in self.flags

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the final runs: five, and ten others where a difference is asked again."""
        return tuple(range(5, 15)) if self.again else (0, 1, 2, 3, 4)

    @property
    def accuracy_of_few(self) -> str:
        """Name the few-label probe's accuracy in `evaluation.json`."""
        return f"accuracy.linear_{self.few}_per_class"


def read(words: str, known: Collection[str]) -> frozenset[str]:
    """Read words, separated by commas.

    Raises:
        ValueError: One that is not known.
    """
    named = frozenset(words.split(",")) - {""}
    for word in sorted(named - set(known)):
        raise ValueError(f"unknown word {word!r}; there are: {', '.join(known)}")
    return named


def size(
    words: str,
    *,
    full: Collection[str] = ("cifar10",),
    fashion: bool = False,
    flags: Collection[str] = (),
) -> Size:
    """Read which version of a study is asked for; without a word that of digits.

    Args:
        words: After the colon of --config.
        full: Names of the full-size data sets.
        fashion: Whether there is a version for two cores on Fashion-MNIST, `fashion`.
        flags: Words that the study has besides; `smoke` is known to all.

    Raises:
        ValueError: A word that is not known, or two data sets.
    """
    others = (*full, *(["fashion"] if fashion else []))
    named = read(words, (*others, *flags, SMOKE))
    sets = sorted(named & set(others))
    if len(sets) > 1:
        raise ValueError(f"one data set at a time, got {', '.join(sets)}")
    data, smoke = (sets or ["digits"])[0], SMOKE in named
    return Size(
        data=data,
        common={} if smoke else SHORT.get(data, {}),
        suffix=",small" * (data == "fashion") + f",{SMOKE}" * smoke,
        few=5 if smoke else 10,
        flags=named & set(flags),
    )
