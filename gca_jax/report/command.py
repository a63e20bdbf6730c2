"""The command that repeats a run."""

import runpy
from collections.abc import Iterator
from pathlib import Path

from gca_jax.config import SMOKE
from gca_jax.report.reading import Json
from gca_jax.workdir import as_json

CONFIGS = Path(__file__).parents[2] / "configs"


def command(config: Json) -> str:
    """Give the command line of a run, with every key that its config file would set otherwise.

    Only the workdir is left to choose. The config is as in `config.json`.
    """
    name, method = config["data"]["name"], config["method"]
    encoder = config["model"].get("encoder", "resnet")  # runs of 0.1.0 knew no other
    chosen = method if encoder == "resnet" else f"{method},{encoder}"
    candidates = []
    for words in (chosen, f"{chosen},{SMOKE}"):
        changes = _differing(_from_file(name, words), config)
        settings = [f"--config.{key}={_literal(value)}" for key, value in changes]
        candidates.append([f"--config=configs/{name}.py:{words} --workdir=DIR", *settings])
    return " ".join(["python main.py", *min(candidates, key=len)])


def _from_file(name: str, words: str) -> Json:
    """Make the config by its file, as JSON values; only the seed is known without the file."""
    path = CONFIGS / f"{name}.py"
    if not path.exists():
        return {"seed": None}
    return as_json(runpy.run_path(str(path))["get_config"](words))


def _differing(given: Json, used: Json, prefix: str = "") -> Iterator[tuple[str, object]]:
    for key in (key for key in given if key in used):  # in the file's order
        if isinstance(given[key], dict) and isinstance(used[key], dict):
            yield from _differing(given[key], used[key], f"{prefix}{key}.")
        elif given[key] != used[key]:
            yield prefix + key, used[key]


def _literal(value: object) -> str:
    """Write a value as a flag takes it: tuples quoted for the shell."""
    return f"'{tuple(value)}'" if isinstance(value, list) else str(value)
