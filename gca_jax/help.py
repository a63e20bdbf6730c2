"""What --help prints: of the command line, or of one config."""

from absl import flags
from ml_collections import ConfigDict

from gca_jax import config_files, losses
from gca_jax.config import SMOKE
from gca_jax.models import ENCODERS
from gca_jax.programs import PROGRAMS, program
from gca_jax.workdir import flatten

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
    modes = {name: str(program.__doc__).splitlines()[0] for name, program in PROGRAMS.items()}
    module = str(flags.FLAGS.find_module_defining_flag("mode"))
    known = {
        f"--{flag.name}": flag.help.rpartition(">: ")[2]  # without the values, which are above
        for flag in flags.FLAGS.flags_by_module_dict()[module]
    }
    return PAGE.format(
        program=program(),
        methods=", ".join(losses.METHODS),
        encoders=", ".join(ENCODERS),
        smoke=SMOKE,
        configs=config_files.names(),
        studies=config_files.names(config_files.FOLDER / "studies"),
        modes=_table(modes),
        flags=_table(dict(sorted(known.items()))),
    )


def keys(config: ConfigDict) -> str:
    """List the keys of a config as flags, with the values that they have."""
    return "\n".join(f"--config.{key}={value!r}" for key, value in flatten(config))


def _table(rows: dict[str, str]) -> str:
    width = max(map(len, rows))
    return "\n".join(f"  {name:<{width}}  {text}" for name, text in rows.items())
