"""Makes configs: of a kind of data with options, of a file, of a run that was made before."""

import contextlib
import runpy
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from ml_collections import ConfigDict, config_dict

from gca_jax import check
from gca_jax.config import groups
from gca_jax.config.files import find
from gca_jax.config.groups import AUTO, CANDIDATES, SMOKE, UNCHANGED, Settings

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
    optimizer: Settings = groups.ADAMW,
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
    config = _config(
        method,
        target,
        loss,
        byol,
        evaluation=changed("evaluation", groups.EVALUATION, evaluation),
        data={"kind": "images", **groups.FILE, **data},
        augment=policies.settings(**augment),
        model={"encoder": name, **settings, **changed("heads", groups.HEADS, heads)},
        optimizer=optimizer,
        train=changed("train", groups.TRAIN, train),
    )
    if small:
        config.model.update(encoder.smoke(settings))
        config.data.update({"limit": 400, **smoke})
        _shrink(config)
    return config


def _config(
    method: str, target: Settings, loss: Settings, byol: Settings, **parts: Settings
) -> ConfigDict:
    """Put a config together: the groups that are given, and those that all configs have."""
    config = ConfigDict(dict(method=method, seed=0, target=target_group(target)))
    for name, settings in parts.items():
        config[name] = group(settings)
    config.loss = loss_group(method, {**groups.LOSS, **loss, **_own(method)})
    config.log = group(groups.LOG)
    if method == "byol":  # its predictor, and the decay of its target network's average
        settings = changed("byol", groups.BYOL, byol)
        config.model.predictor_hidden = config.model.projector_hidden
        config.model.projector_batch_norm = settings["projector_batch_norm"]
        config.train.target_decay = settings["target_decay"]
    return config


def _own(method: str) -> Settings:
    """Return settings of the loss whose name means something else in other methods."""
    return groups.GCE if method in ("gce", "gca_gce") else UNCHANGED


def _shrink(config: ConfigDict) -> None:
    """Shrink a config to a smoke run, each part of which ends within a minute."""
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
        options: A method, a kind of towers, `smoke`. In place of a method `auto`, which is the best
            of `candidates`; the towers are then theirs, unless a kind is named.
        data: The two sets and their split, keywords of `data.pair_files.load`.
        target: Settings of the target plan, see `targets.make`.
        model: Keywords of `towers.create`, and `learn_epsilon`.
        optimizer: Changes of `ADAMW`.
        train: Length of the run and size of its batches.
        loss: Settings of any method.
    """
    from gca_jax.models.towers import TOWERS

    auto = AUTO in options.split(",")
    kinds, default = ((AUTO, *TOWERS), AUTO) if auto else (TOWERS, "gce")
    method, tower, small = read_options(options, default, kinds, (AUTO,))
    if method == "byol":
        raise ValueError("byol needs a network of its own for its targets: not for pairs")
    if auto and method != AUTO:
        raise ValueError(f"one method at a time, got {AUTO}, {method}")
    towers = {**groups.PAIRS["model"], "tower_a": tower, "tower_b": tower}
    config = _config(
        method,
        target,
        {**groups.PAIRS["loss"], **loss},
        UNCHANGED,
        evaluation=groups.PAIRS["evaluation"],
        data={"kind": "pairs", **changed("data", groups.PAIRS["data"], data)},
        model=changed("model", towers, model),
        optimizer={**groups.ADAMW, "warmup_epochs": 0.0, **optimizer},
        train=changed("train", groups.PAIRS["train"], train),
    )
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
    optimizer: Settings = groups.ADAMW,
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
        loss: Settings of any method.
        evaluation: The whole group, which the data's evaluations may read.
        byol: Settings that no other method has.
    """
    method, _, _ = read_options(options, "gca_ince", ("given",))
    return _config(
        method,
        target,
        loss,
        byol,
        evaluation=evaluation,
        data={"kind": "own", "name": "own", **data},
        model=changed("heads", groups.HEADS, heads),
        optimizer=optimizer,
        train=changed("train", groups.TRAIN, train),
    )


def candidates(asked: ConfigDict) -> dict[str, ConfigDict]:
    """Make the configs that a run on pairs under `auto` tries, by name; equal ones once.

    Each is what was asked for, with a method, towers (if no kind was named) and a target of its
    own.

    Raises:
        ValueError: A target was named.
    """
    if asked.target.name != "identity":
        raise ValueError(
            f"config.target: {AUTO} tries targets of its own: leave name={asked.target.name} out, "
            "or name a method"
        )
    made: dict[str, ConfigDict] = {}
    for method, kind, target in CANDIDATES:
        towers = [kind if x == AUTO else x for x in (asked.model.tower_a, asked.model.tower_b)]
        label = method if target == "identity" else target
        name = "-".join([label, *dict.fromkeys(towers)])
        if name in made:
            continue
        one = asked.copy_and_resolve_references().unlock()
        common, one.method, one.target.name = one.loss, method, target
        one.model.tower_a, one.model.tower_b = towers
        one.loss = loss_group(method, {**groups.LOSS, **groups.PAIRS["loss"], **_own(method)})
        one.loss.update(common)
        made[name] = one.lock()
    return made


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
    if path.suffix != ".json":
        # Not imported: it may lie in any folder, and have the name of another module.
        with _importable(path.resolve().parent):
            return runpy.run_path(str(path))["get_config"](options)
    from gca_jax.workdir import RunFolder

    if options:
        raise ValueError("a run's config takes no options: --config.KEY=VALUE changes it")
    return restore(RunFolder(path.parent).config)


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let a config import the files beside it; those of another folder may have the same names."""
    before = {*sys.modules}
    sys.path.append(str(folder))  # the last one: a file hides no library
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in sorted({*sys.modules} - before, reverse=True):  # a package after its modules
            top, _, _ = name.partition(".")
            file = getattr(sys.modules.get(top), "__file__", None)
            beside = file is not None and Path(file).parent in (folder, folder / top)
            if beside and top not in before:
                del sys.modules[name]


def restore(record: Mapping[str, Any]) -> ConfigDict:
    """Make an unlocked config with the values of a run's record, which is JSON.

    Optional settings are declared, so that a flag can set them, and lists are tuples again.
    """
    from gca_jax import targets
    from gca_jax.data.views import policies

    types = {"target": targets.settings(), "augment": policies.STRENGTHS, "loss": {}}
    made = ConfigDict()
    for name, value in record.items():
        if isinstance(value, Mapping):
            known = types.get(name, groups.OPTIONAL)
            value = ConfigDict({key: _declared(x, known.get(key)) for key, x in value.items()})
        made[name] = value
    return made


def _declared(value: Any, kind: type | None) -> Any:
    """Declare the value of a setting; `kind` is the type of one that is optional."""
    value = tuple(value) if isinstance(value, list) else value
    if kind is None and value is not None:
        return value
    return config_dict.FieldReference(value, field_type=kind or object)


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
    """Apply changes to known settings."""
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

    if method == AUTO:  # what all candidates take
        each = [_defaults(one) for one, _, _ in CANDIDATES]
        return {key: value for key, value in each[0].items() if all(key in one for one in each)}
    known = losses.keywords(cast(losses.Method, method))
    return {key: value for key, value in known.items() if key not in groups.NO_SETTINGS}
