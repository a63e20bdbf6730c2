"""k-NN among training images while the encoder is trained (`train.knn_every_epochs`).

No test image is read: of at most 10,000 training images every other one votes on the rest.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from gca_jax.experiment import Experiment
from gca_jax.neighbours import predict
from gca_jax.training.setup import Training
from gca_jax.training.step import Metrics, TrainState, replicated

KNN = "knn_accuracy"  # its name in the log
NEIGHBOURS = 20
MOST_IMAGES = 10_000
AT_ONCE = 512


def make(training: Training) -> Callable[[TrainState], Metrics]:
    """Make the function that gives a state's scalars for the log: the accuracy of k-NN.

    It encodes images as evaluation does, without augmentation and with the running statistics.
    """
    experiment, whole = training.experiment, replicated(training.mesh)
    assert isinstance(experiment, Experiment)  # runs on pairs have no such setting
    network, plain = experiment.network, experiment.policy.plain
    data = experiment.dataset
    count = min(len(data.train_images), MOST_IMAGES)
    rows = np.linspace(0, len(data.train_images) - 1, count).astype(int)
    labels = data.train_labels[rows]

    @jax.jit
    def encode(params: Any, batch_stats: Any, images: jax.Array) -> jax.Array:
        variables = {"params": params, "batch_stats": batch_stats}
        return network.bind(variables).encode(plain(images))

    def watch(state: TrainState) -> Metrics:
        parts = []
        for first in range(0, count, AT_ONCE):
            images = data.train_images[rows[first : first + AT_ONCE]]
            padded = np.pad(images, ((0, AT_ONCE - len(images)), *[(0, 0)] * 3))
            found = encode(state.params, state.batch_stats, jax.device_put(padded, whole))
            parts.append(jax.device_get(found)[: len(images)])
        h = np.concatenate(parts)
        k = min(NEIGHBOURS, len(h[::2]))
        voted = predict(h[::2], labels[::2], h[1::2], [k])[0]
        return {KNN: jax.device_put(np.float32(np.mean(voted == labels[1::2])))}

    return watch
