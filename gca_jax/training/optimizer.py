"""Optimizers and their learning rate by name."""

import math
from collections.abc import Callable

import jax.numpy as jnp
import optax


def sgd(
    schedule: optax.Schedule, *, weight_decay: float, momentum: float = 0.9
) -> optax.GradientTransformation:
    """Make SGD with Nesterov momentum; the decay is part of the gradient, as PyTorch's is."""
    return optax.chain(
        optax.add_decayed_weights(weight_decay),
        optax.sgd(schedule, momentum=momentum, nesterov=True),
    )


def adam(schedule: optax.Schedule, *, weight_decay: float) -> optax.GradientTransformation:
    """Make Adam; the decay is part of the gradient, as PyTorch's is."""
    return optax.chain(optax.add_decayed_weights(weight_decay), optax.adam(schedule))


OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "sgd": sgd,
    "adam": adam,
    "adamw": optax.adamw,  # the decay is apart from the gradient, scaled by the learning rate
}


def make_optimizer(
    total_steps: int,
    steps_per_epoch: int,
    *,
    name: str,
    learning_rate: float,
    final_learning_rate: float,
    warmup_epochs: float,
    weight_decay: float,
    **options: float,
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """Make an optimizer and its learning rate by step from the `optimizer` group of a config.

    The rate rises linearly from zero (the first step is not zero) over `warmup_epochs` and falls to
    `final_learning_rate`, or stays constant where that is the same. The decay is of all parameters;
    `options` are what the optimizer takes besides (`momentum` for sgd).
    """
    if name not in OPTIMIZERS:
        raise ValueError(f"unknown optimizer {name!r}; one of: {', '.join(OPTIMIZERS)}")
    numbers = dict(warmup_epochs=warmup_epochs, weight_decay=weight_decay, **options)
    for key, value in {"learning_rate": learning_rate, **numbers}.items():
        if not math.isfinite(value):
            raise ValueError(f"{key} must be a finite number, got {value}")
    if not learning_rate > 0:
        raise ValueError(f"learning_rate must be above 0, got {learning_rate}")
    if not 0 <= final_learning_rate <= learning_rate:
        raise ValueError(
            f"final_learning_rate must be from 0 to learning_rate, got {final_learning_rate}"
        )
    if not weight_decay >= 0:
        raise ValueError(f"weight_decay must be at least 0, got {weight_decay}")
    warmup_steps = round(warmup_epochs * steps_per_epoch)
    if not 0 <= warmup_steps < total_steps:
        raise ValueError(
            f"warmup_epochs must be at least 0 and shorter than the run, got {warmup_epochs}"
        )
    schedule = warmup_cosine(learning_rate, final_learning_rate, warmup_steps, total_steps)
    return OPTIMIZERS[name](schedule, weight_decay=weight_decay, **options), schedule


def warmup_cosine(peak: float, final: float, warmup_steps: int, total_steps: int) -> optax.Schedule:
    """Rise linearly to `peak` after the warm-up, then half a cosine to `final` at `total_steps`."""

    def schedule(step):
        rise = (step + 1) / max(warmup_steps, 1)
        done = jnp.clip((step - warmup_steps) / (total_steps - warmup_steps), 0, 1)
        fall = final + (peak - final) * (1 + jnp.cos(jnp.pi * done)) / 2
        return jnp.where(step < warmup_steps, peak * rise, fall)

    return schedule
