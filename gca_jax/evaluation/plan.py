"""The mean transport plan of the loss over batches of test images, beside its target (Fig. A4)."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from gca_jax import losses
from gca_jax.data.batches import taken
from gca_jax.data.dataset import Images
from gca_jax.evaluation import splits
from gca_jax.evaluation.features import Embed
from gca_jax.evaluation.frozen import BATCH_SIZE, Frozen
from gca_jax.evaluation.result import NO_LABELS, Result
from gca_jax.targets import Info

NAME, TITLE = "plan", "the mean transport plan"
CAPTION = """The plan is the mean over {0}-balanced batches of test images, each sorted by {0} and
with augmentations of its own. Blocks on the diagonal are different images of one {0} that the
loss's own plan matches."""
ONE_BATCH = """The target joins images by their domains, so this is one batch of {} images, with as
many of each domain, sorted by domain{}: the plan that the loss makes of it beside its target."""
ELSEWHERE = " All test images are of one domain, for which the target would be flat."
BYOL = """ BYOL's first view is the prediction; the online network stands in for the target
network."""
SHARE = """ Off the positive pairs {:.0f} % of its mass stays within a {}; a uniform plan would keep
{:.0f} %."""
BATCHES = 32

Transport = Callable[[Array, Array, Info], tuple[Array, Array]]
"""(z_a, z_b, info) -> matrices of the plan and of its target, `[b, b]` or `[2b, 2b]`."""


class Drawn(NamedTuple):
    """Of which images a plan is drawn, and how its rows are sorted."""

    kind: Literal["class", "domain"]
    part: Literal["test", "training"]
    images: Images
    numbers: Int[np.ndarray, "m"]  # of the kind
    info: dict[str, np.ndarray]  # what the target has to know of each image, arrays [m] by name
    per_class: int  # images of each class or domain in a batch
    batches: int
    within: Int[np.ndarray, "m"] | None = None  # which sorts images of one class or domain


def evaluate(frozen: Frozen) -> Result:
    """Average the plans that the method's loss compares with their target."""
    drawn = None if frozen.no_plan else _drawn(frozen)
    if drawn is None:
        reason = frozen.no_plan or NO_LABELS
        return Result(NAME, TITLE, numbers={"plan_within_class": None}, left_out=reason)
    arrays = mean_plan(frozen.embed, _transport(frozen), drawn, frozen.experiment.seed)
    share, uniform = within_class(arrays["plan"], arrays["plan_labels"])
    caption = _caption(drawn)
    caption += BYOL if frozen.experiment.method == "byol" else ""
    caption += "" if share is None else SHARE.format(100 * share, drawn.kind, 100 * uniform)
    shares: dict[str, object] = {"share": share, "share_of_uniform_plan": uniform}
    if drawn.batches > 1:
        numbers: dict[str, object] = {"plan_within_class": shares}
    else:
        about = {"kind": drawn.kind, "part": drawn.part}
        numbers = {"plan_of": about, "plan_within_domain": shares, "plan_within_class": None}
        if drawn.within is not None:
            share, uniform = within_class(arrays["plan"], drawn.within[arrays.pop("plan_rows")])
            numbers["plan_within_class"] = {"share": share, "share_of_uniform_plan": uniform}
    title = TITLE if drawn.batches > 1 else "the transport plan of a batch"
    return Result(NAME, title, numbers=numbers, arrays=arrays, picture="plan", caption=caption)


def _drawn(frozen: Frozen) -> Drawn | None:
    """Choose the images: by class or, where the target joins domains, one batch by domain."""
    data, kinds = frozen.dataset, frozen.kinds
    if "domains" in frozen.experiment.target.takes:
        images, domains, classes = data.test_images, data.test_domains, data.test_labels
        test = len(np.unique(domains)) > 1
        if not test:
            images, domains = data.pretrain_images, data.pretrain_domains
            classes = data.pretrain_labels
        each = splits.most_per_class(domains, BATCH_SIZE)
        part: Literal["test", "training"] = "test" if test else "training"
        return Drawn("domain", part, images, domains, {"domains": domains}, each, 1, classes)
    if kinds is None:
        return None
    about = kinds.numbers, frozen.info, frozen.per_kind, BATCHES
    return Drawn(kinds.word, "test", data.test_images, *about)


def _caption(drawn: Drawn) -> str:
    if drawn.batches > 1:
        return CAPTION.format(drawn.kind)
    inside = "" if drawn.within is None else " and within a domain by class"
    elsewhere = ELSEWHERE if drawn.part == "training" else ""
    return ONE_BATCH.format(drawn.part, inside) + elsewhere


def _transport(frozen: Frozen) -> Transport:
    method, network = frozen.experiment.method, frozen.experiment.network

    def transport(z_a: Array, z_b: Array, info: Info) -> tuple[Array, Array]:
        if method == "byol":  # the online network stands in for the target network
            z_a = network.bind(frozen.variables).predict(z_a, train=False)
        plan, target = losses.transport(method, z_a, z_b, **frozen.loss_keywords(info))
        return plan.matrix, target.matrix

    return transport


def mean_plan(embed: Embed, transport: Transport, drawn: Drawn, seed: int) -> dict[str, np.ndarray]:
    """Average transport plans over class-balanced batches sorted by class, and their targets.

    Every batch is another draw of images with another draw of augmentations, so what remains in
    the mean is what images of one class have in common (the paper's Figure A4). `seed` is that of
    the draws and the augmentations.

    Returns:
        `plan` and `target`, the means, each of mass 1 for balanced methods; `plan_labels`, the
        class of each row of one view; with `within`, `plan_rows`, the images of the last batch.
    """
    key, labels, within = jax.random.key(seed), drawn.numbers, drawn.within
    matrices, plans, targets = jax.jit(transport), [], []
    for index in range(drawn.batches):
        chosen = splits.draw(labels, drawn.per_class, seed, index)
        if within is not None:
            chosen = chosen[np.lexsort((within[chosen], labels[chosen]))]
        z_a, z_b = embed(jax.random.fold_in(key, index), drawn.images[chosen])
        plan, target = matrices(z_a, z_b, taken(drawn.info, drawn.info, chosen))
        plans.append(np.asarray(plan))
        targets.append(np.asarray(target))
    return {
        "plan": np.mean(plans, axis=0),
        "target": np.mean(targets, axis=0),
        "plan_labels": labels[chosen],
        **({} if within is None else {"plan_rows": chosen}),
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
