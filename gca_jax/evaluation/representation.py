"""Alignment and uniformity of two augmented views' embeddings, and the losses' gradients there."""

from collections.abc import Mapping
from functools import partial
from typing import cast

import jax
import numpy as np
from jaxtyping import Array, Float

from gca_jax import losses, metrics
from gca_jax.data.batches import taken
from gca_jax.evaluation.frozen import Frozen
from gca_jax.evaluation.result import Result

KEY = "gradient_cosine_to_ince"
# Hyper-parameters that define the kernel: INCE is compared on the same one.
KERNEL_OPTIONS = ("epsilon", "layout", "similarity_floor", "self_pairs", "cost_fn", "target")


def evaluate(frozen: Frozen) -> Result:
    """Measure alignment, uniformity and rank on two augmented views of the test images."""
    return Result("views", numbers=representation(*frozen.views[1:]))


def representation(
    z_a: Float[Array, "n d"], z_b: Float[Array, "n d"], block_size: int | None = None
) -> dict[str, float]:
    """Measure the alignment of two views, and the mean uniformity and effective rank of each."""
    uniformity = partial(metrics.uniformity, block_size=block_size)

    @jax.jit
    def measure(a: Array, b: Array) -> dict[str, Array]:
        return {
            "alignment": metrics.alignment(a, b),
            "uniformity": (uniformity(a) + uniformity(b)) / 2,
            "effective_rank": (metrics.effective_rank(a) + metrics.effective_rank(b)) / 2,
        }

    return {name: float(value) for name, value in measure(z_a, z_b).items()}


def evaluate_gradients(frozen: Frozen) -> Result:
    """Compare the gradients on one batch of test images, as large as those of training."""
    if reason := frozen.no_plan:
        return Result("gradient_cosine", numbers={KEY: None}, skipped=reason)
    experiment, (rows, z_a, z_b) = frozen.experiment, frozen.views
    order = np.random.default_rng(experiment.seed).permutation(len(rows))
    batch = order[: experiment.train.batch_size]
    hyper = frozen.loss_keywords(taken(frozen.info, frozen.info, rows[batch]))
    cosine = gradient_cosine_to_ince(experiment.method, hyper, z_a[batch], z_b[batch])
    return Result("gradient_cosine", numbers={KEY: cosine})


def gradient_cosine_to_ince(
    method: str, hyper: Mapping[str, object], z_a: Float[Array, "b d"], z_b: Float[Array, "b d"]
) -> float | None:
    """Measure the cosine between the gradients of a method's loss and of INCE on the same kernel.

    Near 1 the two are one objective under two names (GCA at a large epsilon). None for `byol`,
    whose kernel INCE does not share. `hyper` are the method's keywords.
    """
    if method == "byol":
        return None
    options = {**losses.keywords(cast(losses.Method, method)), **hyper}
    shared = {name: options[name] for name in KERNEL_OPTIONS if name in options}

    def value(name: str, arguments: Mapping[str, object], a: Array, b: Array) -> Array:
        return losses.METHODS[name](a, b, **arguments)[0]

    ours, ince = partial(value, method, hyper), partial(value, "ince", shared)
    cosine = jax.jit(lambda a, b: metrics.gradient_cosine(ours, ince, a, b))
    return float(cosine(z_a, z_b))
