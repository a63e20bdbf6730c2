"""A study in memory: methods, conditions, seeds and measures, and what makes them one."""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

Changes = Mapping[str, Any]
"""Dotted keys of a run's config and their values: `{"train.epochs": 3}`."""
Published = tuple[float, float, int]
"""Mean, standard deviation and number of runs, as printed: in points where ours are."""

NONE: Changes = {}
RESERVED = re.compile(r"(?i)con|prn|aux|nul|com\d|lpt\d")  # no file of Windows has such a name


class Method(NamedTuple):
    """One row of a study.

    Attributes:
        words: What follows the colon of --config: "gca_ince" or "gca_ince,vit".
        set: Changes of the base config.
        choose: Candidates of keys, whose product is tried on validation images.
        against: Label of what it is compared with, where that is not the study's reference.
    """

    words: str
    set: Changes = NONE
    choose: Mapping[str, Sequence[Any]] = NONE
    against: str | None = None


class Condition(NamedTuple):
    """One column of a study: changes of the config, and where it stands on the x axis, if it does.

    They are made after those of the method.
    """

    set: Changes = NONE
    x: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """A study as its config describes it; the arguments of `make` have the same names.

    Attributes:
        template: The config of one run in the place of a base file, for `--seeds`.
    """

    base: str = ""
    common: Changes = dataclasses.field(default_factory=dict)
    methods: Mapping[str, Method]
    conditions: Mapping[str, Condition]
    seeds: tuple[int, ...]
    choose_seeds: tuple[int, ...] = ()
    choose_by: str | None = None
    measures: Mapping[str, str] = dataclasses.field(default_factory=dict)
    plain: tuple[str, ...] = ()
    reference: str | None = None
    published: Mapping[tuple[str, str], Published] = dataclasses.field(default_factory=dict)
    x_label: str = ""
    items: str | None = None
    correlate: tuple[str, ...] = ()
    plans: bool = False
    template: ConfigDict | None = None

    def reference_of(self, method: str) -> str | None:
        """Name what a method is compared with; None: with nothing."""
        reference = self.methods[method].against or self.reference
        return None if reference == method else reference

    @property
    def references(self) -> set[str]:
        """Name all that methods are compared with."""
        return {other for method in self.methods if (other := self.reference_of(method))}


def of_one(config: ConfigDict, seeds: tuple[int, ...]) -> Study:
    """Describe the runs of one config over seeds; all its accuracies are measures."""
    one, alone = {config.method: Method("")}, {"all": Condition()}
    study = Study(methods=one, conditions=alone, seeds=seeds, template=config)
    check(study)
    return study


def seeds(text: str) -> tuple[int, ...]:
    """Read seeds such as 0-4 or 0,3,7."""
    if not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", text):
        raise ValueError(f"--seeds must be like 0-4 or 0,3,7, got {text!r}")
    parts = [list(map(int, part.split("-"))) for part in text.split(",")]
    return tuple(seed for part in parts for seed in range(part[0], part[-1] + 1))


def check(study: Study) -> None:
    """Refuse a study that could not be run or reported; the message is one line."""
    for name in ("methods", "conditions", "seeds"):
        if not getattr(study, name):
            raise ValueError(f"the study's grid is empty: it has no {name}")
    if len(set(study.seeds)) < len(study.seeds):
        raise ValueError(f"a seed is there twice: {list(study.seeds)}")
    slugs(study.methods)
    slugs(study.conditions)
    chosen = {label: method.choose for label, method in study.methods.items() if method.choose}
    for label, choose in chosen.items():
        for key, values in choose.items():
            if isinstance(values, str) or not isinstance(values, Sequence) or not values:
                raise ValueError(
                    f"the candidates of {key} of method {label!r} must be a tuple of at least one "
                    f"value, got {values!r}: the grid is empty"
                )
    if chosen and not study.choose_by:
        raise ValueError(f"choose_by must name what chooses among the candidates of {[*chosen]}")
    published = {m for _, m in study.published}
    against = {method.against for method in study.methods.values()}
    named = (published | against | {study.reference}) - {None}
    for label in sorted(map(str, named - study.methods.keys())):
        kind = "published" if label in published else "reference"
        raise ValueError(f"{kind} {label!r} is no method; one of: {', '.join(study.methods)}")
    for label in sorted({c for c, _ in study.published} - study.conditions.keys()):
        raise ValueError(f"published {label!r} is no condition; one of: {[*study.conditions]}")
    for name in ("plain", "correlate"):
        for label in sorted(set(getattr(study, name)) - study.measures.keys()):
            raise ValueError(f"{name} {label!r} is no measure; one of: {', '.join(study.measures)}")
    if len(study.correlate) not in (0, 2):
        raise ValueError(f"correlate must name two measures, got {list(study.correlate)}")


def slug(text: str) -> str:
    """Name a label as a key of a config and as a folder on any file system."""
    plain = re.sub(r"[^A-Za-z0-9+=-]+", "_", text).strip("_")[:60] or "_"
    return f"{plain}_" if RESERVED.fullmatch(plain) else plain


def slugs(labels: Iterable[str]) -> dict[str, str]:
    """Name labels, each differently also where the file system sees no capitals."""
    named: dict[str, str] = {}
    for label in labels:
        one = slug(label).casefold()
        if one in named:
            raise ValueError(f"the labels {named[one]!r} and {label!r} would share a folder")
        named[one] = label
    return {label: slug(label) for label in labels}
