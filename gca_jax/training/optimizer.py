"""Optimizers and their learning rate by name."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from gca_jax import check

Mask = Callable[[PyTree], PyTree] | None
"""Parameters -> which of them decay; None: all."""


def sgd(
    schedule: optax.Schedule, *, weight_decay: float, mask: Mask = None, momentum: float = 0.9
) -> optax.GradientTransformation:
    """Make SGD with Nesterov momentum; the decay is part of the gradient, as PyTorch's is."""
    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask),
        optax.sgd(schedule, momentum=momentum, nesterov=True),
    )


def adam(
    schedule: optax.Schedule, *, weight_decay: float, mask: Mask = None
) -> optax.GradientTransformation:
    """Make Adam; the decay is part of the gradient, as PyTorch's is."""
    return optax.chain(optax.add_decayed_weights(weight_decay, mask), optax.adam(schedule))


def lars(
    schedule: optax.Schedule, *, weight_decay: float, mask: Mask = None, momentum: float = 0.9
) -> optax.GradientTransformation:
    """Make LARS (You et al., arXiv 1708.03888), as SimCLR and BYOL use it.

    What does not decay is not scaled by its trust ratio either.
    """
    masks = {} if mask is None else {"weight_decay_mask": mask, "trust_ratio_mask": mask}
    return optax.lars(schedule, weight_decay, momentum=momentum, **masks)


OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "sgd": sgd,
    "adam": adam,
    "adamw": optax.adamw,  # the decay is apart from the gradient, scaled by the learning rate
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
    """Make an optimizer and its learning rate by step from the `optimizer` group of a config.

    Args:
        total_steps: Length of the run.
        steps_per_epoch: Batches of an epoch.
        name: Key of `OPTIMIZERS`.
        learning_rate: Its maximum, after the warm-up.
        final_learning_rate: Where it falls to along half a cosine; the maximum: it is constant.
        warmup_epochs: Length of the linear rise from zero (the first step is not zero).
        weight_decay: Of all parameters, or of those that are left.
        warmup_steps: Length of the rise in steps, in place of `warmup_epochs`.
        exclude_bias_and_norm: Whether biases and parameters of normalisations do not decay.
        clip_norm: Largest norm of a gradient; a longer one is scaled down to it.
        **options: What the optimizer takes besides (`momentum` for sgd and lars).

    Raises:
        ValueError: An unknown name, or a number out of its range.
    """
    check.one_of("name", name, OPTIMIZERS)
    check.positive("learning_rate", learning_rate)
    check.between("final_learning_rate", final_learning_rate, 0.0, learning_rate)
    for key, value in dict(
        warmup_epochs=warmup_epochs, weight_decay=weight_decay, **options
    ).items():
        check.non_negative(key, value)
    if clip_norm is not None:
        check.positive("clip_norm", clip_norm)
    in_steps = warmup_steps is not None
    if warmup_steps is None:
        warmup_steps = round(warmup_epochs * steps_per_epoch)
    elif warmup_epochs:
        raise ValueError(
            f"warmup_steps={warmup_steps} stands in place of warmup_epochs, which must be 0 then; "
            f"got {warmup_epochs}"
        )
    if not 0 <= warmup_steps < total_steps:
        unit = "warmup_steps" if in_steps else "warmup_epochs"
        got = warmup_steps if in_steps else warmup_epochs
        raise ValueError(f"{unit} must be at least 0 and shorter than the run, got {got}")
    schedule = warmup_cosine(learning_rate, final_learning_rate, warmup_steps, total_steps)
    spared = {"mask": neither_bias_nor_norm} if exclude_bias_and_norm else {}
    optimizer = OPTIMIZERS[name](schedule, weight_decay=weight_decay, **spared, **options)
    if clip_norm is not None:
        optimizer = optax.chain(optax.clip_by_global_norm(clip_norm), optimizer)
    return optimizer, schedule


def neither_bias_nor_norm(params: PyTree) -> PyTree:
    """Tell weights from biases and scales: parameters of one dimension, or named `bias`.

    Those of attention heads have two dimensions.
    """

    def is_weight(path: tuple[object, ...], leaf: jax.Array) -> bool:
        return jnp.ndim(leaf) > 1 and getattr(path[-1], "key", None) != "bias"

    return jax.tree_util.tree_map_with_path(is_weight, params)


def warmup_cosine(peak: float, final: float, warmup_steps: int, total_steps: int) -> optax.Schedule:
    """Rise linearly to `peak` after the warm-up, then half a cosine to `final` at `total_steps`."""

    def schedule(step):
        rise = (step + 1) / max(warmup_steps, 1)
        done = jnp.clip((step - warmup_steps) / (total_steps - warmup_steps), 0, 1)
        fall = final + (peak - final) * (1 + jnp.cos(jnp.pi * done)) / 2
        return jnp.where(step < warmup_steps, peak * rise, fall)

    return schedule
