"""What an encoder has learned: probes on frozen features, beside honest baselines.

An evaluation is a function of a `Subject` (a trained network and its images) that gives a `Result`:
numbers, arrays, and its own words for the report, or why there is nothing to measure. A new one is
a file beside the others and a line of `EVALUATIONS`; `knn` is an example of a probe.
"""

from collections.abc import Callable

from gca_jax.evaluation import (
    corruptions,
    domains,
    knn,
    linear,
    nearest,
    online,
    plan,
    representation,
    sgd,
)
from gca_jax.evaluation.frozen import Subject
from gca_jax.evaluation.result import Result

EVALUATIONS: dict[str, Callable[[Subject], Result | None]] = {
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
}
"""Every evaluation, in the order of the report.

None where it says nothing of such images, or is not asked for.
"""
