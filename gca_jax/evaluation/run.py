"""The second of a run's three programs: judge the encoder that training left in a workdir."""

import platform
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from gca_jax import alignment, losses, models
from gca_jax.data import sources
from gca_jax.data.dataset import Dataset
from gca_jax.data.views import augment
from gca_jax.evaluation import baseline, domains, features, plane, views
from gca_jax.evaluation.probes import evaluate_encoder, fit_linear_probe
from gca_jax.training import checkpoint
from gca_jax.workdir import training_summary, write_arrays, write_json

MOST_IMAGES = 10_000  # whose views are measured
PLAN_BATCH_SIZE = 120
PLAN_BATCHES = 32
PACKAGES = ("jax", "jaxlib", "flax", "optax", "ott-jax", "numpy", "scikit-learn")


def evaluate(workdir: str | Path) -> dict[str, Any]:
    """Evaluates the latest checkpoint of a run, its encoder frozen.

    The trained encoder, the untrained one and raw pixels go through `evaluate_encoder` with the
    same arguments. Alignment, uniformity, the mean transport plan and the cosine to INCE's
    gradient come from augmented views of test images. All of it is a function of the checkpoint
    and the config: the same command gives the same numbers.

    Args:
        workdir: Of a run that `pretrain` has trained, or is training.

    Returns:
        What is written to `evaluation.json`; arrays for pictures go to `evaluation.npz`.

    Raises:
        FileNotFoundError: There is no run in `workdir`.
    """
    workdir = Path(workdir)
    training_summary(workdir)
    config, variables, step = checkpoint.restore_variables(workdir)
    dataset = sources.load(**config.data)
    policy = augment.make(**config.augment)
    network = models.create(**config.model)
    trained, accuracies = _probe(config, network, variables, dataset, policy)
    embed = partial(views.embed, network, policy.views, variables)
    judged, arrays = _views(config, network, variables, dataset, embed)
    points = plane.choose_points(len(dataset.test_labels))
    arrays["plane"] = plane.two_dimensions(trained[points], config.seed)
    arrays["plane_labels"] = dataset.test_labels[points]
    result = {
        "method": config.method,
        "seed": config.seed,
        "step": step,
        "dataset": describe(dataset),
        **accuracies,
        **judged,
        "versions": {"python": platform.python_version(), **{p: version(p) for p in PACKAGES}},
    }
    write_arrays(workdir / "evaluation.npz", arrays)
    write_json(workdir / "evaluation.json", result)
    return result


def describe(dataset: Dataset) -> dict[str, Any]:
    """Name and sizes of a data set."""
    return {
        "name": dataset.name,
        "train_images": len(dataset.train_images),
        "test_images": len(dataset.test_images),
        "image_shape": list(dataset.train_images.shape[1:]),
        "classes": dataset.num_classes,
    }


def _probe(
    config: Any, network: Any, variables: features.Variables, dataset: Dataset, policy: Any
) -> tuple[np.ndarray, dict[str, Any]]:
    """The trained encoder's test features, and the probes of it and of the two baselines."""
    fresh = baseline.untrained(network, config.seed, dataset.train_images, policy.plain)
    encoders = {
        "trained": features.encoder(network, variables, policy.plain),
        "pixels": features.pixels,
        "random_encoder": features.encoder(network, fresh, policy.plain),
    }
    size = features.batch_size(dataset.train_images)
    train = features.extract(encoders, dataset.train_images, batch_size=size)
    test = features.extract(encoders, dataset.test_images, batch_size=size)
    parts = {
        name: evaluate_encoder(
            train[name],
            dataset.train_labels,
            test[name],
            dataset.test_labels,
            seed=config.seed,
            **config.evaluation,
        )
        for name in encoders
    }
    known = domains.labels(dataset, config.evaluation.validation_fraction)
    if known is not None:
        settings = {key: config.evaluation[key] for key in ("validation_fraction", "strengths")}
        for name, part in parts.items():
            probe = fit_linear_probe(train[name], known[0], seed=config.seed, **settings)
            part["accuracy"][domains.NAME] = probe.accuracy(test[name], known[1])
            part["settings"][f"{domains.NAME}_strength"] = probe.strength
    return test["trained"], {
        "accuracy": parts["trained"]["accuracy"],
        "baselines": {name: parts[name]["accuracy"] for name in ("pixels", "random_encoder")},
        "draws": {name: part["draws"] for name, part in parts.items()},
        "settings": {name: part["settings"] for name, part in parts.items()},
    }


def _views(
    config: Any,
    network: Any,
    variables: features.Variables,
    dataset: Dataset,
    embed: views.Embed,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What augmented views of test images say: scalars for the report, arrays for pictures."""
    images, labels = dataset.test_images, dataset.test_labels
    aligned = alignment.make(**config.target)
    groups = aligned.groups(labels, dataset.test_domains)
    per_class = views.images_per_class(labels, PLAN_BATCH_SIZE)
    # The batch size of the plan for all of it: views and network are compiled once.
    size = per_class * len(np.unique(labels))
    pairs = partial(_loss_inputs, config.method, network, variables)

    def hyper(groups: Any) -> dict[str, Any]:
        return {**config.loss, **aligned.keywords(groups)}

    def transport(z_a: Array, z_b: Array, groups: Array | None) -> tuple[Array, Array]:
        plan, wanted = losses.transport(config.method, *pairs(z_a, z_b), **hyper(groups))
        return plan.matrix, wanted.matrix

    arrays = views.mean_plan(
        embed,
        transport,
        images,
        labels,
        groups,
        per_class=per_class,
        batches=PLAN_BATCHES,
        seed=config.seed,
    )
    shown = np.linspace(0, len(images) - 1, min(len(images), MOST_IMAGES)).astype(int)
    some = images if len(shown) == len(images) else images[shown]
    z_a, z_b = views.embed_all(embed, some, jax.random.key(config.seed), size)
    batch = np.random.default_rng(config.seed).permutation(len(shown))[: config.train.batch_size]
    known = None if groups is None else groups[shown[batch]]
    cosine = views.gradient_cosine_to_ince(config.method, hyper(known), z_a[batch], z_b[batch])
    scalars = {**views.representation(z_a, z_b), "gradient_cosine_to_ince": cosine}
    return scalars, arrays


def _loss_inputs(
    method: str, network: Any, variables: features.Variables, z_a: Array, z_b: Array
) -> tuple[Array, Array]:
    """What the method's loss is given: the embeddings, or for BYOL predictions beside them.

    The checkpoint's online network stands in for BYOL's target network.
    """
    if method != "byol":
        return z_a, z_b
    return network.apply(variables, z_a, train=False, method="predict"), z_b
