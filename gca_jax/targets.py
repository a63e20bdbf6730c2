"""Builds the target plan of a batch from the `target` group of a config (section 3.4)."""

import dataclasses
import inspect
import typing
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from gca_jax import check, ot

LATE = 2**31 - 1  # a step after any warm-up
Info = Mapping[str, Array | np.ndarray]
"""What is known of the samples of a batch, arrays [b, ...] by name: "labels", "domains"."""


@dataclasses.dataclass(frozen=True)
class BatchTarget:
    """The target plan of a batch as a function of what is known of its samples; made by `make`.

    Attributes:
        takes: Entries of a batch's `info` that `plan` takes, in its order.
        plan: Maps them to a target plan; None keeps the losses' own, the identity, which aligns the
            two views of one sample.
        learned: Maps a step to a target that is a function of the plan.
    """

    takes: tuple[str, ...] = ()
    plan: Callable[..., ot.target_types.AnyTarget] | None = None
    learned: Callable[[Array | int], Callable[..., object]] | None = None

    def keywords(self, info: Info, step: Array | int = LATE) -> dict[str, Any]:
        """Give what a loss takes besides its settings, for a batch at a step."""
        if self.learned is not None:
            return {"target": self.learned(step)}
        if self.plan is None:
            return {}
        return {"target": self.plan(*(info[name] for name in self.takes))}


def weighted() -> BatchTarget:
    """Weigh each pair by how likely it is right, a number that the data have."""
    return BatchTarget(("quality",), ot.target.weighted)


def blocks(*, alpha: float, beta: float = 0.0) -> BatchTarget:
    """Align images of one domain too, by α, and of two domains, by β; a positive pair weighs 1."""
    check.non_negative("alpha", alpha)
    check.non_negative("beta", beta)
    return BatchTarget(("domains",), partial(ot.target.blocks, alpha=alpha, beta=beta))


def continuous(*, bandwidth: float) -> BatchTarget:
    """Weigh pairs by how near their labels are, which are real numbers: y-aware contrast."""
    check.positive("bandwidth", bandwidth)
    return BatchTarget(("labels",), partial(ot.target.continuous, bandwidth=bandwidth))


def self_weighted(
    *, sharpness: float = 1.0, floor: float = 0.0, keep: float = 1.0, warmup_steps: int = 0
) -> BatchTarget:
    """Weigh each image's pair of views by the plan's mass on it, after steps with the identity."""
    ot.learned.check_settings(sharpness, floor, keep)  # which the step traces
    check.at_least("warmup_steps", warmup_steps, 0)

    def learned(step: Array | int) -> Callable[..., object]:
        warm = jnp.asarray(step >= warmup_steps)
        settings = {
            "sharpness": jnp.where(warm, sharpness, 0.0),
            "keep": jnp.where(warm, keep, 1.0),
        }
        return jax.tree_util.Partial(ot.learned.self_weighted, floor=floor, **settings)

    return BatchTarget(learned=learned)


def bootstrapped(*, share: float, warmup_steps: int = 0) -> BatchTarget:
    """Mix the identity with the plan itself, after steps with the identity alone."""
    check.between("share", share, 0.0, 1.0)
    check.at_least("warmup_steps", warmup_steps, 0)

    def learned(step: Array | int) -> Callable[..., object]:
        now = jnp.where(jnp.asarray(step >= warmup_steps), share, 0.0)
        return jax.tree_util.Partial(ot.learned.bootstrapped, share=now)

    return BatchTarget(learned=learned)


def evidence(*, share: float | None = None, warmup_steps: int = 0) -> BatchTarget:
    """Take the plan whose prior are the pairs, right by `share`, after steps with the identity.

    `share` None: estimated from the plan of each batch.
    """
    if share is not None:
        check.between("share", share, 0.0, 1.0)
    check.at_least("warmup_steps", warmup_steps, 0)

    def learned(step: Array | int) -> Callable[..., object]:
        warm = jnp.asarray(step >= warmup_steps)
        return jax.tree_util.Partial(_posterior, warm=warm, share=share)

    return BatchTarget(learned=learned)


def _posterior(plan: ot.Plan, *, warm: Array, share: float | None) -> ot.target_types.DenseTarget:
    known = ot.learned.likeliest_share(plan) if share is None else share
    return ot.learned.evidence(plan, share=jnp.where(warm, known, 1.0))


def smoothed(*, share: float) -> BatchTarget:
    """Mix the identity with the uniform plan: label smoothing."""
    check.between("share", share, 0.0, 1.0)
    return BatchTarget(learned=lambda step: jax.tree_util.Partial(ot.learned.smoothed, share=share))


TARGETS: dict[str, Callable[..., BatchTarget]] = {
    "identity": lambda: BatchTarget(),
    "weighted": weighted,
    "blocks": blocks,
    "classes": lambda: BatchTarget(("labels",), ot.target.classes),  # supervised contrast
    "continuous": continuous,
    "self_weighted": self_weighted,
    "bootstrapped": bootstrapped,
    "evidence": evidence,
    "smoothed": smoothed,
}


def settings() -> dict[str, type]:
    """Give the types of the settings of all targets, by name: the keywords of `TARGETS`."""
    parameters = (inspect.signature(make).parameters.values() for make in TARGETS.values())
    return {
        one.name: next(iter(typing.get_args(one.annotation)), one.annotation)  # X of X | None
        for each in parameters
        for one in each
    }


def make(name: str, **weights: float | None) -> BatchTarget:
    """Make the target from the `target` group of a config.

    Args:
        name: a key of `TARGETS`.
        **weights: what that target takes; None is not given.

    Raises:
        ValueError: an unknown name, a weight that the target does not take, or one out of range.
        TypeError: a weight is missing.
    """
    check.one_of("name", name, TARGETS)
    given = {key: value for key, value in weights.items() if value is not None}
    check.keywords(name, TARGETS[name], given)
    return TARGETS[name](**given)
