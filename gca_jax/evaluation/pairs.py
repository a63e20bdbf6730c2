"""What two aligned towers have learned: retrieval of judged pairs, weights of training pairs."""

import dataclasses
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from sklearn.metrics import roc_auc_score

from gca_jax import losses, metrics, models, ot
from gca_jax.data.batches import taken
from gca_jax.data.pairs import Pairs, Part
from gca_jax.data.splits import evenly_spaced
from gca_jax.evaluation.features import Variables
from gca_jax.evaluation.frozen import NO_PLAN, Frozen
from gca_jax.evaluation.representation import representation
from gca_jax.evaluation.result import Result
from gca_jax.experiment import Experiment
from gca_jax.targets import Info

MOST_PAIRS = 10_000  # that are retrieved from
PLAN_SWEEPS = 50
SHOWN = 8  # pairs in a row of pictures
ROWS_AT_ONCE = 8_192


@dataclasses.dataclass(frozen=True, eq=False)
class Towers:
    """Trained towers and the pairs that they are judged by; `frozen.once(Towers)` makes them.

    Attributes:
        frozen: The model that was trained.
    """

    frozen: Frozen

    @property
    def experiment(self) -> Experiment:
        """The one that was trained."""
        return self.frozen.experiment

    @property
    def pairs(self) -> Pairs:
        """Both sets and their split."""
        return self.frozen.data

    @cached_property
    def judged(self) -> Part:
        """The judged pairs, evenly spaced where there are very many."""
        part = self.pairs.judged
        rows = evenly_spaced(len(part.a), MOST_PAIRS)
        return Part(part.a[rows], part.b[rows])

    @cached_property
    def embeddings(self) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n d"]]:
        """Unit embeddings of the judged pairs."""
        return self.embed(self.judged)

    def embed(self, part: Part) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n d"]]:
        """Give unit embeddings [n, d] of both sides of some pairs."""
        pairs, network, variables = self.pairs, self.experiment.network, self.frozen.variables
        a = embed_rows(network, "embed_a", variables, pairs.a.features(part.a))
        b = embed_rows(network, "embed_b", variables, pairs.b.features(part.b))
        return a, b

    @cached_property
    def loss_settings(self) -> dict[str, Any] | None:
        """Keywords of the method's loss, ε as it is after training; None of a given loss."""
        if "loss" in self.experiment.given:
            return None
        network, variables = self.experiment.network, self.frozen.variables
        learned: Any = network.apply(variables, method="temperature")
        own = {} if learned is None else {"epsilon": float(learned)}
        return {**self.experiment.config.loss, **own}


@partial(jax.jit, static_argnums=(0, 1))
def _embed(network: models.Towers, method: str, variables: Variables, x: Array) -> Array:
    z: Any = network.apply(variables, x, method=method)
    return ot.normalize(z)


def embed_rows(
    network: models.Towers, method: str, variables: Variables, x: Float[np.ndarray, "n f"]
) -> Float[np.ndarray, "n d"]:
    """Embed rows on the unit sphere by "embed_a" or "embed_b", some thousand at a time."""
    parts = (x[start : start + ROWS_AT_ONCE] for start in range(0, len(x), ROWS_AT_ONCE))
    return np.concatenate([np.asarray(_embed(network, method, variables, part)) for part in parts])


def evaluate_retrieval(frozen: Frozen) -> Result:
    """Find each judged row's partner among all, by cosine and by the transport plan."""
    towers = frozen.once(Towers)
    a, b = towers.embeddings
    by_cosine = {"a_to_b": metrics.retrieve(a, b), "b_to_a": metrics.retrieve(b, a)}
    numbers: dict[str, Any] = {"retrieval": _measured(by_cosine), "retrieval_plan": None}
    settings = towers.loss_settings
    if settings is not None:
        by_plan = _retrieve_by_plan(a, b, settings["epsilon"])
        numbers["retrieval_plan"] = _measured(by_plan)
    numbers["epsilon"] = None if settings is None else float(settings["epsilon"])
    numbers["judged_pairs"] = len(a)
    arrays = {f"ranks_{name}": found.ranks for name, found in by_cosine.items()}
    return Result("retrieval", "retrieval", numbers=numbers, arrays=arrays, picture="recall")


def _block_size(count: int) -> int | None:
    """Form a kernel of many pairs in blocks."""
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
    ways = ("a_to_b", (a, b, log_v)), ("b_to_a", (b, a, log_u))
    return {way: metrics.retrieve(*sets) for way, sets in ways}


def evaluate_weights(frozen: Frozen) -> Result:
    """Weigh every training pair by the plan's mass on it, as `ot.learned.self_weighted` does."""
    towers = frozen.once(Towers)
    name, title = "weights", "weights of the training pairs"
    if towers.loss_settings is None:
        return Result(name, title, numbers={"weights": None}, left_out=NO_PLAN)
    part = towers.pairs.train
    shares = _log_shares(towers, part)
    weights = np.exp(shares - shares.max())
    effective = float(weights.sum() ** 2 / np.square(weights).sum())
    numbers: dict[str, float | None] = {
        "effective_pairs": effective,
        "effective_share": effective / len(weights),
    }
    numbers |= _against_known(shares, part.wrong)
    arrays = {"weight_rows": np.stack(part), "log_shares": shares, "wrong": part.wrong}
    arrays |= _extremes(towers, part, shares)
    caption = (
        f"Each training pair is weighed by the share of its row's mass that the plan gives it in a "
        f"batch like those of training, mean over {towers.experiment.config.evaluation.rounds} "
        "random batches. A wrong pair has little."
    )
    return Result(
        name, title, numbers={name: numbers}, arrays=arrays, picture=name, caption=caption
    )


def _log_shares(towers: Towers, part: Part) -> Float[np.ndarray, "n"]:
    """Mean over random batches of log (P_ii/μ_i) of each pair."""
    experiment, (a, b) = towers.experiment, towers.embed(part)
    settings = towers.loss_settings or {}
    info = {name: experiment.data.info[name] for name in experiment.target.takes}
    n, size = len(a), min(experiment.train.batch_size, len(a))
    rng, total, counts = np.random.default_rng([experiment.seed, 7]), np.zeros(n), np.zeros(n)

    @jax.jit
    def shares(a: Array, b: Array, info: Info) -> Array:
        keywords = {**settings, **experiment.target.keywords(info)}
        plan, _ = losses.transport(experiment.method, a, b, **keywords)
        return jnp.maximum(plan.log_positive_shares, jnp.finfo(a.dtype).min)

    for _ in range(experiment.config.evaluation.rounds):
        order = rng.permutation(n)
        for start in range(0, n, size):
            rows = order[np.arange(start, start + size) % n]  # the last batch takes some again
            total[rows] += np.asarray(shares(a[rows], b[rows], taken(info, info, rows)))
            counts[rows] += 1
    return total / counts


def _against_known(shares: Float[np.ndarray, "n"], wrong: np.ndarray) -> dict[str, float | None]:
    """Measure how well small weights find the pairs that were shuffled."""
    count = int(wrong.sum())
    if count in (0, len(wrong)):
        return {"auc": None, "precision": None, "wrong_share": count / len(wrong)}
    first = np.argsort(shares, kind="stable")[:count]
    auc, precision = float(roc_auc_score(wrong, -shares)), float(wrong[first].mean())
    return {"auc": auc, "precision": precision, "wrong_share": count / len(wrong)}


def _extremes(towers: Towers, part: Part, shares: Float[np.ndarray, "n"]) -> dict[str, np.ndarray]:
    """Pictures of the pairs of least and of most weight, where both sides are pictures."""
    pairs = towers.pairs
    if not (pairs.a.pictures and pairs.b.pictures):
        return {}
    order = np.argsort(shares, kind="stable")
    count = min(SHOWN, len(order) // 2)
    chosen = np.stack([order[:count], order[::-1][:count]])
    raw = {"extremes_a": pairs.a.raw[part.a[chosen]], "extremes_b": pairs.b.raw[part.b[chosen]]}
    return {**raw, "extremes": chosen}


def evaluate_extremes(frozen: Frozen) -> Result | None:
    """Name the picture of the pairs of least and of most weight, where there is one."""
    towers = frozen.once(Towers)
    pairs = towers.pairs
    if towers.loss_settings is None or not (pairs.a.pictures and pairs.b.pictures):
        return None
    caption = "Training pairs of least weight (above) and of most (below); a over b."
    return Result("extremes", "most and least doubtful pairs", picture="extremes", caption=caption)


def evaluate_embeddings(frozen: Frozen) -> Result:
    """Measure alignment, uniformity and effective rank of the judged pairs' embeddings."""
    a, b = (jnp.asarray(side) for side in frozen.once(Towers).embeddings)
    numbers = representation(a, b, _block_size(len(a)))
    title = "alignment against uniformity over training"
    return Result("embeddings", title, numbers=numbers, picture="alignment_uniformity")


def check(experiment: Experiment) -> None:
    """Refuse settings of the `evaluation` group that are out of their range."""
    settings = experiment.config.evaluation
    for name in ("rounds", "suspects"):
        if settings[name] < 1:
            raise ValueError(f"config.evaluation: {name} must be at least 1, got {settings[name]}")
