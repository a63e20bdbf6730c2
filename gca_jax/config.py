"""What the files in `configs/` share: how they are asked for, and what none of them changes.

A config is asked for as `--config=configs/cifar10.py:gca_uot,smoke`; the words after the colon are
a method and `smoke`, in any order, and both may be left out.
"""

import pathlib
import re
from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_dict, config_flags

from gca_jax import losses

SMOKE = "smoke"
# What a loss takes and a config cannot hold.
NO_SETTINGS = ("target", "mu", "nu", "cost_fn", "axis_name", "epsilon_min", "keep_plan")


def read(words: str, default: str = "gca_uot") -> tuple[str, bool]:
    """The method and whether a smoke run is asked for.

    Args:
        words: separated by commas.
        default: the method where none is named.

    Raises:
        ValueError: a word that is neither, or two methods.
    """
    named = [word for word in words.split(",") if word and word != SMOKE]
    for word in named:
        if word not in losses.METHODS:
            raise ValueError(
                f"unknown method {word!r}; one of: {', '.join(losses.METHODS)}; "
                f"and {SMOKE!r} may be added: FILE:METHOD,{SMOKE}"
            )
    if len(named) > 1:
        raise ValueError(f"one method at a time, got {', '.join(named)}")
    return (named or [default])[0], SMOKE in words.split(",")


def group(**settings: Any) -> dict[str, Any]:
    """A group of settings; a type stands for a setting that is not given but may be."""
    return {
        key: config_dict.placeholder(value) if isinstance(value, type) else value
        for key, value in settings.items()
    }


def loss(method: str, **settings: Any) -> dict[str, Any]:
    """The `loss` group: all that the method's loss takes, with its own defaults.

    Args:
        method: a key of `losses.METHODS`.
        **settings: of any method; those that this one takes replace its defaults.

    Raises:
        TypeError: a setting that no method takes.
    """
    unknown = settings.keys() - {key for each in losses.METHODS for key in _defaults(each)}
    if unknown:
        raise TypeError(f"no method takes {', '.join(sorted(unknown))}")
    defaults = _defaults(method)
    values = defaults | {key: value for key, value in settings.items() if key in defaults}
    return group(**{key: object if value is None else value for key, value in values.items()})


def _defaults(method: str) -> dict[str, Any]:
    known = losses.keywords(method)
    return {key: value for key, value in known.items() if key not in NO_SETTINGS}


def missing_file(words: str) -> str | None:
    """What is wrong where there is no such config file as "FILE:WORDS" names."""
    path = pathlib.Path(words.split(":")[0])
    if path.exists():
        return None
    there = ", ".join(sorted(file.name for file in path.parent.glob("*.py")))
    return f"there is no config file {path}; {path.parent} has: {there or 'none'}"


def wrong_key(arguments: Sequence[str], default: str) -> str | None:
    """What is wrong with the first setting on the command line whose key the config lacks.

    Args:
        arguments: of the command line; those that set a key begin with --config. or --noconfig.
        default: what --config is where it is not among them.

    Returns:
        None where every key is there, or the config cannot be read.
    """
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


def _fault(config: Any, path: Sequence[str]) -> str | None:
    """The first part of a key's path that is not there, and what is."""
    for depth, key in enumerate(path):
        where = ".".join(["config", *path[:depth]])
        if not isinstance(config, ConfigDict):
            return f"{where} has no key {key!r}; it is one value"
        if key not in config:
            return f"{where} has no key {key!r}; it has: {', '.join(config)}"
        config = config[key]
    return None


def start(method: str) -> ConfigDict:
    """A config with the groups that most data sets share, to be filled up."""
    config = ConfigDict(dict(method=method, seed=0))
    # What the plan is aligned with: identity, blocks (of alpha and beta) or classes.
    config.target = group(name="identity", alpha=float, beta=float)
    config.evaluation = dict(
        labels_per_class=10,
        draws=10,
        validation_fraction=0.1,
        strengths=(0.01, 0.1, 1.0, 10.0, 100.0),  # candidates of the linear probes
        neighbours=(1, 3, 5, 10, 20, 50),  # candidates of k
    )
    return config


def finish(
    config: ConfigDict,
    smoke: bool,
    *,
    target_decay: float = 0.996,
    limit: int = 400,
    size: int | None = None,
) -> ConfigDict:
    """Give BYOL what it alone has, and shrink a smoke run.

    Args:
        config: with all its groups.
        smoke: whether to shrink it until every part of a run is over in a minute.
        target_decay: of BYOL's target network.
        limit: images of each split in a smoke run; each class needs a few.
        size: pixels of a side in a smoke run, where the data set lets it be chosen.
    """
    if config.method == "byol":
        config.model.predictor_hidden = config.model.projector_hidden
        config.train.target_decay = target_decay
    if smoke:
        config.data.limit = limit
        if size is not None:
            config.data.size = size
        config.model.stage_sizes = tuple(1 for _ in config.model.stage_sizes)
        config.model.update(width=4, projector_hidden=32, projector_dim=16)
        config.optimizer.warmup_epochs = 0.0
        config.train.update(batch_size=96, epochs=1, checkpoint_every_epochs=1, log_every_steps=1)
        config.evaluation.update(
            labels_per_class=5, draws=2, validation_fraction=0.5, strengths=(1.0,), neighbours=(1,)
        )
    return config
