"""What is installed here, and what of it a requirement brings."""

import functools
import importlib.metadata
import pathlib
import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = pathlib.Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def declared(*extras):
    """The project's requirements: those of the core and of the named extras, each by its name."""
    lines = [*PROJECT["dependencies"]]
    for extra in extras:
        lines += PROJECT["optional-dependencies"][extra]
    found = {}
    for requirement in map(Requirement, lines):
        own = canonicalize_name(requirement.name) == PROJECT["name"]
        more = declared(*requirement.extras) if own else {}
        found |= more or {canonicalize_name(requirement.name): requirement}
    return found


def closure(requirements):
    """The names of the distributions that the requirements bring, here, themselves included."""
    seen, todo = set(), list(requirements)
    while todo:
        requirement = todo.pop()
        for extra in ("", *requirement.extras):
            key = canonicalize_name(requirement.name), extra
            if key in seen:
                continue
            seen.add(key)
            for line in importlib.metadata.requires(requirement.name) or []:
                needed = Requirement(line)
                if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                    todo.append(needed)
    return {name for name, _ in seen}


@functools.cache
def providers():
    """Import name → names of the distributions that have it."""
    found = importlib.metadata.packages_distributions()
    named = {module: set(map(canonicalize_name, names)) for module, names in found.items()}
    rarely = {"tensorflow": "tensorflow-cpu", "datasets": "datasets"}
    return named | {module: {name} for module, name in rarely.items()}


def top_level(name):
    """The files and folders of a distribution that lie in site-packages itself."""
    distribution = importlib.metadata.distribution(name)
    tops = {file.parts[0] for file in distribution.files} - {"..", "__pycache__"}
    return [pathlib.Path(distribution.locate_file(top)) for top in sorted(tops)]
