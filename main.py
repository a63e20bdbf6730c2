"""Pretrain an encoder, evaluate it, report; `--config.KEY=VALUE` changes a setting of the run."""

import sys

from absl import app, flags, logging
from ml_collections import config_flags

PROGRAMS = ("pretrain", "evaluate", "report")
CONFIG = config_flags.DEFINE_config_file("config", "configs/digits.py", "FILE:METHOD of a run.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
MODE = flags.DEFINE_enum("mode", "all", ("all", *PROGRAMS), "Which program; all: one by one.")
DISTRIBUTED = flags.DEFINE_bool("distributed", False, "With --mode=pretrain on a cluster.")
VERBOSE = flags.DEFINE_bool("verbose", False, "Show libraries' messages and whole tracebacks.")


def run(program: str) -> None:
    """Run one of the three programs; they meet only in the workdir."""
    if program == "pretrain":
        from gca_jax.evaluation.probes import check_settings
        from gca_jax.training.loop import pretrain

        pretrain(CONFIG.value, WORKDIR.value, DISTRIBUTED.value, check_settings)
    elif program == "evaluate":
        from gca_jax.evaluation.run import evaluate

        print("evaluating ...", flush=True)
        evaluate(WORKDIR.value)
    else:
        from gca_jax.report.run import write

        for name, accuracy in write(WORKDIR.value)["accuracy"].items():
            print(f"{name}: {accuracy:.1%}")
        print(f"report: {WORKDIR.value.rstrip('/')}/report.md")


def main(argv: list[str]) -> None:
    """Run what was asked for; a mistake of the caller's is one line, not a traceback."""
    logging.set_verbosity(logging.INFO if VERBOSE.value else logging.ERROR)
    try:
        for program in PROGRAMS if MODE.value == "all" else (MODE.value,):
            run(program)
    except (KeyboardInterrupt, ValueError, OSError) as error:
        if VERBOSE.value:
            raise
        sys.exit(f"error: {error}" if isinstance(error, Exception) else str(error) or "interrupted")


def parse(argv: list[str]) -> list[str]:
    """Read the flags, config included; a mistake in them is one line too."""
    try:
        return flags.FLAGS(argv)
    except (flags.Error, AttributeError, KeyError) as error:
        sys.exit(
            "error: " + str(error).split("Error: ")[-1].replace("\\n", ": ").replace("\\'", "'")
        )


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
