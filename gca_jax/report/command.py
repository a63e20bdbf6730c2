"""The command that repeats a run."""

import importlib.util
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gca_jax.config import SMOKE

CONFIGS = Path(__file__).parents[2] / "configs"


def command(config: Mapping[str, Any]) -> str:
    """The command line of a run, with every key that its config file would set otherwise.

    Args:
        config: As in `config.json`.

    Returns:
        One line to paste into a shell; only the workdir is left to choose.
    """
    name, method, encoder = config["data"]["name"], config["method"], config["model"]["encoder"]
    chosen = method if encoder == "resnet" else f"{method},{encoder}"
    candidates = [
        [
            f"--config=configs/{name}.py:{words} --workdir=DIR",
            *(
                f"--config.{k}={_literal(v)}"
                for k, v in _differing(_from_file(name, words), config)
            ),
        ]
        for words in (chosen, f"{chosen},{SMOKE}")
    ]
    return " ".join(["python main.py", *min(candidates, key=len)])


def _from_file(name: str, words: str) -> dict[str, Any]:
    """The config that the file gives, as JSON values; only the seed is known without the file."""
    path = CONFIGS / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"configs_{name}", path)
    if spec is None or spec.loader is None or not path.exists():
        return {"seed": None}
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return json.loads(module.get_config(words).to_json())


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
