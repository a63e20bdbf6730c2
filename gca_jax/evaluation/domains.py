"""Probes of images with domains: which domain an image is of, and classes in an unseen domain."""

import dataclasses
from functools import partial

import numpy as np

from gca_jax.data.dataset import Dataset
from gca_jax.evaluation import linear, splits
from gca_jax.evaluation.frozen import Frozen
from gca_jax.evaluation.result import Labelled, Result, Score, probe, shares
from gca_jax.evaluation.splits import Labels, Settings, TestLabels


def evaluate(frozen: Frozen) -> Result | None:
    """Probe the features for domains (the paper's Fig. 1B); None where there are none to learn."""
    labels = domains(frozen.dataset, frozen.settings.validation_fraction)
    if labels is None:
        return None
    fit = partial(linear.score, key="linear_domain_strength")
    return probe(frozen, labels, fit, name="linear_domain")


def domains(dataset: Dataset, validation_fraction: float) -> tuple[Labels, TestLabels] | None:
    """Return the domains of training and test images, as labels of a probe.

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


def evaluate_unseen(frozen: Frozen) -> Result | None:
    """Probe the features for classes in domains held out from the probe."""
    data = frozen.dataset
    held_out = unseen(data, frozen.settings.validation_fraction)
    if not held_out:
        return None
    fit = partial(score_unseen, domains=(data.train_domains, data.test_domains), held_out=held_out)
    found = probe(frozen, frozen.classes, fit, name="linear_unseen_domain")
    right = np.asarray(found.scores["trained"].predicted) == data.test_labels
    tested = np.isin(data.test_domains, held_out)
    by_domain = shares(right[tested], data.test_domains[tested], data.domain_names)
    return dataclasses.replace(found, numbers={"per_unseen_domain": by_domain})


def unseen(dataset: Dataset, validation_fraction: float) -> list[int]:
    """List the domains that can be held out: they have training and test images.

    The other domains must have two classes or more, each with images enough to hold some out, and
    all classes of the test images of the domain held out.
    """
    domains, labels = dataset.train_domains, dataset.train_labels
    if domains is None or dataset.test_domains is None or labels is None:
        return []
    found = []
    for domain in np.intersect1d(domains, dataset.test_domains):
        others = labels[domains != domain]
        wanted = dataset.test_labels[dataset.test_domains == domain]
        if (
            len(np.unique(others)) > 1
            and splits.can_hold_out(others, validation_fraction)
            and not len(np.setdiff1d(wanted, others))
        ):
            found.append(int(domain))
    return found


def score_unseen(
    train: Labelled,
    test: Labelled,
    settings: Settings,
    *,
    domains: tuple[Labels, TestLabels],
    held_out: list[int],
) -> Score:
    """Score the mean of the probes that each hold out one of the domains `held_out`."""
    of_train, of_test = domains
    predicted = np.full(len(test.labels), -1)
    chosen, accuracies = [], []
    for domain in held_out:
        others, tested = of_train != domain, of_test == domain
        seen = Labelled(train.features[others], train.labels[others])
        fitted = linear.fit_probe(seen, settings)
        predicted[tested] = fitted.predict(test.features[tested])
        chosen.append(fitted.c)
        accuracies.append(np.mean(predicted[tested] == test.labels[tested]))
    settings_of = {"linear_unseen_domain_strengths": chosen}
    return Score(float(np.mean(accuracies)), settings_of, predicted=tuple(predicted.tolist()))
