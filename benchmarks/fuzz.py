"""Random settings of the losses: what is not finite, though the documentation promises a number.

python -m benchmarks.fuzz                        # 10,000 calls, 15 minutes
python -m benchmarks.fuzz --seed 0 --program 17  # one program again, as a finding names it

A program is a loss with its choices and some of its numbers, compiled once and called `CALLS` times
with other embeddings, targets and traced numbers; value, gradient and `aux` are looked at. The
documentation says of a call that it may be refused, in one line; that W_q may be infinite; and that
the gradient of a row may be, which is too short for its dtype. All else is a finding.
"""

import collections
import itertools
import traceback
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from ott.geometry import costs

from benchmarks import measure
from gca_jax import losses, ot

CALLS = 25
PROMISED = ("refused", "infinite", "short")
COLUMNS = ("calls", *PROMISED, "value", "gradient", "aux", "error")
SIZES, WIDTHS = (1, 2, 3, 5, 8, 16, 33, 64, 100, 256, 512), (1, 2, 3, 16, 64, 256)
DTYPES, LENGTHS = ("float32", "bfloat16", "float16"), ("usual", "usual", "short", "long", "zeros")
GEOMETRIES = ("normal", "equal", "aligned", "antipodal", "clustered", "opposite")
CHOICES = {  # compiled; keyword: share of the default, other values
    "layout": (0.5, "cross", "joint"),
    "domain": (0.8, "log", "scaling"),
    "iterations": (0.4, 1, 2, 3, 40),
    "gradient": (0.8, "envelope", "implicit"),
    "until": (0.1, 1e-1, 1e-3, 1e-5),  # with a gradient that is not unrolled
    "marginals": (0.7, "uniform"),
    "mass": (0.4, "generalized", "total"),
    "penalise_marginals": (0.7, True),
    "similarity_floor": (0.9, 1e-7, -1.0, 0.5),
    "self_pairs": (0.9, "max_cost"),
    "cost_fn": (0.95, ot.SquaredEuclidean(), costs.Cosine()),
    "block_size": (0.9, 1, 3, 64, 2048),
    "axis_name": (0.95, "data"),  # by `losses.sharded`, on one device
    "epsilon_min": (0.7, 0.01, 0.03, 0.1),
    "precision": (0.9, "bfloat16"),
    "keep_plan": (1.0,),  # changes no number
}
NUMBERS = {  # compiled or traced; keyword: range, other values
    "epsilon": (0.01, 10.0),
    "q": (1e-6, 1.0, 1.0, 0.98),
    "lam": (1e-6, 1e3),
    "lam_p": (1e-3, 1e3, 0.0),
    "penalty_a": (1e-3, 1e3, 0.0, np.inf),
    "penalty_b": (1e-3, 1e3, 0.0, np.inf),
    "w_kl": (1e-3, 1e3, 0.0),
    "w_rince": (1e-3, 1e3, 0.0),
    "mu": (1e-3, 1.0),
    "nu": (1e-3, 1.0),
}
DRAWN = {  # (rng, settings) → arrays of a target
    None: lambda rng, s: (),
    "weighted": lambda rng, s: [sparse(rng, s["n"])],
    "blocks": lambda rng, s: (*groups(rng, s), *(number(rng, 1e-6, 1e6, 0.0) for _ in "ab")),
    "classes": lambda rng, s: groups(rng, s),
    "continuous": lambda rng, s: (*features(rng, s), number(rng, 1e-3, 1e3)),
    "similar": lambda rng, s: (*features(rng, s), number(rng, 0.01, 10.0)),
    "dense": lambda rng, s: [dense(rng, s)],
}
TARGETS = {  # (settings, arrays) → target
    None: lambda s, x: None,
    "weighted": lambda s, x: ot.target.weighted(*x, s["m"]),
    "blocks": lambda s, x: ot.target.blocks(*x[:2], alpha=x[2], beta=x[3]),
    "classes": lambda s, x: ot.target.classes(*x),
    "continuous": lambda s, x: ot.target.continuous(*x[:2], bandwidth=x[2]),
    "similar": lambda s, x: ot.target.similar(*x[:2], epsilon=x[2]),
    "dense": lambda s, x: x[0],
}


def one(rng, *options):
    return options[rng.integers(len(options))]


def number(rng, low, high, *others, size=()):
    """Log-uniform; where there are other values, a fifth of the numbers is one of them."""
    x = np.exp(rng.uniform(np.log(float(low)), np.log(float(high)), size))
    other = rng.choice(others, size) if others else x
    return np.where(rng.random(size) < 0.2, other, x).astype(np.float32)


def keyword(rng, key, s):
    low, high, *others = NUMBERS[key]
    if key in ("mu", "nu"):
        x = number(rng, low, high, size=s["shape"][key == "nu"])
        return x / x.sum()
    if key == "epsilon":
        low = max(s["epsilon_min"] or low, 0.03001 if s["domain"] == "scaling" else low)
    if s.get("penalise_marginals"):
        others = [x for x in others if np.isfinite(x)]
    size, axis = (), int(key == "penalty_b")
    if key.startswith("penalty") and s["each"]:
        size = s["shape"][axis] if s["each"] == "row" else (s["n"], s["m"])[axis]
    return number(rng, low, high, *others, size=size)


def sparse(rng, *shape):
    """Weights in [0, 1], many of them 0, the first 1."""
    x = np.where(rng.random(shape) < rng.random(), 0.0, rng.random(shape)).astype(np.float32)
    x.flat[0] = 1.0
    return x


def dense(rng, s):
    x = sparse(rng, *s["shape"]) * number(rng, 1e-6, 1e6)
    joint = s["layout"] == "joint"  # no mass on self-pairs
    return np.roll(x, 1, axis=1) * (1 - np.eye(len(x), dtype=np.float32)) if joint else x


def groups(rng, s):
    a, b = (rng.integers(0, one(rng, 1, 2, 10, 10**6), s[key]) for key in "nm")
    return a, np.append(a[:1], b[1:])


def features(rng, s):
    x = rng.standard_normal((max(s["n"], s["m"]), 3)).astype(np.float32)
    return x[: s["n"]], x[: s["m"]]


def embeddings(rng, s):
    """Two views [n, d] and [m, d] in the program's dtype, and what they are like."""
    geometry, length = one(rng, *GEOMETRIES), one(rng, *LENGTHS)
    size, info = (max(s["n"], s["m"]), s["d"]), jnp.finfo(s["dtype"])
    a, noise = rng.standard_normal((2, *size))
    if geometry in ("equal", "clustered", "opposite"):
        a = a[rng.integers(0, min(3, size[0]) if geometry != "equal" else 1, size[0])]
    if geometry == "opposite":
        a = a * rng.choice((-1, 1), (size[0], 1))
    far = {"normal": 0.5, "clustered": 1e-3}.get(geometry, 0.0)
    low, high = {"short": (info.tiny, 1e-4), "long": (1e4, info.max)}.get(length, (0.5, 2.0))
    views = []
    for z in (a[: s["n"]], (a * (-1 if geometry == "antipodal" else 1) + far * noise)[: s["m"]]):
        scale = number(rng, low, high, size=(len(z), 1)) / np.abs(z).max(axis=1, keepdims=True)
        scale = scale * (rng.random(scale.shape) > 0.3) if length == "zeros" else scale
        views.append(jnp.asarray(np.clip(z * scale, -float(info.max), float(info.max)), s["dtype"]))
    return views, f"{geometry}, {length}"


def program(seed, index):
    """Settings, the keywords that are traced, and value and gradient as a compiled function."""
    rng = np.random.default_rng((seed, index))
    s = {"method": one(rng, *losses.METHODS), "dtype": one(rng, *DTYPES), "layout": "cross"}
    known = losses.keywords(s["method"])
    if unknown := known.keys() - CHOICES.keys() - NUMBERS.keys() - {"target"}:
        raise SystemExit(f"{s['method']} has keywords that benchmarks.fuzz lacks: {unknown}")
    for key, (share, *others) in CHOICES.items():
        if key in known:
            s[key] = known[key] if rng.random() < share else one(rng, *others)
    if s.get("gradient", "unrolled") == "unrolled":
        s["until"] = None
    s["n"], m, s["d"] = one(rng, *SIZES), one(rng, *SIZES), one(rng, *WIDTHS)
    if s["until"]:
        s["n"] = min(s["n"], 33)  # a plan takes up to 2,000 sweeps
    s["m"] = m if s["layout"] == "cross" and not s["until"] and rng.random() < 0.3 else s["n"]
    s["shape"] = (2 * s["n"], 2 * s["n"]) if s["layout"] == "joint" else (s["n"], s["m"])
    s["target"] = one(rng, None, None, *TARGETS)
    s["each"] = None if s["until"] else one(rng, None, None, "sample", "row")  # has a penalty
    numbers = [k for k in NUMBERS if k in known and (k not in ("mu", "nu") or rng.random() < 0.15)]
    if s["until"] and s["layout"] == "joint":  # where no plan may have the marginals
        numbers = [k for k in numbers if k not in ("mu", "nu")]
    fixed = ("epsilon", "penalty_a", "penalty_b") if s["until"] else ()
    compiled = [k for k in numbers if k in fixed or rng.random() < 0.4]
    s |= {key: keyword(rng, key, s) for key in compiled}
    words = {key: s[key] for key in known if key in s and key not in ("target", "axis_name")}
    loss = losses.METHODS[s["method"]]
    if s.get("axis_name"):
        mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
        loss = losses.sharded(s["method"], mesh)

    def of(a, b, epsilon, numbers, arrays):
        numbers = numbers if epsilon is None else numbers | {"epsilon": epsilon}
        target = TARGETS[s["target"]](s, arrays)
        return loss(a, b, target=target, **words, **numbers)

    traced = [key for key in numbers if key not in compiled]
    slopes = (0, 1, 2) if "epsilon" in traced else (0, 1)
    return s, traced, jax.jit(jax.value_and_grad(of, slopes, has_aux=True))


def call(seed, index, turn, s, traced, step):
    """(what came of a call, or None where all is finite; what it was called with)."""
    rng = np.random.default_rng((seed, index, turn))
    views, kind = embeddings(rng, s)
    numbers = {key: keyword(rng, key, s) for key in traced}
    own = numbers | {"embeddings": kind}
    try:
        arrays = DRAWN[s["target"]](rng, s)
        (value, aux), slopes = step(*views, numbers.pop("epsilon", None), numbers, arrays)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1].filename
        ours = isinstance(error, ValueError) and "gca_jax" in where and "\n" not in str(error)
        return "refused" if ours else f"error {type(error).__name__} {error}", own
    return judge(value, aux, slopes, views, s | own), own


def judge(value, aux, slopes, views, s):
    """What of a result is not finite: a word of the table, then details; None where nothing is."""
    if not np.isfinite(value):
        span = s.get("q", 0) / s.get("epsilon", 1) * (s.get("w_rince", 1) != 0)
        promised = np.isinf(value) and aux.get("overflow", False) and span > 25
        return "infinite" if promised else f"value {value}"
    if aux.get("overflow", False):
        return "value is finite, but aux['overflow'] is set"
    lost = [key for key, x in aux.items() if not np.isfinite(np.float64(x))]
    if lost and (lost != ["uniformity"] or min(s["n"], s["m"]) > 1):  # which is of two rows or more
        return f"aux {lost}"
    shortest = 1e-30 * max(1.0, abs(float(value)))
    for z, slope in zip((*views, None), (np.float64(x) for x in slopes), strict=False):
        lengths = np.full(1, np.inf) if z is None else np.abs(np.float64(z)).max(axis=1)
        bad = ~np.isfinite(slope)
        if np.isnan(slope).any() or (bad.any(axis=-1) & (lengths > shortest)).any():
            return f"gradient {slope[bad][0]} in {bad.sum()} entries"
        if bad.any():
            return "short"
    return None


def run(seed, index):
    """The settings of a program and what came of its calls; one is enough where it is refused."""
    s, *rest = program(seed, index)
    found = [call(seed, index, 0, s, *rest)]
    if found[0][0] != "refused":
        found += [call(seed, index, turn, s, *rest) for turn in range(1, CALLS)]
    return index, s, found


def work(calls, seed, program):
    counts, findings, calls = collections.defaultdict(collections.Counter), [], int(calls)
    starts = itertools.count(0, 8) if program is None else [int(program)]
    with ThreadPoolExecutor(2) as pool:
        for start in itertools.takewhile(lambda _: counts["all"]["calls"] < calls, starts):
            batch = range(start, start + (8 if program is None else 1))
            for index, s, found in pool.map(partial(run, int(seed)), batch):
                for turn, (what, own) in enumerate(found):
                    for name in (f"{s['method']} {s['dtype']}", "all"):
                        counts[name].update(["calls", *(what or "").split()[:1]])
                    if what not in (None, *PROMISED):
                        where = f"--seed {seed} --program {index}, call {turn}"
                        findings.append(f"{where}: {what}: {s | own}")
    print("", *findings, sep="\n\n")
    print(f"{'':<22}" + "".join(f"{column:>10}" for column in COLUMNS))
    for name in sorted(counts, key=lambda name: (name == "all", name)):
        print(f"{name:<22}" + "".join(f"{counts[name][column]:>10}" for column in COLUMNS))
    return {"findings": findings, "counts": counts}


if __name__ == "__main__":
    np.set_printoptions(threshold=8)
    measure.command("fuzz", __doc__, work, calls=10_000, seed=0, program=None)
