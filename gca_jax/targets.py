"""What the plan of a batch is aligned with: the `target` group of a config (section 3.4)."""

import dataclasses
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int32

from gca_jax import check, ot

Groups = Int32[np.ndarray, "n"]
LATE = 2**31 - 1  # a step after any warm-up


@dataclasses.dataclass(frozen=True)
class Alignment:
    """A target plan as a function of the groups [b] of a batch; made by `make`.

    `known` names what the groups are, labels or domains; None if the target needs none. `plan` maps
    groups to a target plan; None keeps the losses' own, the identity, which aligns the two views of
    one image. `learned` maps a step to a target that is a function of the plan.
    """

    known: Literal["labels", "domains"] | None = None
    plan: Callable[..., ot.target.Target] | None = None
    learned: Callable[[Array | int], Callable[..., object]] | None = None

    def groups(self, labels: Groups | None, domains: Groups | None) -> Groups | None:
        """Give the group ids that the target needs, the labels or the domains [n] of a set."""
        if self.known is None:
            return None
        groups = {"labels": labels, "domains": domains}[self.known]
        if groups is None:
            raise ValueError(
                f"this target needs {self.known} and the images have none; identity needs none: "
                "--config.target.name=identity"
            )
        return groups

    def keywords(self, groups: Groups | Array | None, step: Array | int = LATE) -> dict[str, Any]:
        """Give what a loss takes besides its settings, for groups [b] of a batch at a step."""
        if self.learned is not None:
            return {"target": self.learned(step)}
        return {} if self.plan is None else {"target": self.plan(groups)}


def blocks(*, alpha: float, beta: float = 0.0) -> Alignment:
    """Align images of one domain too, by α, and of two domains, by β; a positive pair weighs 1."""
    for name, weight in (("alpha", alpha), ("beta", beta)):
        if not weight >= 0:
            raise ValueError(f"{name} must be at least 0, got {weight}")
    return Alignment("domains", partial(ot.target.blocks, alpha=alpha, beta=beta))


def self_weighted(
    *, sharpness: float = 1.0, floor: float = 0.0, keep: float = 1.0, warmup_steps: int = 0
) -> Alignment:
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

    return Alignment(learned=learned)


def bootstrapped(*, share: float, warmup_steps: int = 0) -> Alignment:
    """Mix the identity with the plan itself, after steps with the identity alone."""
    check.between("share", share, 0.0, 1.0)
    check.at_least("warmup_steps", warmup_steps, 0)

    def learned(step: Array | int) -> Callable[..., object]:
        now = jnp.where(jnp.asarray(step >= warmup_steps), share, 0.0)
        return jax.tree_util.Partial(ot.learned.bootstrapped, share=now)

    return Alignment(learned=learned)


def smoothed(*, share: float) -> Alignment:
    """Mix the identity with the uniform plan: label smoothing."""
    check.between("share", share, 0.0, 1.0)
    return Alignment(learned=lambda step: jax.tree_util.Partial(ot.learned.smoothed, share=share))


TARGETS: dict[str, Callable[..., Alignment]] = {
    "identity": lambda: Alignment(),
    "blocks": blocks,
    "classes": lambda: Alignment("labels", ot.target.classes),  # supervised contrast
    "self_weighted": self_weighted,
    "bootstrapped": bootstrapped,
    "smoothed": smoothed,
}


def make(name: str, **weights: float | None) -> Alignment:
    """Make the target from the `target` group of a config.

    Args:
        name: a key of `TARGETS`.
        **weights: what that target takes (`alpha`, `beta`; `share`; `sharpness`, `floor`, `keep`,
            `warmup_steps`); None is not given.

    Raises:
        ValueError: an unknown name, or a weight out of its range.
        TypeError: a weight that the target does not take, or lacks.
    """
    if name not in TARGETS:
        raise ValueError(f"unknown target {name!r}; one of: {', '.join(TARGETS)}")
    given = {key: value for key, value in weights.items() if value is not None}
    known = inspect.signature(TARGETS[name]).parameters
    if unknown := given.keys() - known.keys():
        takes = f"it takes {', '.join(known)}" if known else "it takes nothing"
        raise TypeError(f"{name} takes no {', '.join(sorted(unknown))}; {takes}")
    needed = [key for key, one in known.items() if one.default is one.empty and key not in given]
    if needed:
        raise TypeError(f"{name} needs {needed[0]}: --config.target.{needed[0]}=NUMBER")
    return TARGETS[name](**given)
