"""The second of a run's three programs: judge the encoder that training left in a workdir."""

import platform
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Array

from gca_jax import losses
from gca_jax.data.dataset import Dataset
from gca_jax.evaluation import baseline, domains, features, plane, views
from gca_jax.evaluation.probes import check_settings, evaluate_encoder, fit_linear_probe
from gca_jax.experiment import Experiment, blame
from gca_jax.training import checkpoint
from gca_jax.workdir import refuse_another_run, training_summary, write_arrays, write_json

MOST_IMAGES = 10_000  # whose views are measured
PLAN_BATCH_SIZE = 120
PLAN_BATCHES = 32
PACKAGES = ("jax", "jaxlib", "flax", "optax", "ott-jax", "numpy", "scikit-learn")
NO_PLAN = (
    "the mean transport plan and the cosine to INCE's gradient: the loss was given in Python, and "
    "only the methods of this package have a plan"
)


def check(experiment: Experiment) -> None:
    """Refuse labels and settings that do not go together: to be asked before a long training.

    Raises:
        ValueError: what could not be evaluated afterwards.
    """
    dataset = experiment.dataset
    with blame("config.evaluation"):
        check_settings(dataset.train_labels, dataset.test_labels, **experiment.config.evaluation)


def evaluate(experiment: Experiment, workdir: str | Path) -> dict[str, Any]:
    """Evaluates the latest checkpoint of a run, its encoder frozen.

    The trained encoder, the untrained one and raw pixels go through `evaluate_encoder` with the
    same arguments. Alignment, uniformity, the mean transport plan and the cosine to INCE's
    gradient come from augmented views of test images. All of it is a function of the checkpoint
    and the experiment: the same command gives the same numbers. A loss that was given to `build`
    has no transport plan; what needs one is left out, and `left_out` says so.

    Args:
        experiment: The one that was trained, from `experiment.build`.
        workdir: Of a run that `pretrain` has trained, or is training.

    Returns:
        What is written to `evaluation.json`; arrays for pictures go to `evaluation.npz`.

    Raises:
        FileNotFoundError: There is no run in `workdir`.
        ValueError: The run in `workdir` is another one.
    """
    workdir = Path(workdir)
    training_summary(workdir)
    refuse_another_run(workdir, experiment.record)
    variables, step = checkpoint.restore_variables(workdir)
    dataset = experiment.dataset
    trained, accuracies = _probe(experiment, variables)
    judged, arrays = _views(experiment, variables)
    points = plane.choose_points(len(dataset.test_labels))
    arrays["plane"] = plane.two_dimensions(trained[points], experiment.seed)
    arrays["plane_labels"] = dataset.test_labels[points]
    result = {
        "method": experiment.method,
        "seed": experiment.seed,
        "step": step,
        "dataset": describe(dataset),
        **accuracies,
        **judged,
        "left_out": [NO_PLAN] if "loss" in experiment.given else [],
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
    experiment: Experiment, variables: features.Variables
) -> tuple[np.ndarray, dict[str, Any]]:
    """The trained encoder's test features, and the probes of it and of the two baselines."""
    dataset, network, plain = experiment.dataset, experiment.network, experiment.policy.plain
    settings = experiment.config.evaluation
    fresh = baseline.untrained(network, experiment.seed, dataset.train_images, plain)
    encoders = {
        "trained": features.encoder(network, variables, plain),
        "pixels": features.pixels,
        "random_encoder": features.encoder(network, fresh, plain),
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
            seed=experiment.seed,
            **settings,
        )
        for name in encoders
    }
    known = domains.labels(dataset, settings.validation_fraction)
    if known is not None:
        chosen = {key: settings[key] for key in ("validation_fraction", "strengths")}
        for name, part in parts.items():
            probe = fit_linear_probe(train[name], known[0], seed=experiment.seed, **chosen)
            part["accuracy"][domains.NAME] = probe.accuracy(test[name], known[1])
            part["settings"][f"{domains.NAME}_strength"] = probe.strength
    return test["trained"], {
        "accuracy": parts["trained"]["accuracy"],
        "baselines": {name: parts[name]["accuracy"] for name in ("pixels", "random_encoder")},
        "draws": {name: part["draws"] for name, part in parts.items()},
        "settings": {name: part["settings"] for name, part in parts.items()},
    }


def _views(
    experiment: Experiment, variables: features.Variables
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What augmented views of test images say: scalars for the report, arrays for pictures."""
    images, labels = experiment.dataset.test_images, experiment.dataset.test_labels
    embed = partial(views.embed, experiment.network, experiment.policy.views, variables)
    per_class = views.images_per_class(labels, PLAN_BATCH_SIZE)
    has_plan = "loss" not in experiment.given
    arrays = _mean_plan(experiment, variables, embed, per_class) if has_plan else {}
    shown = np.linspace(0, len(images) - 1, min(len(images), MOST_IMAGES)).astype(int)
    some = images if len(shown) == len(images) else images[shown]
    # The batch size of the plan for all of it: views and network are compiled once.
    size = per_class * len(np.unique(labels))
    z_a, z_b = views.embed_all(embed, some, experiment.key, size)
    cosine = _cosine_to_ince(experiment, shown, z_a, z_b) if has_plan else None
    return {**views.representation(z_a, z_b), "gradient_cosine_to_ince": cosine}, arrays


def _mean_plan(
    experiment: Experiment, variables: features.Variables, embed: views.Embed, per_class: int
) -> dict[str, np.ndarray]:
    """The mean of the plans that the method's loss compares with their target."""
    dataset, method = experiment.dataset, experiment.method
    inputs = partial(_loss_inputs, method, experiment.network, variables)

    def transport(z_a: Array, z_b: Array, groups: Array | None) -> tuple[Array, Array]:
        hyper = _hyper(experiment, groups)
        plan, wanted = losses.transport(method, *inputs(z_a, z_b), **hyper)
        return plan.matrix, wanted.matrix

    return views.mean_plan(
        embed,
        transport,
        dataset.test_images,
        dataset.test_labels,
        experiment.alignment.groups(dataset.test_labels, dataset.test_domains),
        per_class=per_class,
        batches=PLAN_BATCHES,
        seed=experiment.seed,
    )


def _cosine_to_ince(
    experiment: Experiment, shown: np.ndarray, z_a: Array, z_b: Array
) -> float | None:
    """Of the gradients on one batch of the test images whose embeddings these are."""
    order = np.random.default_rng(experiment.seed).permutation(len(shown))
    batch = order[: experiment.train.batch_size]
    dataset = experiment.dataset
    groups = experiment.alignment.groups(dataset.test_labels, dataset.test_domains)
    known = None if groups is None else groups[shown[batch]]
    hyper = _hyper(experiment, known)
    return views.gradient_cosine_to_ince(experiment.method, hyper, z_a[batch], z_b[batch])


def _hyper(experiment: Experiment, groups: Any) -> dict[str, Any]:
    """The keywords of the method's loss for a batch of these groups."""
    return {**experiment.config.loss, **experiment.alignment.keywords(groups)}


def _loss_inputs(
    method: str, network: Any, variables: features.Variables, z_a: Array, z_b: Array
) -> tuple[Array, Array]:
    """What the method's loss is given: the embeddings, or for BYOL predictions beside them.

    The checkpoint's online network stands in for BYOL's target network.
    """
    if method != "byol":
        return z_a, z_b
    return network.apply(variables, z_a, train=False, method="predict"), z_b
