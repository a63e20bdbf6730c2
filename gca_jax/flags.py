"""What is wrong with --config and the keys that are set on a command line, as one sentence."""

import pathlib
import re
from collections.abc import Sequence

from absl import flags
from ml_collections import ConfigDict, config_flags


def missing_file(words: str) -> str | None:
    """Say what is wrong where there is no such config file as "FILE:WORDS" names."""
    path = pathlib.Path(words.split(":")[0])
    if path.exists():
        return None
    there = ", ".join(sorted(file.name for file in path.parent.glob("*.py")))
    return f"there is no config file {path}; {path.parent} has: {there or 'none'}"


def wrong_key(arguments: Sequence[str], default: str) -> str | None:
    """Say what is wrong with the first setting whose key the config lacks, if that can be read."""
    setting = re.compile(r"--?(?:no)?config\.([^=]+)")
    plain = [argument for argument in arguments if not setting.match(argument)]
    values = flags.FlagValues()
    config = config_flags.DEFINE_config_file("config", default, flag_values=values, sys_argv=plain)
    try:
        values(plain, known_only=True)
        known = config.value
    except (flags.Error, OSError, ValueError):
        return None
    found = (setting.match(argument) for argument in arguments)
    faults = (_fault(known, match[1].split(".")) for match in found if match)
    return next((fault for fault in faults if fault), None)


def _fault(config: object, path: Sequence[str]) -> str | None:
    """Name the first part of a key's path that is not there, and what is."""
    for depth, key in enumerate(path):
        where = ".".join(["config", *path[:depth]])
        if not isinstance(config, ConfigDict):
            return f"{where} has no key {key!r}; it is one value"
        if key not in config:
            return f"{where} has no key {key!r}; it has: {', '.join(config)}"
        config = config[key]
    return None
