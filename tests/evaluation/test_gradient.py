import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gca_jax import losses
from gca_jax.evaluation import representation as module

PAIR = np.random.default_rng(3).normal(size=(2, 16, 5)).astype(np.float32)


def gradient(name, **hyper):
    def loss(z_a, z_b):
        return losses.METHODS[name](z_a, z_b, **hyper)[0]

    return np.concatenate(jax.jit(jax.grad(loss, argnums=(0, 1)))(*jnp.asarray(PAIR))).ravel()


@pytest.mark.slow
@pytest.mark.parametrize(("method", "layout"), [("gca_ince", "cross"), ("iot", "joint")])
def test_the_cosine_to_ince_is_that_of_the_two_gradients_on_one_kernel(method, layout):
    hyper = {"epsilon": 0.1} if method == "iot" else {"epsilon": 0.1, "layout": layout}
    ours = gradient(method, **hyper)
    ince = gradient("ince", epsilon=0.1, layout=layout)
    expected = ours @ ince / np.linalg.norm(ours) / np.linalg.norm(ince)
    cosine = module.gradient_cosine_to_ince(method, hyper, *jnp.asarray(PAIR))
    assert cosine == pytest.approx(expected, abs=1e-5)
    assert cosine < 0.999


def test_simclr_is_ince_in_its_own_layout_and_byol_has_no_cosine():
    pair = jnp.asarray(PAIR)
    assert module.gradient_cosine_to_ince("simclr", {"epsilon": 0.2}, *pair) == pytest.approx(1)
    assert module.gradient_cosine_to_ince("byol", {}, *pair) is None
