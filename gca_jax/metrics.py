"""Representation metrics: alignment, uniformity, effective rank, gradient cosine, retrieval."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from gca_jax import ot
from gca_jax.ot import inputs
from gca_jax.ot.engine import AxisName, Points, make_passes
from gca_jax.ot.numerics import negative_entropy, ratio

ROWS_AT_ONCE = 1_024
DEPTHS = (1, 5, 10)
HUB_DEPTH = 10


def alignment(
    z_a: Float[ArrayLike, "n d"],
    z_b: Float[ArrayLike, "n d"],
    *,
    valid: Bool[Array, " n"] | None = None,
) -> Float[Array, ""]:
    """Compute mean_i ‖z'_i - z''_i‖² of the normalised embeddings, in [0, 4]; lower is closer.

    Wang & Isola 2020 (with exponent 2).

    Args:
        z_a: Embeddings of the first view [n, d].
        z_b: Embeddings of the second view [n, d].
        valid: Which pairs count; None: all.
    """
    return jnp.mean(jnp.sum((_unit(z_a) - _unit(z_b)) ** 2, axis=-1), where=valid)


def uniformity(
    z: Float[ArrayLike, "n d"],
    *,
    block_size: int | None = None,
    axis_name: AxisName | None = None,
    valid: Bool[Array, " n"] | None = None,
) -> Float[Array, ""]:
    """Compute log mean_{i≠j} exp(-2‖z_i - z_j‖²) of the normalised embeddings, in [-8, 0].

    Lower is more uniform; NaN for n = 1. Wang & Isola 2020.

    Args:
        z: Embeddings [n, d].
        block_size: Rows of the n×n similarities formed at a time; None forms all.
        axis_name: Mapped axis whose devices share those rows; each has all of z.
        valid: Which rows count; None: all.
    """
    z = _unit(z)
    n = z.shape[0]
    count = jnp.ones_like(z[:, 0]) if valid is None else valid.astype(z.dtype)
    pairs = n * (n - 1) if valid is None else count.sum() * (count.sum() - 1)
    size = None if block_size is None else min(block_size, n)
    # exp(-2‖z_i - z_j‖²) = exp((z_i·z_j - 1)/ε) with ε = 1/4
    similarities = make_passes(Points(z, None, jnp.asarray(0.25, z.dtype), True, size, axis_name))
    near = similarities.times(count)
    return jnp.log((near if valid is None else near * count).sum() / pairs)


def effective_rank(z: Float[ArrayLike, "n d"]) -> Float[Array, ""]:
    """Compute exp(entropy of the normalised singular values), in [1, min(n, d)].

    Of the normalised embeddings [n, d]. Roy & Vetterli 2007.
    """
    s = jnp.linalg.svd(_unit(z), compute_uv=False)
    p = s / s.sum()
    return jnp.exp(-negative_entropy(p))


def gradient_cosine(
    loss_a: Callable[[Array, Array], Array],
    loss_b: Callable[[Array, Array], Array],
    z_a: Float[ArrayLike, "n d"],
    z_b: Float[ArrayLike, "n d"],
) -> Float[Array, ""]:
    """Compute the cosine between two losses' gradients with respect to both views' embeddings.

    1 means that the two pull the batch the same way: two names for one objective. 0 if a gradient
    is zero.

    Args:
        loss_a: (z_a, z_b) → scalar.
        loss_b: (z_a, z_b) → scalar.
        z_a: Embeddings of the first view [n, d].
        z_b: Embeddings of the second view [n, d].
    """
    g = jnp.concatenate(jax.grad(loss_a, argnums=(0, 1))(z_a, z_b)).ravel()
    h = jnp.concatenate(jax.grad(loss_b, argnums=(0, 1))(z_a, z_b)).ravel()
    return ratio(jnp.sum(g * h), jnp.sqrt(jnp.sum(g * g) * jnp.sum(h * h)))


def _unit(z: Float[ArrayLike, "n d"]) -> Float[Array, "n d"]:
    z = inputs.whole(inputs.array("z", z))
    return ot.normalize(z.astype(jnp.promote_types(z.dtype, jnp.float32)))


class Retrieval(NamedTuple):
    """Ranks of the partners, and how often each candidate is found.

    Attributes:
        ranks: [n], place of each query's own partner, from 1; half a place for each that ties.
        occurrences: [m], how often each candidate is among the first `HUB_DEPTH`.
    """

    ranks: Float[np.ndarray, "n"]
    occurrences: Int[np.ndarray, "m"]


def retrieve(
    queries: Float[np.ndarray, "n d"],
    candidates: Float[np.ndarray, "m d"],
    bonus: Float[np.ndarray, "m"] | float = 0.0,
) -> Retrieval:
    """Rank all candidates for each query by their product, plus a bonus of the candidate.

    Args:
        queries: [n, d]; the partner of query i is candidate i.
        candidates: [m, d], m >= n.
        bonus: [m], which hubs have less of: ε log v of a transport plan.
    """
    n, m = len(queries), len(candidates)
    depth = min(HUB_DEPTH, m)
    ranks, occurrences = np.empty(n), np.zeros(m, np.int64)
    for start in range(0, n, ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        scores = queries[rows] @ candidates.T + bonus
        own = scores[np.arange(len(scores)), start + np.arange(len(scores))][:, None]
        ties = (scores == own).sum(axis=1) - 1
        ranks[rows] = 1 + (scores > own).sum(axis=1) + ties / 2
        # The order among the first does not matter, so they are not sorted.
        first = np.argpartition(-scores, depth - 1, axis=1)[:, :depth]
        occurrences += np.bincount(first.ravel(), minlength=m)
    return Retrieval(ranks, occurrences)


def retrieval_measures(found: Retrieval) -> dict[str, float]:
    """Give recall at `DEPTHS`, as shares of the queries, and the median rank."""
    recalls = {f"recall_{depth}": float(np.mean(found.ranks <= depth)) for depth in DEPTHS}
    return {**recalls, "median_rank": float(np.median(found.ranks))}


def hubness(occurrences: Int[np.ndarray, "m"]) -> dict[str, float]:
    """Measure hubs: skewness of the occurrences, and the largest one as multiple of the mean.

    Radovanović, Nanopoulos and Ivanović, JMLR 2010. 0 and 1 where all candidates occur alike.
    """
    x = occurrences - occurrences.mean()
    spread = np.sqrt(np.mean(x**2))
    skewness = np.mean(x**3) / spread**3 if spread > 0 else 0.0
    return {"skewness": float(skewness), "largest": float(occurrences.max() / occurrences.mean())}
