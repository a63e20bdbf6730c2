"""How time and memory of GCA-INCE grow with the batch, and how they are shared among devices.

python -m benchmarks.scaling              # n = 512 to 65,536, about ten minutes on two cores
python -m benchmarks.scaling --quick      # n = 512 to 4,096
python -m benchmarks.scaling --partition  # compiled only: n = 65,536 over 1, 8, 64, 256 devices

The first two draw docs/images/scaling.png. All is value and gradient, joint layout, d = 128.
"""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from matplotlib.figure import Figure

from benchmarks import loss, measure
from gca_jax import losses

SIZES = tuple(2**k for k in range(9, 17))
BLOCK = 2**22  # entries of K at a time in the blockwise curve
CURVES = {
    # name: (function of n, largest n)
    "whole K": (lambda n: loss.ours("gca_ince", block_size=n), 32768),
    "blocks": (lambda n: loss.ours("gca_ince", block_size=max(1, min(n // 8, BLOCK // n))), 65536),
    "NT-Xent, whole K": (lambda n: loss.ours("simclr", block_size=n), 32768),
    "plain log-domain scan": (lambda n: loss.plain_scan, 8192),
}
COLOURS = ("#0072B2", "#009E73", "#777777", "#D55E00")
DEVICES = (1, 8, 64, 256)
PARTITIONED = 65536


def curves(n):
    """Seconds and bytes of temporaries at one size."""
    functions = {name: make(n) for name, (make, largest) in CURVES.items() if n <= largest}
    z = measure.views(n)
    seconds, memory = measure.losses(f"n = {n}", functions, *z, repeats=5, patience=20.0)
    return [
        {"n": n, "what": name, "seconds": seconds[name], "temporaries": memory[name]}
        for name in functions
    ]


def draw(lines, path):
    """Both against n."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    panels = ("seconds", "seconds, value and gradient", 1), ("temporaries", "temporaries, MB", 1e-6)
    for axes, (key, label, scale) in zip(figure.subplots(1, 2), panels, strict=True):
        for name, colour in zip(CURVES, COLOURS, strict=True):
            points = [(line["n"], scale * line[key]) for line in lines if line["what"] == name]
            axes.loglog(*zip(*points, strict=True), "o-", label=name, color=colour, markersize=4)
        axes.set(xlabel="n, rows of the kernel (twice the batch)", ylabel=label)
        axes.set_xscale("log", base=2)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    axes.legend()
    figure.savefig(path, dpi=110)
    print(f"drawn: {path}")


def partition(mode, n=PARTITIONED):
    """One program over all devices of this process, compiled: bytes on each and collectives."""
    mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))
    rows = NamedSharding(mesh, PartitionSpec("data"))
    function = losses.sharded("gca_ince", mesh) if mode != "jit" else losses.gca_ince
    hyper = {"epsilon": loss.EPSILON, "layout": "joint"}
    if mode != "blocks":
        hyper["block_size"] = n
    step = jax.value_and_grad(lambda a, b: function(a, b, **hyper)[0], argnums=(0, 1))
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


def in_process(devices, mode):
    """Partition over so many devices, in a process of its own."""
    flags = f"--xla_force_host_platform_device_count={devices}"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    program = f"from benchmarks import scaling as s; print(s.json.dumps(s.partition({mode!r})))"
    command = [sys.executable, "-c", program]
    out = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout
    return json.loads(out.splitlines()[-1])


def work(quick, partition, plot):
    if partition:
        modes = ("whole", "blocks", "jit")
        return {"partition": [in_process(count, mode) for count in DEVICES for mode in modes]}
    lines = [line for n in SIZES if n <= 4096 or not quick for line in curves(n)]
    draw(lines, plot)
    return {"curves": lines}


if __name__ == "__main__":
    name = "partition" if "--partition" in sys.argv else "scaling"  # each with its own JSON
    options = dict(quick=False, partition=False, plot="docs/images/scaling.png")
    measure.command(name, __doc__, work, **options)
