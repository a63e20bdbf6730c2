"""What embedding a batch in chunks (`train.encoder_chunk`) saves of memory.

python -m benchmarks.chunks          # batch 256
python -m benchmarks.chunks --quick  # batch 32, in one chunk and in four

A whole training step, update included, compiled for a CPU with the loop over chunks that
accelerators run; GCA-UOT, joint layout. Nothing is run: on a CPU the loop over convolutions is
unrolled, which saves no memory (docs/engine.md).
"""

from functools import partial
from unittest import mock

import jax
import numpy as np
import optax

from benchmarks import measure
from gca_jax import losses, models
from gca_jax.training import state, step
from tests import toy

SIDE = 32
NETWORKS = {
    "ResNet, width 16": dict(
        encoder="resnet", stage_sizes=(1, 1, 1), width=16, block="basic", stem="cifar"
    ),
    "ViT, width 64, depth 4": dict(
        encoder="vit", width=64, depth=4, heads=4, patch=4, positions="sincos"
    ),
}


def gca_uot(z_a, z_b):
    return losses.gca_uot(z_a, z_b, epsilon=0.5, layout="joint")


def megabytes(model, batch, chunk):
    """Temporaries of a training step."""
    network = models.create(**model, projector_hidden=2048, projector_dim=128)
    optimizer, key = optax.adamw(1e-3), jax.random.key(0)
    variables = state.init_variables.eval_shape(network, key, (SIDE, SIDE, 3))
    start = partial(state.create_state, optimizer=optimizer, with_target=False)
    parts = toy.experiment(network, gca_uot, encoder_chunk=chunk)  # its views have no temporaries
    train_step = step.make_train_step(parts, optimizer, 1)
    images = toy.whole(np.zeros((batch, SIDE, SIDE, 3), np.uint8))
    with mock.patch("gca_jax.training.chunks._must_unroll", return_value=False):
        lowered = jax.jit(train_step).lower(jax.eval_shape(start, variables), key, images)
    return round(measure.temporaries(lowered.compile()) / 1e6, 1)


def work(quick):
    batch, lines = 32 if quick else 256, []
    for name, model in NETWORKS.items():
        for parts in (1, 4) if quick else (1, 2, 4, 8, 16):
            chunk = None if parts == 1 else batch // parts
            found = megabytes(model, batch, chunk)
            lines.append({"network": name, "batch": batch, "chunk": chunk, "temporaries_mb": found})
            print(f"{name:<34}{chunk!s:>6}{found:>10.0f} MB", flush=True)
    return {"lines": lines}


if __name__ == "__main__":
    measure.command("chunks", __doc__, work)
