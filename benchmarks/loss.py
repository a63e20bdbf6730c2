"""Time and memory of one loss, value and gradient, as ratios to its peers in the same run.

python -m benchmarks.loss            # n = 1,024 and 2,048, about a minute
python -m benchmarks.loss --full     # n up to 65,536
"""

import argparse
import json
import pathlib

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
    "ott unrolled": peers.ott_unrolled,
    "ott implicit": peers.ott_implicit,
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
    """One size: seconds, temporaries and ratios."""
    z_a, z_b = measure.views(n, classes=classes)
    functions = OURS | PEERS
    if n > 1024:
        del functions["optax ntxent"]  # forms n×n×d: seconds a step, gigabytes
    if n > 2048:
        for name in ("plain scan", "ott unrolled", "ott implicit"):
            del functions[name]  # seconds a step
    steps = {name: measure.compiled(f, z_a, z_b) for name, f in functions.items()}
    seconds = measure.steps_seconds(steps, z_a, z_b)
    square = 4 * n * n
    return {
        "n": n,
        "data": f"{classes} clusters" if classes else "random",
        "milliseconds": {name: 1e3 * s for name, s in seconds.items()},
        "temporaries / n m 4 bytes": {
            name: measure.temporaries(s) / square for name, s in steps.items()
        },
        "ratios": {f"{a} / {b}": seconds[a] / seconds[b] for a, b, _ in RATIOS if a in seconds},
    }


def by_epsilon(n=2048, classes=10):
    """Small ε need all T sweeps, forward and back: milliseconds of each method."""
    z_a, z_b = measure.views(n, classes=classes)
    lines = {}
    for epsilon in (0.5, 0.2, 0.1, 0.05):
        functions = {
            name: peers.ours(name, epsilon)
            for name in ("simclr", "gca_ince", "gca_rince", "gca_uot")
        }
        functions["simclr plain"] = lambda a, b, epsilon=epsilon: peers.plain_ntxent(a, b, epsilon)
        steps = {name: measure.compiled(f, z_a, z_b) for name, f in functions.items()}
        seconds = measure.steps_seconds(steps, z_a, z_b)
        lines[str(epsilon)] = {name: 1e3 * s for name, s in seconds.items()}
        print(f"ε = {epsilon}, n = {n}:", {k: round(v, 1) for k, v in lines[str(epsilon)].items()})
    return lines


def learned_epsilon(n=2048):
    """A traced ε by the rule (log domain), with a stated bound, and a known one: milliseconds."""
    z_a, z_b = measure.views(n)

    def learned(name, **hyper):
        loss = losses.METHODS[name]

        def value(a, b):
            epsilon = peers.EPSILON + 0.0 * a[0, 0]  # traced, with a gradient
            return loss(a, b, epsilon=epsilon, **hyper)[0]

        return value

    lines = {}
    for name in ("clip", "gca_ince", "gca_uot"):
        functions = {
            "rule": learned(name),
            "epsilon_min=0.03": learned(name, epsilon_min=0.03),
            "known": lambda a, b, name=name: losses.METHODS[name](a, b, epsilon=peers.EPSILON)[0],
        }
        steps = {key: measure.compiled(f, z_a, z_b) for key, f in functions.items()}
        seconds = measure.steps_seconds(steps, z_a, z_b, repeats=5)
        lines[name] = {key: 1e3 * s for key, s in seconds.items()}
        print(f"learned ε, {name}, n = {n // 2}:", {k: round(v, 1) for k, v in lines[name].items()})
    return lines


def blockwise(n, block_size, with_dense):
    """Blockwise GCA-INCE at one size, beside the dense one."""
    z_a, z_b = measure.views(n)
    steps = {"blockwise": measure.compiled(peers.ours("gca_ince", block_size=block_size), z_a, z_b)}
    if with_dense:
        steps["dense"] = measure.compiled(peers.ours("gca_ince"), z_a, z_b)
    seconds = measure.steps_seconds(steps, z_a, z_b, repeats=5)
    return {
        "n": n,
        "block_size": block_size,
        "seconds": seconds,
        "temporaries MB": {name: measure.temporaries(s) / 1e6 for name, s in steps.items()},
    }


def flops(n=512, d=128):
    """FLOPs of value and gradient by XLA's cost analysis."""
    z_a, z_b = measure.views(n, d)
    names = {"INCE": "ntxent", "GCA-INCE": "gca_ince", "GCA-UOT": "gca_uot"}
    steps = {name: measure.compiled(OURS[key], z_a, z_b) for name, key in names.items()}
    return {name: step.cost_analysis()["flops"] / 1e6 for name, step in steps.items()}


def main():
    """Measures, prints the tables and writes the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loss", description=__doc__)
    parser.add_argument("--full", action="store_true", help="all sizes")
    parser.add_argument("--out", default="benchmarks/results/loss.json")
    arguments = parser.parse_args()
    sizes = (1024, 2048, 4096) if arguments.full else (1024, 2048)
    blocks = ((4096, 256, True), (16384, 128, True), (65536, 32, False))
    result = {
        "device": str(jax.devices()[0]),
        "dense": [],
        "blockwise": [],
        "MFLOP (n = 512, d = 128)": flops(),
    }
    for classes in (0, 10):
        for n in sizes:
            result["dense"].append(dense(n, classes))
            show(result["dense"][-1])
    for n, block_size, with_dense in blocks if arguments.full else blocks[:1]:
        result["blockwise"].append(blockwise(n, block_size, with_dense))
        print(json.dumps(result["blockwise"][-1]))
    result["milliseconds by epsilon (n = 2048)"] = by_epsilon()
    result["milliseconds with a learned epsilon (cross layout, n = 1024)"] = learned_epsilon()
    print(json.dumps(result["MFLOP (n = 512, d = 128)"]))
    path = pathlib.Path(arguments.out)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(f"written: {path}")


def show(line):
    """Prints one size."""
    print(f"\nn = {line['n']}, {line['data']}: {'':>12}milliseconds   temporaries / n·m·4 bytes")
    for name, milliseconds in line["milliseconds"].items():
        memory = line["temporaries / n m 4 bytes"][name]
        print(f"  {name:<30}{milliseconds:>12.1f}{memory:>15.2f}")
    for a, b, goal in RATIOS:
        ratio = line["ratios"].get(f"{a} / {b}")
        if ratio is not None:
            print(f"  {a + ' / ' + b:<40}{ratio:>8.2f}  {goal}")


if __name__ == "__main__":
    main()
