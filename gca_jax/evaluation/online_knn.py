"""k-NN among training images while the encoder is trained (`train.knn_every_epochs`).

No test image is read: of at most 10,000 training images every other one votes on the rest.
"""

from collections.abc import Callable
from functools import partial

import jax
import numpy as np

from gca_jax.data import splits
from gca_jax.data.dataset import Part
from gca_jax.evaluation import features
from gca_jax.evaluation.knn import predict
from gca_jax.experiment import Experiment
from gca_jax.training.setup import Training
from gca_jax.training.step import Metrics, TrainState

KNN = "knn_accuracy"  # its name in the log
NEIGHBOURS = 20
MOST_IMAGES = 10_000


def make(training: Training) -> Callable[[TrainState], Metrics]:
    """Make the function that gives a state's scalars for the log: the accuracy of k-NN.

    It encodes images as evaluation does, without augmentation and with the running statistics.
    """
    experiment = training.experiment
    assert isinstance(experiment, Experiment)  # runs on pairs have no such setting
    data = experiment.dataset
    seen = Part(data.train_images, data.train_labels)
    if len(seen.images) > MOST_IMAGES:
        seen = seen.take(splits.evenly_spaced(len(seen.images), MOST_IMAGES))
    encode = partial(features.encode, experiment.network, experiment.policy.plain)

    def watch(state: TrainState) -> Metrics:
        variables = {"params": state.params, "batch_stats": state.batch_stats}
        on_one_device = jax.device_put(jax.device_get(variables), jax.local_devices()[0])
        h = features.extract({"": partial(encode, on_one_device)}, seen.images)[""]
        k = min(NEIGHBOURS, len(h[::2]))
        voted = predict(h[::2], seen.labels[::2], h[1::2], [k])[0]
        return {KNN: jax.device_put(np.float32(np.mean(voted == seen.labels[1::2])))}

    return watch
