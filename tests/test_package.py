"""What a user installs: the wheel, what it requires, and the losses with the core alone."""

import email
import importlib.metadata
import os
import pathlib
import re
import shutil
import subprocess
import sys
import zipfile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import gca_jax
from tests import installed, processes

ROOT = pathlib.Path(__file__).parents[1]
# What only a run needs; no part of it may come with the core.
HEAVY = {"flax", "grain", "matplotlib", "ml_collections", "orbax", "PIL", "sklearn"}
HEAVY |= {"tensorboardX", "tensorflow", "tensorflow_datasets", "tqdm"}


def python(*arguments, path=ROOT, cwd=ROOT):
    """Run a fresh Python that finds `path` first; with -S, only it and the standard library."""
    result = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **processes.environment(), "PYTHONPATH": str(path)},
        cwd=cwd,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy of the project by the setuptools that is installed."""
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("out")
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    for name in ("gca_jax", "configs", "benchmarks", "tests"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    build = f"from setuptools import build_meta; build_meta.build_wheel({str(out)!r})"
    python("-c", build, path="", cwd=tree)
    (wheel,) = out.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def core(wheel, tmp_path_factory):
    """A folder with the wheel, and links to the distributions that its core requires."""
    folder = tmp_path_factory.mktemp("core")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    (info,) = folder.glob("gca_jax-*.dist-info")
    lines = importlib.metadata.Distribution.at(info).requires
    requirements = [r for r in map(Requirement, lines) if "extra" not in str(r.marker)]
    for name in installed.closure(requirements):
        for path in installed.top_level(name):
            (folder / path.name).symlink_to(path)
    return folder


@pytest.mark.slow
def test_installed_it_runs_as_a_module_with_the_configs_in_it(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    words = ("-m", "gca_jax", "--config=cifar10:gca_uot", "--help")
    out = python(*words, path=tmp_path / "site", cwd=tmp_path)
    assert "--config.data.name='cifar10'" in out


@pytest.mark.slow
def test_the_wheel_has_the_package_and_the_configs_in_it(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = [name for name in names if name.endswith(".dist-info/METADATA")]
        head = email.message_from_bytes(archive.read(metadata))
    own = {str(p.relative_to(ROOT)) for p in (ROOT / "gca_jax").rglob("*.py")}
    own |= {f"gca_jax/{p.relative_to(ROOT)}" for p in (ROOT / "configs").rglob("*.py")}
    own |= {"gca_jax/py.typed", "gca_jax/data/sources/imagenet100.txt"}
    own |= {str(p.relative_to(ROOT)) for p in (ROOT / "gca_jax/report/templates").iterdir()}
    assert {name for name in names if ".dist-info/" not in name} == own
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert head["Version"] == gca_jax.__version__
    assert set(head.get_all("Provides-Extra")) == {"train", "prepare", "hub", "dev"}


@pytest.mark.slow
def test_the_core_alone_runs_the_readme(core):
    section = (ROOT / "README.md").read_text().split("## One loss")[1].split("\n## ")[0]
    blocks = re.findall(r"^```python\n(.*?)^```", section, re.M | re.S)
    assert blocks
    program = [
        "import gca_jax.theorems, importlib.util",
        *blocks,
        f"heavy = [name for name in {sorted(HEAVY)} if importlib.util.find_spec(name)]",
        "print(gca_jax.__file__, bool(jax.numpy.isfinite(value)), *heavy)",
    ]
    printed = python("-S", "-c", "\n".join(program), path=core, cwd=core)
    assert printed.split() == [str(core / "gca_jax" / "__init__.py"), "True"]


def test_losses_import_no_more_than_jax_and_jaxtyping():
    """`from gca_jax import losses` costs what `import jax` costs."""
    listed = python(
        "-c",
        "import sys; start = set(sys.modules); import gca_jax; print(*set(sys.modules) - start)\n"
        "import jax, jaxtyping; before = set(sys.modules)\n"
        "from gca_jax import losses; print(*set(sys.modules) - before)",
    )
    package, losses = (line.split() for line in listed.splitlines())
    assert "gca_jax.losses" in losses
    for name in package + losses:
        assert name.split(".")[0] in sys.stdlib_module_names | {"gca_jax"}, name


def test_the_public_parts_are_there_by_name():
    for name in gca_jax.__all__:
        assert hasattr(gca_jax, name), name
        assert name in dir(gca_jax)
    assert gca_jax.losses.METHODS["gca_uot"] is gca_jax.losses.gca_uot
    with pytest.raises(AttributeError, match="no attribute 'loses'"):
        _ = gca_jax.loses


def test_every_requirement_is_pinned_and_allowed():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    pins = {}
    for requirement in (Requirement(line) for line in lines if not line.startswith("#")):
        (version,) = requirement.specifier
        assert version.operator == "==", requirement
        if requirement.marker is None or requirement.marker.evaluate():
            name = canonicalize_name(requirement.name)
            assert name not in pins, f"requirements.txt has {name} twice"
            pins[name] = version.version
    wanted = installed.declared("dev")
    for name, requirement in wanted.items():
        assert name in pins, f"requirements.txt lacks {name}"
        assert requirement.specifier.contains(pins[name], prereleases=True), requirement
    assert installed.closure(wanted.values()) <= pins.keys()


def test_changelog_and_citation_are_of_this_version():
    changes = re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.M)
    citation = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.M)
    assert changes[1] == citation[1] == gca_jax.__version__
