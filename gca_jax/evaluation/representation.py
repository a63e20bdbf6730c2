"""The embeddings of two augmented views: how aligned, how uniform, and how losses pull them."""

from collections.abc import Mapping
from functools import partial

import jax
import numpy as np
from jaxtyping import Array, Float

from gca_jax import losses, metrics
from gca_jax.data.batches import taken
from gca_jax.evaluation.frozen import Frozen
from gca_jax.evaluation.result import Result

CAPTION = """Alignment is the mean squared distance between the unit embeddings of two views of an
image (0 is best); uniformity is log E exp(−2‖z − z′‖²) over pairs of different images (lower is
more uniform). On augmented views of the test split at the end of training: alignment
{alignment:.3f}, uniformity {uniformity:.3f}, effective rank {effective_rank:.1f}. The points are
training batches with batch statistics of their own{byol}, so they need not meet the star."""
BYOL = ", and BYOL's are predictions beside the target network's embeddings"
NAME, TITLE, KEY = "gradient_cosine", "the cosine to INCE's gradient", "gradient_cosine_to_ince"
GRADIENTS = """On a test batch the gradients of this loss and of INCE on the same kernel have cosine
{:.4f} (1: one objective under two names)."""
# What of a method's hyper-parameters says which kernel it sees: INCE is compared on the same.
KERNEL_OPTIONS = ("epsilon", "layout", "similarity_floor", "self_pairs", "cost_fn", "target")


def evaluate(frozen: Frozen) -> Result:
    """Measure what augmented views of test images say of the representation."""
    found = representation(*frozen.views[1:])
    byol = BYOL if frozen.experiment.method == "byol" else ""
    caption = CAPTION.format(byol=byol, **found)
    title = "alignment against uniformity over training"
    return Result("views", title, numbers=found, picture="alignment_uniformity", caption=caption)


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
        return Result(NAME, TITLE, numbers={KEY: None}, left_out=reason)
    experiment, (rows, z_a, z_b) = frozen.experiment, frozen.views
    order = np.random.default_rng(experiment.seed).permutation(len(rows))
    batch = order[: experiment.train.batch_size]
    hyper = frozen.loss_keywords(taken(frozen.info, frozen.info, rows[batch]))
    cosine = gradient_cosine_to_ince(experiment.method, hyper, z_a[batch], z_b[batch])
    caption = "" if cosine is None else GRADIENTS.format(cosine)
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
