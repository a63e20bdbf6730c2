"""Alignment, uniformity and effective rank of the embeddings of two augmented views."""

import jax
from jaxtyping import Array, Float

from gca_jax import metrics
from gca_jax.evaluation.result import Result
from gca_jax.evaluation.subject import Subject

CAPTION = """Alignment is the mean squared distance between the unit embeddings of two views of an
image (0 is best); uniformity is log E exp(−2‖z − z′‖²) over pairs of different images (lower is
more uniform). On augmented views of the test split at the end of training: alignment
{alignment:.3f}, uniformity {uniformity:.3f}, effective rank {effective_rank:.1f}. The points are
training batches with batch statistics of their own{byol}, so they need not meet the star."""
BYOL = ", and BYOL's are predictions beside the target network's embeddings"


def evaluate(subject: Subject) -> Result:
    """Measure what augmented views of test images say of the representation."""
    found = representation(*subject.views[1:])
    byol = BYOL if subject.experiment.method == "byol" else ""
    return Result(
        "views",
        "alignment against uniformity over training",
        numbers=found,
        picture="alignment_uniformity",
        caption=CAPTION.format(byol=byol, **found),
    )


def representation(z_a: Float[Array, "n d"], z_b: Float[Array, "n d"]) -> dict[str, float]:
    """Measure the alignment of two views, and the mean uniformity and effective rank of each."""

    @jax.jit
    def measure(a: Array, b: Array) -> dict[str, Array]:
        return {
            "alignment": metrics.alignment(a, b),
            "uniformity": (metrics.uniformity(a) + metrics.uniformity(b)) / 2,
            "effective_rank": (metrics.effective_rank(a) + metrics.effective_rank(b)) / 2,
        }

    return {name: float(value) for name, value in measure(z_a, z_b).items()}
