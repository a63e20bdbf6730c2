"""Toy batches, views that are noise, steps of any parts, and finite differences."""

import types

import jax
import numpy as np
from ml_collections import ConfigDict

from gca_jax import losses
from gca_jax.data.batches import Batch
from gca_jax.data.views.augment import Augment
from gca_jax.experiment import Experiment, TrainSettings
from gca_jax.targets import BatchTarget


def noise(key, images):
    """Two views that compile in no time."""
    return images[None] + 0.3 * jax.random.normal(key, (2, *images.shape))


POLICY = Augment(noise, mean=(0.5,), std=(0.5,))


def experiment(network, loss, views=POLICY.views, **train):
    """What a step is made of: a method's name or a loss, no data but views, settings of `train`."""
    sizes = dict(batch_size=16, epochs=1, checkpoint_every_epochs=1, log_every_steps=1)
    named = isinstance(loss, str)

    def own(z_a, z_b, diagnose, **keywords):
        return loss(z_a, z_b, **keywords)

    return Experiment(
        config=ConfigDict({"loss": {}}),
        method=loss if named else loss.__name__,
        loss=losses.METHODS[loss] if named else own,
        target=BatchTarget(),
        train=TrainSettings(**sizes, **train),
        data=types.SimpleNamespace(views=views),
        network=network,
    )


def whole(inputs):
    """A batch of all the inputs, of which nothing else is known."""
    rows = np.arange(len(jax.tree.leaves(inputs)[0]), dtype=np.int32)
    return Batch(inputs, rows, {})


def gradient(function, x, step=3e-4):
    """Central differences of fourth order of a scalar function, coordinate by coordinate."""
    x = np.asarray(x, np.float64)
    out = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        at = []
        for multiple in (-2, -1, 1, 2):
            moved = x.copy()
            moved[index] += multiple * step
            at.append(function(moved))
        out[index] = (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * step)
    return out


def batch(seed=0, n=5, d=4, noise=0.7, m=None):
    """Two views of n toy images: the second is the first plus noise (m rows, if given)."""
    rng = np.random.default_rng(seed)
    z_a = rng.normal(size=(n, d))
    if m is not None:
        return z_a, rng.normal(size=(m, d))
    return z_a, z_a + noise * rng.normal(size=(n, d))
