"""Imports point one way: a module imports only what stands before it in `ORDER`.

A line is a room with its modules, or modules of the root. A room's `__init__` comes first, or where
a dot stands: after the modules whose names it gathers.
"""

import ast
import itertools
import pathlib
import sys

import pytest

from tests import installed

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "gca_jax"

ORDER = """
check shapes
files
distributed signals workdir
ot: numerics cost engine.excluded engine.prior engine.sharding engine.passes engine.problem
    engine.reverse engine.forward engine.domain engine inputs kernel target_types sums converged
    plan priors projection target divergence learned .
models: closed_form matching evidence starts choice convolution resnet vit encoders precision
    network towers formats .
data: pictures dataset splits batches stream views.color views.geometry views.policies
    views.augment views images tables pairs identity pair_files memory corruptions
    sources.cifar sources.network sources.reading sources.roots sources.tree sources.in_place
    sources.labels sources.folder sources.tfds_sets sources.hub sources.imagenet100 sources
    sources.prepare .
metrics
targets
losses: _diagnosis _common _methods _sharded .
theorems: __main__
config: files groups make .
experiment
training: optimizer probe state memory chunks checkpoint start initial step log
    hooks validation train candidates
evaluation: splits features baseline frozen result knn softmax linear sgd domains corruptions
    plan nearest representation online pairs . evaluate
studies: study . grid results statistics launch
report: status entries markdown figures pairs run runs study_figures study neighbours preview
api export
commands
cli
__main__
"""
LIBRARIES = {  # that only the named rooms know
    "ott": {"ot"},
    "lineax": {"ot"},
    "flax": {"models"},
    "sklearn": {"data", "evaluation", "models"},
    "tensorflow_datasets": {"data"},
    "tensorflow": {"data"},
    "grain": {"data"},
    "datasets": {"data"},
    "PIL": {"data"},
    "matplotlib": {"report"},
    "jinja2": {"report"},
    "markdown_it": {"report"},
    "orbax": {"training"},
    "tensorboardX": {"training"},
    "safetensors": {"export", "training"},
    "absl": {"cli"},
}
STANDARD_LIBRARY = set(sys.stdlib_module_names)
PUBLIC = ("losses", "metrics", "ot", "theorems")  # which the core requirements are enough for
# required by libraries that do not say so
UNDECLARED = {"array-record", "flatbuffers", "importlib-resources"}


def ordered():
    """Dotted names of all modules, in the order of `ORDER`."""
    for line in ORDER.replace("\n    ", " ").split("\n"):
        room, colon, inside = line.partition(":")
        if not colon:
            yield from room.split()
            continue
        names = [f"{room}.{name}" for name in inside.split()]
        yield from [room] * (f"{room}.." not in names)
        yield from (room if name == f"{room}.." else name for name in names)


MODULES = [*ordered()]


def path_of(name):
    file = PACKAGE / f"{name.replace('.', '/')}.py"
    return file if file.exists() else PACKAGE / name.replace(".", "/") / "__init__.py"


def name_of(path):
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def imported(path):
    """Every module that a file imports anywhere, dotted, without the standard library's sense."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own(path):
    """Modules of the package that a file imports."""
    for name in imported(path):
        if name.split(".")[0] == "gca_jax":
            inside = name.removeprefix("gca_jax.")
            while inside not in MODULES:  # the name of a function: its module
                assert "." in inside, f"{path}: import a part of gca_jax by name, not {name}"
                inside = inside.rpartition(".")[0]
            yield inside


def test_the_order_has_every_module_once():
    there = {name_of(path) for path in PACKAGE.rglob("*.py")} - {"__init__"}
    assert set(MODULES) == there
    assert len(MODULES) == len(there)


def test_the_root_is_small():
    assert len([*PACKAGE.glob("*.py")]) <= 15


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_only_what_stands_before_it(name):
    before = set(MODULES[: MODULES.index(name)])
    later = set(own(path_of(name))) - before - {name}
    assert not later, f"{name} stands before {', '.join(sorted(later))} in ORDER"


@pytest.mark.parametrize("name", MODULES)
def test_a_library_is_known_in_its_own_rooms_only(name):
    for library in imported(path_of(name)):
        rooms = LIBRARIES.get(library.split(".")[0])
        assert rooms is None or name.split(".")[0] in rooms, f"{name} must not import {library}"


def test_ott_is_imported_in_one_file():
    with_ott = {n for n in MODULES if any(x.split(".")[0] == "ott" for x in imported(path_of(n)))}
    assert with_ott == {"ot.converged"}


def test_the_engine_has_one_door():
    from gca_jax.ot import engine

    for name in MODULES:
        if not name.startswith("ot.engine"):
            for inside in imported(path_of(name)):
                if inside.startswith("gca_jax.ot.engine."):
                    assert inside.removeprefix("gca_jax.ot.engine.") in engine.__all__, name


def test_main_starts_the_command_line_and_nothing_imports_it():
    assert [*imported(ROOT / "main.py")] == ["gca_jax.cli.start"]
    for name in MODULES:
        outside = {library.split(".")[0] for library in imported(path_of(name))}
        assert not outside & {"main", "tests", "configs", "benchmarks"}, name


def test_from_main_to_the_loss_there_are_six_files():
    way = ["cli", "commands", "training.train", "training.step", "losses"]
    for name, following in itertools.pairwise(way):
        assert following in set(own(path_of(name))), (name, following)


def configs():
    return sorted((ROOT / "configs").rglob("*.py"))


def test_configs_are_data():
    """A config names things; it imports nothing that it configures."""
    for path in configs():
        named = {name.split(".")[0] for name in imported(path)} - STANDARD_LIBRARY
        assert named <= {"ml_collections", "configs", "gca_jax"}, path


def closure(names):
    """The modules, with all that they import of the package."""
    seen, todo = set(), [name for name in MODULES if name.split(".")[0] in names]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += own(path_of(name))
            todo += [room for room in MODULES if name.startswith(f"{room}.")]  # its __init__
    return seen


def requirements_of(paths):
    """What a user has to install for these files, by the names of the distributions."""
    own_names = {"gca_jax", "configs"} | STANDARD_LIBRARY
    named = {name.split(".")[0] for path in paths for name in imported(path)} - own_names
    return set().union(*(installed.providers()[name] for name in named))


def test_what_is_imported_is_required():
    """What the public parts import, and theirs, are the core requirements; the rest the extras."""
    light = closure(PUBLIC)
    core = requirements_of(map(path_of, light))
    rest = requirements_of([*(path_of(n) for n in MODULES if n not in light), *configs()])
    assert core == installed.declared().keys()
    assert core | rest | UNDECLARED == installed.declared("train", "prepare", "hub").keys()
