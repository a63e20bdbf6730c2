"""The mathematics: kernel → projection → plan, and its divergence from a target plan."""

from gca_jax.ot import divergence, learned, target
from gca_jax.ot.cost import CostFn, SquaredEuclidean, normalize
from gca_jax.ot.kernel import (
    Domain,
    Kernel,
    Layout,
    Precision,
    SelfPairs,
    cosine_kernel,
    cost_kernel,
)
from gca_jax.ot.plan import Plan
from gca_jax.ot.priors import known, posterior, prior
from gca_jax.ot.projection import project, project_each, trajectory, unprojected
from gca_jax.ot.target import Target

__all__ = [
    "CostFn",
    "Domain",
    "Kernel",
    "Layout",
    "Plan",
    "Precision",
    "SelfPairs",
    "SquaredEuclidean",
    "Target",
    "cosine_kernel",
    "cost_kernel",
    "divergence",
    "known",
    "learned",
    "normalize",
    "posterior",
    "prior",
    "project",
    "project_each",
    "target",
    "trajectory",
    "unprojected",
]
