"""The untrained-encoder baseline: same architecture and seed, with calibrated statistics."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Shaped

from gca_jax.data.splits import evenly_spaced
from gca_jax.evaluation import features
from gca_jax.evaluation.features import Inputs, Prepare, Variables
from gca_jax.models import Network
from gca_jax.training import state

CALIBRATION_IMAGES = 2048  # at most, all in one batch


def untrained(
    network: Network, seed: int, inputs: Inputs, prepare: Prepare, input_shape: tuple[int, ...]
) -> Variables:
    """Initialise the encoder as the run did, without a fresh network's two handicaps.

    Residual branches that start at scale zero would make a fresh ResNet a subsampler of pixels,
    and running statistics that have seen no image would leave its activations unnormalised. So
    every normalisation scale is one and the statistics are those of the training inputs: of at
    most 2048, evenly spaced, fewer where they are images of more than 64 x 64 pixels.
    """
    variables = state.init_variables(network, jax.random.key(seed), input_shape)
    variables = {**variables, "params": unit_scales(variables["params"])}
    most = features.batch_size(inputs.shape[1:], CALIBRATION_IMAGES)
    chosen = evenly_spaced(len(inputs), most)
    return calibrate(network, prepare, variables, inputs[chosen])


def unit_scales(params: Any) -> Any:
    """Set every normalisation scale (a parameter named `scale`) to one, the rest untouched."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.ones_like(leaf) if path[-1].key == "scale" else leaf, params
    )


@partial(jax.jit, static_argnums=(0, 1))
def calibrate(
    network: Network, prepare: Prepare, variables: Variables, inputs: Shaped[Array, "n ..."]
) -> Variables:
    """Replace the encoder's running batch statistics by the statistics of `inputs`, exactly.

    In training mode each layer normalises with the statistics b of the batch and moves its
    running ones by s ← m·s + (1 − m)·b. That is affine in s, so two steps, from s = 0 and from
    s = 1, give m and b without knowing the momentum of any layer. (Compiled, both share the one
    pass through the network.) Layers that `encode` does not pass (a predictor's) keep theirs.
    """
    x, old = prepare(inputs), variables["batch_stats"]

    def step(statistics: Any) -> Any:
        start = {"params": variables["params"], "batch_stats": statistics}
        _, updates = network.apply(start, x, train=True, mutable=["batch_stats"], method="encode")
        return updates["batch_stats"]

    def solve(before: Array, zero: Array, one: Array) -> Array:
        momentum = jnp.median(one - zero)  # of one layer: the same for all its channels
        passed = momentum < 1
        return jnp.where(passed, zero / jnp.where(passed, 1 - momentum, 1.0), before)

    from_zero = step(jax.tree.map(jnp.zeros_like, old))
    from_one = step(jax.tree.map(jnp.ones_like, old))
    return {**variables, "batch_stats": jax.tree.map(solve, old, from_zero, from_one)}
