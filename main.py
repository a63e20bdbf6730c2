"""Pretrain an encoder, evaluate it, report; `--config.KEY=VALUE` changes a setting of the run."""

import sys
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from gca_jax.config import unknown_key
from gca_jax.programs import PROGRAMS, RUN, Command

FILE = "configs/digits.py"
CONFIG = config_flags.DEFINE_config_file("config", FILE, "FILE:METHOD of a run.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run; prepare and preview need none.")
MODE = flags.DEFINE_enum("mode", "all", ("all", *PROGRAMS), f"all: {', '.join(RUN)}.")
DISTRIBUTED = flags.DEFINE_bool("distributed", False, "With --mode=pretrain on a cluster.")
ARCHIVES = flags.DEFINE_string("archives", None, "With --mode=prepare: folder of downloaded files.")
VERBOSE = flags.DEFINE_bool("verbose", False, "Show libraries' messages and whole tracebacks.")


def main(argv: list[str]) -> None:
    """Run what was asked for; a mistake of the caller's is one line, not a traceback."""
    logging.set_verbosity(logging.INFO if VERBOSE.value else logging.ERROR)
    command = Command(CONFIG.value, WORKDIR.value, DISTRIBUTED.value, ARCHIVES.value)
    try:
        for program in RUN.values() if MODE.value == "all" else (PROGRAMS[MODE.value],):
            program(command)
    except (KeyboardInterrupt, ValueError, OSError) as error:
        if VERBOSE.value:
            raise
        sys.exit(f"error: {error}" if isinstance(error, Exception) else str(error) or "interrupted")


def parse(argv: list[str]) -> list[str]:
    """Read the flags, config included; a mistake in them is one line too."""
    try:
        words = flags.FLAGS(argv)
    except (flags.Error, AttributeError, KeyError, ValueError) as error:
        sys.exit(f"error: {wrong_key(argv) or str(error).split('Error: ')[-1].strip()}")
    path = Path(config_flags.get_config_filename(flags.FLAGS["config"]).split(":")[0])
    if not path.exists():
        there = ", ".join(sorted(file.name for file in path.parent.glob("*.py")))
        sys.exit(f"error: there is no config file {path}; {path.parent} has: {there or 'none'}")
    return words


def wrong_key(argv: list[str]) -> str | None:
    """What is wrong with the first setting that the config lacks, if there is one."""
    plain = [word for word in argv if "config." not in word.split("=")[0]]
    values = flags.FlagValues()
    config = config_flags.DEFINE_config_file("config", FILE, flag_values=values, sys_argv=plain)
    try:
        values(plain, known_only=True)
        return unknown_key(config.value, argv)
    except flags.Error:
        return None


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
