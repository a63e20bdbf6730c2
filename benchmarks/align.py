"""Seconds to train `gca_jax.align`, and a plain loop of JAX and Optax, taking turns.

python -m benchmarks.align          # a few minutes on two cores
python -m benchmarks.align --quick  # 100 steps of the smaller set

The loop has the same towers, batches, optimizer and number of steps, InfoNCE written out, and
nothing else: no split, log, checkpoint or evaluation. `to the first step` is from the call on, with
tracing and compilation; `training` is what follows, to the last step.
"""

import tempfile
import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import measure
from gca_jax import config
from gca_jax.data.pairs import pair
from gca_jax.experiment import build
from gca_jax.training.train import train
from gca_jax.workdir import RunFolder

SIZES = {"16,200 x 392": (16_200, 392, 392, 512), "3,000 x (50, 200)": (3_000, 50, 200, 256)}
STEPS = 800


def sets(n, width_a, width_b):
    """Two noisy linear images of one latent variable."""
    rng = np.random.default_rng(0)
    latent = rng.standard_normal((n, 16))
    mixed = [latent @ rng.standard_normal((16, width)) for width in (width_a, width_b)]
    return [np.float32(x + rng.standard_normal(x.shape)) for x in mixed]


class Tower(nn.Module):
    """One hidden layer, as `align` has by default."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(128)(nn.relu(nn.LayerNorm()(nn.Dense(512)(x))))


def plain(a, b, size, steps):
    """Train two towers by InfoNCE in a loop; seconds to the first step, and of the others."""
    began, tower, rng = time.perf_counter(), Tower(), np.random.default_rng(0)
    sides = [np.float32((x - x.mean(axis=0)) / x.std(axis=0)) for x in (a, b)]
    keys = jax.random.split(jax.random.key(0))
    params = [tower.init(k, x[:1]) for k, x in zip(keys, sides, strict=True)]
    optimizer = optax.adamw(optax.cosine_decay_schedule(1e-3, steps))
    state = params, optimizer.init(params)

    def infonce(params, batch):
        z = [tower.apply(p, x) for p, x in zip(params, batch, strict=True)]
        z_a, z_b = (x / jnp.linalg.norm(x, axis=1, keepdims=True) for x in z)
        scores = z_a @ z_b.T / 0.1
        return -jnp.mean(jnp.diagonal(jax.nn.log_softmax(scores, axis=1)))

    @jax.jit
    def step(state, batch):
        params, opt_state = state
        value, gradients = jax.value_and_grad(infonce)(params, batch)
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), value

    order, first = [], None
    for _ in range(steps):
        if len(order) < size:
            order = rng.permutation(len(a))
        rows, order = order[:size], order[size:]
        state, value = step(state, [x[rows] for x in sides])
        if first is None:
            jax.block_until_ready(value)
            first = time.perf_counter()
    jax.block_until_ready(state)
    return first - began, time.perf_counter() - first


class Stamp:
    """Notes when the first step was done; a hook."""

    name, memory, first = "stamp", {}, None

    def __call__(self, step, state, metrics):
        if self.first is None:
            jax.block_until_ready(metrics["loss"])
            self.first = time.perf_counter()


def ours(a, b, size, steps, method):
    """Do what `align` does up to the end of training; seconds as `plain` gives them."""
    jax.clear_caches()  # each call traces and compiles, as the first of a process does
    began, stamp = time.perf_counter(), Stamp()
    settings = config.make("pairs", f"{method},mlp")
    settings.train.update(batch_size=size, steps=steps, stop_by="steps")  # all of them
    experiment = build(settings, dataset=pair(a, b, test_fraction=0.0, test=(a[:9], b[:9])))
    with tempfile.TemporaryDirectory() as path:
        train(experiment, RunFolder.open(path, experiment.record), hooks=[stamp])
    return stamp.first - began, time.perf_counter() - stamp.first


def compare(name, steps, repeats):
    """Time one size: the least of runs that take turns."""
    n, width_a, width_b, size = SIZES[name]
    a, b = sets(n, width_a, width_b)
    runs = {"plain loop": lambda: plain(a, b, size, steps)}
    for method in ("ince", "gca_ince"):
        runs[f"align, {method}"] = lambda method=method: ours(a, b, size, steps, method)
    found = {key: [] for key in runs}
    for _ in range(repeats):
        for key, run in runs.items():
            found[key].append(run())
    least = {key: np.min(times, axis=0) for key, times in found.items()}
    print(f"{name}, batch {size}, {steps} steps: seconds to the first step, training")
    for key, (first, training) in least.items():
        ratio = training / least["plain loop"][1]
        print(f"  {key:<20}{first:>8.2f}{training:>8.2f}   {ratio:.2f} times the loop")
    keys = "to the first step", "training"
    return {key: dict(zip(keys, map(float, times), strict=True)) for key, times in least.items()}


def work(quick):
    if quick:
        return {"3,000 x (50, 200)": compare("3,000 x (50, 200)", 100, 1)}
    return {name: compare(name, STEPS, 3) for name in SIZES}


if __name__ == "__main__":
    measure.command("align", __doc__, work)
