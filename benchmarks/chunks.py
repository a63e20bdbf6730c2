"""What embedding a batch in chunks (`train.encoder_chunk`) saves of memory and costs in time.

python -m benchmarks.chunks         # batch 256: a few minutes on two cores
python -m benchmarks.chunks --quick # batch 64

A whole training step, views and update included, on random images; GCA-UOT, joint layout. Memory is
that of the loop over chunks, as accelerators have it; time that of what a CPU runs, where the loop
over convolutions is unrolled.
"""

from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import measure
from gca_jax import losses, models
from gca_jax.training import state, step
from tests import toy

HEADS = dict(projector_hidden=2048, projector_dim=128)
NETWORKS = {
    "ResNet, width 16, 32 x 32": (
        dict(encoder="resnet", stage_sizes=(1, 1, 1), width=16, block="basic", stem="cifar"),
        32,
    ),
    "ViT, width 64, depth 4, 32 x 32": (
        dict(encoder="vit", width=64, depth=4, heads=4, patch=4, positions="sincos"),
        32,
    ),
}


def compiled(model, side, batch, chunk):
    """A training step, compiled, and its arguments."""
    network, optimizer = models.create(**model, **HEADS), optax.adamw(1e-3)
    variables = state.init_variables(network, jax.random.key(0), (side, side, 3))
    initial = state.create_state(variables, optimizer, with_target=False)

    def loss(z_a, z_b):
        return losses.gca_uot(z_a, z_b, epsilon=0.5, layout="joint")

    parts = toy.experiment(network, loss, encoder_chunk=chunk)  # its views have no temporaries
    train_step = step.make_train_step(parts, optimizer, 1)
    images = np.random.default_rng(0).integers(0, 256, (batch, side, side, 3), dtype=np.uint8)
    arguments = initial, jax.random.key(1), toy.whole(jnp.asarray(images))
    return jax.jit(train_step).lower(*arguments).compile(), arguments


def work(quick):
    """Temporaries and seconds by network and chunk; null is the whole batch."""
    batch, lines = 64 if quick else 256, []
    for name, (model, side) in NETWORKS.items():
        sizes = [None, *(batch // k for k in (2, 4, 8, 16))]
        steps = {size: compiled(model, side, batch, size) for size in sizes}
        runs = {size: lambda one=one, args=args: one(*args) for size, (one, args) in steps.items()}
        times = measure.seconds(runs, repeats=3, settle=False)
        for size in sizes:
            with mock.patch("gca_jax.training.chunks._must_unroll", return_value=False):
                looped, _ = compiled(model, side, batch, size)
            megabytes = measure.temporaries(looped) / 1e6
            lines.append(
                {"network": name, "batch": batch, "chunk": size, "seconds": times[size]}
                | {"temporaries_mb": round(megabytes, 1)}
            )
            print(f"{name:<34}{size!s:>6}{megabytes:>10.0f} MB{times[size]:>8.2f} s", flush=True)
    return {"lines": lines}


if __name__ == "__main__":
    measure.command("chunks", __doc__, work, quick=False)
