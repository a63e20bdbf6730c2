"""A run on pairs of two sets: two towers whose embeddings are aligned; its parts, made here."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from jaxtyping import Array, PRNGKeyArray
from ml_collections import ConfigDict

from gca_jax.data import pairs
from gca_jax.data.pairs import PairBatches, Pairs
from gca_jax.experiment import OwnLoss, Trainable, blame, named, prepare
from gca_jax.models import Towers, towers


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class PairExperiment(Trainable):
    """The parts of a run on pairs, ready to be trained or evaluated; made by `build`.

    Attributes:
        pairs: both sets and their split.
    """

    pairs: Pairs
    batches: PairBatches
    network: Towers
    unit: ClassVar[str] = "pairs"

    def make_views(self, key: PRNGKeyArray, batch: tuple[Array, Array]) -> tuple[Array, Array]:
        """Take both sides as they are."""
        return batch


def build(
    config: ConfigDict, *, data: Pairs | None = None, loss: OwnLoss | None = None
) -> PairExperiment:
    """Make the parts of a run on pairs; a part that is given replaces what the config names.

    Args:
        config: The run's, as `configs/pairs.py` makes it.
        data: Both sets, from `data.pairs.pair`. The `data` group is then not used.
        loss: As in `experiment.build`.

    Raises:
        ValueError: A mistake in the config, named with its group.
    """
    given = named({"pairs": data, "loss": loss})
    with blame("config.method"):
        if config.method == "byol":
            raise ValueError("byol needs a network of its own for its targets: not for pairs")
    shared = prepare(config, given, loss)
    with blame("config.model"):
        network = towers.create(**_tower_settings(config))
    if data is None:
        with blame("config.data"):
            data = pairs.load(**config.data, split=config.evaluation.split)
    groups = data.batches.groups if shared["alignment"].known else None
    if shared["alignment"].known and groups is None:
        raise ValueError(
            f"config.target: {config.target.name} needs labels of the pairs: "
            "--config.data.labels=FILE, or labels= in Python"
        )
    batches = dataclasses.replace(data.batches, groups=groups)
    return PairExperiment(**shared, pairs=data, batches=batches, network=network)


def _tower_settings(config: ConfigDict) -> Mapping[str, Any]:
    """Give the keywords of `towers.create`: a learned ε starts at the one of the loss."""
    settings = dict(config.model)
    learned = settings.pop("learn_epsilon")
    if not learned:
        return settings
    if config.loss.get("epsilon") is None:
        raise ValueError(f"{config.method} has no epsilon that could be learned")
    return {**settings, "epsilon": config.loss.epsilon}
