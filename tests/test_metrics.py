"""Representation metrics against their formulas, and values known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gca_jax import losses, metrics
from tests import reference, toy


def test_alignment_uniformity_and_effective_rank_of_a_batch():
    z_a, z_b = toy.batch(0, n=7, d=5)
    with jax.enable_x64(True):
        got = [metrics.alignment(z_a, z_b), metrics.uniformity(z_a), metrics.effective_rank(z_a)]
    want = [reference.alignment(z_a, z_b), reference.uniformity(z_a), reference.effective_rank(z_a)]
    np.testing.assert_allclose(got, want, rtol=1e-10)


def test_known_values():
    axes = jnp.eye(4)
    np.testing.assert_allclose(metrics.alignment(axes, axes), 0.0, atol=1e-7)
    np.testing.assert_allclose(metrics.alignment(axes, -axes), 4.0, rtol=1e-6)
    np.testing.assert_allclose(metrics.uniformity(axes), -4.0, rtol=1e-5)  # all at distance^2 2
    np.testing.assert_allclose(metrics.uniformity(jnp.ones((4, 3))), 0.0, atol=1e-5)
    np.testing.assert_allclose(metrics.effective_rank(axes), 4.0, rtol=1e-5)
    np.testing.assert_allclose(metrics.effective_rank(jnp.ones((4, 3))), 1.0, rtol=1e-3)


def test_lengths_do_not_matter():
    z_a, z_b = (jnp.float32(z) for z in toy.batch(1))
    scale = jnp.arange(1.0, 6.0)[:, None]
    np.testing.assert_allclose(
        metrics.alignment(z_a * scale, z_b), metrics.alignment(z_a, z_b), rtol=1e-5
    )
    np.testing.assert_allclose(metrics.uniformity(z_a * scale), metrics.uniformity(z_a), rtol=1e-4)
    np.testing.assert_allclose(
        metrics.effective_rank(z_a * scale), metrics.effective_rank(z_a), rtol=1e-4
    )


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_degenerate_embeddings_are_finite(dtype):
    z = jnp.asarray(toy.batch(2)[0], dtype).at[0].set(0)
    for value in (metrics.alignment(z, -z), metrics.uniformity(z), metrics.effective_rank(z)):
        assert np.isfinite(np.float32(value))


def test_gradient_cosine_is_the_angle_between_two_gradients():
    z_a, z_b = toy.batch(3, n=4, d=3)

    def flat_gradient(loss):
        by_a = toy.gradient(lambda a: loss(a, z_b), z_a)
        by_b = toy.gradient(lambda b: loss(z_a, b), z_b)
        return np.concatenate([by_a.ravel(), by_b.ravel()])

    one = flat_gradient(lambda a, b: reference.ince(a, b, epsilon=0.1))
    other = flat_gradient(lambda a, b: reference.gca_ince(a, b, epsilon=0.1, iterations=3))
    want = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    with jax.enable_x64(True):
        cosine = jax.jit(
            lambda a, b: metrics.gradient_cosine(
                lambda a, b: losses.ince(a, b, epsilon=0.1)[0],
                lambda a, b: losses.gca_ince(a, b, epsilon=0.1, iterations=3)[0],
                a,
                b,
            )
        )
        got = cosine(z_a, z_b)
        np.testing.assert_allclose(got, want, rtol=1e-6)


def test_gca_ince_and_ince_pull_alike_at_large_epsilon_and_differ_at_small():
    """The table of the paper's objectives: cosine near 1 at epsilon 0.5, clearly below at 0.05."""
    z_a, z_b = (jnp.float32(z) for z in toy.batch(4, n=32, d=8, noise=1.0))

    @jax.jit
    def cosine(epsilon):
        return metrics.gradient_cosine(
            lambda a, b: losses.ince(a, b, epsilon=epsilon)[0],
            lambda a, b: losses.gca_ince(a, b, epsilon=epsilon)[0],
            z_a,
            z_b,
        )

    cosines = [float(cosine(epsilon)) for epsilon in (10.0, 0.5, 0.05)]
    assert cosines[0] > 0.999
    assert cosines[1] > 0.99
    assert cosines[2] < 0.98
    assert cosines == sorted(cosines, reverse=True)
