"""Two sets aligned by the plan between them, of which given pairs are the prior.

The plan is not what a loss is measured on, but what is inferred: expectation maximisation of a
mixture in which a row belongs to its given partner with the probability π, and else to any row of
the other set (docs/pairs.md). π = 1 is Procrustes and CCA of the pairs; without pairs it is
Wasserstein-Procrustes (Grave et al., AISTATS 2019); a plan rounded one to one with π fixed is
Schnaus et al., arXiv 2610.09411.
"""

import dataclasses
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Float32, Int, Int32
from threadpoolctl import ThreadpoolController

from gca_jax import check, ot
from gca_jax.models import closed_form
from gca_jax.models import matching as matchings
from gca_jax.models.closed_form import Maps, Moments
from gca_jax.ot.priors import Known

ROTATING = (0.1, 0.05, 0.02, 0.01)  # ε at which rotations are fitted, annealed
CORRELATING = (0.05, 0.05, 0.025, 0.025, 0.025)  # and then canonical directions
ROUNDS = 5  # M steps at each ε of the rotations
COARSE = (0.2, 0.1, 0.05)  # ε of a cycle's rotations, three M steps each,
CANONICAL = (0.05,) * 5  # and of its canonical directions
COARSE_ROUNDS = 3
CYCLES = 6  # at most
LEAST_GAIN = 1.02  # of sharpness, for which a further cycle follows
SWEEPS = 40  # of each E step that starts anew,
WARM_SWEEPS = 15  # and of one that starts from the scalings of the one before
WARM_DEALS = 5  # of pairs, in an E step of mutual neighbours
FINE = 0.03  # ε below which an E step is in float64
MOST = 4_096  # rows of a batch; more are drawn anew for each E step
BLAS = ThreadpoolController().select(user_api="blas")
MOST_DEALT = 2_000_000  # pairs dealt anew, 20 of each given one where that is fewer
LEAST_SHARE, MOST_SHARE = 0.01, 0.995  # that π may be


class Given(NamedTuple):
    """Pairs that are said to belong together, each with its own probability or all with one.

    Attributes:
        pairs: Row of x and row of y of each [k, 2].
        confidence: Probability that each is right [k]; None: one for all, which is estimated.
    """

    pairs: Int[np.ndarray, "k 2"]
    confidence: Float[np.ndarray, " k"] | None = None


@dataclasses.dataclass(frozen=True)
class Fit:
    """What the alternation found.

    Attributes:
        maps: Linear maps of both sets.
        share: π, the share of the given pairs that are right as it stands in the prior; None
            without pairs. `share_of_right_pairs` is what to report.
        posterior: q of each given pair [k] at the last E step in which it took part.
        moments: Of the last plan.
        of_pairs: Cross moments [p, q] of the given pairs, weighted by q; None without pairs.
    """

    maps: Maps
    share: float | None
    posterior: Float[np.ndarray, " k"] | None
    moments: Moments
    of_pairs: Float[np.ndarray, "p q"] | None

    @property
    def rotation(self) -> Maps:
        """Procrustes of the last plan, from which another annealing can start."""
        return closed_form.procrustes(self.moments)

    def mixed(self, weight: float, shrink: float = 0.1) -> Maps:
        """Fit CCA to the plan and, with this weight in [0, 1], to the given pairs beside it.

        A plan counts a known pair as one row of many. Where few rows have a partner, or the plan is
        flat inside clusters, the pairs tell more.
        """
        check.between("weight", weight, 0.0, 1.0)
        if self.of_pairs is None or weight == 0:
            return closed_form.cca(self.moments, shrink)
        xy = (1 - weight) * self.moments.xy + weight * self.of_pairs
        return closed_form.cca(self.moments._replace(xy=xy), shrink)


def mutual(
    x: Float[np.ndarray, "n p"],
    y: Float[np.ndarray, "m q"],
    given: Given,
    fit: Fit,
    weight: float,
    *,
    rounds: int = 2,
    shrink: float = 0.1,
    most: int = MOST,
    seed: int = 0,
) -> Maps:
    """Go on from a fit with mutual neighbours in place of the plan, and given pairs beside them.

    Rows that are not each other's nearest by CSLS count nothing, as those whose partner is absent
    should; a given pair counts by the calibrated probability that it is right. CCA of both.

    Args:
        x: Rows of the one set [n, p].
        y: Rows of the other [m, q].
        given: Pairs that are said to belong together.
        fit: Of `align`, of the same rows.
        weight: Of the given pairs, in [0, 1]; the neighbours have the rest.
        rounds: Of matching and CCA; four times as many where rows are drawn.
        shrink: Of CCA's covariances.
        most: As in `align`.
        seed: As in `align`.
    """
    check.between("weight", weight, 0.0, 1.0)
    start, share = fit.mixed(weight, shrink), _share(fit)
    state = _State(x, y, given, start, share, most, "mutual", weight, fit.moments)
    rng = np.random.default_rng([seed, 17])
    with BLAS.limit(limits=1):
        for _ in range(rounds if state.whole else 4 * rounds):
            state.expect(CANONICAL[0], rng)
            state.maps = closed_form.cca(state.moments, shrink)
    return state.maps


class _Sample(NamedTuple):
    """Rows of both sides of an E step, and which given pairs stand in them."""

    rows: Int[np.ndarray, " n"]
    columns: Int[np.ndarray, " m"]
    known: Known | None
    which: Int[np.ndarray, " k"]


def align(
    x: Float[np.ndarray, "n p"],
    y: Float[np.ndarray, "m q"],
    given: Given | None,
    start: Maps,
    *,
    share: float = 0.5,
    rotating: tuple[float, ...] = ROTATING,
    correlating: tuple[float, ...] = CORRELATING,
    rounds: int = ROUNDS,
    shrink: float = 0.1,
    most: int = MOST,
    matching: str = "plan",
    seed: int = 0,
) -> Fit:
    """Alternate between the plan of two sets and their maps, from a start.

    E step: the plan P of cos(f(x), g(y)) at ε whose prior are the given pairs; q_e = P_e over what
    the pair can have; π the mean of q. M step: maps from C = Xᵀ P Y; rotations (Procrustes) while ε
    is annealed, and then CCA with directions times their canonical correlations.

    Args:
        x: Rows of the one set [n, p], such as unit principal-component scores.
        y: Rows of the other [m, q]; n and m may differ.
        given: Pairs that are said to belong together; None: no pair is known.
        start: Maps of the first E step.
        share: π of the first E step, where the pairs have no confidence of their own.
        rotating: ε of the rotations, `rounds` M steps each.
        correlating: ε of the E steps between maps of CCA.
        rounds: M steps at each ε of `rotating`.
        shrink: Of CCA's covariances.
        most: Rows of a side in one E step; where there are more, each takes others, with both rows
            of a known pair, and C is a running mean.
        matching: "plan", or pairs in its place: "one_to_one" (Schnaus et al.) or "mutual" nearest
            neighbours by CSLS, of the rows that no given pair holds. Given pairs are then trusted.
        seed: Of the batches.

    Returns:
        The fit.
    """
    check.between("share", share, 0.0, 1.0)
    check.one_of("matching", matching, ("plan", *matchings.MATCHINGS))
    state = _State(x, y, given, start, share, most, matching)
    rng = np.random.default_rng([seed, 11])
    with BLAS.limit(limits=1):  # threads cost small products more than they save
        for epsilon in rotating:
            for _ in range(rounds):
                state.expect(epsilon, rng)
                state.maps = closed_form.procrustes(state.moments)
        for epsilon in correlating:
            state.maps = closed_form.cca(state.moments, shrink)
            state.expect(epsilon, rng)
        if correlating:
            state.maps = closed_form.cca(state.moments, shrink)
    share_now = state.share if given is not None else None
    return Fit(state.maps, share_now, state.posterior, state.moments, state.of_pairs())


class _State:
    """The alternation between two steps: maps, π, scalings and running moments."""

    def __init__(
        self,
        x: Float[np.ndarray, "n p"],
        y: Float[np.ndarray, "m q"],
        given: Given | None,
        maps: Maps,
        share: float,
        most: int,
        matching: str,
        weight: float | None = None,
        moments: Moments | None = None,
    ):
        self.x, self.y, self.given, self.maps, self.most = x, y, given, maps, most
        self.weight = weight
        own = None if given is None else given.confidence
        self.share = share if own is None else float(np.mean(own))
        self.posterior = None if given is None else np.full(len(given.pairs), self.share)
        self.moments = moments or _second_moments(x, y)
        self.whole = len(x) <= most and len(y) <= most
        self.log_v: Float[np.ndarray, " m"] | None = None
        self.fixed = self._sample(np.random.default_rng(0)) if self.whole else None
        self.steps = 0
        self.matching = matching

    def expect(self, epsilon: float, rng: np.random.Generator) -> None:
        """Infer the plan; update C, q and π."""
        sample = self.fixed or self._sample(rng)
        x, y = np.asarray(self.x[sample.rows]), np.asarray(self.y[sample.columns])
        if self.matching != "plan":
            self._average(self._matched(x, y, sample))
            return
        log_odds = self._log_odds(sample)
        wide = epsilon < FINE  # K at ε = 0.01 spans e^-200 to 1
        with jax.enable_x64(wide):
            sweeps = SWEEPS if self.log_v is None else WARM_SWEEPS
            cast = partial(np.asarray, dtype=np.float64 if wide else np.float32)
            given = (self.maps.map_x(x), self.maps.map_y(y), y, log_odds, epsilon)
            start = None if self.log_v is None else cast(self.log_v)
            found = _expect(*map(cast, given), sample.known, start, sweeps)
            py, posterior, log_v = (np.asarray(z, np.float64) for z in found)
        keep = self._average(x.T @ py)
        self.log_v = log_v if self.whole else None
        if self.posterior is not None and sample.known is not None:
            self.posterior[sample.which] = posterior
            if self.given is not None and self.given.confidence is None:
                now = float(np.clip(posterior.mean(), LEAST_SHARE, MOST_SHARE))
                self.share = keep * self.share + (1 - keep) * now

    def of_pairs(self) -> Float[np.ndarray, "p q"] | None:
        """Sum the cross moments of the given pairs, weighted by q."""
        if self.given is None or self.posterior is None:
            return None
        rows, columns = self.given.pairs.T
        total = np.zeros((self.x.shape[1], self.y.shape[1]))
        for part in closed_form.parts(len(rows)):
            weighted = self.x[rows[part]] * self.posterior[part, None]
            total += weighted.T @ self.y[columns[part]]
        return total / self.posterior.sum()

    def _average(self, xy: Float[np.ndarray, "p q"]) -> float:
        """Take C of a sample into the running one, and return what is kept of that."""
        self.steps += 1
        keep = 0.0 if self.whole else 1 - 1 / min(self.steps, 4)
        self.moments = self.moments._replace(xy=keep * self.moments.xy + (1 - keep) * xy)
        return keep

    def _matched(
        self, x: Float[np.ndarray, "n p"], y: Float[np.ndarray, "m q"], sample: _Sample
    ) -> Float[np.ndarray, "p q"]:
        """Return C of matches, and of given pairs beside them: each as one, or by weight and q."""
        known = sample.known
        given = np.zeros((0, 2), int) if known is None else np.stack([*known[:2]], axis=1)
        zx, zy = (np.asarray(z, np.float32) for z in (self.maps.map_x(x), self.maps.map_y(y)))
        if self.weight is None:
            rows, columns = matchings.beside(self.matching, zx, zy, given).T
            return x[rows].T @ y[columns] / len(rows)
        xy = np.zeros((x.shape[1], y.shape[1]))
        if self.weight < 1:
            rows, columns = matchings.MATCHINGS[self.matching](zx, zy).T
            xy += (1 - self.weight) * (x[rows].T @ y[columns]) / max(1, len(rows))
        if self.weight > 0 and len(given):
            q = self._weigh(zx, zy, given, sample.which)
            xy += self.weight * ((x[given[:, 0]] * q[:, None]).T @ y[given[:, 1]]) / q.sum()
        return xy

    def _weigh(
        self,
        zx: Float[np.ndarray, "n d"],
        zy: Float[np.ndarray, "m d"],
        pairs: Int[np.ndarray, "k 2"],
        which: Int[np.ndarray, " k"],
    ) -> Float[np.ndarray, " k"]:
        """Return calibrated q of pairs of a sample, by their own confidences if they have some."""
        rows, columns = pairs.T
        dealt = _dealt(columns, WARM_DEALS, 0)
        log_p = _log_p(zx, zy, rows, dealt, sweeps=WARM_SWEEPS, dtype=np.float32)
        judged = Judged(log_p[0], log_p[1:], len(zy))
        q = calibrated(judged)
        if self.given is not None and self.given.confidence is not None:
            share = np.clip(share_of_right_pairs(judged)[0], LEAST_SHARE, MOST_SHARE)
            prior = np.clip(self.given.confidence[which], LEAST_SHARE, MOST_SHARE)
            odds = prior / (1 - prior) * (1 - share) / share
            q = q * odds / (q * odds + 1 - q)
        return np.maximum(q, 1e-6)

    def _log_odds(self, sample: _Sample) -> Float[np.ndarray, " k"]:
        own = None if self.given is None else self.given.confidence
        share = np.full(len(sample.which), self.share) if own is None else own[sample.which]
        share = np.clip(share, LEAST_SHARE, MOST_SHARE)
        return np.log(share) - np.log1p(-share)

    def _sample(self, rng: np.random.Generator) -> _Sample:
        """Draw rows of both sides: all of few, else some pairs with both rows, and others."""
        n, m = len(self.x), len(self.y)
        pairs = np.zeros((0, 2), int) if self.given is None else self.given.pairs
        if self.whole:
            known = ot.known(pairs, n, m) if len(pairs) else None
            return _Sample(np.arange(n), np.arange(m), known, np.arange(len(pairs)))
        which = np.arange(len(pairs))
        alone = len(np.unique(pairs[:, 0])) < n or len(np.unique(pairs[:, 1])) < m
        room = self.most // 2 if alone else self.most
        if len(which) > room:
            which = np.sort(rng.choice(which, room, replace=False))
        rows, columns, local = drawn(rng, pairs[which], (n, m), (self.most, self.most))
        known = ot.known(local, len(rows), len(columns)) if len(which) else None
        return _Sample(rows, columns, known, which)


def drawn(
    rng: np.random.Generator,
    pairs: Int[np.ndarray, "k 2"],
    sizes: tuple[int, int],
    most: tuple[int, int],
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " m"], Int[np.ndarray, "k 2"]]:
    """Draw rows of both sides: those of the pairs, and others up to so many of each side.

    Returns:
        Rows and columns, sorted, and the pairs by their places among these.
    """
    kept = [
        _filled(rng, np.unique(side), size, count)
        for side, size, count in zip(pairs.T, sizes, most, strict=True)
    ]
    places = [np.searchsorted(own, side) for own, side in zip(kept, pairs.T, strict=True)]
    return kept[0], kept[1], np.stack(places, axis=1)


def _filled(
    rng: np.random.Generator, chosen: Int[np.ndarray, " k"], size: int, most: int
) -> Int[np.ndarray, " n"]:
    """Add other rows, drawn without replacement, up to `most`; sorted."""
    wanted = min(most, size) - len(chosen)
    if wanted <= 0:
        return chosen
    drawn = rng.choice(size, min(size, wanted + len(chosen)), replace=False)
    others = drawn[~np.isin(drawn, chosen)][:wanted]  # in the order drawn, not that of the rows
    return np.sort(np.concatenate([chosen, others]))


def _second_moments(x: Float[np.ndarray, "n p"], y: Float[np.ndarray, "m q"]) -> Moments:
    """Return the second moments of both sets about zero, C still 0."""
    xx, yy = (closed_form.second_moment(z) for z in (x, y))
    p, q = x.shape[1], y.shape[1]
    return Moments(np.zeros(p), np.zeros(q), xx, yy, np.zeros((p, q)))


@partial(jax.jit, static_argnames="sweeps")
def _expect(
    zx: Float[ArrayLike, "n d"],
    zy: Float[ArrayLike, "m d"],
    y: Float[ArrayLike, "m q"],
    log_odds: Float[ArrayLike, " k"],
    epsilon: ArrayLike,
    known: Known | None,
    start: Float[ArrayLike, " m"] | None,
    sweeps: int,
) -> tuple[Float[Array, "n q"], Float[Array, " k"], Float[Array, " m"]]:
    """Return P Y of the plan, q of its known pairs, and log v."""
    kernel = ot.cosine_kernel(zx, zy, epsilon=epsilon, domain="scaling")
    if known is not None:
        kernel = ot.prior(kernel, known, log_odds)
    plan = ot.project(kernel, iterations=sweeps, start=start)
    q = jnp.asarray(log_odds) if known is None else ot.posterior(plan)
    return plan.times(y), q, plan.log_v


class Judged(NamedTuple):
    """How likely a plan without a prior finds given pairs, beside pairs dealt anew.

    Attributes:
        log_p: log p_e, p_e = n P_e, of each given pair [k].
        null: The same of the given columns dealt anew to the given rows [deals, k].
        columns: m, among which a partner is found.
        weights: How much each pair dealt anew counts [deals, k]; None: all the same.
    """

    log_p: Float[np.ndarray, " k"]
    null: Float[np.ndarray, "deals k"]
    columns: int
    weights: Float[np.ndarray, "deals k"] | None = None


def judge(
    x: Float[np.ndarray, "n p"],
    y: Float[np.ndarray, "m q"],
    maps: Maps,
    pairs: Int[np.ndarray, "k 2"],
    *,
    epsilon: float = 0.05,
    deals: int = 20,
    seed: int = 0,
) -> Judged:
    """Find given pairs by `judge_rows` in the embeddings of linear maps."""
    rows = maps.map_x(x), maps.map_y(y)
    return judge_rows(*rows, pairs, epsilon=epsilon, deals=deals, seed=seed)


def judge_rows(
    zx: Float[np.ndarray, "n d"],
    zy: Float[np.ndarray, "m d"],
    pairs: Int[np.ndarray, "k 2"],
    *,
    epsilon: float = 0.05,
    deals: int = 20,
    seed: int = 0,
) -> Judged:
    """Find given pairs in the plan without a prior, whole: of some thousand embeddings a side.

    Args:
        zx: Embeddings of the one set [n, d], unit rows.
        zy: Those of the other [m, d].
        pairs: Row of zx and row of zy of each given pair [k, 2].
        epsilon: ε of the plan.
        deals: How often the given columns are dealt anew.
        seed: Of the deals.
    """
    rows, columns = pairs.T
    log_p = _log_p(zx, zy, rows, _dealt(columns, deals, seed), epsilon)
    return Judged(log_p[0], log_p[1:], len(zy))


def _dealt(columns: Int[np.ndarray, " k"], deals: int, seed: int) -> Int[np.ndarray, "deals k"]:
    """Return the columns as they are given, and below them dealt anew."""
    rng = np.random.default_rng([seed, 12])
    return np.stack([columns, *(rng.permutation(columns) for _ in range(deals))])


def _log_p(
    zx: Float[np.ndarray, "n d"],
    zy: Float[np.ndarray, "m d"],
    rows: Int[np.ndarray, " k"],
    columns: Int[np.ndarray, "deals k"],
    epsilon: float = 0.05,
    *,
    sweeps: int = SWEEPS,
    dtype: type[np.floating] = np.float64,
) -> Float[np.ndarray, "deals k"]:
    """Return log n P of the rows with each of the columns, P the plan without a prior."""
    with jax.enable_x64(dtype == np.float64):
        given = (np.asarray(z, dtype) for z in (zx, zy, epsilon))
        plan = _plan_without_prior(*given, sweeps)
        found = _log_at(plan, jnp.asarray(rows), jnp.asarray(columns))
    return np.log(len(zx)) + np.asarray(found, np.float64)


@jax.jit
def _log_at(plan: ot.Plan, rows: Int[Array, " k"], columns: Int[Array, "deals k"]) -> Array:
    return jax.vmap(partial(plan.log_at, rows))(columns)


class Deals(NamedTuple):
    """Pairs in batches of one size, each pair in one, but for a few in two, and dealt anew there.

    Attributes:
        rows: Pairs of each batch [batches, size].
        places: Places in a batch of its rows' own columns, and below of those that they are dealt
            [batches, 1 + deals, size].
    """

    rows: Int[np.ndarray, "batches size"]
    places: Int[np.ndarray, "batches columns size"]

    def judge(
        self, batch: int, zx: Float[np.ndarray, "size d"], zy: Float[np.ndarray, "size d"]
    ) -> Float32[np.ndarray, "columns size"]:
        """Compute log p of a batch's pairs and, below, of those dealt anew, at ε = 0.05."""
        own, places = np.arange(self.rows.shape[1]), self.places[batch]
        return _log_p(zx, zy, own, places, dtype=np.float32).astype(np.float32)


def deals_of(count: int) -> int:
    """Return how often each of so many pairs is dealt anew: 20 times, fewer where they are many."""
    return max(1, min(20, MOST_DEALT // count))


def deal(count: int, *, most: int = MOST, seed: int = 0) -> Deals:
    """Draw pairs into batches of at most so many.

    Args:
        count: Of pairs.
        most: Pairs of a batch.
        seed: Of batches and deals.
    """
    batches, deals = -(-count // most), deals_of(count)
    size = -(-count // batches)
    order = np.random.default_rng([seed, 16]).permutation(count)
    rows = order[np.arange(batches * size).reshape(batches, size) % count]  # the last: some again
    places = [_dealt(np.arange(size), deals, seed + k) for k in range(batches)]
    return Deals(rows, np.stack(places))


class Memory(NamedTuple):
    """Sums of log p over several looks, of each pair and of those that it was dealt.

    Attributes:
        total: Of the pairs in the first row, and of those dealt anew [1 + deals, n].
        looks: How often each pair was looked at [n].
    """

    total: Float32[np.ndarray, "columns n"]
    looks: Int32[np.ndarray, " n"]


def judge_in_batches(
    zx: Float[np.ndarray, "n d"],
    zy: Float[np.ndarray, "n d"],
    *,
    memory: Memory | None = None,
    most: int = MOST,
    seed: int = 0,
) -> Judged:
    """Find the pair of each row i of zx with row i of zy, among at most so many others.

    More pairs are drawn into batches (`deal`), so that time grows with n and memory does not but
    for the null. In a batch the true partner of a wrong pair is missing as a rule. Its row then
    shares the mass that no partner takes with other such columns, and looks better than rows dealt
    anew to columns that are taken: the null is therefore weighted towards wrong pairs, once.

    Args:
        zx: Embeddings of the one set [n, d], unit rows.
        zy: Those of their partners [n, d].
        memory: Of looks at these pairs, with the same `most` and `seed`: a pair that was looked at
            is judged by its mean over these, another one by its embeddings.
        most: Pairs of a batch.
        seed: Of batches and deals.
    """
    n, dealt = len(zx), deal(len(zx), most=most, seed=seed)
    batches, columns, size = dealt.places.shape
    found, partners = np.zeros((columns, n)), np.zeros((columns, n), np.int32)
    for rows, places in zip(dealt.rows, dealt.places, strict=True):
        if memory is None or not memory.looks[rows].all():
            found[:, rows] = _log_p(zx[rows], zy[rows], np.arange(size), places)
        partners[:, rows] = rows[places]
    if memory is not None:
        seen = memory.looks > 0
        found[:, seen] = memory.total[:, seen] / memory.looks[seen]
    judged = Judged(found[0], found[1:], size)
    if batches == 1:
        return judged
    wrong = np.maximum(1 - calibrated(judged), 1e-6)
    return judged._replace(weights=wrong * wrong[partners[1:]])


@partial(jax.jit, static_argnames=("sweeps", "block_size"))
def _plan_without_prior(
    zx: Float[ArrayLike, "n d"],
    zy: Float[ArrayLike, "m d"],
    epsilon: ArrayLike,
    sweeps: int = SWEEPS,
    block_size: int | None = None,
) -> ot.Plan:
    kernel = ot.cosine_kernel(zx, zy, epsilon=epsilon, domain="scaling", block_size=block_size)
    return ot.project(kernel, iterations=sweeps)


def log_ratios(
    zx: Float[np.ndarray, "n d"],
    zy: Float[np.ndarray, "m d"],
    pairs: Int[np.ndarray, "k 2"],
    epsilon: float,
) -> Float[np.ndarray, " k"]:
    """Compute log L = log (m n P_e) of pairs, P the plan of unit rows without prior, in float32."""
    rows, columns = pairs.T
    warm = partial(_log_p, sweeps=WARM_SWEEPS, dtype=np.float32)
    return np.log(len(zy)) + warm(zx, zy, rows, columns[None], epsilon)[0]


def partners(
    zx: Float[np.ndarray, "n d"], zy: Float[np.ndarray, "m d"], *, epsilon: float = 0.05
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Find the column that has most of each row's mass in the plan without prior, and its share.

    Args:
        zx: Embeddings of the one set [n, d], unit rows.
        zy: Those of the other [m, d].
        epsilon: ε of the plan.
    """
    zx, zy = (np.asarray(z, np.float32) for z in (zx, zy))
    blocks = None if max(len(zx), len(zy)) <= MOST else 1_024
    plan = _plan_without_prior(zx, zy, epsilon, SWEEPS, blocks)
    log_v, columns, shares = np.asarray(plan.log_v), np.zeros(len(zx), int), np.zeros(len(zx))
    for part in closed_form.parts(len(zx)):
        scores = zx[part] @ zy.T / np.float32(epsilon) + log_v
        scores -= scores.max(axis=1, keepdims=True)
        columns[part], shares[part] = scores.argmax(axis=1), 1 / np.exp(scores).sum(axis=1)
    return columns, shares


def share_of_right_pairs(judged: Judged) -> tuple[float, float]:
    """Estimate the share of right pairs and its standard deviation, from two groups.

    Half of the wrong pairs lie below the median of those dealt anew, and no right one does:
    π = 1 - 2 F, F the share below it. A right pair that looks like chance is not seen.
    """
    middle = _middle(judged)
    equal = np.mean(judged.log_p == middle)  # all of them, where all embeddings are one
    below = float(np.mean(judged.log_p < middle) + equal / 2)
    sd = 2 * float(np.sqrt(below * (1 - below) / len(judged.log_p)))
    return float(np.clip(1 - 2 * below, 0.0, 1.0)), sd


def _middle(judged: Judged) -> float:
    """Return the median of the pairs dealt anew."""
    return float(np.quantile(judged.null, 0.5, weights=judged.weights, method="inverted_cdf"))


def unlearned(judged: Judged, share: float) -> Judged:
    """Move the null up, until two groups find this share of right pairs.

    Of pairs that maps were trained with, wrong ones look better than pairs dealt anew, and more so
    the better they are known by heart. How many are right, others tell that were not trained with.
    """
    moved = np.quantile(judged.log_p, (1 - share) / 2) - _middle(judged)
    return judged._replace(null=judged.null + moved)


def calibrated(judged: Judged) -> Float[np.ndarray, " k"]:
    """Estimate the probability that each given pair is right.

    Isotonic regression of given against dealt anew on log p_e has the ratio r of their densities;
    a share 1 - π of the given are like those dealt anew: q = 1 - min(1, (1 - π)/r).
    """
    from sklearn.isotonic import IsotonicRegression  # takes longer to import than it runs

    z = np.concatenate([judged.log_p, judged.null.ravel()])
    is_given = np.arange(z.size) < judged.log_p.size
    of_null = np.ones(judged.null.size) if judged.weights is None else judged.weights.ravel()
    each = of_null.sum() / judged.log_p.size  # so that both groups weigh the same
    weights = np.concatenate([np.full(judged.log_p.size, each), of_null])
    regression = IsotonicRegression(y_min=0.0, y_max=1.0).fit(z, is_given, sample_weight=weights)
    given = regression.predict(judged.log_p)
    wrong = (1 - share_of_right_pairs(judged)[0]) * (1 - given) / np.maximum(given, 1e-12)
    return 1 - np.minimum(1.0, wrong)


def held_out_likelihood(judged: Judged) -> float:
    """Compute ℓ = max_π mean log (π L + 1 - π) of held-out pairs, L = m p_e, in nats a pair.

    0 is no better than chance. It is what starts and methods are chosen by: recall of pairs that
    may be wrong, the mean cosine of matched rows and EM's own π choose wrongly.
    """
    return likelihood(np.log(judged.columns) + judged.log_p)


def likelihood(log_ratios: Float[np.ndarray, " k"]) -> float:
    """Compute max_π mean log (π L + 1 - π), of log L."""
    return float(log_likelihoods(log_ratios).mean())


def log_likelihoods(log_ratios: Float[np.ndarray, " k"]) -> Float[np.ndarray, " k"]:
    """Return log (π L + 1 - π) of each pair, at the π with the largest mean."""
    shares = np.linspace(0.0, 0.999, 200)[:, None]
    of_pairs = np.log(shares * np.exp(log_ratios)[None, :] + 1 - shares)
    return of_pairs[of_pairs.mean(axis=1).argmax()]


def sharpness(
    x: Float[np.ndarray, "n p"], y: Float[np.ndarray, "m q"], maps: Maps, epsilon: float = 0.05
) -> float:
    """Compute the mean row maximum of n P, without a prior: 1 where each row has one partner."""
    zx, zy = maps.map_x(x), maps.map_y(y)
    with jax.enable_x64(True):
        plan = _plan_without_prior(np.float64(zx), np.float64(zy), np.float64(epsilon))
        return float(plan.matrix.max(axis=1).mean()) * len(x)


def by_profiles(
    x: Float[np.ndarray, "n p"],
    y: Float[np.ndarray, "m q"],
    *,
    epsilon: float = 0.05,
    without: tuple[int, ...] = (0,),
) -> Maps:
    """Start without pairs: match rows by their sorted similarities to the rows of their own set.

    As VecMap does (Artetxe et al., ACL 2018), with the plan in place of nearest neighbours.

    Args:
        x: Rows of the one set [n, p].
        y: Rows of the other [m, q].
        epsilon: Of the plan between profiles.
        without: How many of the leading principal axes similarities are computed without; of
            several numbers the profiles stand side by side.
    """
    profiles = []
    for z in (x, y):
        similar = [_profile(closed_form.without_axes(z, axes)) for axes in without]
        profiles.append(np.concatenate(similar, axis=1))
    with jax.enable_x64(True):
        plan = _plan_without_prior(*profiles, np.float64(epsilon))
        xy = x.T @ np.asarray(plan.times(y))
    return closed_form.procrustes(_second_moments(x, y)._replace(xy=xy))


def _profile(z: Float[np.ndarray, "n p"]) -> Float[np.ndarray, "n 200"]:
    """Sort the similarities of each row to its set: 200 quantiles, less their means."""
    rows = closed_form.unit(z)
    similar = np.quantile(rows @ rows.T, np.linspace(0.005, 0.995, 200), axis=1).T
    return np.asarray(similar - similar.mean(axis=0))


class Cycle(NamedTuple):
    """A coarse annealing from a start.

    Attributes:
        fit: Where it ended.
        sharpness: `sharpness` of its maps.
    """

    fit: Fit
    sharpness: float


def cycle(
    x: Float[np.ndarray, "n p"],
    y: Float[np.ndarray, "m q"],
    given: Given | None,
    start: Maps,
    *,
    share: float = 0.5,
    seed: int = 0,
) -> Cycle:
    """Anneal rotations and correlate once, down to ε = 0.05; arguments are those of `align`."""
    fit = align(
        x, y, given, start, share=share, rotating=COARSE, correlating=CANONICAL,
        rounds=COARSE_ROUNDS, seed=seed,
    )  # fmt: skip
    return Cycle(fit, sharpness(x, y, fit.maps))


def anneal(
    x: Float[np.ndarray, "n p"],
    y: Float[np.ndarray, "m q"],
    given: Given | None,
    begun: Cycle,
    *,
    seed: int = 0,
) -> Fit:
    """Go on with further cycles until the plan gets no sharper, and then to small ε.

    A start is right in some of the leading directions only. One cycle rights some more, and the
    next one, from where that ended, the others.
    """
    for _ in range(CYCLES - 1):
        further = cycle(x, y, given, begun.fit.maps, share=_share(begun.fit), seed=seed)
        if further.sharpness < begun.sharpness * LEAST_GAIN:
            break
        begun = further
    return refine(x, y, given, begun.fit, rounds=COARSE_ROUNDS, seed=seed)


def refine(
    x: Float[np.ndarray, "n p"],
    y: Float[np.ndarray, "m q"],
    given: Given | None,
    fit: Fit,
    *,
    rounds: int = ROUNDS,
    seed: int = 0,
) -> Fit:
    """Anneal again from the rotation of a fit, perhaps of other pairs, from ε = 0.05."""
    rotating = ROTATING[1:]
    return align(
        x, y, given, fit.rotation, share=_share(fit), rotating=rotating, rounds=rounds, seed=seed
    )


def _share(fit: Fit) -> float:
    return 0.5 if fit.share is None else fit.share
