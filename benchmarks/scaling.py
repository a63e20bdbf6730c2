"""How time and memory of GCA-INCE grow with the batch, and how they are shared among devices.

python -m benchmarks.scaling              # n = 512 to 65,536, about ten minutes on two cores
python -m benchmarks.scaling --quick      # n = 512 to 4,096
python -m benchmarks.scaling --partition  # compiled only: n = 65,536 over 1, 8, 64, 256 devices

The first two draw docs/images/scaling.png. All is value and gradient, joint layout, d = 128.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys

from benchmarks import measure, peers

SIZES = tuple(2**k for k in range(9, 17))
BLOCK = 2**22  # entries of K at a time in the blockwise curve
CURVES = {
    # name: (function of n, largest n)
    "whole K": (lambda n: peers.ours("gca_ince", block_size=n), 32768),
    "blocks": (lambda n: peers.ours("gca_ince", block_size=max(1, min(n // 8, BLOCK // n))), 65536),
    "NT-Xent, whole K": (lambda n: peers.ours("simclr", block_size=n), 32768),
    "plain log-domain scan": (lambda n: peers.plain_scan, 8192),
}
COLOURS = ("#0072B2", "#009E73", "#777777", "#D55E00")
DEVICES = (1, 8, 64, 256)
PARTITIONED = 65536


def curves(sizes):
    """Seconds and bytes of temporaries at each size."""
    lines = []
    for n in sizes:
        z_a, z_b = measure.views(n)
        steps = {
            name: measure.compiled(function(n), z_a, z_b)
            for name, (function, largest) in CURVES.items()
            if n <= largest
        }
        seconds = measure.steps_seconds(steps, z_a, z_b, repeats=5, patience=20.0)
        for name, step in steps.items():
            memory = measure.temporaries(step)
            lines.append({"n": n, "what": name, "seconds": seconds[name], "temporaries": memory})
            print(f"n = {n:>6}  {name:<24}{seconds[name]:>10.4f} s{memory / 1e6:>12.1f} MB")
    return lines


def plot(lines, path):
    """Both against n."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    for axes, key, label, scale in zip(
        figure.subplots(1, 2),
        ("seconds", "temporaries"),
        ("seconds, value and gradient", "temporaries, MB"),
        (1, 1e-6),
        strict=True,
    ):
        for name, colour in zip(CURVES, COLOURS, strict=True):
            points = [(line["n"], scale * line[key]) for line in lines if line["what"] == name]
            axes.loglog(*zip(*points, strict=True), "o-", label=name, color=colour, markersize=4)
        axes.set(xlabel="n, rows of the kernel (twice the batch)", ylabel=label)
        axes.set_xscale("log", base=2)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    axes.legend()
    figure.savefig(path, dpi=110)


def partition(n, mode):
    """One program over all devices of this process, compiled: bytes on each and collectives."""
    import jax
    import jax.numpy as jnp
    from jax.sharding import AxisType, NamedSharding, PartitionSpec

    from gca_jax import losses

    mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))
    rows = NamedSharding(mesh, PartitionSpec("data"))
    loss = losses.sharded("gca_ince", mesh) if mode != "jit" else losses.gca_ince
    hyper = {"epsilon": peers.EPSILON, "layout": "joint"}
    if mode != "blocks":
        hyper["block_size"] = n
    step = jax.value_and_grad(lambda a, b: loss(a, b, **hyper)[0], argnums=(0, 1))
    step = jax.jit(step, in_shardings=(rows, rows), out_shardings=(None, (rows, rows)))
    z = jax.ShapeDtypeStruct((n // 2, 128), jnp.float32)
    compiled = step.lower(z, z).compile()
    return {
        "n": n,
        "devices": jax.device_count(),
        "mode": mode,
        "temporaries": measure.temporaries(compiled),
        "collectives": measure.collectives(compiled),
    }


def partitions(n=PARTITIONED):
    """Every number of devices in a process of its own."""
    lines = []
    for devices in DEVICES:
        for mode in ("whole", "blocks", "jit"):
            flags = f"--xla_force_host_platform_device_count={devices}"
            command = [sys.executable, "-m", "benchmarks.scaling", "--child", str(n), mode]
            environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
            out = subprocess.run(
                command, env=environment, check=True, capture_output=True, text=True
            ).stdout
            lines.append(json.loads(out.splitlines()[-1]))
            line = lines[-1]
            print(f"{devices} devices, {mode}: {line['temporaries'] / 1e6:.1f} MB on each")
            for what, count in line["collectives"].items():
                print(f"    {count} x {what}")
    return lines


def main():
    """Measures, prints, draws and writes the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="n up to 4,096")
    parser.add_argument("--partition", action="store_true", help="compile over many devices")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--out", help="JSON; default benchmarks/results/scaling.json or partition")
    parser.add_argument("--plot", default="docs/images/scaling.png")
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(partition(int(arguments.child[0]), arguments.child[1])))
        return
    name = "partition" if arguments.partition else "scaling"
    if arguments.partition:
        result = partitions()
    else:
        result = curves([n for n in SIZES if n <= 4096 or not arguments.quick])
        plot(result, arguments.plot)
        print(f"drawn: {arguments.plot}")
    path = pathlib.Path(arguments.out or f"benchmarks/results/{name}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"written: {path}")


if __name__ == "__main__":
    main()
