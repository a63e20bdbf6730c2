"""The command that repeats a run."""

import importlib.util
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

CONFIGS = Path(__file__).parents[2] / "configs"


def command(config: Mapping[str, Any]) -> str:
    """The command line of a run, with every key that its config file would set otherwise.

    Args:
        config: As in `config.json`.

    Returns:
        One line to paste into a shell; only the workdir is left to choose.
    """
    name, method = config["data"]["name"], config["method"]
    words = ["python main.py", f"--config=configs/{name}.py:{method}", "--workdir=DIR"]
    overrides = _differing(_from_file(name, method), config)
    return " ".join([*words, *(f"--config.{key}={_literal(value)}" for key, value in overrides)])


def _from_file(name: str, method: str) -> dict[str, Any]:
    """The config that the file gives, as JSON values; only the seed is known without the file."""
    path = CONFIGS / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"configs_{name}", path)
    if spec is None or spec.loader is None or not path.exists():
        return {"seed": None}
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return json.loads(module.get_config(method).to_json())


def _differing(
    given: Mapping[str, Any], used: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    for key in (key for key in given if key in used):  # in the file's order
        if isinstance(given[key], Mapping) and isinstance(used[key], Mapping):
            yield from _differing(given[key], used[key], f"{prefix}{key}.")
        elif given[key] != used[key]:
            yield prefix + key, used[key]


def _literal(value: Any) -> str:
    """A value as a flag takes it: tuples quoted for the shell."""
    return f"'{tuple(value)}'" if isinstance(value, list) else str(value)
