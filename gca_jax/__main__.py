"""Pretrain an encoder, evaluate it, report; `--config.KEY=VALUE` changes a setting of the run."""

import shlex
import sys

try:
    from absl import app, flags, logging
    from ml_collections import config_flags

    from gca_jax.command_line import read_flags, run
    from gca_jax.programs import PROGRAMS, Command, program
except ModuleNotFoundError as error:
    sys.exit(f"error: a run needs more than the losses ({error}): install gca_jax[train]")

DEFAULT = "digits"
# With a default, ml_collections would look at the settings now, where no mistake can be caught.
CONFIG = config_flags.DEFINE_config_file("config", None, "NAME:METHOD or FILE:METHOD of a run.")
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder; runs/DATA-METHOD-SEED or runs/STUDY if none."
)
MODE = flags.DEFINE_enum("mode", "all", list(PROGRAMS), "What to do: see above.")
DISTRIBUTED = flags.DEFINE_bool("distributed", False, "One of several processes on a cluster.")
COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "HOST:PORT of the first of several processes."
)
PROCESS = flags.DEFINE_integer("process_id", None, "Which of them this one is, from 0.")
PROCESSES = flags.DEFINE_integer("num_processes", None, "How many they are.")
JOBS = flags.DEFINE_integer("jobs", 1, "Runs of a study at a time.")
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


if __name__ == "__main__":
    start()
