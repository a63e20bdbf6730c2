"""The command line: flags, `--help`, and a line for every mistake.

`--config.KEY=VALUE` changes a setting of the run.
"""

import ast
import os
import re
import shlex
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Never

try:
    from absl import app, flags, logging
    from ml_collections import ConfigDict, config_flags

    from gca_jax import config
    from gca_jax.commands import ALONE, COMMANDS, Command, program
    from gca_jax.signals import Stopped
    from gca_jax.studies.study import Study, as_key
    from gca_jax.workdir import flatten
except ModuleNotFoundError as error:
    sys.exit(f"error: a run needs more than the losses ({error}): install gca_jax[train]")

DEFAULT = "digits"
RUN_FILE = Path(__file__).with_name("config") / "run_file.py"
# With a default, ml_collections would look at the settings now, where no mistake can be caught.
CONFIG = config_flags.DEFINE_config_file("config", None, "NAME:METHOD or FILE:METHOD of a run.")
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder; runs/DATA-METHOD-SEED or runs/STUDY if none."
)
MODE = flags.DEFINE_enum("mode", "all", list(COMMANDS), "What to do: see above.")
DISTRIBUTED = flags.DEFINE_bool("distributed", False, "One of several processes on a cluster.")
COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "HOST:PORT of the first of several processes."
)
PROCESS = flags.DEFINE_integer("process_id", None, "Which of them this one is, from 0.")
PROCESSES = flags.DEFINE_integer("num_processes", None, "How many they are.")
JOBS = flags.DEFINE_integer("jobs", 1, "Runs of a study at a time.")
LAUNCHER = flags.DEFINE_string(
    "launcher", "", "What starts each run of a study, as: srun -n1 --gpus=1; none: here."
)
LIMIT = flags.DEFINE_float("limit_minutes", None, "After which a run of a study is stopped.")
SEEDS = flags.DEFINE_string("seeds", None, "As 0-4 or 0,3,7: do the run with each, and compare.")
ARCHIVES = flags.DEFINE_string("archives", None, "With --mode=prepare: folder of downloaded files.")
IMAGES = flags.DEFINE_string("images", None, "Folder of pictures, of --mode=embed and neighbours.")
OUT = flags.DEFINE_string("out", None, "File that --mode=embed, export or neighbours writes.")
FORMAT = flags.DEFINE_string("format", None, "Of --mode=export: safetensors, msgpack, jax, onnx.")
SKIP = flags.DEFINE_bool("skip_unreadable", False, "For --config.data.skip_unreadable=True.")
VERBOSE = flags.DEFINE_bool("verbose", False, "Show libraries' messages and whole tracebacks.")


def main(argv: list[str]) -> None:
    """Run what was asked for."""
    logging.set_verbosity(logging.INFO if VERBOSE.value else logging.ERROR)
    if SKIP.value:
        if "skip_unreadable" not in CONFIG.value.get("data", {}):
            name = CONFIG.value.get("data", {"name": "a study"})["name"]
            sys.exit(f"error: of {name} no image can be skipped: one file has all")
        CONFIG.value.data.skip_unreadable = True
    place = (COORDINATOR.value, PROCESS.value, PROCESSES.value)
    together = DISTRIBUTED.value or place != (None, None, None)
    command = Command(
        CONFIG.value,
        WORKDIR.value,
        archives=ARCHIVES.value,
        place=place if together else None,
        jobs=JOBS.value,
        launcher=LAUNCHER.value,
        seeds=SEEDS.value,
        limit_minutes=LIMIT.value,
        images=IMAGES.value,
        out=OUT.value,
        format=FORMAT.value,
        typed=shlex.join([*program().split(), *sys.argv[1:]]),
        config_file=config_flags.get_config_filename(flags.FLAGS["config"]),
    )
    run(MODE.value, command, VERBOSE.value)


def start() -> None:
    """Run the command line."""
    app.run(main, flags_parser=lambda argv: read_flags(argv, DEFAULT))


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


class Table(flags.ArgumentParser[Any]):
    """Parser of a study's tables: `--config.measures="{'k-NN': 'accuracy.knn'}"`."""

    def parse(self, argument: Any) -> Mapping[str, Any]:
        """Read a dictionary."""
        found = ast.literal_eval(argument) if isinstance(argument, str) else argument
        if not isinstance(found, Mapping):
            raise ValueError("it must be a dictionary")
        return found


config_flags.register_flag_parser_for_type(Mapping, Table())


def run(mode: str, command: Command, verbose: bool) -> None:
    """Run a program; a mistake of the caller's is one line, not a traceback unless `verbose`."""
    if command.place is not None and mode in ALONE:
        sys.exit(f"error: --mode={mode} is for one process")
    try:
        COMMANDS[_command(mode, command)](command)
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


def _command(mode: str, command: Command) -> str:
    """Name the command: several seeds of a run are a study."""
    given = isinstance(command.config, Study)
    if command.seeds is not None and (given or mode != "all"):
        other = "--config.seeds='(0, 1)' changes a study's" if given else "it goes with --mode=all"
        raise ValueError(f"--seeds makes a study of the config of one run: {other}")
    program = mode if command.seeds is None else "study"
    if given and program not in ("study", "status"):
        raise ValueError("this config is of a study: add --mode=study")
    if command.jobs < 1 or (command.jobs > 1 and program != "study"):
        raise ValueError("--jobs, at least 1, is for --mode=study and --seeds")
    if command.launcher and program != "study":
        raise ValueError("--launcher is for --mode=study and --seeds")
    if command.launcher.count("'") % 2 or command.launcher.count('"') % 2:
        raise ValueError(f"--launcher has a quote that is not closed: {command.launcher}")
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
        _show(page())
    file, colon, chosen = (default if name is None else name).partition(":")
    try:
        path = config.find(file)
    except ValueError as error:
        sys.exit(f"error: {error}")
    if path.suffix == ".json":  # of a run, whose config is made again
        path, colon, chosen = RUN_FILE, ":", f"{path}{colon}{chosen}"
    arguments = [arguments[0], f"--config={path}{colon}{chosen}", *others]
    try:
        words = flags.FLAGS(arguments)
    except Exception as error:  # of a config file, which is any code
        sys.exit(f"error: {wrong_key(arguments) or broken_file(path, error)}")
    for key, value in config_flags.get_override_values(flags.FLAGS["config"]).items():
        if value is None and not config.may_be_none(flags.FLAGS.config, key):
            sys.exit(f"error: config.{key} cannot be None: give it a value, or leave it out")
    if len(words) > 1:
        sys.exit(f"error: {words[1]!r} is no flag; flags begin with --, see --help")
    if asked:
        _show(keys(flags.FLAGS.config))
    return words


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
    holder = config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=plain)
    try:
        values(plain, known_only=True)
        known = holder.value
    except Exception:  # of a config file
        return None
    if isinstance(known, Study):
        return None  # The library names the field.
    found = (setting.match(argument) for argument in arguments)
    faults = (config.missing_key(known, match[1]) for match in found if match)
    return next((fault for fault in faults if fault), None)


PAGE = """\
usage: {program} [--config=NAME:METHOD] [--mode=MODE] [--workdir=DIR] [--config.KEY=VALUE ...]

  {program} --config=digits:gca_uot                      pretrain, evaluate, report
  {program} --config=digits:gca_uot --help               all keys of a config, and their values
  {program} --config=digits:gca_uot --config.loss.epsilon=0.1
  {program} --config=studies/epsilon --mode=study        many runs, compared

methods: {methods}
encoders, after the method: {encoders}; {smoke} makes a run of a minute: digits:gca_uot,vit,{smoke}
configs: {configs}; or a file of your own
studies: {studies}

modes:
{modes}

flags:
{flags}"""


def page() -> str:
    """Say what there is to run, and how."""
    from gca_jax import losses  # take longer to import than a mistake should to be said
    from gca_jax.models import ENCODERS

    modes = {name: str(program.__doc__).splitlines()[0] for name, program in COMMANDS.items()}
    module = str(flags.FLAGS.find_module_defining_flag("mode"))
    known = {
        f"--{flag.name}": flag.help.rpartition(">: ")[2]  # without the values, which are above
        for flag in flags.FLAGS.flags_by_module_dict()[module]
    }
    return PAGE.format(
        program=program(),
        methods=", ".join(losses.METHODS),
        encoders=", ".join(ENCODERS),
        smoke=config.SMOKE,
        configs=config.names(),
        studies=config.names(config.FOLDER / "studies"),
        modes=_table(modes),
        flags=_table(dict(sorted(known.items()))),
    )


def keys(made: ConfigDict | Study) -> str:
    """List the keys of a config as flags, with the values that they have."""
    settings = made.as_json(as_key) if isinstance(made, Study) else made
    return "\n".join(f"--config.{key}={value!r}" for key, value in flatten(settings))


def _table(rows: dict[str, str]) -> str:
    width = max(map(len, rows))
    return "\n".join(f"  {name:<{width}}  {text}" for name, text in rows.items())
