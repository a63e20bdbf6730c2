"""Whether a method's loss pulls embeddings the way INCE does: the cosine of their gradients."""

from collections.abc import Mapping
from functools import partial

import jax
import numpy as np
from jaxtyping import Array, Float

from gca_jax import losses, metrics
from gca_jax.evaluation.result import Result
from gca_jax.evaluation.subject import Subject

NAME, TITLE, KEY = "gradient_cosine", "the cosine to INCE's gradient", "gradient_cosine_to_ince"
CAPTION = """On a test batch the gradients of this loss and of INCE on the same kernel have cosine
{:.4f} (1: one objective under two names)."""
# What of a method's hyper-parameters says which kernel it sees: INCE is compared on the same.
KERNEL_OPTIONS = ("epsilon", "layout", "similarity_floor", "self_pairs", "cost_fn", "target")


def evaluate(subject: Subject) -> Result:
    """Compare the gradients on one batch of test images, as large as those of training."""
    if reason := subject.no_plan:
        return Result(NAME, TITLE, numbers={KEY: None}, left_out=reason)
    experiment, (rows, z_a, z_b), groups = subject.experiment, subject.views, subject.groups
    order = np.random.default_rng(experiment.seed).permutation(len(rows))
    batch = order[: experiment.train.batch_size]
    hyper = subject.loss_keywords(None if groups is None else groups[rows[batch]])
    cosine = gradient_cosine_to_ince(experiment.method, hyper, z_a[batch], z_b[batch])
    caption = "" if cosine is None else CAPTION.format(cosine)
    return Result(NAME, TITLE, numbers={KEY: cosine}, caption=caption)


def gradient_cosine_to_ince(
    method: str, hyper: Mapping[str, object], z_a: Float[Array, "b d"], z_b: Float[Array, "b d"]
) -> float | None:
    """Measure the cosine between the gradients of a method's loss and of INCE on the same kernel.

    Near 1 the two are one objective under two names (GCA at a large epsilon). None for `byol`,
    whose kernel INCE does not share. `hyper` are the method's keywords.
    """
    if method == "byol":
        return None
    options = {**losses.keywords(method), **hyper}
    shared = {name: options[name] for name in KERNEL_OPTIONS if name in options}

    def value(name: str, arguments: Mapping[str, object], a: Array, b: Array) -> Array:
        return losses.METHODS[name](a, b, **arguments)[0]

    ours, ince = partial(value, method, hyper), partial(value, "ince", shared)
    cosine = jax.jit(lambda a, b: metrics.gradient_cosine(ours, ince, a, b))
    return float(cosine(z_a, z_b))
