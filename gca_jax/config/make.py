"""Makes configs: of a kind of data with options, of a file, of a run that was made before."""

import runpy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict, config_dict

from gca_jax import check
from gca_jax.config.files import find
from gca_jax.config.groups import (
    ADAMW,
    BYOL,
    EVALUATION,
    HEADS,
    LOG,
    LOSS,
    NO_SETTINGS,
    OPTIONAL,
    PAIRS,
    SMOKE,
    TRAIN,
    UNCHANGED,
    Settings,
)

# Losses, networks and policies are imported where a config is made, not where one is looked for.


def make(kind: str, options: str = "", **changes: Any) -> ConfigDict:
    """Make a config: the default settings of a kind of data, with changes.

    Args:
        kind: A key of `KINDS`: "images", "pairs", or "own" for data that are given in Python.
        options: After the colon of --config, in any order and each of them optional: a method, an
            encoder (or kind of towers), and `smoke`, which shrinks a run until every part of it is
            over in a minute.
        **changes: Keywords of the kind's function: groups of settings.

    Raises:
        ValueError: An unknown kind; an unknown option, or two of a kind.
        TypeError: A change of a setting that there is not.
    """
    check.one_of("kind", kind, KINDS)
    return KINDS[kind](options, **changes)


def images(
    options: str,
    *,
    data: Settings,
    side: int,
    augment: Settings,
    method: str = "gca_uot",
    target: Settings = UNCHANGED,
    resnet: Settings = UNCHANGED,
    heads: Settings = UNCHANGED,
    optimizer: Settings = ADAMW,
    train: Settings = UNCHANGED,
    loss: Settings = UNCHANGED,
    evaluation: Settings = UNCHANGED,
    byol: Settings = UNCHANGED,
    smoke: Settings = UNCHANGED,
    own_words: Sequence[str] = (),
) -> ConfigDict:
    """Make the config of a set of images.

    Args:
        options: As in `make`.
        data: The whole group: keywords of the data set's reader, and its `name`.
        side: Pixels of the images' side, which the encoder's settings suit.
        augment: Arguments of `policies.settings`.
        method: Where `options` name none; the encoder is then a ResNet.
        target: Settings of the target plan, see `targets.make`.
        resnet: Settings of a ResNet, where they are not those of `resnet.settings(side)`.
        heads: Widths of the projector.
        optimizer: The whole group.
        train: Length of the run and size of its batches.
        loss: Settings of any method; the chosen one takes what it has.
        evaluation: Settings of the probes.
        byol: Settings that no other method has.
        smoke: Changes of the data in a smoke run.
        own_words: Options that the config file itself makes something of.
    """
    from gca_jax.data.views import policies
    from gca_jax.models import ENCODERS

    method, name, small = read_options(options, method, ENCODERS, own_words)
    encoder = ENCODERS[name]
    settings = encoder.settings(side)
    if name == "resnet":
        settings = changed("resnet", settings, resnet)
    config = ConfigDict(dict(method=method, seed=0))
    config.target = target_group(target)
    config.evaluation = changed("evaluation", EVALUATION, evaluation)
    config.data = group({"kind": "images", **data})
    config.augment = group(policies.settings(**augment))
    config.model = group({"encoder": name, **settings, **changed("heads", HEADS, heads)})
    config.optimizer = group(optimizer)
    config.train = group(changed("train", TRAIN, train))
    config.loss = loss_group(method, {**LOSS, **loss})
    config.log = group(LOG)
    if method == "byol":
        _add_target_network(config, byol)
    if small:
        config.model.update(encoder.smoke(settings))
        config.data.update({"limit": 400, **smoke})
        _shrink(config)
    return config


def _add_target_network(config: ConfigDict, changes: Settings) -> None:
    """Give BYOL its predictor and the decay of its target network's average."""
    settings = changed("byol", BYOL, changes)
    config.model.predictor_hidden = config.model.projector_hidden
    config.model.projector_batch_norm = settings["projector_batch_norm"]
    config.train.target_decay = settings["target_decay"]


def _shrink(config: ConfigDict) -> None:
    """Let every part of a run be over in a minute."""
    config.model.update(projector_hidden=32, projector_dim=16)
    config.optimizer.warmup_epochs = 0.0
    config.train.update(batch_size=96, epochs=1, checkpoint_every_epochs=1, log_every_steps=1)
    config.evaluation.update(
        labels_per_class=5, draws=2, validation_fraction=0.5, strengths=(1.0,), neighbours=(1,)
    )


def pairs(
    options: str,
    *,
    data: Settings = UNCHANGED,
    target: Settings = UNCHANGED,
    model: Settings = UNCHANGED,
    optimizer: Settings = UNCHANGED,
    train: Settings = UNCHANGED,
    loss: Settings = UNCHANGED,
) -> ConfigDict:
    """Make the config of a run on pairs of two sets; each group is `PAIRS`'s, with changes.

    Args:
        options: A method, a kind of towers, `smoke`.
        data: The two sets and their split, keywords of `data.pairs.load`.
        target: Settings of the target plan, see `targets.make`.
        model: Keywords of `towers.create`, and `learn_epsilon`.
        optimizer: Changes of `ADAMW`.
        train: Length of the run and size of its batches.
        loss: Settings of any method; the chosen one takes what it has.
    """
    from gca_jax.models.towers import TOWERS

    method, tower, small = read_options(options, "gca_ince", TOWERS)
    if method == "byol":
        raise ValueError("byol needs a network of its own for its targets: not for pairs")
    config = ConfigDict(dict(method=method, seed=0))
    config.target = target_group(target)
    config.evaluation = dict(PAIRS["evaluation"])
    config.data = group({"kind": "pairs", **changed("data", PAIRS["data"], data)})
    towers = {**PAIRS["model"], "tower_a": tower, "tower_b": tower}
    config.model = group(changed("model", towers, model))
    config.optimizer = group({**ADAMW, "warmup_epochs": 0.0, **optimizer})
    config.train = group(changed("train", PAIRS["train"], train))
    config.loss = loss_group(method, {**LOSS, **PAIRS["loss"], **loss})
    config.log = group(LOG)
    if small:
        config.model.update(hidden_a=(16,), hidden_b=(16,), dim=8)
        config.data.limit = 400
        config.train.update(batch_size=96, steps=6, log_every_steps=1)
    return config


def own(
    options: str,
    *,
    data: Settings = UNCHANGED,
    target: Settings = UNCHANGED,
    heads: Settings = UNCHANGED,
    optimizer: Settings = ADAMW,
    train: Settings = UNCHANGED,
    loss: Settings = UNCHANGED,
    evaluation: Settings = UNCHANGED,
    byol: Settings = UNCHANGED,
) -> ConfigDict:
    """Make the config of a run on data that are given in Python, as `data.Data` describes them.

    Args:
        options: A method.
        data: The whole group, which the data themselves may read.
        target: Settings of the target plan, see `targets.make`.
        heads: Widths of the projector, on an encoder that is given too.
        optimizer: The whole group.
        train: Length of the run and size of its batches.
        loss: Settings of any method; the chosen one takes what it has.
        evaluation: The whole group, which the data's evaluations may read.
        byol: Settings that no other method has.
    """
    method, _, _ = read_options(options, "gca_ince", ("given",))
    config = ConfigDict(dict(method=method, seed=0))
    config.target = target_group(target)
    config.evaluation = group(evaluation)
    config.data = group({"kind": "own", "name": "own", **data})
    config.model = group(changed("heads", HEADS, heads))
    config.optimizer = group(optimizer)
    config.train = group(changed("train", TRAIN, train))
    config.loss = loss_group(method, {**LOSS, **loss})
    config.log = group(LOG)
    if method == "byol":
        _add_target_network(config, byol)
    return config


KINDS: dict[str, Callable[..., ConfigDict]] = {"images": images, "pairs": pairs, "own": own}
"""Configs by the kind of their data, `data.kind`."""


def load(name: str, options: str = "") -> Any:
    """Make a config as `--config=NAME:OPTIONS` does.

    Args:
        name: A file, a name in the project's folder (`digits`, `studies/table2`), or the
            `config.json` of a run, whose config is made again.
        options: As in `make`.

    Returns:
        The config of a run, a `ConfigDict`, or a study, where the file is of one.

    Raises:
        ValueError: There is no such file, or an option that is not known.
    """
    path = find(name)
    if path.suffix == ".json":
        return of_run(f"{path}:{options}".rstrip(":"))
    return runpy.run_path(str(path))["get_config"](options)


def of_run(path: str) -> ConfigDict:
    """Make the config of a run again, from its `config.json`.

    Raises:
        ValueError: The file is damaged or is no run's, or an option follows it.
    """
    from gca_jax.workdir import RunFolder

    if ".json:" in path:
        raise ValueError("a run's config takes no options: --config.KEY=VALUE changes it")
    file = find(path)
    return restore(RunFolder(file.parent).config)


def restore(record: Mapping[str, Any]) -> ConfigDict:
    """Make a config with the values of a run's record, which is JSON, unlocked.

    Optional settings are declared, so that a flag can set them, and lists are tuples again.
    """
    config = ConfigDict()
    for name, value in record.items():
        is_group = isinstance(value, Mapping)
        config[name] = _restored(value, _optional(name, record)) if is_group else value
    return config


def _restored(values: Mapping[str, Any], types: Mapping[str, type]) -> ConfigDict:
    """Fill a group whose optional settings are declared."""
    given = {key: tuple(x) if isinstance(x, list) else x for key, x in values.items()}
    declared = {key: types.get(key, object if x is None else x) for key, x in given.items()}
    filled = ConfigDict(group(declared))
    filled.update(given)
    return filled


def _optional(name: str, record: Mapping[str, Any]) -> Mapping[str, type]:
    """Give the types of the optional settings of a group, by name."""
    from gca_jax import losses

    if name == "target":
        from gca_jax import targets

        return targets.settings()
    if name == "augment":
        from gca_jax.data.views import policies

        return policies.STRENGTHS
    if name != "loss":
        return OPTIONAL
    known = losses.keywords(record["method"]) if record["method"] in losses.METHODS else {}
    return {key: object for key, value in known.items() if value is None}


def may_be_none(config: ConfigDict, path: str) -> bool:
    """Tell whether a setting of the config, by its dotted path, can be None."""
    from gca_jax import losses

    *parents, key = path.split(".")
    for parent in parents:
        config = config[parent]
    declared = dict(config.items(preserve_field_references=True))[key]
    of_losses = {k for m in losses.METHODS for k, v in losses.keywords(m).items() if v is None}
    is_reference = isinstance(declared, config_dict.FieldReference)
    return is_reference or key in OPTIONAL or key in of_losses


def read_options(
    options: str, method: str, networks: Iterable[str], own_words: Sequence[str] = ()
) -> tuple[str, str, bool]:
    """Read the method, the encoder (the first, if none), and whether a smoke run is asked for."""
    from gca_jax import losses

    known, others = tuple(networks), (SMOKE, *own_words)
    named = [option for option in options.split(",") if option and option not in others]
    methods = [option for option in named if option in losses.METHODS]
    encoders = [option for option in named if option in known]
    for option in named:
        if option not in methods + encoders:
            raise ValueError(
                f"unknown method {option!r}; one of: {', '.join(losses.METHODS)}; an encoder "
                f"({', '.join(known)}) and {' or '.join(map(repr, others))} may be added: "
                f"FILE:METHOD,ENCODER,{SMOKE}"
            )
    for kind, found in (("method", methods), ("encoder", encoders)):
        if len(found) > 1:
            raise ValueError(f"one {kind} at a time, got {', '.join(found)}")
    return [*methods, method][0], [*encoders, known[0]][0], SMOKE in options.split(",")


def changed(group: str, shared: Settings, changes: Settings) -> dict[str, object]:
    """Change settings that are there."""
    if unknown := changes.keys() - shared.keys():
        raise TypeError(f"{group} has no {', '.join(sorted(unknown))}; it has: {', '.join(shared)}")
    return {**shared, **changes}


def group(settings: Settings) -> dict[str, object]:
    """Make a group of a config, its optional settings declared."""
    return {
        key: config_dict.placeholder(value) if isinstance(value, type) else value
        for key, value in settings.items()
    }


def target_group(changes: Settings) -> dict[str, object]:
    """Make the `target` group: the settings of all targets, of which the identity takes none."""
    from gca_jax import targets

    return group(changed("target", {"name": "identity", **targets.settings()}, changes))


def loss_group(method: str, settings: Settings) -> dict[str, object]:
    """Make the `loss` group: all that the method's loss takes, its defaults changed."""
    from gca_jax import losses

    unknown = settings.keys() - {key for each in losses.METHODS for key in _defaults(each)}
    if unknown:
        raise TypeError(f"no method takes {', '.join(sorted(unknown))}")
    defaults = _defaults(method)
    values = defaults | {key: value for key, value in settings.items() if key in defaults}
    return group({key: object if value is None else value for key, value in values.items()})


def _defaults(method: str) -> dict[str, object]:
    from gca_jax import losses

    known = losses.keywords(method)
    return {key: value for key, value in known.items() if key not in NO_SETTINGS}
