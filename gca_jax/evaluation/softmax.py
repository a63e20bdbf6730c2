"""Logistic regression on large sets of features: scikit-learn's objective, preconditioned.

Features of an encoder and pixels are strongly correlated, which costs scikit-learn's L-BFGS
hundreds of passes over them. Here it works in coordinates in which an estimate of the Hessian, one
for all classes, is the identity; the objective and the gradient that ends it are those of the
weights. In the features' dtype.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import OptimizeResult, minimize
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

RIDGE = 1e-5  # of the Hessian's largest diagonal entry: what float32 can factorise

Weights = Float[np.ndarray, "f k"]
"""Of a class in a column, the intercept last; one column where there are two classes."""
Rows = Float[np.ndarray, "n f"]
"""Features beside a column of ones."""
Chosen = Float[np.ndarray, "n c"]
"""Labels, one-hot."""


def path(
    features: Float[np.ndarray, "n f"],
    labels: Int[np.ndarray, "n"],
    rising: Iterable[float],
    *,
    tolerance: float,
    most: int,
) -> Iterator[LogisticRegression]:
    """Minimise `C · Σ cross-entropy + ½ ‖weights‖²` for one C after the other.

    The intercept is not penalised. Each fit starts where the last one ended.

    Args:
        features: [n, f]; few large numbers, as `linear.standardiser` makes them.
        labels: [n], of at least two classes.
        rising: Values of C.
        tolerance: Of the largest entry of the mean loss's gradient, scikit-learn's `tol`.
        most: L-BFGS iterations after which a fit ends in any case, scikit-learn's `max_iter`.

    Yields:
        scikit-learn's model, fitted.
    """
    classes, numbers = np.unique(labels, return_inverse=True)
    x = np.column_stack([features, np.ones(len(features), features.dtype)])
    chosen = np.eye(len(classes), dtype=x.dtype)[numbers]
    weights = np.zeros((x.shape[1], len(classes) if len(classes) > 2 else 1), x.dtype)
    for c in rising:
        weights, steps = solve(weights, x, chosen, 1 / (len(x) * c), tolerance, most)
        model = LogisticRegression(C=c, tol=tolerance, max_iter=most)
        model.classes_, model.n_iter_ = classes, np.array([steps], np.int32)
        model.coef_, model.intercept_ = weights[:-1].T, weights[-1]
        yield model


def solve(
    start: Weights, x: Rows, chosen: Chosen, penalty: float, tolerance: float, most: int
) -> tuple[Weights, int]:
    """Minimise the mean loss by L-BFGS, until no entry of its gradient is above the tolerance.

    It steps in v = Lᵀ w, with the Hessian L Lᵀ: of a gradient g with respect to w, L⁻¹ g is that
    with respect to v.
    """
    factor = cholesky(_hessian(start, x, penalty), lower=True)
    inverse = solve_triangular(factor, np.eye(len(factor), dtype=x.dtype), lower=True)
    largest = np.inf

    def value(v: Float[np.ndarray, "fk"]) -> tuple[float, Float[np.ndarray, "fk"]]:
        nonlocal largest
        w = inverse.T @ v.reshape(start.shape).astype(x.dtype)
        loss, gradient = _mean_loss(w, x, chosen, penalty)
        largest = np.abs(gradient).max()
        return loss, (inverse @ gradient).ravel().astype(np.float64)

    def stop(intermediate_result: OptimizeResult) -> None:
        if largest <= tolerance:
            raise StopIteration

    # SciPy's own tolerances are of v and of the value: `stop` ends it, or the dtype's precision.
    options = {"maxiter": most, "ftol": 0.0, "gtol": 0.0}
    at = (factor.T @ start).ravel()
    found = minimize(value, at, method="L-BFGS-B", jac=True, callback=stop, options=options)
    return inverse.T @ found.x.reshape(start.shape).astype(x.dtype), int(found.nit)


def _log_p(weights: Weights, x: Rows) -> Chosen:
    """Compute log-probabilities; of two classes the first has score zero."""
    scores = x @ weights
    if scores.shape[1] == 1:
        scores = np.pad(scores, ((0, 0), (1, 0)))
    return log_softmax(scores, axis=1)


def _hessian(weights: Weights, x: Rows, penalty: float) -> Float[np.ndarray, "f f"]:
    """Estimate the Hessian of the mean loss, averaged over the classes.

    A class's own block weighs the images by p (1 - p); the blocks between classes are left out.
    """
    p = np.exp(_log_p(weights, x))
    hessian = x.T @ (x * (p * (1 - p)).mean(axis=1, keepdims=True)) / len(x)
    hessian[np.diag_indices_from(hessian)] += max(penalty, RIDGE * hessian.diagonal().max())
    return hessian


def _mean_loss(weights: Weights, x: Rows, chosen: Chosen, penalty: float) -> tuple[float, Weights]:
    """Compute the mean cross-entropy plus `penalty / 2 · ‖weights‖²`, and its gradient."""
    log_p, penalised = _log_p(weights, x), penalty * weights
    penalised[-1] = 0  # the intercept
    error = (np.exp(log_p) - chosen)[:, -weights.shape[1] :]
    loss = -np.sum(log_p * chosen, dtype=np.float64) / len(x)
    return loss + float(np.sum(penalised * weights)) / 2, x.T @ error / len(x) + penalised
