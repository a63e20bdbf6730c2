"""Command line, times and memory of the benchmarks: medians of runs that take turns."""

import argparse
import collections
import functools
import json
import math
import os
import pathlib
import re
import time

import jax
import numpy as np


def command(name, doc, work, **options):
    """Parse a benchmark's flags, call `work(quick, **options)`, print and write its result as JSON.

    An option that is False is a switch; any other is the default of a value. With `--quick`, which
    is for trying that a benchmark runs, the result is printed alone.
    """
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(f"python -m benchmarks.{name}", None, doc, formatter_class=raw)
    for option, default in {"quick": False, **options}.items():
        kind = {"action": "store_true"} if default is False else {"default": default}
        parser.add_argument(f"--{option}", **kind)
    parser.add_argument("--out", default=f"benchmarks/results/{name}.json", help="%(default)s")
    values = vars(parser.parse_args())
    path, before = pathlib.Path(values.pop("out")), os.getloadavg()[0]
    device = {"device": jax.devices()[0].device_kind, "cores": os.cpu_count()}
    result = {**device, "load_before": before, **work(**values)}
    print(json.dumps(result, indent=2))
    if values["quick"]:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(f"written: {path}")


def views(n, d=128, classes=0):
    """Two views (n/2, d): random embeddings, or `classes` clusters as late in a training."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((n // 2, d))
    if classes:
        z = 0.5 * z + rng.standard_normal((classes, d))[rng.integers(0, classes, n // 2)]
    noise = 0.3 * rng.standard_normal((2, n // 2, d))
    return tuple(jax.numpy.asarray(z + e, jax.numpy.float32) for e in noise)


def compiled(value, z_a, z_b):
    """Value, what is returned beside it, and gradient with respect to both views, compiled."""
    has_aux = isinstance(jax.eval_shape(value, z_a, z_b), tuple)
    step = jax.jit(jax.value_and_grad(value, argnums=(0, 1), has_aux=has_aux))
    return step.lower(z_a, z_b).compile()


def temporaries(step):
    """Bytes that the compiled step needs beside its arguments and results."""
    return step.memory_analysis().temp_size_in_bytes


def collectives(step):
    """Kind, floats of the largest array and how often, of each exchange of a compiled step.

    One that stands in a loop counts once, and runs once a turn.
    """
    found, of_arrays = collections.Counter(), r"[a-z]+\d+\[([\d,]*)\]"
    pattern = r"= (.*?) ((?:all-|reduce-scatter|collective-)[a-z-]*?)(?:-start)?\("
    for types, kind in re.findall(pattern, step.as_text()):
        if not kind.endswith("-done"):
            shapes = re.findall(of_arrays, types)
            sizes = [math.prod(int(side) for side in each.split(",") if side) for each in shapes]
            found[kind, max(sizes)] += 1
    order = sorted(found.items(), key=lambda item: -item[0][1])
    return [{"kind": kind, "floats": size, "times": k} for (kind, size), k in order]


def seconds(functions, repeats=9, patience=60.0, settle=True, clock=time.perf_counter):
    """Median seconds of each function by name, or of what it returns; they take turns.

    So a slow moment hits them all. Each is run once before the first turn, and none begins after
    `patience` seconds. With `settle` each is run once more, unmeasured, before it is timed: after a
    function that needs gigabytes the memory of the next one has to be mapped anew. The clock may be
    that of the CPU, `time.process_time`.
    """
    times = {name: [] for name in functions}
    for function in functions.values():
        jax.block_until_ready(function())
    began = time.perf_counter()
    for _ in range(repeats):
        for name, function in functions.items():
            if settle:
                jax.block_until_ready(function())
            start = clock()
            own = jax.block_until_ready(function())
            elapsed = clock() - start
            times[name].append(own if isinstance(own, float) else elapsed)
        if time.perf_counter() - began > patience:
            break
    return {name: float(np.median(t)) for name, t in times.items()}


def stepping(step, state, *batch):
    """A function that makes a training step, which reuses the buffers of the state before it.

    Each call donates the state, so that memory and time are those of the loop.
    """
    states = [state]

    def function():
        state, metrics = step(states.pop(), *batch)
        states.append(state)
        return metrics

    return function


def losses(title, functions, z_a, z_b, **options):
    """Seconds of value and gradient of losses of two views, and bytes of their temporaries."""
    steps = {name: compiled(function, z_a, z_b) for name, function in functions.items()}
    bound = {name: functools.partial(step, z_a, z_b) for name, step in steps.items()}
    times = seconds(bound, **options)
    memory = {name: temporaries(step) for name, step in steps.items()}
    print(f"{title:<32}{'milliseconds':>14}{'temporaries, MB':>18}")
    for name, each in times.items():
        print(f"  {name:<30}{1e3 * each:>14.1f}{memory[name] / 1e6:>18.1f}")
    return times, memory
