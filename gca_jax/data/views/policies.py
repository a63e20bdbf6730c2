"""Policies of augmentation: by name, what happens to each of the two views and how strongly.

A policy is a pair of tables, one for each view, from the name of a strength to its value. Which
names there are says which distortions are applied; `augment.OPERATIONS` has their order.
"""

import math
from collections.abc import Mapping
from typing import Any

Strengths = Mapping[str, Any]

_HANDWRITING: Strengths = dict(
    rotation=20.0,  # degrees, either way
    shift=1.5,  # pixels, either way
    scale=0.25,  # of e^+-scale
    shear=0.2,  # either way
    gain=0.4,  # of 1 +- gain
    gamma=0.4,  # of an exponent e^+-gamma
    erase_probability=0.5,
    erase_area=(0.03, 0.15),  # as a part of the image's
)
_STANDARD: Strengths = dict(
    crop_scale=(0.08, 1.0),  # area, as a part of the image's
    crop_ratio=(3 / 4, 4 / 3),  # width over height
    flip_probability=0.5,
    jitter_probability=0.8,
    brightness=0.4,  # of factors within 1 +- brightness
    contrast=0.4,
    saturation=0.4,
    hue=0.1,  # of shifts within +-hue of a circle
    grey_probability=0.2,
)
_BLUR: Strengths = dict(
    blur_probability=0.5,
    blur_size=0,  # rows and columns of the kernel, odd; 0: a tenth of the image's side, made odd
    blur_sigma=(0.1, 2.0),  # pixels
)
_STRONG: Strengths = {
    **_STANDARD,
    **_BLUR,
    **dict(brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2),
}
_BYOL: Strengths = {**_STANDARD, **_BLUR, "saturation": 0.2}
_CLOTHES: Strengths = dict(
    crop_scale=(0.2, 1.0),
    crop_ratio=(3 / 4, 4 / 3),
    flip_probability=0.5,
    gain=0.4,
    gamma=0.4,
    erase_probability=0.25,
    erase_area=(0.02, 0.2),
)

POLICIES: dict[str, tuple[Strengths, Strengths]] = {
    # Our own, for scikit-learn's digits; no flips, a mirrored 2 is no 2.
    "digits": (_HANDWRITING, _HANDWRITING),
    # Our own, for Fashion-MNIST: grey images of any size.
    "fashion_mnist": (_CLOTHES, _CLOTHES),
    # The paper's for CIFAR.
    "cifar": (_STANDARD, _STANDARD),
    # The paper's for SVHN and ImageNet-100.
    "strong": (_STRONG, _STRONG),
    # BYOL's (arXiv 2006.07733, table 6): the views differ in blur and solarisation.
    "byol": (
        {**_BYOL, **dict(blur_probability=1.0, solarise_probability=0.0, solarise_threshold=0.5)},
        {**_BYOL, **dict(blur_probability=0.1, solarise_probability=0.2, solarise_threshold=0.5)},
    ),
    # The paper's three extreme ones, on top of its standard.
    "large_erase": (
        _LARGE_ERASE := {
            **_STANDARD,
            **dict(recrop_probability=0.8, recrop_scale=(0.2, 0.2)),
            **dict(blur_probability=1.0, blur_size=3, blur_sigma=(0.1, 2.0)),
        },
        _LARGE_ERASE,
    ),
    "brightness": (
        _BRIGHTNESS := {**_STANDARD, "value_shift": 0.3},  # of HSV's value, clipped
        _BRIGHTNESS,
    ),
    "strong_crop": (
        _STRONG_CROP := {**_STANDARD, "strong_crop_side": 96 / 224},  # of the image's side
        _STRONG_CROP,
    ),
}

STRENGTHS: dict[str, type] = {
    name: type(value)
    for views in POLICIES.values()
    for strengths in views
    for name, value in strengths.items()
}
"""Every strength that some policy has, with the type of its values."""


def views(policy: str) -> tuple[Strengths, Strengths]:
    """The strengths of both views.

    Raises:
        ValueError: an unknown policy.
    """
    if policy not in POLICIES:
        raise ValueError(f"unknown policy {policy!r}; one of: {', '.join(POLICIES)}")
    return POLICIES[policy]


def with_changes(policy: str, changes: Strengths) -> tuple[Strengths, Strengths]:
    """The strengths of both views, some of them replaced in both.

    Args:
        policy: a key of `POLICIES`.
        changes: strengths that the policy has; None leaves the policy's own.

    Raises:
        ValueError: an unknown policy, a strength that the policy does not have, or a bad value.
    """
    a, b = views(policy)
    changes = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in changes.items()
        if value is not None
    }
    for name, value in changes.items():
        if name not in a:
            raise ValueError(f"policy {policy} has no {name}; it has: {', '.join(a)}")
        _check(name, value)
    return {**a, **changes}, {**b, **changes}


def _check(name: str, value: Any) -> None:
    """Refuse a value outside the strength's range."""
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
    """The `augment` group of a config: what `augment.make` takes, with every strength there is.

    Args:
        policy: a key of `POLICIES`.
        mean: mean of the training images in [0, 1], for each channel or one for all.
        std: their standard deviation, likewise.

    Returns:
        policy, mean, std, and for each strength the type of its values: a placeholder of that type
        leaves the strength to the policy, and so another policy's name is enough to have all of it.
    """
    views(policy)
    return {"policy": policy, "mean": mean, "std": std, **STRENGTHS}
