"""The description of a study: methods (rows), conditions (columns), seeds and measures."""

import dataclasses
import itertools
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from ml_collections import ConfigDict, config_dict

from gca_jax.check import seed as check_seed
from gca_jax.workdir import flatten

Changes: TypeAlias = Mapping[str, Any] | ConfigDict
"""Dotted keys of a run's config and their values: `{"train.epochs": 3}`."""
Published = tuple[float, float, int]
"""Mean, standard deviation and number of runs, in the unit that the report shows."""

RESERVED = re.compile(r"(?i)con|prn|aux|nul|com\d|lpt\d")  # names that Windows forbids
CHOOSE_SEED = 1000


@dataclasses.dataclass
class Method:
    """One row of a study.

    Attributes:
        words: Options after the colon of --config: "gca_ince" or "gca_ince,vit".
        set: Changes of the base config.
        choose: Candidate values by key; their product is tried on validation images.
        against: Label of the method to compare with, in place of the study's reference.
    """

    words: str
    set: Changes = dataclasses.field(default_factory=dict)
    choose: Changes = dataclasses.field(default_factory=dict)
    against: str | None = None

    def __post_init__(self) -> None:
        self.set, self.choose = grouped(self.set), grouped(self.choose)


@dataclasses.dataclass
class Condition:
    """One column of a study.

    Attributes:
        set: Changes of the config, applied after those of the method.
        x: Its position on the figure's x axis, if any.
    """

    set: Changes = dataclasses.field(default_factory=dict)
    x: float | None = None

    def __post_init__(self) -> None:
        self.set = grouped(self.set)


class Labelled(dict[str, Any]):
    """Entries by label; flags, whose keys have no dashes, find `GCA-UOT` as `GCA_UOT`."""

    def __missing__(self, key: str) -> Any:
        found = [label for label in self if key in (slug(label), as_key(label))]
        if len(found) != 1:
            raise KeyError(f"there is no {key!r}; one of: {', '.join(self)}")
        return self[found[0]]


@dataclasses.dataclass(kw_only=True)
class Study:
    """A grid of runs, as the `get_config` of a study's file returns it.

    Not frozen, since flags set its fields: `--config.seeds='(0,)'`. Changes of configs are groups,
    so that flags reach them too: `--config.common.train.epochs=5`.

    Attributes:
        base: Config file of the runs, from the repository's root: "configs/digits.py".
        common: Changes of all runs, applied before those of methods and conditions. A type in
            place of a value declares a key that a flag may set: `{"data.root": str}`.
        methods: Rows of the tables, by label.
        conditions: Columns of the tables, by label: `Condition`, or its changes; None: one, "all".
        seeds: Seeds of the final runs, which are evaluated on test images.
        choose_seeds: Seeds of the trials, which are evaluated on validation images; None: 1000, or
            the next number that is not in `seeds`.
        choose_by: Path of the measure that chooses among candidates, larger is better; required
            with `choose`.
        measures: Dotted paths in a run's `evaluation.json`, by label; the first is the headline.
        plain: Measures shown as they are; the others are fractions, shown in percentage points.
        reference: Label of the method that the others are compared with; None: no comparison.
        published: Published numbers of the headline, by condition and method.
        x_label: Label of the figure's x axis, with its unit.
        items: Name of an array in `evaluation.npz` with one number per test item, for a bootstrap
            over items beside the intervals over seeds.
        correlate: Two measures whose correlation over all final runs is reported and drawn.
        plans: Whether the mean transport plan of each method is drawn (Figure A4).

    Raises:
        ValueError: The grid is empty, two labels share a folder, or a name is unknown.
    """

    base: str = dataclasses.field(kw_only=False)
    common: Changes = dataclasses.field(default_factory=dict)
    methods: Mapping[str, Method]
    conditions: Mapping[str, Any] = None  # type: ignore[assignment]  # never None once it is made
    seeds: tuple[int, ...]
    choose_seeds: tuple[int, ...] | None = None
    choose_by: str | None = None
    measures: Mapping[str, str]
    plain: tuple[str, ...] = ()
    reference: str | None = None
    published: Mapping[str, Mapping[str, Published]] = dataclasses.field(default_factory=dict)
    x_label: str = ""
    items: str | None = None
    correlate: tuple[str, ...] = ()
    plans: bool = False

    def __post_init__(self) -> None:
        columns = {"all": {}} if self.conditions is None else self.conditions
        self.conditions = Labelled(
            {
                label: each if isinstance(each, Condition) else Condition(each)
                for label, each in columns.items()
            }
        )
        self.methods = Labelled(self.methods)
        self.common = grouped(self.common)
        self.published = self.published or {}
        for name in ("seeds", "choose_seeds", "plain", "correlate"):
            values = getattr(self, name)
            plain = values.tolist() if isinstance(values, np.ndarray) else values or ()
            setattr(self, name, tuple(x.item() if isinstance(x, np.generic) else x for x in plain))
        check(self)

    @property
    def trial_seeds(self) -> tuple[int, ...]:
        """Seeds of the trials."""
        spare = next(seed for seed in itertools.count(CHOOSE_SEED) if seed not in self.seeds)
        return self.choose_seeds or (spare,)

    def reference_of(self, method: str) -> str | None:
        """Return the label of the method that a method is compared with; None: no comparison."""
        reference = self.methods[method].against or self.reference
        return None if reference == method else reference

    @property
    def references(self) -> set[str]:
        """Labels of all methods that others are compared with."""
        return {other for method in self.methods if (other := self.reference_of(method))}

    def as_json(self, name: Callable[[str], str] = str) -> dict[str, Any]:
        """Convert to JSON values; `name` maps labels of methods and conditions to keys."""
        published = [
            [condition, method, *numbers]
            for condition, row in self.published.items()
            for method, numbers in row.items()
        ]
        found = vars(self) | {"choose_seeds": self.trial_seeds, "published": published}
        found["common"] = dict(flatten(self.common))
        for kind in ("methods", "conditions"):
            found[kind] = {
                name(label): {
                    key: dict(flatten(value)) if isinstance(value, ConfigDict) else value
                    for key, value in vars(entry).items()
                }
                for label, entry in found[kind].items()
            }
        return found


def of_one(
    config: ConfigDict, seeds: tuple[int, ...], name: str = "", changed: Collection[str] = ()
) -> Study:
    """Make the study of one config over seeds; all its accuracies are measures.

    Args:
        config: Of a run, with the changes made.
        seeds: Of the runs.
        name: The config's name and options, as `digits:gca_uot`; empty: its method and data.
        changed: Keys that were changed in it, which the report names.
    """
    base = name or f"{config.method} on {config.data.name}"
    changes = {key: x for key, x in flatten(config) if key in changed and key != "seed"}
    methods = {config.method: Method("")}
    return Study(base, common=changes, methods=methods, seeds=seeds, measures={})


def seeds(text: str) -> tuple[int, ...]:
    """Parse seeds such as 0-4 or 0,3,7."""
    if not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", text):
        raise ValueError(f"--seeds must be like 0-4 or 0,3,7, got {text!r}")
    parts = [list(map(int, part.split("-"))) for part in text.split(",")]
    return tuple(seed for part in parts for seed in range(part[0], part[-1] + 1))


def grouped(changes: Changes) -> ConfigDict:
    """Convert dotted keys to locked groups, which flags can set; a type declares a key."""
    groups: dict[str, Any] = {}
    for path, value in flatten(changes):
        *parents, last = path.split(".")
        group = groups
        for parent in parents:
            group = group.setdefault(parent, {})
            if not isinstance(group, dict):
                raise ValueError(f"{path} and a part of it are both given a value")
        if last in group:
            raise ValueError(f"{path} is given a value, and so is a part of it")
        value = config_dict.placeholder(value) if isinstance(value, type) else value
        group[last] = tuple(value) if isinstance(value, list) else value
    return ConfigDict(groups).lock()


def check(study: Study) -> None:
    """Refuse a study that could not be executed or reported."""
    for name in ("methods", "conditions", "seeds"):
        if not getattr(study, name):
            raise ValueError(f"the study's grid is empty: it has no {name}")
    for name in ("seeds", "choose_seeds"):
        for seed in getattr(study, name):
            check_seed(f"an entry of {name}", seed)
    if len(set(study.seeds)) < len(study.seeds):
        raise ValueError(f"a seed is there twice: {list(study.seeds)}")
    for labels in (study.methods, study.conditions):
        _check_folders(labels)
    for label, method in study.methods.items():
        _check_candidates(study, label, method)
    published = {method for row in study.published.values() for method in row}
    against = {study.reference, *(method.against for method in study.methods.values())}
    _check_labels("published", published, "method", study.methods)
    _check_labels("published", study.published, "condition", study.conditions)
    _check_labels("reference", filter(None, against), "method", study.methods)
    _check_labels("plain", study.plain, "measure", study.measures)
    _check_labels("correlate", study.correlate, "measure", study.measures)
    if len(study.correlate) not in (0, 2):
        raise ValueError(f"correlate must name two measures, got {list(study.correlate)}")


def _check_labels(what: str, given: Iterable[str], kind: str, known: Iterable[str]) -> None:
    for label in sorted(set(given) - set(known)):
        raise ValueError(f"{what} {label!r} is no {kind}; one of: {', '.join(known)}")


def _check_candidates(study: Study, label: str, method: Method) -> None:
    for key, values in flatten(method.choose):
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise ValueError(
                f"the candidates of {key} of method {label!r} must be a tuple of at least one "
                f"value, got {values!r}: the grid is empty"
            )
        if not study.choose_by:
            raise ValueError(f"choose_by must name what chooses among the candidates of {label!r}")


def _check_folders(labels: Iterable[str]) -> None:
    """Refuse labels that share a folder on a file system that ignores case."""
    named: dict[str, str] = {}
    for label in labels:
        other = named.setdefault(slug(label).casefold(), label)
        if other != label:
            raise ValueError(f"the labels {other!r} and {label!r} would share a folder")


def slug(label: str) -> str:
    """Convert a label to a folder's name, legal on any file system."""
    plain = re.sub(r"[^A-Za-z0-9+=-]+", "_", label).strip("_")[:60] or "_"
    return f"{plain}_" if RESERVED.fullmatch(plain) else plain


def as_key(label: str) -> str:
    """Convert a label to a part of a flag's key: letters, digits and `_`."""
    return re.sub(r"[\W_]+", "_", slug(label)).strip("_")
