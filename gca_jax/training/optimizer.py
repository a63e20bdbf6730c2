"""Optimizers by name, and the schedule of their learning rate."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from gca_jax import check

Mask = Callable[[PyTree], PyTree] | None
"""Parameters -> whether each decays; None: all do."""


def sgd(
    schedule: optax.Schedule, *, weight_decay: float, mask: Mask = None, momentum: float = 0.9
) -> optax.GradientTransformation:
    """Make SGD with Nesterov momentum; the decay is part of the gradient, as in PyTorch."""
    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask),
        optax.sgd(schedule, momentum=momentum, nesterov=True),
    )


def adam(
    schedule: optax.Schedule, *, weight_decay: float, mask: Mask = None
) -> optax.GradientTransformation:
    """Make Adam; the decay is part of the gradient, as in PyTorch."""
    return optax.chain(optax.add_decayed_weights(weight_decay, mask), optax.adam(schedule))


def lars(
    schedule: optax.Schedule, *, weight_decay: float, mask: Mask = None, momentum: float = 0.9
) -> optax.GradientTransformation:
    """Make LARS (You et al., arXiv 1708.03888), as SimCLR and BYOL use it.

    Parameters that do not decay are not scaled by the trust ratio either.
    """
    own = True if mask is None else mask
    return optax.lars(schedule, weight_decay, own, trust_ratio_mask=own, momentum=momentum)


OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "sgd": sgd,
    "adam": adam,
    "adamw": optax.adamw,  # the decay is decoupled from the gradient
    "lars": lars,
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
    warmup_steps: int | None = None,
    exclude_bias_and_norm: bool | None = None,
    clip_norm: float | None = None,
    **options: float,
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """Make an optimizer and its learning-rate schedule from the `optimizer` group of a config.

    Args:
        total_steps: Length of the run in steps.
        steps_per_epoch: Batches per epoch.
        name: Key of `OPTIMIZERS`.
        learning_rate: Peak learning rate, after the warm-up.
        final_learning_rate: Learning rate at the end of the cosine decay; equal to the peak:
            constant.
        warmup_epochs: Length of the linear warm-up, whose first step is not zero.
        weight_decay: Weight decay of all parameters, or of those not excluded.
        warmup_steps: Length of the warm-up in steps, in place of `warmup_epochs`.
        exclude_bias_and_norm: Whether biases and parameters of normalisations do not decay.
        clip_norm: Largest global norm of the gradients; larger ones are scaled down to it.
        **options: Other keywords of the optimizer (`momentum` for sgd and lars).

    Raises:
        ValueError: An unknown name, or a number out of its range.
    """
    check.one_of("name", name, OPTIMIZERS)
    check.positive("learning_rate", learning_rate)
    check.between("final_learning_rate", final_learning_rate, 0.0, learning_rate)
    numbers = {"warmup_epochs": warmup_epochs, "weight_decay": weight_decay, **options}
    for key, value in numbers.items():
        check.non_negative(key, value)
    if clip_norm is not None:
        check.positive("clip_norm", clip_norm)
    unit = "warmup_steps"
    given: float | None = warmup_steps
    if warmup_steps is None:
        unit, given = "warmup_epochs", warmup_epochs
        warmup_steps = round(warmup_epochs * steps_per_epoch)
    elif warmup_epochs:
        raise ValueError(
            f"warmup_steps={warmup_steps} stands in place of warmup_epochs, which must be 0 then; "
            f"got {warmup_epochs}"
        )
    if not 0 <= warmup_steps < total_steps:
        raise ValueError(f"{unit} must be at least 0 and shorter than the run, got {given}")
    schedule = warmup_cosine(learning_rate, final_learning_rate, warmup_steps, total_steps)
    mask = neither_bias_nor_norm if exclude_bias_and_norm else None
    optimizer = OPTIMIZERS[name](schedule, weight_decay=weight_decay, mask=mask, **options)
    if clip_norm is not None:
        optimizer = optax.chain(optax.clip_by_global_norm(clip_norm), optimizer)
    return optimizer, schedule


def neither_bias_nor_norm(params: PyTree) -> PyTree:
    """Mark weights; biases and scales are of one dimension or named `bias`.

    The biases of attention heads have two dimensions, hence the name.
    """

    def is_weight(path: tuple[object, ...], leaf: jax.Array) -> bool:
        return jnp.ndim(leaf) > 1 and getattr(path[-1], "key", None) != "bias"

    return jax.tree_util.tree_map_with_path(is_weight, params)


def warmup_cosine(peak: float, final: float, warmup_steps: int, total_steps: int) -> optax.Schedule:
    """Rise linearly to `peak`, then decay along half a cosine to `final` at `total_steps`."""

    def schedule(step):
        rise = (step + 1) / max(warmup_steps, 1)
        done = jnp.clip((step - warmup_steps) / (total_steps - warmup_steps), 0, 1)
        fall = final + (peak - final) * (1 + jnp.cos(jnp.pi * done)) / 2
        return jnp.where(step < warmup_steps, peak * rise, fall)

    return schedule
