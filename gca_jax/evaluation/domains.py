"""Whether an image's domain can be read off its features, as the paper's Fig. 1B asks."""

import numpy as np
from jaxtyping import Int

from gca_jax.data.dataset import Dataset
from gca_jax.evaluation import splits

NAME = "linear_domain"


def labels(
    dataset: Dataset, validation_fraction: float
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " m"]] | None:
    """The domains of training and test images, for a linear probe to learn instead of classes.

    Returns:
        None where there is nothing to learn: images have no domains, those of the test images were
        held out from training, or a domain has too few images to hold any out.
    """
    train, test = dataset.train_domains, dataset.test_domains
    if train is None or test is None or len(np.unique(train)) < 2:
        return None
    if len(np.setdiff1d(test, train)) or not splits.can_hold_out(train, validation_fraction):
        return None
    return train, test
