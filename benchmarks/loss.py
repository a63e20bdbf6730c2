"""Time and memory of one loss, value and gradient, and ratios to its peers in the same run.

python -m benchmarks.loss          # n = 1,024 and 2,048, about two minutes
python -m benchmarks.loss --full   # n up to 4,096; `benchmarks.scaling` has larger ones
python -m benchmarks.loss --quick  # n = 1,024, few repeats, the dense losses alone

Every function takes both views (n/2, d); joint layout, self-pairs excluded. Ours returns the value
and `aux`, as it is used. Peers return the value, written the usual ways.
"""

from functools import partial

import jax
import jax.numpy as jnp
import optax
from ott.geometry.geometry import Geometry
from ott.problems.linear.linear_problem import LinearProblem
from ott.solvers.linear.implicit_differentiation import ImplicitDiff
from ott.solvers.linear.sinkhorn import Sinkhorn

from benchmarks import measure
from gca_jax import losses, ot

EPSILON, ITERATIONS = 0.5, 10


def ours(method, epsilon=EPSILON, **hyper):
    """A method of this project."""
    loss = losses.METHODS[method]
    return lambda z_a, z_b: loss(z_a, z_b, epsilon=epsilon, layout="joint", **hyper)


def _log_kernel(z_a, z_b, epsilon=EPSILON):
    z = ot.normalize(jnp.concatenate([z_a, z_b]))
    s = jnp.matmul(z, z.T, precision="highest") / epsilon
    return jnp.where(jnp.eye(len(z), dtype=bool), -jnp.inf, s)


def _positives(log_k):
    n = len(log_k) // 2
    return jnp.concatenate([jnp.diagonal(log_k, n), jnp.diagonal(log_k, -n)])


def plain_ntxent(z_a, z_b, epsilon=EPSILON):
    """NT-Xent with one log-sum-exp and automatic differentiation."""
    log_k = _log_kernel(z_a, z_b, epsilon)
    return jnp.mean(jax.nn.logsumexp(log_k, axis=1) - _positives(log_k))


def optax_ntxent(z_a, z_b):
    """`optax.losses.ntxent`."""
    labels = jnp.tile(jnp.arange(len(z_a)), 2)
    return optax.losses.ntxent(jnp.concatenate([z_a, z_b]), labels, temperature=EPSILON)


def plain_clip(z_a, z_b):
    """CLIP's loss with two log-sum-exps and automatic differentiation; cross layout."""
    s = jnp.matmul(ot.normalize(z_a), ot.normalize(z_b).T, precision="highest") / EPSILON
    both = jax.nn.logsumexp(s, axis=1) + jax.nn.logsumexp(s, axis=0)
    return jnp.mean(both / 2 - jnp.diagonal(s))


def plain_scan(z_a, z_b):
    """GCA-INCE as a log-domain scan with automatic differentiation."""
    log_k = _log_kernel(z_a, z_b)
    log_n = jnp.log(len(log_k))

    def sweep(carry, _):
        log_u = -log_n - jax.nn.logsumexp(log_k + carry[1][None, :], axis=1)
        return (log_u, -log_n - jax.nn.logsumexp(log_k + log_u[:, None], axis=0)), None

    zeros = jnp.zeros(len(log_k))
    (log_u, log_v), _ = jax.lax.scan(sweep, (zeros, zeros), None, length=ITERATIONS)
    return -jnp.mean(log_u + log_v + _positives(log_k)) - log_n


def ott(z_a, z_b, implicit):
    """GCA-INCE by OTT-JAX's Sinkhorn, differentiated through its loop or implicitly."""
    log_k = _log_kernel(z_a, z_b)
    sweeps = dict.fromkeys(("inner_iterations", "min_iterations", "max_iterations"), ITERATIONS)
    implicitly = ImplicitDiff() if implicit else None
    solver = Sinkhorn(threshold=-1.0, implicit_diff=implicitly, **sweeps)
    out = solver(LinearProblem(Geometry(cost_matrix=-log_k.T, epsilon=1.0)))
    return -jnp.mean(out.f + out.g + _positives(log_k)) - jnp.log(len(log_k))


COMPARED = {
    "ntxent": ours("simclr"),
    "gca_ince": ours("gca_ince"),
    "gca_ince envelope": ours("gca_ince", gradient="envelope"),
    "gca_rince": ours("gca_rince"),
    "gca_uot": ours("gca_uot"),
    "plain ntxent": plain_ntxent,
    "optax ntxent": optax_ntxent,
    "plain scan": plain_scan,
    "ott unrolled": partial(ott, implicit=False),
    "ott implicit": partial(ott, implicit=True),
}
LARGEST = {  # n; seconds a step above it, and optax forms n×n×d
    "optax ntxent": 1024,
    "plain scan": 2048,
    "ott unrolled": 2048,
    "ott implicit": 2048,
}
RATIOS = (
    ("gca_ince", "ntxent", "<= 1.3"),
    ("gca_uot", "ntxent", "<= 1.4"),
    ("gca_ince envelope", "ntxent", ""),
    ("ott unrolled", "gca_ince", ">= 10"),
    ("ott implicit", "gca_ince", ""),
    ("plain scan", "gca_ince", ">= 6"),
    ("plain ntxent", "ntxent", ">= 1"),
    ("optax ntxent", "ntxent", ">= 1"),
)


def milliseconds(title, functions, z, **options):
    """Time losses of the same two views."""
    seconds, _ = measure.losses(title, functions, *z, **options)
    return {name: 1e3 * s for name, s in seconds.items()}


def dense(n, classes, **options):
    """Time one size: milliseconds, temporaries and ratios."""
    functions = {name: f for name, f in COMPARED.items() if n <= LARGEST.get(name, n)}
    data = f"{classes} clusters" if classes else "random"
    z = measure.views(n, classes=classes)
    seconds, temporaries = measure.losses(f"n = {n}, {data}", functions, *z, **options)
    ratios = {f"{a} / {b}": seconds[a] / seconds[b] for a, b, _ in RATIOS if a in seconds}
    for a, b, goal in RATIOS:
        if a in seconds:
            print(f"  {a + ' / ' + b:<30}{ratios[f'{a} / {b}']:>14.2f}  {goal}")
    return {
        "n": n,
        "data": data,
        "milliseconds": {name: 1e3 * s for name, s in seconds.items()},
        "temporaries / n m 4 bytes": {k: size / (4 * n * n) for k, size in temporaries.items()},
        "ratios": ratios,
    }


def with_aux(n, layout="joint", **hyper):
    """Time and temporaries of the value alone, with `aux`, and with the diagnosis."""
    methods = ("simclr", "gca_ince", "rince", "gca_rince", "gca_uot")
    if layout == "cross":
        methods = ("ince", "clip", *methods[1:])
    functions = {}
    for name in methods:
        how = {"epsilon": EPSILON, **hyper} | ({} if name == "clip" else {"layout": layout})
        loss = partial(losses.METHODS[name], **how)
        functions[name] = lambda a, b, loss=loss: loss(a, b)[0]
        functions[f"{name}, aux"] = loss
        functions[f"{name}, diagnosed"] = partial(loss, diagnose=True)
    z = measure.views(n if layout == "joint" else 2 * n)
    title = f"n = {n}, {layout}, {hyper or 'K whole'}"
    seconds, temporaries = measure.losses(title, functions, *z)
    share = lambda name, kind: seconds[f"{name}, {kind}"] / seconds[name]  # noqa: E731
    ratios = {name: {kind: share(name, kind) for kind in ("aux", "diagnosed")} for name in methods}
    print(
        "  times the value alone:", {k: [f"{x:.2f}" for x in r.values()] for k, r in ratios.items()}
    )
    return {
        "what": title,
        "milliseconds": {name: 1e3 * s for name, s in seconds.items()},
        "temporaries / n m 4 bytes": {k: size / (4 * n * n) for k, size in temporaries.items()},
        "times the value alone": ratios,
    }


def by_epsilon(epsilon, n=2048):
    """Time an ε; a small one needs all T sweeps, forward and back."""
    methods = ("simclr", "gca_ince", "gca_rince", "gca_uot")
    functions = {name: ours(name, epsilon) for name in methods}
    functions["simclr plain"] = partial(plain_ntxent, epsilon=epsilon)
    return milliseconds(f"n = {n}, ε = {epsilon}", functions, measure.views(n, classes=10))


def learned_epsilon(name, n=2048):
    """Time a traced ε by the rule (log domain), with a stated bound, and a known one."""

    def loss(traced, **hyper):
        def value(a, b):
            epsilon = EPSILON + (0.0 * a[0, 0] if traced else 0.0)
            return losses.METHODS[name](a, b, epsilon=epsilon, **hyper)

        return value

    bounded = loss(True, epsilon_min=0.03)
    functions = {"rule": loss(True), "epsilon_min=0.03": bounded, "known": loss(False)}
    return milliseconds(f"n = {n // 2}, learned ε, {name}", functions, measure.views(n), repeats=5)


def learned_target(blocks, n=2048):
    """Time a target that learns from the plan beside the identity, for two sets of embeddings."""
    how = {"epsilon": EPSILON, "block_size": 256 if blocks else n}
    functions = {
        f"{name}{', self-weighted' if target else ''}": partial(
            lambda loss, target, a, b: loss(a, b, target=target, **how),
            losses.METHODS[name],
            target,
        )
        for name in ("clip", "gca_ince")
        for target in (None, ot.learned.self_weighted)
    }
    if not blocks:
        functions["plain clip"] = plain_clip
    words = "in blocks of 256 rows" if blocks else "whole"
    return milliseconds(f"n = {n}, K {words}, two sets", functions, measure.views(2 * n))


def megaflops(name, n=512):
    """FLOPs of value and gradient by XLA's cost analysis, in millions."""
    return measure.compiled(COMPARED[name], *measure.views(n)).cost_analysis()["flops"] / 1e6


def work(quick, full):
    if quick:
        return {"dense": [dense(1024, 0, patience=20.0)], "aux": [with_aux(512)]}
    sizes = (1024, 2048, 4096) if full else (1024, 2048)
    return {
        "aux": [
            *(with_aux(n) for n in (512, *sizes)),
            with_aux(2048, "cross"),
            with_aux(2048, block_size=256),
        ],
        "dense": [dense(n, classes) for classes in (0, 10) for n in sizes],
        "MFLOP (n = 512, d = 128)": {
            name: megaflops(name) for name in ("ntxent", "gca_ince", "gca_uot")
        },
        "milliseconds by epsilon (n = 2048)": {
            str(epsilon): by_epsilon(epsilon) for epsilon in (0.5, 0.2, 0.1, 0.05)
        },
        "milliseconds at epsilon 0.05 by n": {
            str(n): by_epsilon(0.05, n) for n in ((1024, 4096, 8192) if full else (1024,))
        },
        "milliseconds with a learned target (n = 2048)": {
            "whole": learned_target(False),
            "blocks": learned_target(True),
        },
        "milliseconds with a learned epsilon (cross layout, n = 1024)": {
            name: learned_epsilon(name) for name in ("clip", "gca_ince", "gca_uot")
        },
    }


if __name__ == "__main__":
    measure.command("loss", __doc__, work, full=False)
