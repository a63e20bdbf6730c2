"""The runs of a study: their configs, made and checked before any begins, and their folders."""

import contextlib
import dataclasses
import functools
import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from gca_jax import config as configs
from gca_jax.files import DamagedError
from gca_jax.studies.study import Changes, Study, slug
from gca_jax.workdir import RunFolder, as_json, differences, first_differences

LONGEST = 100  # letters of a folder's name


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """One run of a grid.

    Attributes:
        condition: Label of its column.
        method: Label of its row.
        settings: Values of the method's candidates, by dotted key.
        seed: The run's.
        final: Whether the report shows it; else it serves to choose settings.
        config: An ordinary run's.
    """

    condition: str
    method: str
    settings: Mapping[str, Any]
    seed: int
    final: bool
    config: ConfigDict

    @functools.cached_property
    def record(self) -> dict[str, object]:
        """Its config as its folder has it."""
        return as_json(self.config)

    def is_finished(self, workdir: Path) -> bool:
        """Tell whether its folder holds the report of this very config, and results to be read."""
        folder = RunFolder(workdir / self.folder)
        try:
            if folder.report is None or not folder.report.get("finished", True):
                return False
            same = not any(differences(folder.config, self.record))
        except (DamagedError, FileNotFoundError):
            return False
        return same and folder.is_evaluated

    @functools.cached_property
    def folder(self) -> str:
        """Where it lies, from the study's folder, with `/`: readable, legal on any file system."""
        last = {key: key.rsplit(".", 1)[-1] for key in self.settings}
        counts = Counter(last.values())
        names = {key: short if counts[short] == 1 else key for key, short in last.items()}
        plain = ",".join(f"{names[key]}={value}" for key, value in self.settings.items())
        text = re.sub(r"[^A-Za-z0-9.,=+_-]+", "_", plain)[:LONGEST]
        if text != plain:
            text += "-" + hashlib.sha256(plain.encode()).hexdigest()[:8]
        name = "-".join(filter(None, (text, f"seed{self.seed}", "validation" * (not self.final))))
        return "/".join(("runs", slug(self.condition), slug(self.method), name))


@dataclasses.dataclass(frozen=True, eq=False)
class Cell:
    """A method under a condition.

    Attributes:
        condition: Label of its column.
        method: Label of its row.
        candidates: Settings to choose from, in order; one without keys where nothing is chosen.
        trials: For each of them, the runs that are judged on validation images.
        finals: For each of them, the runs to be done if it is chosen.
    """

    condition: str
    method: str
    candidates: tuple[Changes, ...]
    trials: tuple[tuple[Run, ...], ...]
    finals: tuple[tuple[Run, ...], ...]

    @property
    def chooses(self) -> bool:
        """Whether there is something to choose."""
        return any(self.candidates)


def cells(study: Study) -> list[Cell]:
    """Make all configs of a study, by columns.

    Raises:
        ValueError: no base file, a key that a method's config does not have, or two runs alike.
    """
    bases = {label: _base(study, method.words) for label, method in study.methods.items()}
    grid = [
        _cell(study, condition, label, bases[label])
        for condition in study.conditions
        for label in study.methods
    ]
    folders = Counter(run.folder.casefold() for run in all_runs(grid))
    twice = [run.folder for run in all_runs(grid) if folders[run.folder.casefold()] > 1]
    if twice:
        raise ValueError(f"two runs of the study would share the folder {twice[0]}")
    return grid


def _base(study: Study, words: str) -> ConfigDict:
    """Make the config of a method by its file."""
    if study.template is not None:
        return study.template.copy_and_resolve_references()
    config = configs.load(study.base, words)
    if "split" not in config.get("evaluation", {}):
        raise ValueError(f"{study.base} (the study's base) is no run's config: no evaluation.split")
    config.unlock().evaluation.split = "test"
    return config


def _cell(study: Study, condition: str, label: str, base: ConfigDict) -> Cell:
    method = study.methods[label]
    changed = _changed(base, study.common, f"common, with method {label!r}")
    changed = _changed(changed, method.set, f"method {label!r}")
    of_condition = study.conditions[condition].set
    changed = _changed(changed, of_condition, f"condition {condition!r}, with method {label!r}")
    keys = [*method.choose]
    product = itertools.product(*(method.choose[key] for key in keys))
    candidates = tuple(dict(zip(keys, values, strict=True)) for values in product)
    tried = [_changed(changed, one, f"choose of method {label!r}") for one in candidates]

    def runs(seeds: tuple[int, ...], final: bool) -> tuple[tuple[Run, ...], ...]:
        return tuple(
            tuple(_run(condition, label, settings, seed, final, config) for seed in seeds)
            for settings, config in zip(candidates, tried, strict=True)
        )

    trials = runs(study.choose_seeds if keys else (), False)
    return Cell(condition, label, candidates, trials, runs(study.seeds, True))


def _run(
    condition: str, method: str, settings: Changes, seed: int, final: bool, config: ConfigDict
) -> Run:
    """Make one run; its config is locked."""
    own = config.copy_and_resolve_references().unlock()
    own.seed = seed
    if not final:
        own.evaluation.split = "validation"
    return Run(condition, method, settings, seed, final, own.lock())


def _changed(config: ConfigDict, changes: Changes, whose: str) -> ConfigDict:
    """Copy a config with changes of keys that it has."""
    own = config.copy_and_resolve_references().lock()
    for path, value in changes.items():
        *parents, last = path.split(".")
        group, where = own, "config"
        for key in parents:
            group, where = _inside(group, key, where, f"{path} ({whose})"), f"{where}.{key}"
        _inside(group, last, where, f"{path} ({whose})")
        try:
            group[last] = value
        except TypeError as error:
            raise ValueError(f"{path} ({whose}): {str(error).splitlines()[0]}") from error
    return own


def _inside(group: object, key: str, where: str, named: str) -> Any:
    if not isinstance(group, ConfigDict) or key not in group:
        there = ", ".join(group) if isinstance(group, ConfigDict) else "one value"
        raise ValueError(f"unknown key {named}: {where} has {there}")
    return group[key]


def all_runs(grid: list[Cell]) -> Iterator[Run]:
    """Every run that a study may come to."""
    for cell in grid:
        for groups in (cell.trials, cell.finals):
            yield from itertools.chain.from_iterable(groups)


def refuse_other_runs(workdir: Path, grid: list[Cell]) -> None:
    """Raise a ValueError where a run's folder holds a run of another config."""
    others = []
    for run in all_runs(grid):
        folder = RunFolder(workdir / run.folder)
        if not (folder.saved or folder.has("report.json")):
            continue
        with contextlib.suppress(DamagedError, FileNotFoundError):  # then it is made again
            if found := first_differences(folder.config, run.record, 3):
                others.append((folder.path, found))
    if others:
        path, words = others[0]
        more = f", as do {len(others) - 1} more folders" if len(others) > 1 else ""
        raise ValueError(
            f"{path} holds a run of another config{more}: the study or its base was changed "
            f"since ({words}). Choose another --workdir, or delete what is of the old study"
        )
