"""Where two towers start, and the pairs that they are then trained with."""

import dataclasses
from typing import NamedTuple

import numpy as np

from gca_jax import distributed
from gca_jax.data.pairs import ENOUGH, Pairs
from gca_jax.experiment import Experiment
from gca_jax.models import choice
from gca_jax.models.choice import Start
from gca_jax.models.closed_form import Maps
from gca_jax.models.evidence import Given
from gca_jax.workdir import MATCHES, RunFolder


class Prepared(NamedTuple):
    """A run on pairs before its first step, or as it was begun.

    Attributes:
        experiment: With the training pairs that the plan found, if it is to find them.
        maps: That the towers start from; None where they are drawn, or come from a checkpoint.
    """

    experiment: Experiment
    maps: Maps | None = None


def prepare(experiment: Experiment, folder: RunFolder) -> Prepared:
    """Fit the maps of `model.start`, and match rows by the plan if `train.partners` says so.

    With fewer than 20 validation pairs nothing tells when training has made a start worse. Unless
    the length of the run was set, it is then kept as it is.

    Args:
        experiment: From `experiment.build`.
        folder: Of the run. One that goes on reads its matches there.
    """
    if experiment.start is None:
        return Prepared(experiment)
    data: Pairs = experiment.data
    if folder.newest is not None:
        kept = folder.matches
        return Prepared(experiment if kept is None else experiment.on(data.matched(**kept)))
    rows = data.rows
    places = [np.searchsorted(own, of) for own, of in zip(rows, data.train, strict=True)]
    trust = None if data.quality is None else data.quality.astype(float)
    given = Given(np.stack(places, axis=1), trust)
    x, y = (side.features(own) for side, own in zip((data.a, data.b), rows, strict=True))
    start = choice.linear_start(experiment.start, x, y, given, seed=experiment.seed)
    _say(f"start: {start.choice}" if start.choice is not None else "")
    if _by_plan(experiment, start):
        found = start.matches(x, y, given)
        pairs = {key: own[of] for key, own, of in zip("ab", rows, found.pairs.T, strict=True)}
        pairs["quality"] = np.asarray(found.shares, np.float32)
        experiment = experiment.on(data.matched(**pairs))
        if distributed.first():
            folder.write_arrays(MATCHES, pairs)
    settings = experiment.train
    if settings.stop_by == "auto" and settings.steps is None and not experiment.by_validation:
        _say(
            f"note: {len(data.validation.a)} validation pairs do not tell when to stop, {ENOUGH} "
            "would: the towers stay where they start; --config.train.steps=N trains them"
        )
        settings = dataclasses.replace(settings, steps=0)
        experiment = dataclasses.replace(experiment, train=settings)
    return Prepared(experiment, start.maps)


def _by_plan(experiment: Experiment, start: Start) -> bool:
    """Tell whether the plan's partners are trained with.

    Left to itself: where rows of both sides are in no pair, and the plan finds held-out partners
    better than the pairs alone do.
    """
    partners, found = experiment.train.partners, start.choice
    if partners != "auto" or found is None:
        return partners == "plan"
    alone = all(map(len, experiment.data.unpaired))
    return alone and found.identified and found.name not in choice.CLOSED_FORMS


def _say(line: str) -> None:
    if line and distributed.first():
        print(line)
