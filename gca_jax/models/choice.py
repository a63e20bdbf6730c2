"""Which linear maps of two sets fit held-out pairs best: closed forms, or the plan between them.

Candidates are compared by ℓ, the likelihood of given pairs that none of them was fitted to
(docs/pairs.md): recall of pairs that may be wrong, the mean cosine of matched rows and EM's own π
choose wrongly.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float, Int

from gca_jax import check
from gca_jax.models import closed_form, evidence, starts
from gca_jax.models.closed_form import Maps, Moments
from gca_jax.models.evidence import Cycle, Fit, Given
from gca_jax.models.starts import Identified

FOLDS = 5
ENOUGH = 250  # held-out pairs; no further fold is fitted then
FEWEST = 20  # pairs that a choice by held-out ones needs
OTHERS = 1_500  # rows of a side in fits that choose, if fewer have a pair
TEMPERATURES = (0.05, 0.1)  # ε that each candidate is judged at; its best one counts
MIXED = (0.0, 0.1, 0.3, 0.6, 1.0)  # weight of the pairs beside the plan in the last CCA
SHRINKAGES = (0.1, 0.5)  # of CCA of the pairs
EASY = 0.3  # share of right pairs above which one start is enough: with few it is a lottery
KEPT = 0.85  # of the rows, in each of two fits that are to agree
EVIDENCE, MUTUAL = "evidence", "mutual"
X = Float[np.ndarray, "n p"]
Y = Float[np.ndarray, "m q"]


@dataclasses.dataclass(frozen=True)
class Choice:
    """Linear maps of two sets, and what they were chosen among.

    Attributes:
        maps: Fitted to all pairs.
        name: "procrustes", "trimmed", "cca 0.1" with its shrinkage, or "evidence 0.3": a last CCA
            in which the pairs weigh 0.3 and the plan 0.7 (`evidence.Fit.mixed`), "mutual 0.3" with
            mutual neighbours in place of the plan (`evidence.mutual`).
        start: Where the evidence started: "pairs", or that of the others whose plan is the sharpest
            after one cycle: "trimmed", or one of `starts.starts`.
        fit: The evidence's fit to all pairs from there, whatever was chosen.
        likelihoods: ℓ of each candidate in nats a pair, 0 is chance; empty below `FEWEST` pairs.
        rank: Mean rank of a held-out pair's partner over m, by the chosen candidate: 0.5 is
            chance; NaN where no pair was held out.
        judged: Number of held-out pairs.
        unmatched: Where no pair was held out, what `starts.identified` measures.
    """

    maps: Maps
    name: str
    start: str
    fit: Fit
    likelihoods: Mapping[str, float] = dataclasses.field(default_factory=dict)
    rank: float = float("nan")
    judged: int = 0
    unmatched: Identified | None = None

    def __str__(self) -> str:
        """Say what was chosen, and how the best closed form compares."""
        if not self.likelihoods:
            return f"{self.name}: {FEWEST} pairs are the fewest to choose by" + self._warning
        line = f"{self.name}: ℓ = {self.likelihoods[self.name]:.3f} nats a held-out pair"
        forms = {key: found for key, found in self.likelihoods.items() if key in CLOSED_FORMS}
        best = max(forms, key=forms.__getitem__, default=self.name)
        if best != self.name:
            line += f", {best} {forms[best]:.3f}"
        return line + self._warning

    @property
    def _warning(self) -> str:
        return "" if self.identified else "; partners are not told from chance"

    @property
    def identified(self) -> bool:
        """Whether held-out partners rank above chance (at 5 %), or `unmatched` says so."""
        if self.unmatched is not None:
            return bool(self.unmatched)
        return self.rank < 0.5 - 0.48 / float(np.sqrt(self.judged))


def choose(x: X, y: Y, given: Given, *, closed_forms: bool = True, seed: int = 0) -> Choice:
    """Choose among closed forms of given pairs, and the plan whose prior they are.

    Of five folds of the pairs as many are held out as have 250 together. What is fitted to the
    others is judged on them, and what was best is fitted to all pairs. Where a set has more than
    4,096 rows, candidates are compared on some of them.

    Args:
        x: Rows of the one set [n, p], such as unit principal-component scores.
        y: Rows of the other [m, q].
        given: At least two pairs that are said to belong together.
        closed_forms: Whether these are among the candidates.
        seed: Of the folds, and of batches.

    Raises:
        ValueError: Fewer than two pairs.
    """
    if len(given.pairs) < 2:
        raise ValueError(f"two pairs are the fewest to start from, got {len(given.pairs)}")
    sets = _some(x, y, given, np.random.default_rng([seed, 13]))
    if len(given.pairs) < FEWEST:
        fit, start = _sharpest(sets, seed)
        fit, found = evidence.refine(x, y, given, fit, seed=seed), _unmatched(sets, fit.maps, seed)
        return Choice(fit.maps, f"{EVIDENCE} 0", start, fit, unmatched=found)
    candidates: dict[str, _Found] = {}
    begun: dict[str, _Found] = {}
    fits: list[tuple[float, Fit]] = []
    start = ""
    for fold in _folds(sets, seed):
        for name, form in CLOSED_FORMS.items() if closed_forms else ():
            candidates.setdefault(name, _Found()).add(fold, form(fold.sets))
        here = {}  # fits of other folds have seen the held-out pairs
        for name, fit in _fits(fold.sets, seed, start):
            of_start = begun.setdefault(name, _Found())
            here[name] = of_start.add(fold, fit.maps), fit
            if not start:  # which it is chosen by
                of_start.sharpness = evidence.sharpness(fold.sets.x, fold.sets.y, fit.maps)
        start = start or _best_start(begun)  # the later folds take it
        fits.append(here[start])
        for weight in MIXED:
            for kind in (EVIDENCE, MUTUAL):
                maps = _of_fit(kind, weight, fold.sets, here[start][1], seed)
                candidates.setdefault(f"{kind} {weight:g}", _Found()).add(fold, maps)
    best = max(fits, key=lambda each: each[0])[1]
    fit = evidence.refine(x, y, given, best, seed=seed)
    name = _best_candidate(candidates)
    if name in CLOSED_FORMS:
        maps = CLOSED_FORMS[name](_Sets(x, y, given))
    else:
        kind, pairs = name.split()
        maps = _of_fit(kind, float(pairs), _Sets(x, y, given), fit, seed)
    ranks = np.concatenate(candidates[name].ranks)
    likelihoods = {name: one.likelihood for name, one in candidates.items()}
    likelihoods |= {f"start {name}": one.likelihood for name, one in begun.items()}
    return Choice(maps, name, start, fit, likelihoods, float(ranks.mean()), len(ranks))


class _Sets(NamedTuple):
    """Rows of two sets, and the pairs among them."""

    x: X
    y: Y
    given: Given

    @property
    def paired(self) -> tuple[Float[np.ndarray, "k p"], Float[np.ndarray, "k q"]]:
        """The rows of both sides of each pair; where these are all, in order, no copy."""
        x, y = (
            z if len(z) == len(of) and (of == np.arange(len(z))).all() else z[of]
            for z, of in zip((self.x, self.y), self.given.pairs.T, strict=True)
        )
        return x, y

    @property
    def moments(self) -> Moments:
        """Of the pairs about zero, weighted by their confidence."""
        return closed_form.moments(*self.paired, self.given.confidence, centre=False)

    def of(self, which: Int[np.ndarray, " k"]) -> Given:
        """Return some of the pairs."""
        own = self.given.confidence
        return Given(self.given.pairs[which], None if own is None else own[which])

    def some(self, rng: np.random.Generator, most: tuple[int, int]) -> "_Sets":
        """Keep the rows of the pairs, and others up to so many of each side."""
        sizes = len(self.x), len(self.y)
        rows, columns, pairs = evidence.drawn(rng, self.given.pairs, sizes, most)
        return _Sets(self.x[rows], self.y[columns], Given(pairs, self.given.confidence))


class _Fold(NamedTuple):
    """Two sets with the pairs that are fitted to, and those that are judged."""

    sets: _Sets
    out: Int[np.ndarray, "k 2"]


@dataclasses.dataclass
class _Found:
    """What the held-out pairs of all folds say of one candidate."""

    log_ratios: list[Float[np.ndarray, "e k"]] = dataclasses.field(default_factory=list)
    ranks: list[Float[np.ndarray, " k"]] = dataclasses.field(default_factory=list)
    sharpness: float = 0.0  # of a start

    def add(self, fold: _Fold, maps: Maps) -> float:
        """Judge maps that were fitted without the held-out pairs; return ℓ of these."""
        zx, zy = maps.map_x(fold.sets.x), maps.map_y(fold.sets.y)
        judged = [evidence.log_ratios(zx, zy, fold.out, each) for each in TEMPERATURES]
        rows, columns = fold.out.T
        cosines = zx[rows] @ zy.T
        own = cosines[np.arange(len(rows)), columns][:, None]
        self.ranks.append(np.mean(cosines > own, axis=1) + np.mean(cosines == own, axis=1) / 2)
        self.log_ratios.append(np.stack(judged))
        return float(_likeliest(self.log_ratios[-1]).mean())

    @property
    def likelihood(self) -> float:
        """ℓ of all held-out pairs."""
        return float(self.of_pairs.mean())

    @property
    def of_pairs(self) -> Float[np.ndarray, " k"]:
        """What each held-out pair has in ℓ, at the best ε."""
        return _likeliest(np.concatenate(self.log_ratios, axis=1))


def _likeliest(log_ratios: Float[np.ndarray, "e k"]) -> Float[np.ndarray, " k"]:
    """Return what each pair has in ℓ, at the ε of the largest."""
    return max(map(evidence.log_likelihoods, log_ratios), key=np.mean)


def _some(x: X, y: Y, given: Given, rng: np.random.Generator) -> _Sets:
    """Draw the rows that candidates are compared on: those of the pairs, and some others."""
    sets, k = _Sets(x, y, given), len(given.pairs)
    if k > evidence.MOST:
        chosen = np.sort(rng.choice(k, evidence.MOST, replace=False))
        sets = _Sets(x, y, sets.of(chosen))
    return sets.some(rng, (OTHERS, OTHERS))


def _folds(sets: _Sets, seed: int) -> Iterator[_Fold]:
    """Hold out a fifth of the pairs at a time, until enough of them have been."""
    k, held_out = len(sets.given.pairs), 0
    order = np.random.default_rng([seed, 14]).permutation(k)
    for out in order[: k // FOLDS * FOLDS].reshape(FOLDS, -1):  # of one size: compiled once
        kept = np.setdiff1d(np.arange(k), out)
        yield _Fold(_Sets(sets.x, sets.y, sets.of(kept)), sets.given.pairs[out])
        held_out += len(out)
        if held_out >= ENOUGH:
            return


def _of_moments(form: Callable[[Moments], Maps]) -> Callable[[_Sets], Maps]:
    return lambda sets: form(sets.moments)


# What takes the pairs for all that is known.
CLOSED_FORMS: Mapping[str, Callable[[_Sets], Maps]] = {
    "procrustes": _of_moments(closed_form.procrustes),
    "trimmed": lambda sets: closed_form.trimmed(*sets.paired, centre=False),
    "ridge": _of_moments(partial(closed_form.ridge, strength=1.0)),
    **{
        f"cca {shrink:g}": _of_moments(partial(closed_form.cca, shrink=shrink))
        for shrink in SHRINKAGES
    },
}


def _fits(sets: _Sets, seed: int, only: str = "") -> Iterator[tuple[str, Fit]]:
    """Anneal from the pairs, and from the start whose plan is the sharpest after one cycle.

    From the pairs alone, where they find many right ones among many.

    Args:
        sets: With the pairs that are fitted to.
        seed: Of the starts and of batches.
        only: Name of a start, which is then the only one.
    """
    many = len(sets.given.pairs) >= ENOUGH
    known = None if many else sets.given.pairs  # of many in doubt most may be wrong
    others = starts.starts(sets.x, sets.y, known, seed=seed)
    if many:
        others["trimmed"] = lambda: CLOSED_FORMS["trimmed"](sets)

    def begun(start: Maps, share: float) -> Cycle:
        return evidence.cycle(*sets, start, share=share, seed=seed)

    def annealed(cycle: Cycle) -> Fit:
        return evidence.anneal(*sets, cycle, seed=seed)

    if only in ("", "pairs"):
        first = annealed(begun(CLOSED_FORMS["procrustes"](sets), 0.5))
        yield "pairs", first
        if only or (many and first.share is not None and first.share > EASY):
            return
    cycles = {name: begun(others[name](), 0.1) for name in ([only] if only else others)}
    sharpest = max(cycles, key=lambda name: cycles[name].sharpness)
    yield sharpest, annealed(cycles[sharpest])


def _of_fit(name: str, weight: float, sets: _Sets, fit: Fit, seed: int) -> Maps:
    """Fit the last CCA: to the plan, or to mutual neighbours, with the pairs beside it."""
    if name == EVIDENCE:
        return fit.mixed(weight)
    return evidence.mutual(*sets, fit, weight, seed=seed)


def _best_start(begun: Mapping[str, _Found]) -> str:
    """Choose the start with the largest ℓ; the sharpest one of those that ℓ cannot tell from it.

    Where few pairs are right, a handful of the held-out ones is, and two fits of unlike quality
    differ by one or two of them; how sharp their plans are is of all rows.
    """
    return max(_as_good(begun, 2.0), key=lambda name: begun[name].sharpness)


def _best_candidate(candidates: Mapping[str, _Found]) -> str:
    """Choose the largest ℓ; of mixtures that are as good to one standard error, the most plan."""
    best = max(candidates, key=lambda name: candidates[name].likelihood)
    if not best.startswith(EVIDENCE):
        return best
    mixed = [name for name in _as_good(candidates, 1.0) if name.startswith(EVIDENCE)]
    return min(mixed, key=lambda name: float(name.split()[1]))


def _as_good(found: Mapping[str, _Found], errors: float) -> list[str]:
    """List those whose ℓ is at most so many standard errors, paired by pairs, below the best."""
    of_pairs = {name: one.of_pairs for name, one in found.items()}
    best = max(of_pairs.values(), key=np.mean)
    apart = {name: best - each for name, each in of_pairs.items()}
    return [
        name
        for name, each in apart.items()
        if each.mean() <= errors * each.std() / np.sqrt(each.size)
    ]


def _sharpest(sets: _Sets, seed: int) -> tuple[Fit, str]:
    """Fit from each start; return the fit whose plan without prior is the sharpest."""
    found = {
        name: (fit, evidence.sharpness(sets.x, sets.y, fit.maps)) for name, fit in _fits(sets, seed)
    }
    name = max(found, key=lambda name: found[name][1])
    return found[name][0], name


def _unmatched(sets: _Sets, maps: Maps, seed: int) -> Identified:
    """Measure what `starts.identified` does, with the pairs in each of the three further fits."""
    rng = np.random.default_rng([seed, 15])
    null = sets._replace(x=closed_form.unit(rng.permuted(sets.x, axis=0)))
    own = evidence.sharpness(sets.x, sets.y, maps)
    ratio = own / evidence.sharpness(null.x, null.y, _sharpest(null, seed)[0].maps)
    fits = []
    for draw in (1, 2):
        most = round(KEPT * len(sets.x)), round(KEPT * len(sets.y))
        fits.append(_sharpest(sets.some(rng, most), seed + draw)[0].maps)
    return Identified(ratio, starts.agreement(sets.x, sets.y, *fits))


STARTS = ("auto", "identity", "procrustes", "cca", "evidence")
COMPONENTS = 100


class Matches(NamedTuple):
    """Rows of x and of y that the plan matches [k, 2], and the share of a row's mass that each is.

    Attributes:
        pairs: Row of x and row of y [k, 2].
        shares: In [0, 1] [k].
    """

    pairs: Int[np.ndarray, "k 2"]
    shares: Float[np.ndarray, " k"]


class Start(NamedTuple):
    """Where two linear towers start: maps of rows, and what they were chosen among, if so."""

    maps: Maps
    choice: Choice | None = None

    def matches(self, x: X, y: Y, given: Given) -> Matches:
        """Match rows that are in no given pair, by the plan between the embeddings of all rows."""
        columns, shares = evidence.partners(self.maps.map_x(x), self.maps.map_y(y))
        pairs = np.stack([np.arange(len(x)), columns], axis=1)
        held = [np.isin(side, own) for side, own in zip(pairs.T, given.pairs.T, strict=True)]
        free = ~(held[0] | held[1])
        return Matches(pairs[free], shares[free])


def linear_start(
    name: str,
    x: Float[ArrayLike, "n p"],
    y: Float[ArrayLike, "m q"],
    given: Given | None = None,
    *,
    seed: int = 0,
) -> Start:
    """Fit linear maps of two sets: where two linear towers start.

    All but "identity" are of unit scores of at most 100 principal components, which cosines of the
    maps are too: they hold for the rows themselves.

    Args:
        name: One of `STARTS`.
        x: Rows of the one set [n, p].
        y: Rows of the other [m, q].
        given: Pairs of them; None: row i of x belongs to row i of y.
        seed: Of "evidence" and "auto".

    Raises:
        ValueError: An unknown name; "identity" of two widths.
    """
    check.one_of("start", name, STARTS)
    rows_x, rows_y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if name == "identity":
        return Start(closed_form.identity(*(z.mean(axis=0) for z in (rows_x, rows_y))))
    of_x, of_y = (closed_form.components(z, COMPONENTS) for z in (rows_x, rows_y))
    scores = closed_form.unit(of_x.scores(rows_x)), closed_form.unit(of_y.scores(rows_y))
    own = Given(np.stack([np.arange(len(rows_x))] * 2, axis=1)) if given is None else given
    found = None
    if name in ("auto", "evidence"):
        found = choose(*scores, own, closed_forms=name == "auto", seed=seed)
        maps = found.maps
    else:
        form = CLOSED_FORMS["cca 0.1" if name == "cca" else name]
        maps = form(_Sets(*scores, own))
    return Start(Maps(of_x.mean, of_y.mean, of_x.basis @ maps.x, of_y.basis @ maps.y), found)
