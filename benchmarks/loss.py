"""Time and memory of one loss, value and gradient, as ratios to its peers in the same run.

python -m benchmarks.loss            # n = 1,024 and 2,048, about a minute
python -m benchmarks.loss --full     # n up to 65,536
"""

import json
from functools import partial

import jax

from benchmarks import measure, peers
from gca_jax import losses

OURS = {
    "ntxent": peers.ours("simclr"),
    "gca_ince": peers.ours("gca_ince"),
    "gca_ince envelope": peers.ours("gca_ince", gradient="envelope"),
    "gca_rince": peers.ours("gca_rince"),
    "gca_uot": peers.ours("gca_uot"),
}
PEERS = {
    "plain ntxent": peers.plain_ntxent,
    "optax ntxent": peers.optax_ntxent,
    "plain scan": peers.plain_scan,
    "ott unrolled": partial(peers.ott, implicit=False),
    "ott implicit": partial(peers.ott, implicit=True),
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


def dense(n, classes):
    """Time one size: milliseconds, temporaries and ratios, printed as a table."""
    functions = OURS | PEERS
    if n > 1024:
        del functions["optax ntxent"]  # forms n×n×d: seconds a step, gigabytes
    if n > 2048:
        for name in ("plain scan", "ott unrolled", "ott implicit"):
            del functions[name]  # seconds a step
    seconds, temporaries = measure.losses(functions, *measure.views(n, classes=classes))
    data = f"{classes} clusters" if classes else "random"
    milliseconds = {name: 1e3 * s for name, s in seconds.items()}
    memory = {name: size / (4 * n * n) for name, size in temporaries.items()}
    ratios = {f"{a} / {b}": seconds[a] / seconds[b] for a, b, _ in RATIOS if a in seconds}
    print(f"\nn = {n}, {data}: {'':>12}milliseconds   temporaries / n·m·4 bytes")
    for name in functions:
        print(f"  {name:<30}{milliseconds[name]:>12.1f}{memory[name]:>15.2f}")
    for a, b, goal in RATIOS:
        if a in functions:
            print(f"  {a + ' / ' + b:<40}{ratios[f'{a} / {b}']:>8.2f}  {goal}")
    return {
        "n": n,
        "data": data,
        "milliseconds": milliseconds,
        "temporaries / n m 4 bytes": memory,
        "ratios": ratios,
    }


def lines(title, groups, z, **options):
    """Time groups of losses of the same two views: milliseconds, one printed line a group."""
    measured = {}
    for key, functions in groups.items():
        seconds, _ = measure.losses(functions, *z, **options)
        measured[key] = {name: 1e3 * s for name, s in seconds.items()}
        print(f"{title} {key}:", {name: round(ms, 1) for name, ms in measured[key].items()})
    return measured


def by_epsilon(n=2048):
    """Time small ε, which need all T sweeps, forward and back."""
    groups = {
        str(epsilon): {
            **{
                name: peers.ours(name, epsilon)
                for name in ("simclr", "gca_ince", "gca_rince", "gca_uot")
            },
            "simclr plain": partial(peers.plain_ntxent, epsilon=epsilon),
        }
        for epsilon in (0.5, 0.2, 0.1, 0.05)
    }
    return lines(f"n = {n}, ε =", groups, measure.views(n, classes=10))


def learned_epsilon(n=2048):
    """Time a traced ε by the rule (log domain), with a stated bound, and a known one."""

    def loss(name, traced, **hyper):
        def value(a, b):
            epsilon = peers.EPSILON + (0.0 * a[0, 0] if traced else 0.0)
            return losses.METHODS[name](a, b, epsilon=epsilon, **hyper)[0]

        return value

    groups = {
        name: {
            "rule": loss(name, True),
            "epsilon_min=0.03": loss(name, True, epsilon_min=0.03),
            "known": loss(name, False),
        }
        for name in ("clip", "gca_ince", "gca_uot")
    }
    return lines(f"n = {n // 2}, learned ε,", groups, measure.views(n), repeats=5)


def blockwise(n, block_size, with_dense):
    """Time blockwise GCA-INCE at one size, beside the dense one."""
    functions = {"blockwise": peers.ours("gca_ince", block_size=block_size)}
    if with_dense:
        functions["dense"] = peers.ours("gca_ince")
    seconds, temporaries = measure.losses(functions, *measure.views(n), repeats=5)
    megabytes = {name: size / 1e6 for name, size in temporaries.items()}
    line = {"n": n, "block_size": block_size, "seconds": seconds, "temporaries MB": megabytes}
    print(json.dumps(line))
    return line


def flops(n=512, d=128):
    """FLOPs of value and gradient by XLA's cost analysis."""
    names = {"INCE": "ntxent", "GCA-INCE": "gca_ince", "GCA-UOT": "gca_uot"}
    steps = {name: measure.compiled(OURS[key], *measure.views(n, d)) for name, key in names.items()}
    return {name: step.cost_analysis()["flops"] / 1e6 for name, step in steps.items()}


def main():
    """Measures, prints the tables and writes the JSON."""
    arguments = measure.arguments("loss", __doc__, full="all sizes").parse_args()
    sizes = (1024, 2048, 4096) if arguments.full else (1024, 2048)
    blocks = ((4096, 256, True), (16384, 128, True), (65536, 32, False))
    result = {
        "device": str(jax.devices()[0]),
        "dense": [dense(n, classes) for classes in (0, 10) for n in sizes],
        "blockwise": [blockwise(*b) for b in (blocks if arguments.full else blocks[:1])],
        "MFLOP (n = 512, d = 128)": flops(),
        "milliseconds by epsilon (n = 2048)": by_epsilon(),
        "milliseconds with a learned epsilon (cross layout, n = 1024)": learned_epsilon(),
    }
    print(json.dumps(result["MFLOP (n = 512, d = 128)"]))
    measure.write(result, "loss", arguments.out)


if __name__ == "__main__":
    main()
