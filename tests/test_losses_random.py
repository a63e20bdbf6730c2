"""Losses at random settings and embeddings: NumPy's value, and nothing that is not finite.

GCA_JAX_PROGRAMS=400 pytest tests/test_losses_random.py  # others, drawn anew each time

A program is a loss with its keywords, compiled once and called on a few batches. A program may be
refused, in one line; W_q may be infinite and then says so; the gradient of a row that is too short
for its dtype may be infinite, never NaN. All else that is not finite is a fault.
"""

import os
import traceback

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gca_jax import losses, ot
from tests import reference

pytestmark = pytest.mark.slow

PROGRAMS, CALLS = os.environ.get("GCA_JAX_PROGRAMS"), 6
SIZES, WIDTHS, DTYPES = (
    (1, 2, 3, 5, 8, 16, 33),
    (1, 2, 3, 16),
    ("float32", "float32", "bfloat16", "float16"),
)
GEOMETRIES = ("normal", "equal", "aligned", "antipodal", "clustered", "opposite")
LENGTHS = ("usual", "usual", "short", "long", "zeros")
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
    "cost_fn": (9, ot.SquaredEuclidean()),
    "block_size": (8, 1, 3),
    "epsilon_min": (8, 0.03, 0.1),
    "precision": (9, "bfloat16"),
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
    "mu": (1e-3, 1.0),
    "nu": (1e-3, 1.0),
}
HOW = {"domain", "gradient", "until", "block_size", "epsilon_min", "precision", "keep_plan"}
OTHER = {
    "target",
    "axis_name",
    "diagnose",
    "keep_plan",
    *("valid", "ignore"),
}  # drawn apart; tests/test_sharded.py; changes nothing twice; tests/test_losses_valid.py
TARGETS = {  # what is compiled, of arrays
    None: lambda: None,
    "weighted": ot.target.weighted,
    "blocks": lambda a, b, weights: ot.target.blocks(a, b, alpha=weights[0], beta=weights[1]),
    "classes": ot.target.classes,
    "continuous": lambda y, width: ot.target.continuous(y, bandwidth=width),
    "dense": lambda matrix: matrix,
}
MATRICES = {  # NumPy's matrix [n, m] or [2 n, 2 n] of them
    None: lambda layout: None,
    "weighted": reference.weighted,
    "blocks": lambda a, b, weights, layout: reference.blocks(a, b, *weights, layout),
    "classes": reference.classes,
    "continuous": lambda y, width, layout: reference.continuous(y, width, len(y), layout),
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
    until, layout = words.get("until"), words.get("layout", "cross")
    target = draw(st.sampled_from([None, *TARGETS]))
    n, d = draw(st.sampled_from(SIZES)), draw(st.sampled_from(WIDTHS))
    # More columns than rows: further negatives.
    more = layout == "cross" and target in (None, "blocks", "classes") and not until
    m = n + draw(st.sampled_from((0, 0, 4))) * more
    drawn = [key for key in NUMBERS if key in known and key not in ("mu", "nu")]
    if not until and draw(st.integers(0, 5)) == 5:
        drawn += [key for key in ("mu", "nu") if key in known]
    about = {
        "dtype": draw(st.sampled_from(DTYPES)),
        "sizes": (n, m, d),
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
    return np.where(rng.random(size) < 0.2, other, x).astype(np.float32)


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
            found[key] /= found[key].sum()
    return found


def target(rng, words, about):
    """Arrays of the target."""
    (n, m, _), kind = about["sizes"], about["target"]
    if kind is None:
        return ()
    if kind in ("weighted", "dense"):
        size = n if kind == "weighted" else about["shape"]
        x = np.where(rng.random(size) < rng.random(), 0.0, rng.random(size)).astype(np.float32)
        x.flat[0] = 1.0
        if kind == "dense" and words.get("layout") == "joint":  # no mass on self-pairs
            x = np.roll(x, 1, axis=1) * (1 - np.eye(len(x), dtype=np.float32))
        return (x,)
    if kind == "continuous":
        return rng.standard_normal(n).astype(np.float32), number(rng, 0.1, 1e3)
    groups = rng.choice((1, 2, 10, 10**6))
    a, b = (rng.integers(0, groups, size) for size in (n, m))
    b[0] = a[0]  # a class in common
    return (a, b, number(rng, 1e-6, 1e6, 0.0, size=2)) if kind == "blocks" else (a, b)


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
    low, high = {"short": (info.tiny, 1e-4), "long": (1e4, info.max)}.get(length, (0.5, 2.0))
    views = []
    for z in (a[:n], a * (-1 if geometry == "antipodal" else 1) + far * noise):
        scale = number(rng, float(low), float(high), size=(len(z), 1))
        scale = scale / np.abs(z).max(axis=1, keepdims=True)
        scale = scale * (rng.random(scale.shape) > 0.3) if length == "zeros" else scale
        views.append(jnp.asarray(np.clip(z * scale, -float(info.max), float(info.max)), dtype))
    return views


def compiled(name, words, about, fixed):
    """Value and gradient of both views."""

    def loss(views, numbers, arrays):
        kind = TARGETS[about["target"]]
        return losses.METHODS[name](
            *views, target=kind(*arrays), diagnose=True, **words, **fixed, **numbers
        )

    return jax.jit(jax.value_and_grad(loss, has_aux=True))


@settings(
    max_examples=int(PROGRAMS or 20),
    derandomize=PROGRAMS is None,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(programs(), st.integers(0, 2**32 - 1))
def test_a_random_program_has_the_value_of_numpy_and_is_finite(program, seed):
    name, words, about = program
    rng = np.random.default_rng(seed)
    fixed = {} if about["traced"] else numbers(rng, words, about)
    step = compiled(name, words, about, fixed)
    for _ in range(CALLS):
        views, arrays = embeddings(rng, about), target(rng, words, about)
        own = numbers(rng, words, about) if about["traced"] else {}
        try:
            (value, aux), slopes = step(views, own, arrays)
        except ValueError as error:
            if refused(error):
                return
            raise
        said = name, words | fixed | own, about, *views, *arrays
        check_finite(value, aux, slopes, views, words | fixed | own, said)
        if np.isfinite(value) and comparable(words, views):
            want = expected(name, words | fixed | own, about, views, arrays)
            # Rounding of similarities is divided by ε, that of powers by q.
            small = min(own.get(key, fixed.get(key, 1.0)) for key in ("epsilon", "q"))
            atol = 1e-4 + 1e-5 / small
            np.testing.assert_allclose(value, want, rtol=1e-4, atol=atol, err_msg=str(said))


def comparable(words, views):
    """Whether the value is NumPy's up to float32: unit embeddings have the dtype of the views.

    XLA takes subnormal numbers for 0, so that a row of some has another direction.
    """
    longest = np.concatenate([np.abs(np.float64(z)).max(axis=1) for z in views])
    usual = (longest == 0) | (longest > 1e-30)
    exact = words.get("precision") != "bfloat16" and views[0].dtype == np.float32
    return exact and usual.all() and not words.get("until")


def refused(error):
    """Whether the package says in one line what is wrong with the keywords."""
    raised = traceback.extract_tb(error.__traceback__)[-1].filename
    return "gca_jax" in raised and "\n" not in str(error)


def check_finite(value, aux, slopes, views, words, said):
    """What is promised of a value, of `aux` and of the gradient."""
    if not np.isfinite(value):
        # λ/u and e^s, to the power q, leave float32: never where their logarithms are small.
        span = words.get("q", 0) / words.get("epsilon", 1) * (words.get("w_rince", 1) != 0)
        assert np.isinf(value), said
        assert aux["overflow"], said
        assert span > 25, said
        return
    assert not aux.get("overflow", False), said
    lost = {key for key, x in aux.items() if not np.isfinite(np.float64(x))}
    assert lost <= ({"uniformity"} if len(views[0]) == 1 else set()), said  # a mean over pairs
    shortest = 1e-30 * max(1.0, abs(float(value)))
    for z, slope in zip(views, slopes, strict=True):
        slope, lengths = np.float64(slope), np.abs(np.float64(z)).max(axis=1)
        assert not np.isnan(slope).any(), said
        assert np.isfinite(slope[lengths > shortest]).all(), said


def expected(name, words, about, views, arrays):
    """NumPy's value, in float64."""
    words = {key: x for key, x in words.items() if key not in HOW}
    cost = words.pop("cost_fn", None)
    if cost is not None:
        words["cost"] = lambda x, y: np.sum((x - y) ** 2)
    matrix = MATRICES[about["target"]](*arrays, layout=words.get("layout", "cross"))
    return reference.METHODS[name](*views, target=matrix, **words)
