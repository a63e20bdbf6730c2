"""The online probe: a linear head on the features of the batch, trained beside the encoder.

It reads classes off features through which no gradient passes, so it watches the encoder and does
not change it (as in SimCLR's code and solo-learn).
"""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

Head = dict[str, Array]
"""{"kernel": [f, c], "bias": [c]}."""
OPTIMIZER = optax.adam(3e-3)


def start(features: int, classes: int) -> tuple[Head, optax.OptState]:
    """Make a head of zeros and the state of its optimizer."""
    head = zeros(features, classes)
    return head, OPTIMIZER.init(head)


def zeros(features: int, classes: int) -> Head:
    """Make a head that scores all classes alike."""
    return {"kernel": jnp.zeros((features, classes)), "bias": jnp.zeros(classes)}


def scores(head: Head, h: Float[Array, "b f"]) -> Float[Array, "b c"]:
    """Give the score of every class."""
    return h @ head["kernel"] + head["bias"][None, :]


def update(
    head: Head, state: optax.OptState, h: Float[Array, "b f"], labels: Int[Array, "b"]
) -> tuple[Head, optax.OptState, dict[str, Array]]:
    """Make a step down the cross-entropy; give scalars for the log, of the head before it."""

    def loss(head: Head) -> tuple[Array, Array]:
        found = scores(head, jax.lax.stop_gradient(h))
        value = optax.losses.softmax_cross_entropy_with_integer_labels(found, labels).mean()
        return value, jnp.mean(found.argmax(axis=1) == labels)

    (value, accuracy), gradient = jax.value_and_grad(loss, has_aux=True)(head)
    updates, state = OPTIMIZER.update(gradient, state, head)
    logged = {"probe_loss": value, "probe_accuracy": accuracy}
    return optax.apply_updates(head, updates), state, logged
