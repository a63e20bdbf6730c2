"""The mean transport plan of the loss over batches of test images, beside its target (Fig. A4)."""

from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from gca_jax import losses
from gca_jax.data.dataset import Images
from gca_jax.evaluation import splits
from gca_jax.evaluation.features import Embed
from gca_jax.evaluation.probes import NO_LABELS, Result
from gca_jax.evaluation.subject import Subject

NAME, TITLE = "plan", "the mean transport plan"
CAPTION = """The plan is the mean over {0}-balanced batches of test images, each sorted by {0} and
with augmentations of its own. Blocks on the diagonal are different images of one {0} that the
loss's own plan matches."""
BYOL = """ BYOL's first view is the prediction; the online network stands in for the target
network."""
SHARE = """ Off the positive pairs {:.0f} % of its mass stays within a {}; a uniform plan would keep
{:.0f} %."""
BATCHES = 32

Groups = Int[Array | np.ndarray, "b"] | None
Transport = Callable[[Array, Array, Groups], tuple[Array, Array]]
"""(z_a, z_b, groups) -> matrices of the plan and of its target, `[b, b]` or `[2b, 2b]`."""


def evaluate(subject: Subject) -> Result:
    """Average the plans that the method's loss compares with their target."""
    kinds = subject.kinds
    if kinds is None or subject.no_plan:
        reason = subject.no_plan or NO_LABELS
        return Result(NAME, TITLE, numbers={"plan_within_class": None}, left_out=reason)
    images = subject.dataset.test_images, kinds.numbers, subject.groups
    embed, transport, seed = subject.embed, _transport(subject), subject.experiment.seed
    arrays = mean_plan(
        embed, transport, *images, per_class=subject.per_kind, batches=BATCHES, seed=seed
    )
    share, uniform = within_class(arrays["plan"], arrays["plan_labels"])
    caption = CAPTION.format(kinds.word)
    caption += BYOL if subject.experiment.method == "byol" else ""
    caption += "" if share is None else SHARE.format(100 * share, kinds.word, 100 * uniform)
    numbers = {"plan_within_class": {"share": share, "share_of_uniform_plan": uniform}}
    return Result(NAME, TITLE, numbers=numbers, arrays=arrays, picture="plan", caption=caption)


def _transport(subject: Subject) -> Transport:
    method, network = subject.experiment.method, subject.experiment.network

    def transport(z_a: Array, z_b: Array, groups: Groups) -> tuple[Array, Array]:
        if method == "byol":  # the online network stands in for the target network
            z_a = network.bind(subject.variables).predict(z_a, train=False)
        plan, target = losses.transport(method, z_a, z_b, **subject.loss_keywords(groups))
        return plan.matrix, target.matrix

    return transport


def mean_plan(
    embed: Embed,
    transport: Transport,
    images: Images,
    labels: Int[np.ndarray, "m"],
    groups: Int[np.ndarray, "m"] | None,
    *,
    per_class: int,
    batches: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """Average transport plans over class-balanced batches sorted by class, and their targets.

    Every batch is another draw of images with another draw of augmentations, so what remains in
    the mean is what images of one class have in common (the paper's Figure A4). `groups` are what
    the target has to know of the images, `seed` that of the draws and the augmentations.

    Returns:
        `plan` and `target`, the means, each of mass 1 for balanced methods; `plan_labels`, the
        class of each row of one view.
    """
    key = jax.random.key(seed)
    matrices, plans, targets = jax.jit(transport), [], []
    for index in range(batches):
        chosen = splits.draw(labels, per_class, seed, index)
        z_a, z_b = embed(jax.random.fold_in(key, index), images[chosen])
        plan, target = matrices(z_a, z_b, None if groups is None else groups[chosen])
        plans.append(np.asarray(plan))
        targets.append(np.asarray(target))
    return {
        "plan": np.mean(plans, axis=0),
        "target": np.mean(targets, axis=0),
        "plan_labels": labels[chosen],
    }


def within_class(
    matrix: Float[np.ndarray, "n n"], labels: Int[np.ndarray, "b"]
) -> tuple[float | None, float]:
    """Measure the share of the mass off the positive pairs that joins images of one class.

    Returns:
        The share, None where only positive pairs have mass; and what it is for a uniform plan.
    """
    views = len(matrix) // len(labels)
    image = np.tile(np.arange(len(labels)), views)
    others = image[:, None] != image[None]
    same = np.tile(labels, views)
    same = (same[:, None] == same[None]) & others
    mass = matrix[others].sum()
    share = float(matrix[same].sum() / mass) if mass > 0 else None
    return share, float(same.sum() / others.sum())
