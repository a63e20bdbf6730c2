"""Retrieval of pairs between two aligned towers, and which training pairs look wrong."""

from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from sklearn.metrics import roc_auc_score

from gca_jax import losses, metrics, models, ot
from gca_jax.check import at_least
from gca_jax.data.batches import taken
from gca_jax.data.pairs import ENOUGH, Part
from gca_jax.data.splits import evenly_spaced
from gca_jax.evaluation.features import Variables
from gca_jax.evaluation.frozen import NO_PLAN, Frozen
from gca_jax.evaluation.representation import representation
from gca_jax.evaluation.result import Result
from gca_jax.experiment import Experiment, context
from gca_jax.models import evidence
from gca_jax.targets import Info

Embeddings = tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n d"]]

MOST_PAIRS = 10_000  # at most, candidates of a retrieval
PLAN_SWEEPS = 50
SHOWN = 8  # pairs in a row of pictures
ROWS_AT_ONCE = 8_192


def embed(frozen: Frozen, part: Part) -> Embeddings:
    """Embed both sides of some pairs on the unit sphere."""
    pairs, network, variables = frozen.data, frozen.experiment.network, frozen.variables
    a = embed_rows(network, "embed_a", variables, pairs.a.features(part.a))
    b = embed_rows(network, "embed_b", variables, pairs.b.features(part.b))
    return a, b


def embed_rows(
    network: models.Towers, method: str, variables: Variables, x: Float[np.ndarray, "n f"]
) -> Float[np.ndarray, "n d"]:
    """Embed rows on the unit sphere by "embed_a" or "embed_b", some thousand at a time.

    A part is filled up to a power of two, so that few lengths are compiled whatever is asked for.
    """
    found = []
    for start in range(0, len(x), ROWS_AT_ONCE):
        part = x[start : start + ROWS_AT_ONCE]
        filled = np.zeros((1 << (len(part) - 1).bit_length(), *x.shape[1:]), x.dtype)
        filled[: len(part)] = part
        found.append(np.asarray(_embed(network, method, variables, filled))[: len(part)])
    return np.concatenate(found)


@partial(jax.jit, static_argnums=(0, 1))
def _embed(network: models.Towers, method: str, variables: Variables, x: Array) -> Array:
    z: Any = network.apply(variables, x, method=method)
    return ot.normalize(z)


def embeddings(frozen: Frozen) -> Embeddings:
    """Embed the evaluation split, evenly spaced where it has very many pairs."""
    part = frozen.data.evaluated
    rows = evenly_spaced(len(part.a), MOST_PAIRS)
    return embed(frozen, Part(part.a[rows], part.b[rows]))


def loss_settings(frozen: Frozen) -> dict[str, Any] | None:
    """Return the keywords of the method's loss, with the trained ε; None for a caller's loss."""
    if "loss" in frozen.experiment.given:
        return None
    learned: Any = frozen.experiment.network.apply(frozen.variables, method="temperature")
    own = {} if learned is None else {"epsilon": float(learned)}
    return {**frozen.experiment.config.loss, **own}


def evaluate_retrieval(frozen: Frozen) -> Result:
    """Retrieve each row's partner among all of the split, by cosine and by the transport plan."""
    (a, b), settings = frozen.once(embeddings), frozen.once(loss_settings)
    by_cosine = {"a_to_b": metrics.retrieve(a, b), "b_to_a": metrics.retrieve(b, a)}
    epsilon = None if settings is None else float(settings["epsilon"])
    by_plan = None if epsilon is None else _measured(_retrieve_by_plan(a, b, epsilon))
    numbers: dict[str, Any] = {"retrieval": _measured(by_cosine), "retrieval_plan": by_plan}
    numbers |= {"epsilon": epsilon, "judged_pairs": len(a)}
    arrays = {f"ranks_{name}": found.ranks for name, found in by_cosine.items()}
    return Result("retrieval", numbers=numbers, arrays=arrays)


def _block_size(count: int) -> int | None:
    """Choose the block size of the kernel: None, the whole of it, for few pairs."""
    return None if count <= 4_096 else 1_024


def _measured(found: dict[str, metrics.Retrieval]) -> dict[str, Any]:
    measured: dict[str, Any] = {
        name: metrics.retrieval_measures(one) for name, one in found.items()
    }
    hubs = {name: metrics.hubness(one.occurrences) for name, one in found.items()}
    return {**measured, "hubness": hubs}


def _retrieve_by_plan(
    a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "n d"], epsilon: float
) -> dict[str, metrics.Retrieval]:
    """Rank by the balanced plan at ε, whose scalings u and v hold hubs down."""

    @jax.jit
    def scalings(a: Array, b: Array) -> tuple[Array, Array]:
        kernel = ot.cosine_kernel(a, b, epsilon=epsilon, block_size=_block_size(len(a)))
        plan = ot.project(kernel, iterations=PLAN_SWEEPS)
        return plan.log_u, plan.log_v

    log_u, log_v = (epsilon * np.asarray(x) for x in scalings(a, b))
    return {"a_to_b": metrics.retrieve(a, b, log_v), "b_to_a": metrics.retrieve(b, a, log_u)}


class Posterior(NamedTuple):
    """What a plan that is told of no pair says of the training pairs.

    Attributes:
        right: Probability of each that it is right, calibrated [n].
        wrong_share: Share of all that is wrong.
        sd: Its standard deviation.
        by_heart: Whether validation pairs say so, as towers know those of training by heart.
    """

    right: Float[np.ndarray, "n"]
    wrong_share: float
    sd: float
    by_heart: bool


def posterior(frozen: Frozen) -> Posterior:
    """Judge the training pairs by the looks at them up to the chosen step, or by their embeddings.

    The share is that of the validation pairs, if significantly more of them look wrong.
    """
    seed = frozen.experiment.seed
    kept = frozen.variables.get("remembered")
    memory = None if kept is None else evidence.Memory(**jax.tree.map(np.asarray, kept))
    judged = evidence.judge_in_batches(*frozen.once(train_embeddings), memory=memory, seed=seed)
    share, sd = evidence.share_of_right_pairs(judged)
    held_out, by_heart = frozen.data.validation, False
    if len(held_out.a) >= ENOUGH:
        others = evidence.judge_in_batches(*embed(frozen, held_out), seed=seed)
        known, its_sd = evidence.share_of_right_pairs(others)
        by_heart = share - known > 2 * float(np.hypot(sd, its_sd))
        if by_heart:
            judged, share, sd = evidence.unlearned(judged, known), known, its_sd
    return Posterior(evidence.calibrated(judged), 1.0 - share, sd, by_heart)


def train_embeddings(frozen: Frozen) -> Embeddings:
    """Embed the training pairs."""
    return embed(frozen, frozen.data.train)


def evaluate_weights(frozen: Frozen) -> Result:
    """Compute how likely each training pair is right, and its mass in the loss's plan."""
    if frozen.once(loss_settings) is None:
        return Result("weights", numbers={"weights": None}, skipped=NO_PLAN)
    part, shares, found = frozen.data.train, frozen.once(log_shares), frozen.once(posterior)
    wrong = np.zeros(len(part.a), bool) if frozen.data.wrong is None else frozen.data.wrong
    weights = np.exp(shares - shares.max())
    effective = float(weights.sum() ** 2 / np.square(weights).sum())
    numbers: dict[str, float | bool | None] = {
        "effective_pairs": effective,
        "effective_share": effective / len(weights),
        **_against_known(shares, wrong),
        "wrong_estimate": found.wrong_share,
        "wrong_estimate_sd": found.sd,
        "known_by_heart": found.by_heart,
        "posterior_auc": _against_known(found.right, wrong)["auc"],
    }
    arrays = {"weight_rows": np.stack(part), "log_shares": shares, "wrong": wrong}
    arrays |= {"posterior": found.right}
    return Result("weights", numbers={"weights": numbers}, arrays=arrays)


def log_shares(frozen: Frozen) -> Float[np.ndarray, "n"]:
    """Average log (P_ii/μ_i) of each training pair over random batches."""
    experiment, (a, b) = frozen.experiment, frozen.once(train_embeddings)
    settings = frozen.once(loss_settings) or {}
    info = {name: experiment.data.info[name] for name in experiment.target.takes}
    n, size = len(a), min(experiment.train.batch_size, len(a))
    rng, total, counts = np.random.default_rng([experiment.seed, 7]), np.zeros(n), np.zeros(n)

    @jax.jit
    def shares(a: Array, b: Array, info: Info) -> Array:
        keywords = {**settings, **experiment.target.keywords(info)}
        plan, _ = losses.transport(cast(losses.Method, experiment.method), a, b, **keywords)
        return jnp.maximum(plan.log_positive_shares, jnp.finfo(a.dtype).min)

    for _ in range(experiment.config.evaluation.rounds):
        order = rng.permutation(n)
        for start in range(0, n, size):
            rows = order[np.arange(start, start + size) % n]  # the last batch takes some again
            total[rows] += np.asarray(shares(a[rows], b[rows], taken(info, info, rows)))
            counts[rows] += 1
    return total / counts


def _against_known(shares: Float[np.ndarray, "n"], wrong: np.ndarray) -> dict[str, float | None]:
    """Measure how well small shares, or probabilities, detect the shuffled pairs."""
    count = int(wrong.sum())
    if count in (0, len(wrong)):
        return {"auc": None, "precision": None, "wrong_share": count / len(wrong)}
    first = np.argsort(shares, kind="stable")[:count]
    auc, precision = float(roc_auc_score(wrong, -shares)), float(wrong[first].mean())
    return {"auc": auc, "precision": precision, "wrong_share": count / len(wrong)}


def evaluate_extremes(frozen: Frozen) -> Result | None:
    """Select the pairs of least and of most weight, where both sides are images."""
    pairs = frozen.data
    if frozen.once(loss_settings) is None or not (pairs.a.pictures and pairs.b.pictures):
        return None
    order = np.argsort(frozen.once(log_shares), kind="stable")
    count = min(SHOWN, len(order) // 2)
    chosen = np.stack([order[:count], order[::-1][:count]])
    a, b = pairs.a.raw[pairs.train.a[chosen]], pairs.b.raw[pairs.train.b[chosen]]
    return Result("extremes", arrays={"extremes_a": a, "extremes_b": b, "extremes": chosen})


def evaluate_embeddings(frozen: Frozen) -> Result:
    """Measure alignment, uniformity and effective rank of the evaluation split's embeddings."""
    a, b = (jnp.asarray(side) for side in frozen.once(embeddings))
    return Result("embeddings", numbers=representation(a, b, _block_size(len(a))))


def check(experiment: Experiment) -> None:
    """Raise if a setting of the `evaluation` group is out of range."""
    with context("config.evaluation"):
        for name in ("rounds", "suspects"):
            at_least(name, experiment.config.evaluation[name], 1)
