"""Reads the flags of `main.py` and runs a program; every mistake is one line."""

import os
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Never

from absl import flags
from ml_collections import ConfigDict, FieldReference, config_flags

from gca_jax import config_files
from gca_jax.programs import ALONE, PROGRAMS, Command
from gca_jax.signals import Stopped
from gca_jax.studies.describe import is_study


class OrNone(flags.ArgumentParser[Any]):
    """Parser of flags that may be None: reads `None` as that, all else by another parser."""

    def __init__(self, other: flags.ArgumentParser[Any]):
        self.other = other

    def parse(self, argument: Any) -> Any:
        """Read an argument."""
        return None if argument == "None" else self.other.parse(argument)


config_flags.register_flag_parser_for_type(int, OrNone(flags.IntegerParser()))
config_flags.register_flag_parser_for_type(float, OrNone(flags.FloatParser()))
config_flags.register_flag_parser_for_type(bool, OrNone(flags.BooleanParser()))
config_flags.register_flag_parser_for_type(str, OrNone(flags.ArgumentParser()))


def run(mode: str, command: Command, verbose: bool) -> None:
    """Run a program; a mistake of the caller's is one line, not a traceback unless `verbose`."""
    if command.place is not None and mode in ALONE:
        sys.exit(f"error: --mode={mode} is for one process")
    try:
        PROGRAMS[_program(mode, command)](command)
    except (KeyboardInterrupt, ValueError, OSError) as error:
        if isinstance(error, Stopped):  # It was stopped in good order, all processes at one step.
            print(error, file=sys.stderr)
            sys.exit(error.status)
        if verbose:
            raise
        said = f"error: {error}" if isinstance(error, Exception) else str(error) or "interrupted"
        if command.place is not None:
            from gca_jax import distributed

            distributed.leave(error, said)
        sys.exit(said)


def _program(mode: str, command: Command) -> str:
    """Name the program: several seeds of a run are a study."""
    given = is_study(command.config)
    if command.seeds is not None and (given or mode != "all"):
        other = "--config.seeds='(0, 1)' changes a study's" if given else "it goes with --mode=all"
        raise ValueError(f"--seeds makes a study of the config of one run: {other}")
    program = mode if command.seeds is None else "study"
    if given and program not in ("study", "status"):
        raise ValueError("this config is of a study: add --mode=study")
    if command.jobs < 1 or (command.jobs > 1 and program != "study"):
        raise ValueError("--jobs, at least 1, is for --mode=study and --seeds")
    limit = command.limit_minutes
    if limit is not None and (not limit > 0 or program != "study"):
        raise ValueError("--limit_minutes, above 0, is for --mode=study and --seeds")
    if program == "study" and command.place is not None:
        raise ValueError("a study is for one process; --jobs=N lets N of its runs go at a time")
    return program


def read_flags(arguments: list[str], default: str) -> list[str]:
    """Read the flags, config included; `default` is the config's name where none is given.

    With --help it prints what there is, or the keys of the config that is named.
    """
    asked = {"--help", "-h", "--helpfull", "--helpshort"} & set(arguments)
    name, others = parted([argument for argument in arguments[1:] if argument not in asked])
    if asked and name is None:
        from gca_jax import help  # which imports the losses

        _show(help.page())
    file, colon, chosen = (default if name is None else name).partition(":")
    try:
        path = config_files.find(file)
    except ValueError as error:
        sys.exit(f"error: {error}")
    arguments = [arguments[0], f"--config={path}{colon}{chosen}", *others]
    try:
        words = flags.FLAGS(arguments)
    except Exception as error:  # of a config file, which is any code
        sys.exit(f"error: {wrong_key(arguments) or broken_file(path, error)}")
    for key, value in config_flags.get_override_values(flags.FLAGS["config"]).items():
        if value is None and not may_be_none(flags.FLAGS.config, key):
            sys.exit(f"error: config.{key} cannot be None: give it a value, or leave it out")
    if len(words) > 1:
        sys.exit(f"error: {words[1]!r} is no flag; flags begin with --, see --help")
    if asked:
        from gca_jax import help

        _show(help.keys(flags.FLAGS.config))
    return words


def may_be_none(config: ConfigDict, path: str) -> bool:
    """Tell whether a setting of the config, by its dotted path, can be None."""
    from gca_jax import config_pairs  # which imports the losses

    *parents, key = path.split(".")
    for parent in parents:
        config = config[parent]
    declared = dict(config.items(preserve_field_references=True))[key]
    return isinstance(declared, FieldReference) or key in config_pairs.OPTIONAL


def _show(text: str) -> Never:
    """Print a text and end; a reader that has seen enough of it, as `head`, is no mistake."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(0)


def parted(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """Part what --config names, the last time it stands there, from the other arguments."""
    name, others = None, []
    rest = iter(arguments)
    for argument in rest:
        if argument in ("--config", "-config"):
            name = next(rest, "")
        elif match := re.match(r"--?config=(.*)", argument, re.DOTALL):
            name = match[1]
        else:
            others.append(argument)
    return name, others


def broken_file(path: Path, error: Exception) -> str:
    """Say what went wrong when flags were read: in one of them, or in the code of a config file."""
    if isinstance(error, flags.UnrecognizedFlagError):
        return (
            f"there is no flag --{error.flagname}; --help names them, and settings are --config.KEY"
        )
    if isinstance(error, flags.Error | ValueError | KeyError):
        return str(error).split("Error: ")[-1].strip()
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == path.resolve()]
    where = f"{path}, line {lines[-1]}" if lines else path
    return f"{where}: {type(error).__name__}: {error}"


def wrong_key(arguments: Sequence[str]) -> str | None:
    """Say what is wrong with the first setting whose key the config lacks, if that can be read."""
    setting = re.compile(r"--?(?:no)?config\.([^=]+)")
    plain = [argument for argument in arguments if not setting.match(argument)]
    values = flags.FlagValues()
    config = config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=plain)
    try:
        values(plain, known_only=True)
        known = config.value
    except Exception:  # of a config file
        return None
    found = (setting.match(argument) for argument in arguments)
    faults = (config_files.missing_key(known, match[1]) for match in found if match)
    return next((fault for fault in faults if fault), None)
