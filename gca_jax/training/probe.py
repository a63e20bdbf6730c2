"""The online probe: a linear classifier on the batch's features, trained beside the encoder.

No gradient passes from it into the features, so it does not change the encoder (as in SimCLR's code
and solo-learn).
"""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

Head = dict[str, Array]
"""{"kernel": [f, c], "bias": [c]}."""
OPTIMIZER = optax.adam(3e-3)


def start(features: int, classes: int) -> tuple[Head, optax.OptState]:
    """Initialise the head to zeros, with the state of its optimizer."""
    head = zeros(features, classes)
    return head, OPTIMIZER.init(head)


def zeros(features: int, classes: int) -> Head:
    """Initialise a head to zeros."""
    return {"kernel": jnp.zeros((features, classes)), "bias": jnp.zeros(classes)}


def scores(head: Head, h: Float[Array, "b f"]) -> Float[Array, "b c"]:
    """Compute the logits of all classes."""
    return h @ head["kernel"] + head["bias"][None, :]


def update(
    head: Head, state: optax.OptState, h: Float[Array, "b f"], labels: Int[Array, "b"]
) -> tuple[Head, optax.OptState, dict[str, Array]]:
    """Take a step down the cross-entropy; the scalars for the log are of the old head.

    Samples of the label -1 are of no class and do not count.
    """
    known = labels >= 0
    count = jnp.maximum(known.sum(), 1)

    def loss(head: Head) -> tuple[Array, Array]:
        logits = scores(head, jax.lax.stop_gradient(h))
        values = optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels)
        right = (logits.argmax(axis=1) == labels).sum()
        return jnp.where(known, values, 0.0).sum() / count, right / count

    (value, accuracy), gradient = jax.value_and_grad(loss, has_aux=True)(head)
    updates, state = OPTIMIZER.update(gradient, state, head)
    logged = {"probe_loss": value, "probe_accuracy": accuracy}
    return optax.apply_updates(head, updates), state, logged
