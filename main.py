"""Pretrain an encoder, evaluate it, report; `--config.KEY=VALUE` changes a setting of the run."""

import sys

from absl import app, flags, logging
from ml_collections import config_flags

from gca_jax.programs import (
    ALONE,
    PROGRAMS,
    Command,
    broken_file,
    config_file,
    missing_file,
    wrong_key,
)

FILE = "configs/digits.py"
# With a default, ml_collections would look at the settings now, where no mistake can be caught.
CONFIG = config_flags.DEFINE_config_file("config", None, f"FILE:METHOD of a run; {FILE} if none.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run; prepare and preview need none.")
MODE = flags.DEFINE_enum("mode", "all", list(PROGRAMS), "all: pretrain, evaluate, report.")
DISTRIBUTED = flags.DEFINE_bool("distributed", False, "One of several processes on a cluster.")
COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "HOST:PORT of the first of several processes."
)
PROCESS = flags.DEFINE_integer("process_id", None, "Which of them this one is, from 0.")
PROCESSES = flags.DEFINE_integer("num_processes", None, "How many they are.")
ARCHIVES = flags.DEFINE_string("archives", None, "With --mode=prepare: folder of downloaded files.")
SKIP = flags.DEFINE_bool("skip_unreadable", False, "For --config.data.skip_unreadable=True.")
VERBOSE = flags.DEFINE_bool("verbose", False, "Show libraries' messages and whole tracebacks.")


def main(argv: list[str]) -> None:
    """Run what was asked for; a mistake of the caller's is one line, not a traceback."""
    logging.set_verbosity(logging.INFO if VERBOSE.value else logging.ERROR)
    if SKIP.value:
        if "skip_unreadable" not in CONFIG.value.data:
            sys.exit(
                f"error: of {CONFIG.value.data.name} no image can be skipped: one file has all"
            )
        CONFIG.value.data.skip_unreadable = True
    place = (COORDINATOR.value, PROCESS.value, PROCESSES.value)
    together = DISTRIBUTED.value or place != (None, None, None)
    if together and MODE.value in ALONE:
        sys.exit(f"error: --mode={MODE.value} is for one process")
    command = Command(CONFIG.value, WORKDIR.value, ARCHIVES.value, place if together else None)
    try:
        PROGRAMS[MODE.value](command)
    except (KeyboardInterrupt, ValueError, OSError) as error:
        if hasattr(error, "status"):  # It was stopped in good order, all processes at one step.
            print(error, file=sys.stderr)
            sys.exit(error.status)
        if VERBOSE.value:
            raise
        said = f"error: {error}" if isinstance(error, Exception) else str(error) or "interrupted"
        if together:
            from gca_jax import processes

            processes.leave(error, said)
        sys.exit(said)


def parse(argv: list[str]) -> list[str]:
    """Read the flags, config included; a mistake in them is one line too."""
    if config_file(argv) is None:
        argv = [argv[0], f"--config={FILE}", *argv[1:]]
    if lost := missing_file(argv):
        sys.exit(f"error: {lost}")
    try:
        words = flags.FLAGS(argv)
    except Exception as error:  # of a config file, which is any code
        sys.exit(f"error: {wrong_key(argv) or broken_file(argv, error)}")
    if len(words) > 1:
        sys.exit(f"error: {words[1]!r} is no flag; flags begin with --, see --help")
    return words


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
