"""Evaluation during training: a hook that logs k-NN, and the online probe's accuracy."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gca_jax.data.dataset import Part
from gca_jax.data.splits import evenly_spaced
from gca_jax.evaluation import features
from gca_jax.evaluation.frozen import Frozen
from gca_jax.evaluation.knn import predict
from gca_jax.evaluation.result import NO_LABELS, Result, Score
from gca_jax.experiment import Experiment
from gca_jax.training import probe
from gca_jax.training.state import TrainState

KNN = "knn_accuracy"  # its name in the log
NEIGHBOURS = 20
MOST_IMAGES = 10_000


def hooks(experiment: Experiment) -> list["OnlineKnn"]:
    """Return the hooks that `config.train` switches on, for `train(..., hooks=)`."""
    return [] if experiment.train.knn_every_epochs is None else [OnlineKnn(experiment)]


class OnlineKnn:
    """Logs the accuracy of k-NN among training images every `train.knn_every_epochs`; a hook.

    No test image is read: of at most 10,000 training images every other one votes on the rest.
    Images are encoded as in evaluation, without augmentation and by the running statistics.
    """

    name = "knn"

    def __init__(self, experiment: Experiment):
        self.memory: dict[str, Any] = {}
        data, train = experiment.data.dataset, experiment.train
        per_epoch = len(experiment.data) // train.batch_size
        self._every = (train.knn_every_epochs or 1) * per_epoch
        seen = Part(data.train_images, data.train_labels)
        if len(seen.images) > MOST_IMAGES:
            seen = seen.take(evenly_spaced(len(seen.images), MOST_IMAGES))
        self._seen = seen
        self._encode = partial(features.encode, experiment.network, experiment.data.plain)

    def __call__(self, step: int, state: TrainState, metrics: dict[str, Any]) -> None:
        """Add the accuracy to the metrics of a step, if it is time."""
        if step % self._every == 0:
            metrics[KNN] = jax.device_put(self.accuracy(state))

    def accuracy(self, state: TrainState) -> np.float32:
        """Compute the share of held-out training images that k-NN classifies rightly."""
        variables: Mapping[str, Any] = {"params": state.params, "batch_stats": state.batch_stats}
        on_one_device = jax.device_put(jax.device_get(variables), jax.local_devices()[0])
        h = features.extract({"": partial(self._encode, on_one_device)}, self._seen.images)[""]
        labels, k = self._seen.labels, min(NEIGHBOURS, len(h[::2]))
        (predicted,) = predict(h[::2], labels[::2], h[1::2], [k])
        return np.float32(np.mean(predicted == labels[1::2]))


def evaluate(frozen: Frozen) -> Result | None:
    """Score the online probe; None where none was trained."""
    head = frozen.variables.get("probe")
    if head is None:
        return None
    if frozen.classes is None:
        return Result("linear_online", skipped=NO_LABELS)
    scores = probe.scores(head, jnp.asarray(frozen.test_features["trained"]))
    right = np.asarray(scores.argmax(axis=1)) == frozen.classes[1]
    return Result("linear_online", {"trained": Score(float(right.mean()), {})})
