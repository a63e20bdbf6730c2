"""The linear probe of domains: whether an image's domain can be read off its features (Fig. 1B)."""

from functools import partial

import numpy as np

from gca_jax.data.dataset import Dataset
from gca_jax.evaluation import linear, splits
from gca_jax.evaluation.probes import probe
from gca_jax.evaluation.result import Result
from gca_jax.evaluation.splits import Labels, TestLabels
from gca_jax.evaluation.subject import Subject


def evaluate(subject: Subject) -> Result | None:
    """Read the domains off the features, where there are any to be read."""
    known = labels(subject.dataset, subject.settings.validation_fraction)
    if known is None:
        return None
    return probe(
        subject,
        known,
        partial(linear.score, key="linear_domain_strength"),
        name="linear_domain",
        title="linear, domain",
        procedure="L2-regularised logistic regression as with all labels, domains in place of "
        "classes.",
    )


def labels(dataset: Dataset, validation_fraction: float) -> tuple[Labels, TestLabels] | None:
    """Give the domains of training and test images, for a probe to learn instead of classes.

    Returns:
        None where there is nothing to learn: images have no domains, those of the test images were
        held out from training, or a domain has too few images to hold any out.
    """
    train, test = dataset.train_domains, dataset.test_domains
    if train is None or test is None or len(np.unique(train)) < 2:
        return None
    if len(splits.unseen(train, test)) or not splits.can_hold_out(train, validation_fraction):
        return None
    return train, test
