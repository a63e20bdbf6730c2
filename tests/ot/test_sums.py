"""Sums over targets against the matrix that they never form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gca_jax import ot
from gca_jax.ot import sums
from tests import toy

A, B = jnp.array([3, 0, 3, 7]), jnp.array([3, 3, 0, 7])
LONG = jnp.array([3, 3, 0, 7, 7, 9])
TARGETS = {
    "identity": lambda: ot.target.identity(4),
    "wide identity": lambda: ot.target.identity(4, 6),
    "weighted": lambda: ot.target.weighted(jnp.array([1.0, 0.0, 0.5, 0.25])),
    "blocks": lambda: ot.target.blocks(A, B, alpha=0.4, beta=0.1),
    "wide blocks": lambda: ot.target.blocks(A, LONG, alpha=0.4, beta=0.1),
    "tall blocks": lambda: ot.target.blocks(LONG, A, alpha=0.4, beta=0.1),
    "classes": lambda: ot.target.classes(A, B),
    "joint identity": lambda: ot.target.identity(4).with_layout("joint"),
    "joint weighted": lambda: ot.target.weighted(jnp.arange(4) / 4).with_layout("joint"),
    "joint blocks": lambda: ot.target.blocks(A, B, alpha=0.4, beta=0.1).with_layout("joint"),
    "joint classes": lambda: ot.target.classes(A, B).with_layout("joint"),
}


@jax.jit
def all_sums(target, kernel):
    marginals = sums.row_sums(target), sums.column_sums(target)
    return *marginals, sums.negative_entropy(target), sums.inner(target, kernel)


@pytest.mark.parametrize("name", TARGETS)
def test_sums_are_those_of_the_matrix(name):
    with jax.enable_x64(True):
        target = TARGETS[name]()
        t = np.asarray(target.matrix)
        rows, columns = (4, 4) if target.layout == "joint" else t.shape
        z_a, z_b = toy.batch(0, n=rows, d=3, m=columns)
        kernel = ot.cosine_kernel(z_a, z_b, epsilon=0.3, layout=target.layout)
        log_k = np.asarray(kernel.log_matrix)
        by_row, by_column, negative_entropy, inner = all_sums(target, kernel)
        np.testing.assert_allclose(by_row, t.sum(axis=1), atol=1e-14)
        np.testing.assert_allclose(by_column, t.sum(axis=0), atol=1e-14)
        np.testing.assert_allclose(
            negative_entropy, np.sum(t[t > 0] * np.log(t[t > 0])), rtol=1e-12
        )
        np.testing.assert_allclose(inner, np.sum(t[t > 0] * log_k[t > 0]), rtol=1e-12)
