"""What the losses are measured against: the same work written the usual ways.

Every function takes both views (n/2, d) and returns the value; joint layout, self-pairs excluded.
"""

import jax
import jax.numpy as jnp
import optax

from gca_jax import losses, ot

EPSILON, ITERATIONS = 0.5, 10


def _log_kernel(z_a, z_b, epsilon=EPSILON):
    z = ot.normalize(jnp.concatenate([z_a, z_b]))
    s = jnp.matmul(z, z.T, precision="highest") / epsilon
    return jnp.where(jnp.eye(len(z), dtype=bool), -jnp.inf, s)


def _positives(log_k):
    n = len(log_k) // 2
    return jnp.concatenate([jnp.diagonal(log_k, n), jnp.diagonal(log_k, -n)])


def plain_ntxent(z_a, z_b, epsilon=EPSILON):
    """NT-Xent with one log-sum-exp and automatic differentiation."""
    log_k = _log_kernel(z_a, z_b, epsilon)
    return jnp.mean(jax.nn.logsumexp(log_k, axis=1) - _positives(log_k))


def optax_ntxent(z_a, z_b):
    """`optax.losses.ntxent`."""
    labels = jnp.tile(jnp.arange(len(z_a)), 2)
    return optax.losses.ntxent(jnp.concatenate([z_a, z_b]), labels, temperature=EPSILON)


def plain_scan(z_a, z_b):
    """GCA-INCE as a log-domain scan with automatic differentiation."""
    log_k = _log_kernel(z_a, z_b)
    log_n = jnp.log(len(log_k))

    def sweep(carry, _):
        log_u = -log_n - jax.nn.logsumexp(log_k + carry[1][None, :], axis=1)
        return (log_u, -log_n - jax.nn.logsumexp(log_k + log_u[:, None], axis=0)), None

    zeros = jnp.zeros(len(log_k))
    (log_u, log_v), _ = jax.lax.scan(sweep, (zeros, zeros), None, length=ITERATIONS)
    return -jnp.mean(log_u + log_v + _positives(log_k)) - log_n


def ott(z_a, z_b, implicit):
    """GCA-INCE by OTT-JAX's Sinkhorn, differentiated through its loop or implicitly."""
    from ott.geometry.geometry import Geometry
    from ott.problems.linear.linear_problem import LinearProblem
    from ott.solvers.linear.implicit_differentiation import ImplicitDiff
    from ott.solvers.linear.sinkhorn import Sinkhorn

    log_k = _log_kernel(z_a, z_b)
    solver = Sinkhorn(
        threshold=-1.0,
        inner_iterations=ITERATIONS,
        min_iterations=ITERATIONS,
        max_iterations=ITERATIONS,
        implicit_diff=ImplicitDiff() if implicit else None,
    )
    out = solver(LinearProblem(Geometry(cost_matrix=-log_k.T, epsilon=1.0)))
    return -jnp.mean(out.f + out.g + _positives(log_k)) - jnp.log(len(log_k))


def ours(method, epsilon=EPSILON, **hyper):
    """A method of this project."""
    loss = losses.METHODS[method]
    return lambda z_a, z_b: loss(z_a, z_b, epsilon=epsilon, layout="joint", **hyper)[0]
