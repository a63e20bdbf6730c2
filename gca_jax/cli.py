"""The command line: flags of absl, a config by ml_collections, and one line for a mistake.

`--config.KEY=VALUE` changes a setting of the run.
"""

import ast
import contextlib
import os
import re
import shlex
import sys
import traceback
from collections.abc import Mapping
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
ARGUMENTS: list[str] = []
"""What was typed, flag files expanded: ml_collections looks there for changes of the config."""
# No default here: ml_collections would load it at once, where no mistake can be caught.
CONFIG = config_flags.DEFINE_config_file(
    "config", None, "NAME:OPTIONS or FILE:OPTIONS.", sys_argv=ARGUMENTS
)
MODE = flags.DEFINE_enum("mode", "all", list(COMMANDS), "What to do: see above.")
VERBOSE = flags.DEFINE_bool("verbose", False, "Show libraries' messages and whole tracebacks.")
DISTRIBUTED = flags.DEFINE_bool("distributed", False, "Join the other processes of the cluster.")
# The fields of a `Command`.
flags.DEFINE_string("workdir", None, "Folder; runs/DATA-METHOD-SEED or runs/STUDY if none.")
flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, without a cluster.")
flags.DEFINE_integer("process_id", None, "Index of this process, from 0.")
flags.DEFINE_integer("num_processes", None, "Number of processes.")
flags.DEFINE_integer("jobs", 1, "Runs of a study at a time.", lower_bound=1)
flags.DEFINE_string("launcher", "", "What starts each run of a study, as: srun -n1 --gpus=1.")
flags.DEFINE_float("limit_minutes", None, "Time limit of a study's run.", lower_bound=1e-3)
flags.DEFINE_string("seeds", None, "As 0-4 or 0,3,7: do the run with each, and compare.")
flags.DEFINE_string("runs", None, "As 3/12: the third of twelve parts of a study's runs.")
flags.DEFINE_string("archives", None, "With --mode=prepare: folder of downloaded files.")
flags.DEFINE_integer(
    "step", None, "Step of a kept checkpoint: evaluate, embed, export, neighbours."
)
flags.DEFINE_string(
    "images", None, "Pictures of --mode=embed and neighbours: a folder, a pattern, one."
)
flags.DEFINE_string("out", None, "File that --mode=embed, export or neighbours writes.")

IGNORED: dict[str, object] = {
    "jax_enable_x64": False,
    "jax_numpy_dtype_promotion": "standard",
    "jax_disable_jit": False,
    "jax_transfer_guard": None,
}
"""Settings of JAX that would stop a run, which does not follow them; their defaults."""
FOLLOWED = ("jax_default_matmul_precision", "jax_default_prng_impl", "jax_threefry_partitionable")
"""Those by which its numbers are others."""
PROCESS_FLAGS = ("coordinator", "process_id", "num_processes")
STUDY_FLAGS = ("jobs", "launcher", "limit_minutes")
OF_A_STEP = ("evaluate", "embed", "export", "neighbours")  # modes that may take another checkpoint
OF_STUDIES = ("report", "status")  # modes that only read a study


class ConfigFile(flags.ArgumentParser[Any]):
    """Parser of --config: loads the config that `NAME:OPTIONS` names."""

    def parse(self, argument: str) -> Any:
        """Load a config; a ValueError says which line of its file is at fault."""
        name, _, options = argument.partition(":")
        path = config.find(name)
        try:
            made = config.load(str(path), options)
        except Exception as error:  # A config file is any code.
            frames = traceback.extract_tb(error.__traceback__)
            if isinstance(error, ValueError) and frames[-1].filename != str(path):
                raise  # Of this package, which names the option.
            lines = [f"line {frame.lineno}" for frame in frames if frame.filename == str(path)]
            where = ", ".join([str(path), *lines[-1:]])
            raise ValueError(f"{where}: {type(error).__name__}: {error}") from error
        if made is None:
            raise ValueError(f"get_config of {path} returns nothing")
        return made.lock() if isinstance(made, ConfigDict) else made


class Table(flags.ArgumentParser[Any]):
    """Parser of a study's tables: `--config.measures="{'k-NN': 'accuracy.knn'}"`."""

    def parse(self, argument: Any) -> Mapping[str, Any]:
        """Read a dictionary."""
        found = ast.literal_eval(argument) if isinstance(argument, str) else argument
        if not isinstance(found, Mapping):
            raise ValueError("it must be a dictionary")
        return found


config_flags.register_flag_parser_for_type(Mapping, Table())
# The library's own parser knows files alone; overrides of keys stay its part.
flags.FLAGS["config"].parser = ConfigFile()


def start() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):  # a name that the terminal has no letters for is no end
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    app.run(main, flags_parser=read_flags)


def main(argv: list[str]) -> None:
    """Run the command that the flags name."""
    logging.set_verbosity(logging.INFO if VERBOSE.value else logging.ERROR)
    typed = flags.FLAGS
    given: dict[str, Any] = {name: typed[name].value for name in Command._fields if name in typed}
    place: Any = tuple(typed[name].value for name in PROCESS_FLAGS)
    command = Command(
        **given,
        place=place if DISTRIBUTED.value or any(x is not None for x in place) else None,
        typed=shlex.join([*program().split(), *ARGUMENTS[1:]]),
        config_file=config_flags.get_config_filename(flags.FLAGS["config"]),
        changed=[*config_flags.get_override_values(flags.FLAGS["config"])],
    )
    run(MODE.value, command, VERBOSE.value)


def run(mode: str, command: Command, verbose: bool) -> None:
    """Run a command; a mistake of the caller's is one line, not a traceback unless `verbose`."""
    if command.place is not None and mode in ALONE:
        sys.exit(f"error: --mode={mode} is for one process")
    read_environment()
    try:
        COMMANDS[_resolve(mode, command)](command)
    except (KeyboardInterrupt, ValueError, OSError, FloatingPointError) as error:
        if isinstance(error, Stopped):  # It was stopped in good order, all processes at one step.
            with contextlib.suppress(OSError):  # the terminal may be gone
                print(error, file=sys.stderr)
            sys.exit(error.status)
        if verbose:
            raise
        message = f"error: {error}" if isinstance(error, Exception) else str(error) or "interrupted"
        if command.place is not None:
            from gca_jax import distributed

            distributed.leave(error, message)
        sys.exit(message)


def read_environment() -> None:
    """Ignore, or mention, what the environment has of JAX that changes a run's numbers."""
    for name in FOLLOWED:
        if value := os.environ.get(name.upper()):
            print(f"note: {name.upper()}={value} is set: a run without it has other numbers")
    for name, default in IGNORED.items():
        if name.upper() in os.environ:
            import jax  # here: it takes a second, and reads the environment

            value = os.environ.pop(name.upper())  # which the runs of a study would have too
            if getattr(jax.config, name) != default:
                print(f"note: {name.upper()}={value} is ignored: a run goes without it")
                jax.config.update(name, default)


def _resolve(mode: str, command: Command) -> str:
    """Resolve the command of a mode; refuse flags it lacks or does not take; seeds are a study."""
    given = isinstance(command.config, Study)
    if command.seeds is not None and (given or mode not in ("all", *OF_STUDIES)):
        of_run = "it goes with --mode=all, report and status"
        other = "--config.seeds='(0, 1)' changes a study's" if given else of_run
        raise ValueError(f"--seeds makes a study of the config of one run: {other}")
    name = mode if command.seeds is None or mode in OF_STUDIES else "study"
    if given and name not in ("study", *OF_STUDIES):
        raise ValueError("this config is of a study: add --mode=study")
    if name == "study" and command.seeds is None and not given:
        raise ValueError("this config is of a run and not of a study; see docs/studies.md")
    if name == "study" and command.place is not None:
        raise ValueError("a study is for one process; --jobs=N lets N of its runs go at a time")
    typed = [flag for flag in STUDY_FLAGS if flags.FLAGS[flag].present]
    if typed and name != "study":
        raise ValueError(f"--{typed[0]} is for --mode=study and --seeds")
    if command.step is not None and name not in OF_A_STEP:
        raise ValueError(f"--step is for --mode={', '.join(OF_A_STEP)}")
    if command.runs is not None:
        if name not in ("study", "status"):
            raise ValueError("--runs is for --mode=study and --mode=status")
        if not given and command.seeds is None:
            raise ValueError("--runs is for a study's config, or that of a run with --seeds")
    return name


def read_flags(arguments: list[str]) -> list[str]:
    """Read the flags, config included.

    With --help it prints what there is, or the keys of the config that is named.
    """
    try:
        ARGUMENTS[:] = flags.FLAGS.read_flags_from_files(arguments)
    except (flags.Error, UnicodeDecodeError) as error:
        sys.exit(f"error: {str(error).removeprefix('ERROR:: ')}")
    asked = {"--help", "-h", "--helpfull", "--helpshort"} & set(ARGUMENTS)
    first, *others = (argument for argument in ARGUMENTS if argument not in asked)
    named = any(re.match("--?config(=|$)", argument) for argument in others)
    if asked and not named:
        _show(page())
    default = [] if named else [f"--config={_run_of(others) or DEFAULT}"]
    try:
        words = flags.FLAGS([first, *default, *others])
    except (flags.Error, AttributeError, KeyError, ValueError, TypeError, SyntaxError) as error:
        message = " ".join(str(error.args[0]).split()).strip('"')
        if isinstance(error, AttributeError | KeyError):  # ml_collections names the key alone.
            message = f"no key of the config: {message} (--config=NAME --help lists all)"
        sys.exit(f"error: {message}")
    if len(words) > 1:
        sys.exit(f"error: {words[1]!r} is no flag; flags begin with --, see --help")
    if asked:
        made = CONFIG.value
        settings = made.as_json(as_key) if isinstance(made, Study) else made
        _show("\n".join(f"--config.{key}={value!r}" for key, value in flatten(settings)))
    return words


def _run_of(arguments: list[str]) -> Path | None:
    """Return the config of the run in --workdir, if keys of a config are changed and none is named.

    Keys are then looked up in that run's config, not in the default one.
    """
    changes = any(re.match(r"--?config\.", argument) for argument in arguments)
    places = [m[1] for argument in arguments if (m := re.match("--?workdir=(.+)", argument))]
    if not changes or not places:
        return None
    path = Path(places[-1]).expanduser() / "config.json"
    return path if path.is_file() else None


def _show(text: str) -> Never:
    """Print a text and exit; ignore a pipe that its reader has closed, as `head` does."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(0)


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

flags of {flags}"""


def page() -> str:
    """Build the page that --help prints."""
    from gca_jax import losses  # here: importing it is slower than reporting a mistake
    from gca_jax.models import ENCODERS

    modes = {name: str(command.__doc__).splitlines()[0] for name, command in COMMANDS.items()}
    return PAGE.format(
        program=program(),
        methods=", ".join(losses.METHODS),
        encoders=", ".join(ENCODERS),
        smoke=config.SMOKE,
        configs=config.names(),
        studies=config.names(config.FOLDER / "studies"),
        modes="\n".join(f"  {name:<12}{text}" for name, text in modes.items()),
        flags=flags.FLAGS.module_help(__name__),
    )
