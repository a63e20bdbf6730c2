"""The runs of a study: their folders, and their configs, all checked before any run begins."""

import contextlib
import dataclasses
import functools
import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from gca_jax import config as configs
from gca_jax.files import DamagedError
from gca_jax.studies.study import Changes, Study, check, slug
from gca_jax.workdir import RunFolder, as_json, differences, first_differences, flatten

LONGEST = 100  # characters of the settings in a folder's name


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """One run of a grid."""

    condition: str  # label of its column
    method: str  # label of its row
    settings: Mapping[str, Any]  # the candidate's values, by dotted key
    seed: int
    final: bool  # whether the report shows it; else it serves to choose settings
    config: ConfigDict  # of an ordinary run, locked

    @functools.cached_property
    def record(self) -> dict[str, object]:
        """The config as JSON."""
        return as_json(self.config)

    def is_finished(self, workdir: Path) -> bool:
        """Tell whether its folder holds a run of this very config, evaluated, wherever it was done.

        Its own report may be missing: a study reads the evaluation.
        """
        folder = RunFolder(workdir / self.folder)
        try:
            return folder.is_complete and not any(
                differences(folder.config, self.record, folder.free)
            )
        except (DamagedError, FileNotFoundError):
            return False

    @functools.cached_property
    def folder(self) -> str:
        """Path of its folder in the study's, with `/`: readable, legal on any file system."""
        last = {key: key.rsplit(".", 1)[-1] for key in self.settings}
        counts = Counter(last.values())
        names = {key: short if counts[short] == 1 else key for key, short in last.items()}
        plain = ",".join(f"{names[key]}={value}" for key, value in self.settings.items())
        text = re.sub(r"[^A-Za-z0-9.,=+_-]+", "_", plain)[:LONGEST]
        if text != plain:  # settings that differ only in what was replaced or cut need two folders
            text += "-" + hashlib.sha256(plain.encode()).hexdigest()[:8]
        name = "-".join(filter(None, (text, f"seed{self.seed}", "validation" * (not self.final))))
        return "/".join(("runs", slug(self.condition), slug(self.method), name))


@dataclasses.dataclass(frozen=True, eq=False)
class Cell:
    """A method under a condition: its candidates, and the runs of each."""

    condition: str
    method: str
    candidates: tuple[Changes, ...]  # one without keys where nothing is chosen
    trials: tuple[tuple[Run, ...], ...]  # evaluated on validation images
    finals: tuple[tuple[Run, ...], ...]  # executed if the candidate is chosen

    @property
    def chooses(self) -> bool:
        """Whether there is something to choose."""
        return any(self.candidates)


def cells(study: Study, template: ConfigDict | None = None) -> list[Cell]:
    """Make the configs of all runs, column by column.

    Args:
        study: The study, with the changes of flags.
        template: Config of a run in place of the base file, for `--seeds`.

    Raises:
        ValueError: The study is invalid, its base file is missing, a method's config lacks a key,
            or two runs share a folder.
    """
    check(study)  # again: flags set its fields after it was made
    bases = {label: _base(study, each.words, template) for label, each in study.methods.items()}
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


def _base(study: Study, options: str, template: ConfigDict | None) -> ConfigDict:
    """Make the config of a method from the base file."""
    if template is not None:
        return template
    config = configs.load(study.base, options)
    if isinstance(config, Study) or "split" not in config.get("evaluation", {}):
        raise ValueError(f"{study.base} (the study's base) is no run's config: no evaluation.split")
    config.unlock().evaluation.split = "test"
    return config


def _cell(study: Study, condition: str, label: str, base: ConfigDict) -> Cell:
    method = study.methods[label]
    changed = _changed(base, study.common, f"common, with method {label!r}")
    changed = _changed(changed, method.set, f"method {label!r}")
    of_condition = study.conditions[condition].set
    changed = _changed(changed, of_condition, f"condition {condition!r}, with method {label!r}")
    if changed.method == configs.AUTO:
        raise ValueError(f"{configs.AUTO} is for one run: name the methods of a study")
    choose = dict(flatten(method.choose))
    candidates = tuple(
        dict(zip(choose, values, strict=True)) for values in itertools.product(*choose.values())
    )
    tried = [_changed(changed, one, f"choose of method {label!r}") for one in candidates]

    def run(settings: Changes, config: ConfigDict, seed: int, final: bool) -> Run:
        own = config.copy_and_resolve_references().unlock()
        own.seed = seed
        if not final:
            own.evaluation.split = "validation"
        return Run(condition, label, settings, seed, final, own.lock())

    def runs(seeds: tuple[int, ...], final: bool) -> tuple[tuple[Run, ...], ...]:
        both = zip(candidates, tried, strict=True)
        return tuple(tuple(run(*each, seed, final) for seed in seeds) for each in both)

    trials = runs(study.trial_seeds if choose else (), False)
    return Cell(condition, label, candidates, trials, runs(study.seeds, True))


def _changed(config: ConfigDict, changes: Changes, whose: str) -> ConfigDict:
    """Copy a config and change some of its keys."""
    own = config.copy_and_resolve_references().lock()
    known = dict(flatten(own))
    for path, value in flatten(changes):
        group, _, key = path.rpartition(".")
        if path not in known:
            there = [each for each in known if each.rpartition(".")[0] == group] or [*own]
            raise ValueError(f"unknown key {path} ({whose}); there are: {', '.join(there)}")
        try:
            (own[group] if group else own)[key] = value
        except TypeError as error:
            raise ValueError(f"{path} ({whose}): {str(error).splitlines()[0]}") from error
    return own


def all_runs(grid: list[Cell]) -> Iterator[Run]:
    """Yield every run that a study may execute."""
    for cell in grid:
        yield from itertools.chain(*cell.trials, *cell.finals)


class Slot(NamedTuple):
    """A place in the list of a study's runs, the same before and after anything is chosen."""

    cell: Cell
    runs: tuple[Run, ...]  # a trial alone; of a final run one for each candidate

    def run(self, best: int | None) -> Run | None:
        """Give the run of the chosen candidate; None if it depends on a choice to be made."""
        if len(self.runs) == 1:
            return self.runs[0]
        return None if best is None else self.runs[best]


def slots(grid: list[Cell]) -> list[Slot]:
    """List the runs of a study: all trials, then the final runs, seed by seed."""
    trials = [Slot(cell, (run,)) for cell in grid for runs in cell.trials for run in runs]
    seeds = range(len(grid[0].finals[0]))
    finals = [Slot(cell, tuple(runs[k] for runs in cell.finals)) for k in seeds for cell in grid]
    return [*trials, *finals]


class Part(NamedTuple):
    """One of several parts of a study's runs."""

    number: int  # from 1
    parts: int

    def numbered(self, grid: list[Cell]) -> list[tuple[int, Slot]]:
        """Number the runs of this part as in the list of all, from 1."""
        return [*enumerate(slots(grid), 1)][self.number - 1 :: self.parts]


ALL = Part(1, 1)


def part(text: str) -> Part:
    """Parse `--runs`: K/N."""
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    number, parts = map(int, found.groups()) if found else (0, 0)
    if not 1 <= number <= parts:
        raise ValueError(f"--runs must be K/N with K from 1 to N, such as 3/12, got {text!r}")
    return Part(number, parts)


def number_of_runs(study: Study, grid: list[Cell]) -> int:
    """Count the runs of a study: all trials, and the final runs of the chosen candidates."""
    return sum(sum(map(len, cell.trials)) + len(study.seeds) for cell in grid)


def refuse_other_runs(workdir: Path, grid: list[Cell]) -> None:
    """Raise ValueError if a folder holds a run of another config."""
    for run in all_runs(grid):
        folder = RunFolder(workdir / run.folder)
        if folder.saved or folder.has("evaluation.json"):
            with contextlib.suppress(DamagedError, FileNotFoundError):  # such a run is done again
                if found := first_differences(folder.config, run.record, 3, folder.free):
                    raise ValueError(
                        f"{folder.path} holds a run of another config: the study or its base was "
                        f"changed since ({found}). Choose another --workdir, or delete what is of "
                        "the old study"
                    )
