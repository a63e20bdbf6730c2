"""Two augmented views of test images in embedding space: metrics, mean plan, gradients."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from gca_jax import losses, metrics
from gca_jax.data.dataset import Images
from gca_jax.evaluation import features, splits
from gca_jax.evaluation.features import Variables

MakeViews: TypeAlias = Callable[[PRNGKeyArray, UInt8[Array, "b h w c"]], tuple[Array, Array]]
Pair: TypeAlias = tuple[Float[Array, "b d"], Float[Array, "b d"]]
# Images and a key to the embeddings of two views, by a frozen network.
Embed: TypeAlias = Callable[[PRNGKeyArray, UInt8[np.ndarray, "b h w c"]], Pair]

# What of a method's hyper-parameters says which kernel it sees: INCE is compared on the same.
KERNEL_OPTIONS = ("epsilon", "layout", "similarity_floor", "self_pairs", "cost_fn", "target")


@partial(jax.jit, static_argnums=(0, 1))
def embed(
    network: Any,
    make_views: MakeViews,
    variables: Variables,
    key: PRNGKeyArray,
    images: UInt8[Array, "b h w c"],
) -> Pair:
    """Embeddings of two augmented views of the images, in inference mode.

    Args:
        network: Linen module whose default method gives embeddings.
        make_views: Two views of a batch (`Augment.views`); hashable.
        variables: The network's `params` and `batch_stats`.
        key: Of the augmentation.
        images: `[b, h, w, c]`, 0 to 255.

    Returns:
        `(z_a, z_b)`, each `[b, d]`, not normalised.
    """
    both = jnp.concatenate(make_views(key, images))  # one pass: half the time to compile
    z_a, z_b = jnp.split(network.apply(variables, both, train=False), 2)
    return z_a, z_b


def embed_all(embed: Embed, images: Images, key: PRNGKeyArray, batch_size: int) -> Pair:
    """Embeddings of two views of every image, `[n, d]` each, in batches of one compiled size."""
    pairs = [
        embed(jax.random.fold_in(key, batch_size * index), batch)
        for index, batch in enumerate(features.batches(images, batch_size))
    ]
    z_a, z_b = (jnp.concatenate(side)[: len(images)] for side in zip(*pairs, strict=True))
    return z_a, z_b


def representation(z_a: Float[Array, "n d"], z_b: Float[Array, "n d"]) -> dict[str, float]:
    """Alignment of the two views; uniformity and effective rank as the mean over the views."""

    @jax.jit
    def measure(a: Array, b: Array) -> dict[str, Array]:
        return {
            "alignment": metrics.alignment(a, b),
            "uniformity": (metrics.uniformity(a) + metrics.uniformity(b)) / 2,
            "effective_rank": (metrics.effective_rank(a) + metrics.effective_rank(b)) / 2,
        }

    return {name: float(value) for name, value in measure(z_a, z_b).items()}


def mean_plan(
    embed: Embed,
    transport: Callable[[Array, Array, Array | None], tuple[Array, Array]],
    images: Images,
    labels: Int[np.ndarray, " n"],
    groups: Int[np.ndarray, " n"] | None,
    *,
    per_class: int,
    batches: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """The mean transport plan over class-balanced batches sorted by class, beside its target.

    Every batch is another draw of images with another draw of augmentations, so what remains in
    the mean is what images of one class have in common (the paper's Figure A4).

    Args:
        embed: Key and images to the embeddings of two views.
        transport: Embeddings, and the groups of their images, to the matrices of plan and target,
            both `[b, b]` or `[2b, 2b]`.
        images: Test images.
        labels: Their labels.
        groups: What the target has to know of them, labels or domains; None: nothing.
        per_class: Images of each class in a batch.
        batches: How many batches.
        seed: Of the draws and the augmentations.

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


def images_per_class(labels: Int[np.ndarray, " n"], batch_size: int) -> int:
    """How many images of each class fit a batch of `batch_size`, the smallest class permitting."""
    counts = np.bincount(labels)
    counts = counts[counts > 0]
    return max(1, min(batch_size // len(counts), int(counts.min())))


def gradient_cosine_to_ince(
    method: str, hyper: Mapping[str, Any], z_a: Array, z_b: Array
) -> float | None:
    """Cosine between the gradients of a method's loss and of INCE on the same kernel.

    Near 1 the two are one objective under two names (GCA at a large epsilon).

    Args:
        method: A key of `losses.METHODS`.
        hyper: Its keyword arguments.
        z_a: Embeddings of one view, `[b, d]`.
        z_b: Embeddings of the other, `[b, d]`.

    Returns:
        In [-1, 1]; None for `byol`, whose kernel INCE does not share.
    """
    if method == "byol":
        return None
    options = {**losses.keywords(method), **hyper}
    shared = {name: options[name] for name in KERNEL_OPTIONS if name in options}

    def value(name: str, arguments: Mapping[str, Any], a: Array, b: Array) -> Array:
        return losses.METHODS[name](a, b, **arguments)[0]

    ours, ince = partial(value, method, hyper), partial(value, "ince", shared)
    cosine = jax.jit(lambda a, b: metrics.gradient_cosine(ours, ince, a, b))
    return float(cosine(z_a, z_b))
