"""Where two towers start, and the pairs that they are then trained with."""

import dataclasses
from collections.abc import Callable, Mapping
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


class Fitted(NamedTuple):
    """What `model.start` finds in the data, which takes a while.

    Attributes:
        maps: That two towers start from.
        pairs: Training pairs that the plan found: rows `a`, `b` and `quality`; None where the given
            ones are trained with.
    """

    maps: Maps
    pairs: Mapping[str, np.ndarray] | None


def prepare(
    experiment: Experiment, folder: RunFolder, fit: Callable[[Experiment], Fitted] | None = None
) -> Prepared:
    """Fit the maps of `model.start`, and match rows by the plan if `train.partners` says so.

    With fewer than 20 validation pairs nothing tells when training has made a start worse. Unless
    the length of the run was set, it is then kept as it is.

    Args:
        experiment: From `experiment.build`.
        folder: Of the run. One that goes on reads its matches there.
        fit: In place of `fit_maps`, where other runs start there too.
    """
    if experiment.start is None:
        return Prepared(experiment)
    if folder.newest is not None:
        return Prepared(matched(experiment, folder.matches))
    fitted, given = (fit or fit_maps)(experiment), len(experiment.data.validation.a)
    experiment = matched(experiment, fitted.pairs)
    if fitted.pairs is not None and distributed.first():
        folder.write_arrays(MATCHES, fitted.pairs)
    settings = experiment.train
    if settings.stop_by == "auto" and settings.steps is None and not experiment.by_validation:
        _say(
            f"note: {given} validation pairs do not tell when to stop, {ENOUGH} "
            "would: the towers stay where they start; --config.train.steps=N trains them"
        )
        settings = dataclasses.replace(settings, steps=0)
        experiment = dataclasses.replace(experiment, train=settings)
    return Prepared(experiment, fitted.maps)


def fit_maps(experiment: Experiment) -> Fitted:
    """Fit the maps of `model.start`, and match rows by the plan if `train.partners` says so."""
    data: Pairs = experiment.data
    rows = data.rows
    places = [np.searchsorted(own, of) for own, of in zip(rows, data.train, strict=True)]
    trust = None if data.quality is None else data.quality.astype(float)
    given = Given(np.stack(places, axis=1), trust)
    x, y = (side.features(own) for side, own in zip((data.a, data.b), rows, strict=True))
    start = choice.linear_start(str(experiment.start), x, y, given, seed=experiment.seed)
    _say(f"start: {start.choice}" if start.choice is not None else "")
    if not _by_plan(experiment, start):
        return Fitted(start.maps, None)
    found = start.matches(x, y, given)
    pairs = {key: own[of] for key, own, of in zip("ab", rows, found.pairs.T, strict=True)}
    return Fitted(start.maps, {**pairs, "quality": np.asarray(found.shares, np.float32)})


def matched(experiment: Experiment, pairs: Mapping[str, np.ndarray] | None) -> Experiment:
    """Train with the pairs that the plan found, if there are any."""
    return experiment if pairs is None else experiment.on(experiment.data.matched(**pairs))


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
