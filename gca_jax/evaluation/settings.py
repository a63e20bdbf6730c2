"""The `evaluation` group of a config, checked before a long training."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from gca_jax.evaluation import splits
from gca_jax.evaluation.splits import Labels, TestLabels


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the probes are fitted with.

    Attributes:
        seed: The run's seed, of every split and draw.
        labels_per_class: Labels of each class that a few-label probe sees, at least 2.
        draws: How many few-label probes are averaged.
        validation_fraction: Share of the training split held out to choose settings, in (0, 1).
        strengths: Candidates for the weight of the data against the L2 penalty of one, positive.
        neighbours: Candidates for k, at least 1.

    Raises:
        ValueError: A setting is out of range; the message names it.
    """

    seed: int
    labels_per_class: int
    draws: int
    validation_fraction: float
    strengths: Sequence[float] = (0.01, 0.1, 1.0, 10.0, 100.0)
    neighbours: Sequence[int] = (1, 3, 5, 10, 20, 50)

    def __post_init__(self):
        if self.labels_per_class < 2:
            raise ValueError(
                "labels_per_class must be at least 2 (one to fit, one to choose the strength), "
                f"got {self.labels_per_class}"
            )
        if self.draws < 1:
            raise ValueError(f"draws must be at least 1, got {self.draws}")
        if not 0 < self.validation_fraction < 1:
            raise ValueError(
                f"validation_fraction must lie in (0, 1), got {self.validation_fraction}"
            )
        if not self.strengths or min(self.strengths) <= 0:
            raise ValueError(f"strengths must be positive numbers, got {list(self.strengths)}")
        if not self.neighbours or min(self.neighbours) < 1:
            raise ValueError(f"neighbours must be integers >= 1, got {list(self.neighbours)}")

    def check(self, train_labels: Labels, test_labels: TestLabels) -> None:
        """Refuse settings with which probes of these labels could not be fitted.

        Raises:
            ValueError: A class or the training split is too small; the message names the setting.
        """
        unseen = np.setdiff1d(test_labels, train_labels)
        if len(unseen):
            raise ValueError(f"test_labels has classes without a training image: {unseen.tolist()}")
        splits.draw(train_labels, self.labels_per_class, 0, 0)
        fit, _ = splits.hold_out(train_labels, self.validation_fraction, 0)
        if max(self.neighbours) > len(fit):
            raise ValueError(
                f"neighbours must lie in [1, {len(fit)}] (the images that vote), "
                f"got {list(self.neighbours)}"
            )
