"""A study as a config: written by `make` in a config file, read back by `read`."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict, config_dict

from gca_jax.studies.study import NONE, Changes, Condition, Method, Published, Study, check, slugs
from gca_jax.workdir import flatten

CHOOSE_SEED = 1000


def make(
    base: str,
    *,
    methods: Mapping[str, Method],
    seeds: Sequence[int],
    measures: Mapping[str, str],
    choose_by: str | None = None,
    choose_seeds: Sequence[int] | None = None,
    common: Changes = NONE,
    conditions: Mapping[str, Condition | Changes] | None = None,
    x_label: str = "",
    reference: str | None = None,
    published: Mapping[str, Mapping[str, Published]] | None = None,
    plain: Sequence[str] = (),
    items: str | None = None,
    correlate: Sequence[str] = (),
    plans: bool = False,
) -> ConfigDict:
    """Make the config of a study, locked, so that `--config.seeds='(0,)'` changes it.

    Args:
        base: Config file of the runs, from the repository's root: "configs/digits.py".
        methods: Rows of the tables, by label.
        seeds: Of the final runs, which are judged on test images.
        measures: Dotted paths in a run's `evaluation.json`, by label; the first is the headline.
        choose_by: Path of what chooses among candidates, larger is better; needed with `choose`.
        choose_seeds: Of the runs that are judged on validation images; None: one that is not in
            `seeds`.
        common: Changes of all runs, made before those of methods and conditions.
        conditions: Columns of the tables, by label; None: one, "all".
        x_label: Of the figure's x axis, with its unit.
        reference: Label of the method that the others are compared with; None: no comparison.
        published: Numbers of others for the headline, by condition and method.
        plain: Measures that are shown as they are; the others are fractions, shown in points.
        items: Name of an array in `evaluation.npz`, one number for each test item, for a
            bootstrap over items beside the one over seeds.
        correlate: Two measures; their correlation over all final runs is reported and drawn.
        plans: Whether the mean transport plan of each method is drawn (Figure A4).

    Raises:
        ValueError: the grid is empty, labels are alike, or something named is not there.
    """
    columns = {"all": Condition()} if conditions is None else conditions
    study = Study(
        base=base,
        common=dict(common),
        methods=dict(methods),
        conditions={
            label: value if isinstance(value, Condition) else Condition(value)
            for label, value in columns.items()
        },
        seeds=tuple(seeds),
        choose_seeds=tuple(choose_seeds or ()),
        choose_by=choose_by,
        measures=dict(measures),
        plain=tuple(plain),
        reference=reference,
        published={
            (condition, method): (float(mean), float(sd), int(n))
            for condition, row in (published or {}).items()
            for method, (mean, sd, n) in row.items()
        },
        x_label=x_label,
        items=items,
        correlate=tuple(correlate),
        plans=plans,
    )
    check(study)
    return _write(study)


def is_study(config: ConfigDict) -> bool:
    """Tell the config of a study from that of a run."""
    return "methods" in config and "seeds" in config


def _write(study: Study) -> ConfigDict:
    """Give a study as a config: keys without dots are its groups, so that flags reach them."""
    config = ConfigDict()
    named = slugs(study.methods) | slugs(study.conditions)
    for field in dataclasses.fields(Study)[:-1]:
        name, value = field.name, getattr(study, field.name)
        if name == "common":
            value = _nested(value)
        elif name in ("methods", "conditions"):
            value = {
                named[label]: {"label": label, "place": place, **_entry(entry)}
                for place, (label, entry) in enumerate(value.items())
            }
        elif name == "measures":
            value = tuple(value.items())
        elif name == "published":
            value = tuple((*where, *numbers) for where, numbers in value.items())
        elif value is None:
            value = config_dict.placeholder(str)
        config[name] = value
    return config.lock()


def _entry(entry: Method | Condition) -> dict[str, Any]:
    """Give a row or a column, its changes as groups."""
    given: dict[str, Any] = entry._asdict() | {"set": _nested(entry.set)}
    if isinstance(entry, Method):
        against = config_dict.placeholder(str) if entry.against is None else entry.against
        return given | {"choose": _nested(entry.choose), "against": against}
    return given | {"x": config_dict.placeholder(float) if entry.x is None else float(entry.x)}


def read(config: ConfigDict) -> Study:
    """Read a study from its config, as the command line may have changed it.

    Raises:
        ValueError: as `make`, or the config is none of a study.
    """
    if not is_study(config):
        raise ValueError("this config is of a run and not of a study; see docs/studies.md")

    def entries(group: ConfigDict, kind: type) -> dict[str, Any]:
        found = sorted(group.values(), key=lambda entry: entry.place)
        return {entry.label: _read_entry(entry, kind) for entry in found}

    values = {field.name: config[field.name] for field in dataclasses.fields(Study)[:-1]}
    seeds = tuple(values["seeds"])
    spare = next(seed for seed in range(CHOOSE_SEED, CHOOSE_SEED + 10**6) if seed not in seeds)
    values |= {
        "common": dict(flatten(values["common"])),
        "methods": entries(values["methods"], Method),
        "conditions": entries(values["conditions"], Condition),
        "seeds": seeds,
        "choose_seeds": tuple(values["choose_seeds"]) or (spare,),
        "measures": dict(values["measures"]),
        "correlate": tuple(values["correlate"]),
        "published": {(c, m): tuple(numbers) for c, m, *numbers in values["published"]},
    }
    study = Study(**values)
    check(study)
    return study


def _read_entry(entry: ConfigDict, kind: type) -> Any:
    values = {name: entry[name] for name in kind._fields}  # type: ignore[attr-defined]
    groups = {name: dict(flatten(values[name])) for name in ("set", "choose") if name in values}
    return kind(**values | groups)


def _nested(changes: Changes) -> dict[str, Any]:
    """Turn dotted keys into groups."""
    groups: dict[str, Any] = {}
    for path, value in changes.items():
        *parents, last = path.split(".")
        group = groups
        for parent in parents:
            group = group.setdefault(parent, {})
            if not isinstance(group, dict):
                raise ValueError(f"{path} and a part of it are both given a value")
        if last in group:
            raise ValueError(f"{path} is given a value, and so is a part of it")
        group[last] = tuple(value) if isinstance(value, list) else value
    return groups
