"""Losses at random settings and embeddings against NumPy: value, gradient, nothing not finite.

GCA_FUZZ=5000 pytest tests/test_losses_fuzz.py  # so many other cases, drawn anew each time

A program is a loss with its keywords, compiled once and called on a few batches. In float64 its
value is NumPy's and its gradient the slope of NumPy's value along a random direction; in float32
its value is NumPy's; in all dtypes the value with the gradient is the value without. A program may
be refused, in one line; the value may be infinite where NumPy's is, or W_q and then says so; the
gradient of a row that is too short for its dtype may be infinite, never NaN. All else that is not
finite is a fault.
"""

import os
import traceback

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from ott.geometry import costs

from gca_jax import losses, ot
from tests import reference

pytestmark = pytest.mark.slow

CASES, CALLS = os.environ.get("GCA_FUZZ"), 8
SIZES, WIDTHS, DTYPES = (
    (1, 2, 3, 5, 8, 16, 33),
    (1, 2, 3, 16),
    ("float64", "float64", "float64", "float32", "float32", "bfloat16", "float16"),
)
GEOMETRIES = ("normal", "normal", "equal", "aligned", "antipodal", "clustered", "opposite")
LENGTHS = ("usual", "usual", "short", "long", "zeros")
COSTS = {  # of two unit vectors, in NumPy
    ot.SquaredEuclidean(): lambda x, y: np.sum((x - y) ** 2),
    costs.SqEuclidean(): lambda x, y: np.sum((x - y) ** 2),
    costs.Euclidean(): lambda x, y: np.sqrt(np.sum((x - y) ** 2)),
    costs.PNormP(3.0): lambda x, y: np.sum(np.abs(x - y) ** 3) / 3,
}
CHOICES = {  # keyword: its default's share of ten draws, other values
    "layout": (5, "cross", "joint"),
    "domain": (7, "log", "scaling"),
    "iterations": (4, 1, 2, 3, 40),
    "gradient": (8, "envelope", "implicit"),
    "until": (1, 1e-1, 1e-3, 1e-5),  # with a gradient that is not unrolled
    "marginals": (7, "uniform"),
    "mass": (4, "generalized", "total"),
    "penalise_marginals": (7, True),
    "similarity_floor": (8, 1e-7, 0.5),
    "self_pairs": (8, "max_cost"),
    "cost_fn": (8, *COSTS),
    "block_size": (8, 1, 3),
    "epsilon_min": (8, 0.03, 0.1),
    "precision": (9, "bfloat16"),
    "diagnose": (7, True),
    "phi": (5, "tan"),
}
NUMBERS = {  # keyword: range, other values
    "epsilon": (0.01, 10.0),
    "q": (1e-6, 1.0, 0.98),
    "lam": (1e-6, 1e3),
    "lam_p": (1e-3, 1e3, 0.0),
    "penalty_a": (1e-3, 1e3, 0.0, np.inf),
    "penalty_b": (1e-3, 1e3, 0.0, np.inf),
    "w_kl": (1e-3, 1e3, 0.0),
    "w_rince": (1e-3, 1e3, 0.0),
    "mu": (1e-3, 1.0, 0.0),
    "nu": (1e-3, 1.0, 0.0),
}
HOW = {"domain", "gradient", "until", "block_size", "epsilon_min", "precision", "diagnose"}
# Drawn apart; tests/test_sharded.py; changes nothing; tests/test_losses_valid.py.
OTHER = {"target", "axis_name", "keep_plan", "valid", "ignore"}
TARGETS = {  # what is compiled, of arrays
    None: lambda: None,
    "weighted": ot.target.weighted,
    "blocks": lambda a, b, weights: ot.target.blocks(a, b, alpha=weights[0], beta=weights[1]),
    "classes": ot.target.classes,
    "anchors": lambda a, b: ot.target.classes(a, b, per="anchor"),
    "continuous": lambda y, width: ot.target.continuous(y, bandwidth=width),
    "similar": lambda x, y, width: ot.target.similar(x, y, epsilon=width),
    "dense": lambda matrix: matrix,
}
MATRICES = {  # NumPy's matrix [n, m] or [2 n, 2 n] of them
    None: lambda layout: None,
    "weighted": reference.weighted,
    "blocks": lambda a, b, weights, layout: reference.blocks(a, b, *weights, layout),
    "classes": reference.classes,
    "anchors": lambda a, b, layout: reference.classes(a, b, layout, per="anchor"),
    "continuous": lambda y, width, layout: reference.continuous(y, width, layout=layout),
    "similar": lambda x, y, width, layout: reference.similar(x, width, y, layout=layout),
    "dense": lambda matrix, layout: matrix,
}


@st.composite
def programs(draw):
    """A method's name, its keywords, and what the arrays are like."""
    name = draw(st.sampled_from([*losses.METHODS]))
    known = losses.keywords(name)
    assert known.keys() <= CHOICES.keys() | NUMBERS.keys() | OTHER, "a new keyword needs a line"
    words = {
        key: draw(st.sampled_from([known[key]] * share + (others * 10)[: 10 - share]))
        for key, (share, *others) in CHOICES.items()
        if key in known
    }
    if words.get("gradient", "unrolled") == "unrolled":
        words.pop("until", None)
    if name in ("gca_uot", "gca_gce", "iot_uni") and words["gradient"] == "envelope":
        words["gradient"] = "implicit"  # the one of both that they have
    until, layout = words.get("until"), words.get("layout", "cross")
    target = draw(st.sampled_from([None, *TARGETS]))
    dtype = draw(st.sampled_from(DTYPES))
    n = draw(st.sampled_from(SIZES[:-1] if dtype == "float64" else SIZES))
    # More columns than rows: further negatives.
    more = layout == "cross" and target not in ("weighted", "continuous", "dense") and not until
    m = n + draw(st.sampled_from((0, 0, 4))) * more
    drawn = [key for key in NUMBERS if key in known and key not in ("mu", "nu")]
    if not until and draw(st.integers(0, 5)) == 5:
        drawn += [key for key in ("mu", "nu") if key in known]
    about = {
        "dtype": dtype,
        "sizes": (n, m, draw(st.sampled_from(WIDTHS))),
        "shape": (2 * n, 2 * n) if layout == "joint" else (n, m),
        "target": target,
        "numbers": drawn,
        # A plan that is converged needs to know its ε and its penalties.
        "traced": not until and draw(st.booleans()),
        "each": not until and draw(st.sampled_from((False, False, True))),  # row has its penalty
    }
    return name, words, about


def number(rng, low, high, *others, size=()):
    """Log-uniform; where there are other values, a fifth of the numbers is one of them."""
    x = np.exp(rng.uniform(np.log(low), np.log(high), size))
    other = rng.choice(others, size) if others else x
    return np.where(rng.random(size) < 0.2, other, x)


def arithmetic(about):
    """What the loss computes in."""
    return np.float64 if about["dtype"] == "float64" else np.float32


def numbers(rng, words, about):
    """The keywords of `NUMBERS` that the program is called with."""
    found = {}
    for key in about["numbers"]:
        low, high, *others = NUMBERS[key]
        if key == "epsilon":
            low = max(words.get("epsilon_min") or low, 0.031 * (words.get("domain") == "scaling"))
        if words.get("penalise_marginals"):
            others = [x for x in others if np.isfinite(x)]
        axis = int(key in ("nu", "penalty_b"))
        each = key in ("mu", "nu") or (about["each"] and key.startswith("penalty"))
        size = about["shape"][axis] if each else ()
        found[key] = number(rng, max(low, NUMBERS[key][0]), high, *others, size=size)
        if key in ("mu", "nu"):
            found[key].flat[0] += not found[key].any()
            found[key] /= found[key].sum()
        found[key] = found[key].astype(arithmetic(about))
    return found


def target(rng, words, about):
    """Arrays of the target."""
    (n, m, _), kind, dtype = about["sizes"], about["target"], arithmetic(about)
    if kind is None:
        return ()
    if kind in ("weighted", "dense"):
        size = n if kind == "weighted" else about["shape"]
        x = np.where(rng.random(size) < rng.random(), 0.0, rng.random(size)).astype(dtype)
        x.flat[0] = 1.0
        if kind == "dense" and words.get("layout") == "joint":  # no mass on self-pairs
            x = np.roll(x, 1, axis=1) * (1 - np.eye(len(x), dtype=dtype))
        return (x,)
    if kind == "continuous":
        shape = rng.choice((0, 2, 12))  # coordinates of a label: it may be a number
        labels = rng.standard_normal((n, shape) if shape else n)
        return labels.astype(dtype), number(rng, 0.03, 1e3).astype(dtype)
    if kind == "similar":
        features = [rng.standard_normal((size, 5)).astype(dtype) for size in (n, m)]
        return *features, number(rng, 0.01, 1e3).astype(dtype)
    groups = rng.choice((1, 2, 10, 10**6))
    low = 0 if kind == "blocks" else -1
    a, b = (rng.integers(low, groups, size) for size in (n, m))
    b[0] = a[0] = max(a[0], 0)  # a class in common
    weights = number(rng, 1e-6, 1e6, 0.0, size=2).astype(dtype)
    return (a, b, weights) if kind == "blocks" else (a, b)


def embeddings(rng, about):
    """Two views [n, d] and [m, d]."""
    (n, m, d), dtype = about["sizes"], about["dtype"]
    geometry, length = rng.choice(GEOMETRIES), rng.choice(LENGTHS)
    a, noise = rng.standard_normal((2, m, d))
    if geometry in ("equal", "clustered", "opposite"):
        a = a[rng.integers(0, 1 if geometry == "equal" else min(3, m), m)]
    if geometry == "opposite":
        a = a * rng.choice((-1, 1), (m, 1))
    far, info = {"normal": 0.5, "clustered": 1e-3}.get(geometry, 0.0), jnp.finfo(dtype)
    # In float64 NumPy's own norm overflows.
    tiny, most = (1e-140, 1e140) if dtype == "float64" else (float(info.tiny), float(info.max))
    low, high = {"short": (tiny, 1e-4), "long": (1e4, most)}.get(length, (0.5, 2.0))
    views = []
    for z in (a[:n], a * (-1 if geometry == "antipodal" else 1) + far * noise):
        scale = number(rng, low, high, size=(len(z), 1))
        scale = scale / np.abs(z).max(axis=1, keepdims=True)
        scale = scale * (rng.random(scale.shape) > 0.3) if length == "zeros" else scale
        views.append(jnp.asarray(np.clip(z * scale, -most, most), dtype))
    return views


def compiled(name, words, about, fixed):
    """The value, and value and gradient of both views."""

    def loss(views, numbers, arrays):
        kind = TARGETS[about["target"]]
        return losses.METHODS[name](*views, target=kind(*arrays), **words, **fixed, **numbers)

    both = jax.value_and_grad(loss, has_aux=True)
    return jax.jit(lambda *given: (loss(*given)[0], *both(*given)))


@settings(
    max_examples=max(1, int(CASES) // CALLS) if CASES else 10,
    derandomize=CASES is None,
    deadline=None,
    database=None,
    phases=[Phase.generate],  # each smaller case would be compiled
    suppress_health_check=list(HealthCheck),
)
@given(programs(), st.integers(0, 2**32 - 1))
def test_a_random_program_has_the_value_and_the_gradient_of_numpy(program, seed):
    name, words, about = program
    rng = np.random.default_rng(seed)
    fixed = {} if about["traced"] else numbers(rng, words, about)
    step = compiled(name, words, about, fixed)
    with jax.enable_x64(about["dtype"] == "float64"):
        for _ in range(CALLS):
            views, arrays = embeddings(rng, about), target(rng, words, about)
            own = numbers(rng, words, about) if about["traced"] else {}
            said = name, words | fixed | own, about, *views, *arrays
            try:
                alone, (value, aux), slopes = step(views, own, arrays)
            except ValueError as error:
                if refused(error):
                    event("refused")
                    return
                raise
            want = NumPy(name, words | fixed | own, about, views, arrays)
            check_finite(value, aux, slopes, views, want, said)
            check_value(value, alone, want, said)
            if want.is_smooth and np.isfinite(value):
                event("its gradient is compared")
                check_slope(rng, slopes, want, said)


class NumPy:
    """The value of a case in NumPy's float64, as a function of the views."""

    def __init__(self, name, words, about, views, arrays):
        self.words, self.name = words, name
        self.views = [np.float64(z) for z in views]
        self.layout = words.get("layout", "cross")
        self.double = about["dtype"] == "float64"
        self.hyper = {key: x for key, x in words.items() if key not in HOW}
        if self.hyper.pop("cost_fn", None) is not None:
            self.hyper["cost"] = COSTS[words["cost_fn"]]
        arrays = [np.asarray(x, np.float64 if x.dtype.kind == "f" else None) for x in arrays]
        self.hyper["target"] = MATRICES[about["target"]](*arrays, layout=self.layout)
        if name == "iot_uni":  # its gradient holds Q fixed
            hyper = {key: x for key, x in self.hyper.items() if key != "lam_p"}
            self.hyper["Q"] = reference.iot_uni_q(*reference.iot_plan(*views, **hyper), self.layout)
        self.value = self(self.views)

    def __call__(self, views):
        return reference.METHODS[self.name](*views, **self.hyper)

    @property
    def is_comparable(self):
        """Whether the value is NumPy's up to rounding.

        XLA takes subnormal numbers for 0, so that a row of some has another direction.
        """
        longest = np.concatenate([np.abs(z).max(axis=1) for z in self.views])
        usual = (longest == 0) | (longest > (0 if self.double else 1e-30))
        exact = self.words.get("precision") != "bfloat16" and usual.all()
        return exact and not self.words.get("until") and not np.isnan(self.value)

    @property
    def step(self):
        """Of finite differences: small beside what an exponent is divided by."""
        return 1e-3 * min(1.0, float(self.words.get("epsilon", 1.0)))

    @property
    def is_smooth(self):
        """Whether the gradient is the slope of the value, and no corner of a maximum is near."""
        how = self.words.get("gradient", "unrolled")
        if not self.double or not self.is_comparable or how != "unrolled":
            return False
        if self.name == "byol":
            return True
        floor, cost = self.words.get("similarity_floor"), self.words.get("cost_fn")
        unit = [reference.unit(z) for z in self.views]
        x, y = (np.concatenate(unit),) * 2 if self.layout == "joint" else unit
        pairs = ~np.eye(len(x), dtype=bool) if self.layout == "joint" else np.full((len(x), 1), 1)
        cosines = (x @ y.T)[np.broadcast_to(pairs, (len(x), len(y))) > 0]
        near = 50 * self.step
        if isinstance(cost, costs.Euclidean) and cosines.max(initial=-1) > 1 - near:
            return False
        if floor is not None and np.abs(cosines - floor).min(initial=1) < near:
            return False
        if self.words.get("self_pairs") == "max_cost":  # each pair is there twice
            measure = {"similarity_floor": floor, "cost": self.hyper.get("cost")}
            C = reference.cost_matrix(*self.views, self.layout, **measure)
            largest = np.sort(C[np.triu_indices(len(C), 1)])[::-1]
            level = floor is not None and largest[0] > 1 - floor - near
            return level or len(largest) < 2 or largest[0] - largest[1] > near
        return True


def check_value(value, alone, want, said):
    """It is NumPy's, and the same with and without its gradient."""
    # Rounding of similarities is divided by ε, that of powers by q; a weight multiplies it.
    words = want.words
    small = min(float(words.get(key, 1.0)) for key in ("epsilon", "q"))
    digits = 1e-9 if want.double else 1.0
    weight = max(1.0, float(words.get("w_kl", 1.0)), float(words.get("w_rince", 1.0)))
    atol, rtol = (1e-4 + 1e-5 / small) * weight * digits, 1e-4 * max(digits, 1e-5)
    if not np.isnan(value):
        np.testing.assert_allclose(value, alone, rtol=rtol, atol=atol, err_msg=str(said))
    if want.is_comparable and np.isfinite(value):
        np.testing.assert_allclose(value, want.value, rtol=rtol, atol=atol, err_msg=str(said))


def check_slope(rng, slopes, want, said):
    """The gradient is the slope of NumPy's value along a random direction."""
    directions = [rng.standard_normal(z.shape) for z in want.views]
    directions = [
        x / np.linalg.norm(x, axis=1, keepdims=True) * np.linalg.norm(z, axis=1, keepdims=True)
        for x, z in zip(directions, want.views, strict=True)
    ]

    def moved(by):
        return want([z + by * x for z, x in zip(want.views, directions, strict=True)])

    def difference(h):
        return (8 * (moved(h) - moved(-h)) - (moved(2 * h) - moved(-2 * h))) / (12 * h)

    slope = sum(np.sum(np.float64(g) * x) for g, x in zip(slopes, directions, strict=True))
    fine, coarse = difference(want.step), difference(2 * want.step)
    rounding = 1e-11 * (1 + abs(want.value)) / want.step
    atol = 5 * abs(fine - coarse) + rounding
    np.testing.assert_allclose(slope, fine, rtol=1e-5, atol=atol, err_msg=str(said))


def refused(error):
    """Whether the package says in one line what is wrong with the keywords."""
    raised = traceback.extract_tb(error.__traceback__)[-1].filename
    return "gca_jax" in raised and "\n" not in str(error)


def check_finite(value, aux, slopes, views, want, said):
    """What is promised of a value, of `aux` and of the gradient."""
    words = want.words
    assert not np.isnan(value), said
    if not np.isfinite(value):
        # λ/u and e^s, to the power q, leave float32: never where their logarithms are small.
        span = words.get("q", 0) / words.get("epsilon", 1) * (words.get("w_rince", 1) != 0)
        assert aux["overflow"], said
        assert span > 25 or np.isinf(want.value), said
        return
    assert not aux.get("overflow", False), said
    assert not want.is_comparable or np.isfinite(want.value), said
    lost = {key for key, x in aux.items() if not np.isfinite(np.float64(x))}
    unknown = set() if words.get("diagnose") else {"residual"}
    assert lost <= unknown | ({"uniformity"} if len(views[0]) == 1 else set()), said  # no pairs
    shortest = 1e-30 * max(1.0, abs(float(value)))
    for z, slope in zip(views, slopes, strict=True):
        slope, lengths = np.float64(slope), np.abs(np.float64(z)).max(axis=1)
        assert not np.isnan(slope).any(), said
        assert np.isfinite(slope[lengths > shortest]).all(), said
