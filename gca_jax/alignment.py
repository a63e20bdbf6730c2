"""What the plan of a batch is aligned with: the `target` group of a config (section 3.4)."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import numpy as np
from jaxtyping import Array, Int, Int32

from gca_jax import ot

Known = Literal["labels", "domains"]
"""What a target has to know of each image."""
Groups = Int32[np.ndarray, "n"]


@dataclasses.dataclass(frozen=True)
class Alignment:
    """A target plan as a function of the batch; made by `make`.

    Attributes:
        known: what the groups of a batch are; None: each image is aligned with itself alone.
        plan: groups [b] -> target plan, which may be traced. None is the losses' own, the identity.
    """

    known: Known | None = None
    plan: Callable[[Int[Array, "b"]], ot.target.Target] | None = None

    def groups(self, labels: Groups | None, domains: Groups | None) -> Groups | None:
        """What the target has to know of each image of a set; None: nothing.

        Args:
            labels: [n] of the set, where it has them.
            domains: [n] likewise.

        Raises:
            ValueError: the target needs those that are not there.
        """
        if self.known is None:
            return None
        groups = {"labels": labels, "domains": domains}[self.known]
        if groups is None:
            raise ValueError(
                f"this target needs {self.known} and the images have none; identity needs none: "
                "--config.target.name=identity"
            )
        return groups

    def keywords(self, groups: Any) -> dict[str, Any]:
        """What a loss takes besides its settings, for a batch of these groups [b]."""
        return {} if self.plan is None else {"target": self.plan(groups)}


def identity() -> Alignment:
    """The two views of one image: the paper's self-supervised target."""
    return Alignment()


def blocks(*, alpha: float, beta: float = 0.0) -> Alignment:
    """Images of one domain too, by α, and of two domains, by β: for domain generalisation.

    Args:
        alpha: weight of a pair of images of one domain; a positive pair weighs 1.
        beta: weight of a pair across domains.

    Raises:
        ValueError: a weight below 0.
    """
    for name, weight in (("alpha", alpha), ("beta", beta)):
        if not weight >= 0:
            raise ValueError(f"{name} must be at least 0, got {weight}")
    return Alignment("domains", partial(ot.target.blocks, alpha=alpha, beta=beta))


def classes() -> Alignment:
    """All images of one class alike: supervised contrast."""
    return Alignment("labels", ot.target.classes)


TARGETS: dict[str, Callable[..., Alignment]] = {
    "identity": identity,
    "blocks": blocks,
    "classes": classes,
}


def make(name: str, **weights: float | None) -> Alignment:
    """Make the target from the `target` group of a config.

    Args:
        name: a key of `TARGETS`.
        **weights: what that target takes (`alpha`, `beta`); None is not given.

    Raises:
        ValueError: an unknown name, or a weight out of its range.
        TypeError: a weight that the target does not take, or lacks.
    """
    if name not in TARGETS:
        raise ValueError(f"unknown target {name!r}; one of: {', '.join(TARGETS)}")
    return TARGETS[name](**{key: value for key, value in weights.items() if value is not None})
