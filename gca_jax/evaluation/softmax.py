"""Logistic regression compiled by JAX, for large sets of features: scikit-learn's objective.

Features of an encoder and pixels are strongly correlated, which costs L-BFGS hundreds of passes
over them. So it works in coordinates in which an estimate of the Hessian, one for all classes, is
the identity; the objective and the gradient that ends it are those of the weights. In float32.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int
from sklearn.linear_model import LogisticRegression

MEMORY = 10  # pairs that L-BFGS remembers, as scikit-learn's
STAGES = (10.0, 1.0)  # multiples of the tolerance, before each of which the Hessian is estimated
RIDGE = 1e-5  # of the Hessian's largest diagonal entry: what float32 can factorise

Weights = Float[Array, "k f"]
"""Of a class in a row, the intercept last; one row where there are two classes. (A class in a
column, the gradient would take four times as long on XLA's CPU backend.)"""
Rows = Float[Array, "n f"]
"""Features beside a column of ones."""


class Solution(NamedTuple):
    """Weights, the largest entry of the mean loss's gradient there, and iterations so far."""

    weights: Weights
    gradient: Float[Array, ""]
    iterations: Int[Array, ""]


def path(
    features: Float[np.ndarray, "n f"],
    labels: Int[np.ndarray, "n"],
    strengths: Iterable[float],
    *,
    tolerance: float,
    most: int,
) -> Iterator[LogisticRegression]:
    """Minimise `strength · Σ cross-entropy + ½ ‖weights‖²` for one strength after the other.

    The intercept is not penalised. Each fit starts where the last one ended, so that the strengths
    should rise.

    Args:
        features: Of the images; few large numbers, as `linear.standardiser` makes them.
        labels: Integers, of at least two classes.
        strengths: Of the data against the penalty.
        tolerance: Of the largest entry of the mean loss's gradient, scikit-learn's `tol`.
        most: L-BFGS iterations after which a fit ends in any case, scikit-learn's `max_iter`.

    Yields:
        scikit-learn's model, fitted.
    """
    classes, numbers = np.unique(labels, return_inverse=True)
    n, f = features.shape
    x = jnp.concatenate([jnp.asarray(features, jnp.float32), jnp.ones((n, 1))], axis=1)
    y, rows = jnp.asarray(numbers, jnp.int32), len(classes) if len(classes) > 2 else 1
    weights = jnp.zeros((rows, f + 1))
    for strength in strengths:
        penalty, done = 1 / (n * strength), 0
        for multiple in STAGES:
            basis = whiten(weights, x, penalty)
            weights, _, steps = solve(
                weights, x, y, penalty, basis, multiple * tolerance, most - done
            )
            done += int(steps)
        model = LogisticRegression(C=strength, tol=tolerance, max_iter=most)
        model.classes_, model.n_iter_ = classes, np.array([done], np.int32)
        model.coef_, model.intercept_ = np.asarray(weights[:, :-1]), np.asarray(weights[:, -1])
        yield model


def scores(weights: Weights, x: Rows) -> Float[Array, "n c"]:
    """Give the score of every class; of two classes the first has zero."""
    found = jnp.dot(x, weights.T, precision="highest")
    return jnp.pad(found, ((0, 0), (1, 0))) if len(weights) == 1 else found


def mean_loss(
    weights: Weights, x: Rows, y: Int[Array, "n"], penalty: float | Float[Array, ""]
) -> Float[Array, ""]:
    """Compute the mean cross-entropy plus `penalty / 2 · ‖weights‖²`, without the intercept's."""
    found = scores(weights, x)
    chosen = y[:, None] == jnp.arange(found.shape[1])[None, :]
    own = jnp.sum(jnp.where(chosen, found, 0), axis=1)  # `take` would compile for seconds
    return jnp.mean(jax.nn.logsumexp(found, axis=1) - own) + penalty / 2 * jnp.sum(
        weights[:, :-1] ** 2
    )


class Basis(NamedTuple):
    """The Cholesky factor L of a Hessian, and its inverse."""

    factor: Float[Array, "f f"]
    inverse: Float[Array, "f f"]


@jax.jit
def whiten(weights: Weights, x: Rows, penalty: float | Float[Array, ""]) -> Basis:
    """Factorise the Hessian of `mean_loss`, averaged over the classes.

    A class's own block weighs the images by p (1 - p); the blocks between classes are left out.
    """
    p = jax.nn.softmax(scores(weights, x))
    weighted = x * (p * (1 - p)).mean(axis=1, keepdims=True)
    hessian = jnp.dot(weighted.T, x, precision="highest") / len(x)
    ridge = jnp.maximum(penalty, RIDGE * jnp.diag(hessian).max())
    one = jnp.eye(len(hessian))
    factor = jnp.linalg.cholesky(hessian + ridge * one)
    return Basis(factor, jax.scipy.linalg.solve_triangular(factor, one, lower=True))


@jax.jit
def solve(
    start: Weights,
    x: Rows,
    y: Int[Array, "n"],
    penalty: float | Float[Array, ""],
    basis: Basis,
    tolerance: float | Float[Array, ""],
    most: int | Int[Array, ""],
) -> Solution:
    """Minimise `mean_loss` by L-BFGS, until no entry of its gradient is above the tolerance.

    It steps in v = w L, with rows w: of a gradient g with respect to v, g Lᵀ is that with respect
    to w. It ends too where float32 knows no better point.
    """
    dot = partial(jnp.dot, precision="highest")

    def value(v: Weights) -> Float[Array, ""]:
        return mean_loss(dot(v, basis.inverse), x, y, penalty)

    def largest(gradient: Weights) -> Float[Array, ""]:
        return jnp.abs(dot(gradient, basis.factor.T)).max()

    optimizer = optax.lbfgs(memory_size=MEMORY)
    value_and_grad = optax.value_and_grad_from_state(value)

    def unfinished(carry: tuple[Any, ...]) -> Array:
        _, _, worst, moved, step = carry
        return (worst > tolerance) & moved & (step < most)

    def iterate(carry: tuple[Any, ...]) -> tuple[Any, ...]:
        v, state, _, _, step = carry
        now, gradient = value_and_grad(v, state=state)
        updates, state = optimizer.update(
            gradient, state, v, value=now, grad=gradient, value_fn=value
        )
        worst = largest(optax.tree.get(state, "grad"))
        return optax.apply_updates(v, updates), state, worst, jnp.any(updates != 0), step + 1

    v = dot(start, basis.factor)
    worst = largest(jax.grad(value)(v))
    carry = (v, optimizer.init(v), worst, jnp.array(True), jnp.zeros((), jnp.int32))
    v, _, worst, _, steps = jax.lax.while_loop(unfinished, iterate, carry)
    return Solution(dot(v, basis.inverse), worst, steps)
