"""An NNX module as the encoder, by Flax's bridge: trained, with batch statistics of its own."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from gca_jax import models
from gca_jax.training import state


class Means(nnx.Module):
    """The mean of each channel, normalised over the batch."""

    def __init__(self, width, rngs):
        self.dense = nnx.Linear(1, width, rngs=rngs)
        self.norm = nnx.BatchNorm(width, momentum=0.5, rngs=rngs)

    def __call__(self, x, train):
        return self.norm(self.dense(x.mean((1, 2))), use_running_average=not train)


def test_an_nnx_module_is_an_encoder():
    network = models.create(nnx.bridge.to_linen(Means, 4), projector_hidden=8, projector_dim=3)
    variables = state.init_variables(network, jax.random.key(0), (8, 8, 1))
    assert variables.keys() == {"params", "batch_stats"}
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 16, 8, 8, 1)), jnp.float32)

    def loss(params):
        found = network.embed({**variables, "params": params}, (x[0], x[1]))
        return jnp.sum(found.pair[0] * found.pair[1]), found.batch_stats

    slopes, statistics = jax.grad(loss, has_aux=True)(variables["params"])
    kernel = variables["params"]["encoder"]["dense"]["kernel"]
    assert jnp.abs(slopes["encoder"]["dense"]["kernel"]).max() > 0
    h = np.asarray(x).mean((2, 3)).reshape(-1, 1) @ np.asarray(kernel)
    got = jax.tree.leaves(statistics["encoder"]["norm"]["mean"])[0]
    np.testing.assert_allclose(got, h.mean(0) / 2, rtol=1e-4, atol=1e-6)  # half of the old mean, 0
    plain = network.apply({**variables, "batch_stats": statistics}, x[0], method="encode")
    trained = network.apply(
        {**variables, "batch_stats": statistics}, x[0], train=True, method="encode",
        mutable=["batch_stats"],
    )[0]  # fmt: skip
    assert np.abs(plain - trained).max() > 1e-2
