"""The mean transport plan of the loss over batches of test images, beside its target (Fig. A4)."""

from collections.abc import Callable
from typing import Literal, NamedTuple, cast

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

BATCHES = 32
ONE_DOMAIN = "all images are of one domain"

Transport = Callable[[Array, Array, Info], tuple[Array, Array]]
"""(z_a, z_b, info) -> matrices of the plan and of its target, `[b, b]` or `[2b, 2b]`."""


class Drawn(NamedTuple):
    """The images of a mean plan's batches, and how rows are sorted.

    Attributes:
        kind: What images are grouped and sorted by.
        part: The split that they come from.
        images: [m, h, w, c].
        numbers: [m], class or domain of each image.
        info: Entries [m] that the target takes.
        per_kind: Images of each class or domain in a batch.
        batches: How many are averaged.
        within: [m], sort key within one class or domain; None for none.
    """

    kind: Literal["class", "domain"]
    part: Literal["test", "training"]
    images: Images
    numbers: Int[np.ndarray, "m"]
    info: dict[str, np.ndarray]
    per_kind: int
    batches: int
    within: Int[np.ndarray, "m"] | None = None


def evaluate(frozen: Frozen) -> Result:
    """Average the plans that the method's loss compares with their target."""
    by_domain = not frozen.no_plan and "domains" in frozen.experiment.target.takes
    if frozen.no_plan or (frozen.kinds is None and not by_domain):
        reason = frozen.no_plan or NO_LABELS
        return Result("plan", numbers={"plan_within_class": None}, skipped=reason)
    drawn = _batch_by_domain(frozen) if by_domain else _batches_by_kind(frozen)
    if drawn.kind == "domain" and len(np.unique(drawn.numbers)) < 2:
        return Result("plan", numbers={"plan_within_class": None}, skipped=ONE_DOMAIN)
    arrays = mean_plan(frozen.embed, _transport(frozen), drawn, frozen.experiment.seed)
    rows = arrays.pop("plan_rows")
    shares = _shares(arrays["plan"], arrays["plan_labels"])
    if not by_domain:
        return Result("plan", numbers={"plan_within_class": shares}, arrays=arrays)
    labels = drawn.within
    within = None if labels is None else _shares(arrays["plan"], labels[rows])
    about = {"kind": drawn.kind, "part": drawn.part}
    numbers = {"plan_of": about, "plan_within_domain": shares, "plan_within_class": within}
    return Result("plan", numbers=numbers, arrays=arrays)


def _batches_by_kind(frozen: Frozen) -> Drawn:
    """Choose batches of test images balanced by class or, without labels, by domain."""
    kinds, images = frozen.kinds, frozen.dataset.test_images
    assert kinds is not None
    return Drawn(kinds.word, "test", images, kinds.numbers, frozen.info, frozen.per_kind, BATCHES)


def _batch_by_domain(frozen: Frozen) -> Drawn:
    """Choose one domain-balanced batch, for a target that joins images by domain.

    Training images where all test images are of one domain, for which the target would be flat.
    """
    data = frozen.dataset
    images, domains, classes = data.test_images, data.test_domains, data.test_labels
    test = len(np.unique(domains)) > 1
    if not test:
        images, domains, classes = data.pretrain_images, data.pretrain_domains, data.pretrain_labels
        classes = None if data.partly_labelled else classes
    each = splits.most_per_class(domains, BATCH_SIZE)
    part: Literal["test", "training"] = "test" if test else "training"
    return Drawn("domain", part, images, domains, {"domains": domains}, each, 1, classes)


def _shares(matrix: Float[np.ndarray, "n n"], labels: Int[np.ndarray, "b"]) -> dict[str, object]:
    share, uniform = within_class(matrix, labels)
    return {"share": share, "share_of_uniform_plan": uniform}


def _transport(frozen: Frozen) -> Transport:
    method, network = cast(losses.Method, frozen.experiment.method), frozen.experiment.network

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
        class of each row of one view; `plan_rows`, the images of the last batch.
    """
    key, labels, within = jax.random.key(seed), drawn.numbers, drawn.within
    matrices, plans, targets = jax.jit(transport), [], []
    for index in range(drawn.batches):
        chosen = splits.draw(labels, drawn.per_kind, seed, index)
        if within is not None:
            chosen = chosen[np.lexsort((within[chosen], labels[chosen]))]
        z_a, z_b = embed(jax.random.fold_in(key, index), drawn.images[chosen])
        plan, target = matrices(z_a, z_b, taken(drawn.info, drawn.info, chosen))
        plans.append(np.asarray(plan))
        targets.append(np.asarray(target))
    means = {"plan": np.mean(plans, axis=0), "target": np.mean(targets, axis=0)}
    return {**means, "plan_labels": labels[chosen], "plan_rows": chosen}


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
