"""Imports point one way: ot <- losses, metrics <- alignment <- experiment <- training <- report.

Studies know of runs what their folders hold, and come before the report.
"""

import ast
import pathlib
import sys

import pytest

from tests import installed

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "gca_jax"

BEFORE_EXPERIMENT = {"workdir", "alignment", "ot", "metrics", "losses", "models", "data"}
# what each part of the package may import of the package, itself apart
ALLOWED = {
    "ot": set(),
    "metrics": {"ot"},
    "parts": {"ot", "metrics"},
    "losses": {"ot", "parts"},
    "theorems": {"ot", "metrics", "losses"},
    "models": set(),
    "text": set(),
    "data": {"text"},
    "workdir": set(),
    "processes": set(),
    "neighbours": set(),
    "signals": set(),
    "features": {"data", "models", "processes"},
    "alignment": {"ot"},
    "config": {"losses", "data", "models"},
    "config_pairs": {"config", "losses", "models"},
    "experiment": BEFORE_EXPERIMENT,
    "pairs": BEFORE_EXPERIMENT | {"experiment"},
    "training": BEFORE_EXPERIMENT
    | {"experiment", "features", "neighbours", "processes", "signals"},
    "evaluation": BEFORE_EXPERIMENT
    | {"experiment", "features", "neighbours", "pairs", "processes", "training"},
    "aligning": BEFORE_EXPERIMENT
    | {"config_files", "config_pairs", "pairs", "training", "evaluation"},
    "encoder": BEFORE_EXPERIMENT | {"experiment", "features", "training"},
    "embed": {"workdir", "data", "encoder", "features"},
    "export": {"workdir", "models", "encoder"},
    "config_files": set(),
    "studies": {"workdir", "config_files", "signals", "text"},
    "report": BEFORE_EXPERIMENT
    | {"config", "config_files", "theorems", "experiment", "encoder", "training", "evaluation"}
    | {"studies", "status", "text"},
    "status": {"workdir", "studies", "text"},
    "help": {"config", "config_files", "losses", "models", "programs", "workdir"},
    "command_line": {
        "config_files",
        "config_pairs",
        "help",
        "programs",
        "processes",
        "signals",
        "studies",
    },
    "__main__": {"command_line", "programs"},
    "programs": {
        "workdir",
        "data",
        "processes",
        "experiment",
        "pairs",
        "training",
        "evaluation",
        "encoder",
        "embed",
        "export",
        "studies",
        "report",
        "status",
        "text",
    },
}
# libraries that only the named part may know
ONLY_IN = {
    "ott": {"ot"},
    "lineax": {"ot"},
    "flax": {"models"},
    "sklearn": {"data", "evaluation"},
    "tensorflow_datasets": {"data"},
    "tensorflow": {"data"},
    "grain": {"data"},
    "datasets": {"data"},
    "PIL": {"data"},
    "matplotlib": {"report"},
    "orbax": {"training"},
    "tensorboardX": {"training"},
    "ml_collections": {
        "workdir",
        "experiment",
        "encoder",
        "pairs",
        "training",
        "studies",
        "config",
        "config_pairs",
        "configs",
        "programs",
        "config_files",
        "help",
        "command_line",
        "__main__",
    },
    "safetensors": {"export", "training"},
    "jax2onnx": {"export"},
    "absl": {"command_line", "help", "__main__"},
}
OT_MAY_IMPORT = {"jax", "jaxtyping", "lineax", "numpy", "ott"}
STANDARD_LIBRARY = set(sys.stdlib_module_names)
# parts that work with the core requirements alone: the public ones and what they import
PUBLIC = {"__init__", "losses", "metrics", "ot", "theorems"}
CORE = PUBLIC.union(*(ALLOWED[part] for part in PUBLIC - {"__init__"}))
# required by libraries that do not say so
UNDECLARED = {"array-record", "flatbuffers", "importlib-resources"}


def modules():
    """(part of the package, file) of every Python file of the project outside tests."""
    for path in sorted(PACKAGE.rglob("*.py")):
        relative = path.relative_to(PACKAGE)
        yield (relative.parts[0] if len(relative.parts) > 1 else path.stem), path
    for path in [*sorted((ROOT / "configs").rglob("*.py")), ROOT / "main.py"]:
        if path.exists():
            yield ("main" if path.name == "main.py" else "configs"), path


def imported(path):
    """Every module that a file imports anywhere, dotted, without the standard library's sense."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


FILES = [
    pytest.param(part, path, id=str(path.relative_to(ROOT)))
    for part, path in modules()
    if part != "__init__"
]


@pytest.mark.parametrize(("part", "path"), FILES)
def test_a_part_imports_only_what_lies_before_it(part, path):
    if part in ("main", "configs"):
        return
    for name in imported(path):
        words = name.split(".")
        if words[0] == "gca_jax":
            assert len(words) > 1, f"{path}: import a part of gca_jax by name"
            assert words[1] in ALLOWED[part] | {part}, f"{part} must not import {name}"


@pytest.mark.parametrize(("part", "path"), FILES)
def test_a_library_is_known_in_its_own_part_only(part, path):
    for name in imported(path):
        owners = ONLY_IN.get(name.split(".")[0])
        assert owners is None or part in owners, f"{part} must not import {name}"


def test_ot_imports_jax_and_ott_in_one_file():
    with_ott = set()
    for part, path in modules():
        if part == "ot":
            outside = {name.split(".")[0] for name in imported(path)} - {"gca_jax"}
            third_party = outside - STANDARD_LIBRARY
            assert third_party <= OT_MAY_IMPORT, path
            if "ott" in third_party:
                with_ott.add(path.name)
    assert with_ott == {"converged.py"}


def test_the_engine_has_one_door():
    from gca_jax.ot import engine

    for _, path in modules():
        if "engine" not in path.parts:
            for name in imported(path):
                if name.startswith("gca_jax.ot.engine."):
                    assert name.removeprefix("gca_jax.ot.engine.") in engine.__all__, (path, name)


def test_main_is_the_package_run_as_a_program_and_nothing_imports_it():
    assert [*imported(ROOT / "main.py")] == ["gca_jax.__main__.start"]
    for _, path in modules():
        assert not any(name.split(".")[0] in ("main", "tests") for name in imported(path)), path


def test_configs_are_data():
    """A config names things; it imports nothing that it configures."""
    for part, path in modules():
        if part == "configs":
            named = {name.split(".")[0] for name in imported(path)} - STANDARD_LIBRARY
            assert named <= {"ml_collections", "configs", "gca_jax"}, path


def requirements_of(files):
    """What a user has to install for these files, by the names of the distributions."""
    own = {"gca_jax", "configs"} | STANDARD_LIBRARY
    named = {name.split(".")[0] for path in files for name in imported(path)} - own
    return set().union(*(installed.providers()[name] for name in named))


def test_what_is_imported_is_required():
    """The core's parts import the core requirements, the others those of the extras."""
    core = requirements_of(p for part, p in modules() if part in CORE)
    rest = requirements_of(p for part, p in modules() if part not in CORE)
    assert core == installed.declared().keys()
    assert core | rest | UNDECLARED == installed.declared("train", "prepare", "hub", "onnx").keys()
