"""Augmentation recipes, called policies, by name.

A policy is a pair of lists, one for each view, of distortions in order: functions
(key, image [h, c, w]) -> image, whose keywords are their strengths. A config sets strengths by
these names.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

from jaxtyping import Array

from gca_jax import check
from gca_jax.data.views import color, geometry

Distortions = list[partial[Array]]


def strengths(distortions: Distortions) -> dict[str, Any]:
    """Collect the strengths of all distortions by name."""
    return {name: value for one in distortions for name, value in one.keywords.items()}


def replace(distortions: Distortions, **changes: Any) -> Distortions:
    """Replace some strengths of distortions."""
    return [
        partial(one, **{name: changes[name] for name in changes if name in one.keywords})
        for one in distortions
    ]


_CROP = partial(geometry.random_resized_crop, crop_scale=(0.08, 1.0), crop_ratio=(3 / 4, 4 / 3))
_FLIP = partial(geometry.random_flip, flip_probability=0.5)
_JITTER = partial(
    color.random_jitter,
    jitter_probability=0.8,
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    hue=0.1,
)
_GREY = partial(color.random_grey, grey_probability=0.2)
_BLUR = partial(color.random_blur, blur_probability=0.5, blur_size=0, blur_sigma=(0.1, 2.0))
_INTENSITY = partial(color.random_intensity, gain=0.4, gamma=0.4)
_ERASING = partial(geometry.random_erasing, erase_probability=0.5, erase_area=(0.03, 0.15))
_STANDARD = [_CROP, _FLIP, _JITTER, _GREY]
# For classifiers, large_erase erases in place of its second crop and blur, as the authors' code
# does; the other two extreme policies treat images like views.
_LARGE_ERASE = partial(geometry.random_erasing, erase_probability=1.0, erase_area=(0.10, 0.33))
_MOVES = (geometry.random_affine, geometry.random_resized_crop, geometry.random_flip)
_EXTREME = (color.raise_value, geometry.random_crop)
_BYOL = [
    *replace(_STANDARD, saturation=0.2),
    _BLUR,
    partial(color.random_solarise, solarise_probability=0.0, solarise_threshold=0.5),
]
_ALIKE: dict[str, Distortions] = {
    # Our own, for scikit-learn's digits; no flips, a mirrored 2 is no 2.
    "digits": [
        partial(geometry.random_affine, rotation=20.0, shift=1.5, scale=0.25, shear=0.2),
        _INTENSITY,
        _ERASING,
    ],
    # Our own, for Fashion-MNIST: grey images of any size.
    "fashion_mnist": replace(
        [_CROP, _FLIP, _INTENSITY, _ERASING],
        crop_scale=(0.2, 1.0),
        erase_probability=0.25,
        erase_area=(0.02, 0.2),
    ),
    # The paper's for CIFAR.
    "cifar": _STANDARD,
    # The paper's for SVHN and ImageNet-100.
    "strong": replace([*_STANDARD, _BLUR], brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2),
    # The paper's three extreme ones, on top of its standard.
    "large_erase": [
        _CROP,
        partial(
            geometry.random_second_crop,
            recrop_probability=0.8,
            recrop_scale=(0.2, 0.2),
            crop_ratio=(3 / 4, 4 / 3),
        ),
        *_STANDARD[1:],
        *replace([_BLUR], blur_probability=1.0, blur_size=3),
    ],
    "brightness": [*_STANDARD, partial(color.raise_value, value_shift=0.3)],
    "strong_crop": [*_STANDARD, partial(geometry.random_crop, strong_crop_side=96 / 224)],
}

POLICIES: dict[str, tuple[Distortions, Distortions]] = {
    **{name: (both, both) for name, both in _ALIKE.items()},
    # BYOL's (arXiv 2006.07733, table 6): the views differ in blur and solarisation.
    "byol": (
        replace(_BYOL, blur_probability=1.0),
        replace(_BYOL, blur_probability=0.1, solarise_probability=0.2),
    ),
}

STRENGTHS: dict[str, type] = {
    name: type(value) for views in POLICIES.values() for name, value in strengths(views[0]).items()
}
"""Every strength that some policy has, with the type of its values."""


def views(policy: str) -> tuple[Distortions, Distortions]:
    """Look up the distortions of both views; raise ValueError for an unknown policy."""
    check.one_of("policy", policy, POLICIES)
    return POLICIES[policy]


def with_changes(policy: str, changes: Mapping[str, Any]) -> tuple[Distortions, Distortions]:
    """Return the distortions of both views with some strengths replaced, unless by None."""
    a, b = views(policy)
    changes = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in changes.items()
        if value is not None
    }
    for name, value in changes.items():
        if name not in strengths(a):
            raise ValueError(f"policy {policy} has no {name}; it has: {', '.join(strengths(a))}")
        _check(name, value)
    return replace(a, **changes), replace(b, **changes)


def supervised(policy: str, distortions: Distortions) -> tuple[Distortions, Distortions]:
    """Return the distortions of images to train a classifier on, and to evaluate it on.

    As in the published linear evaluation: crop and flip of a view (of digits the affine map) to
    train on, none to evaluate on, and in both cases the distortion of an extreme policy.
    """
    moves = [one for one in distortions if one.func in _MOVES]
    extreme = [one for one in distortions if one.func in _EXTREME]
    extreme += [_LARGE_ERASE] if policy == "large_erase" else []
    return [*moves, *extreme], extreme


def _check(name: str, value: Any) -> None:
    """Refuse a value out of the strength's range."""
    part = any(word in name for word in ("probability", "crop_scale", "area", "side"))
    if STRENGTHS[name] is tuple:
        if len(value) != 2 or not 0 < value[0] <= value[1]:
            raise ValueError(f"{name} must be two numbers, 0 < low <= high; got {value}")
        if part and value[1] > 1:
            raise ValueError(f"{name} must be at most 1; got {value}")
    elif not 0 <= value <= (1 if part else math.inf):
        raise ValueError(f"{name} must be from 0 {'to 1' if part else 'up'}; got {value}")
    if name == "blur_size" and value and value % 2 == 0:
        raise ValueError(f"{name} must be odd, or 0 for a tenth of the side; got {value}")


def settings(
    policy: str, *, mean: tuple[float, ...], std: tuple[float, ...]
) -> dict[str, str | tuple[float, ...] | type]:
    """Make the `augment` group of a config: the keywords of `augment.make`, with all strengths.

    The value of a strength is its type, a placeholder for the policy's own: so a config changes to
    another policy by its name alone.
    """
    views(policy)
    return {"policy": policy, "mean": mean, "std": std, **STRENGTHS}
