"""Evaluations of a trained encoder: probes on frozen features, beside two baselines.

An evaluation is a function of a `Frozen` model (a trained network and its data) that gives a
`Result`: numbers and arrays, or why there is nothing to measure. A new one is a file beside the
others, a line of `EVALUATIONS`, and its name in `evaluations` of the kinds of data it applies to;
`knn` is an example of a probe. `report.entries` holds how a result is shown.
"""

from collections.abc import Callable

from gca_jax.evaluation import (
    corruptions,
    domains,
    knn,
    linear,
    nearest,
    online,
    pairs,
    plan,
    representation,
    sgd,
)
from gca_jax.evaluation.frozen import Frozen
from gca_jax.evaluation.result import Result
from gca_jax.experiment import Experiment

EVALUATIONS: dict[str, Callable[[Frozen], Result | None]] = {
    "linear_few": linear.evaluate_few,
    "linear": linear.evaluate,
    "knn": knn.evaluate,
    "linear_online": online.evaluate,
    "linear_sgd": sgd.evaluate,
    "finetune": sgd.evaluate_finetuned,
    "finetune_best_on_test": sgd.evaluate_best,
    "linear_domain": domains.evaluate,
    "linear_unseen_domain": domains.evaluate_unseen,
    "corruptions": corruptions.evaluate,
    "plan": plan.evaluate,
    "gradient_cosine": representation.evaluate_gradients,
    "views": representation.evaluate,
    "confusion": linear.evaluate_confusion,
    "nearest": nearest.evaluate,
    "nearest_across": nearest.evaluate_across,
    "plane": nearest.evaluate_plane,
    "retrieval": pairs.evaluate_retrieval,
    "weights": pairs.evaluate_weights,
    "extremes": pairs.evaluate_extremes,
    "embeddings": pairs.evaluate_embeddings,
}
"""All evaluations by name; each kind of data lists its own, in the order of the report.

An evaluation returns None where it does not apply to the data or is switched off.
"""
CHECKS: dict[str, Callable[[Experiment], None]] = {
    "linear": linear.check,
    "corruptions": corruptions.check,
    "retrieval": pairs.check,
}
"""Checks of data and settings, made before a long training."""
