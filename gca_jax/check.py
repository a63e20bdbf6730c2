"""Guards: each raises a `ValueError` naming the argument, its value and what is allowed.

A value that JAX is tracing (`jit`, `grad`, `vmap`) is not known when the guard runs and passes.
"""

import datetime
import inspect
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import numpy as np


def is_concrete(x: object) -> bool:
    """Tell whether the value of `x` is known now, that is, not traced."""
    jax = sys.modules.get("jax")  # without which nothing is traced, and which takes long to import
    return jax is None or not isinstance(x, jax.core.Tracer)


def positive(name: str, value: Any) -> None:
    """Refuse what is not one number, finite and > 0."""
    x: Any = np.asarray(value) if is_concrete(value) else value
    number = x.ndim == 0 and x.dtype.kind not in "OUSbc"
    if not number or (is_concrete(x) and not (np.isfinite(x) and x > 0)):
        raise ValueError(f"{name} must be a finite number > 0, got {value!r}")


def between(name: str, value: Any, low: float, high: float, *, open_low: bool = False) -> None:
    """Refuse a number outside [low, high], or (low, high] with `open_low`."""
    if not is_concrete(value):
        return
    x = np.asarray(value)
    if not (((x > low) if open_low else (x >= low)) & (x <= high)).all():
        raise ValueError(
            f"{name} must lie in {'(' if open_low else '['}{low}, {high}], got {value}"
        )


def weights(**values: Any) -> None:
    """Refuse weights of a sum that are negative or not finite, or all 0."""
    for name, value in values.items():
        non_negative(name, value)
    if all(is_concrete(value) and np.all(np.asarray(value) == 0) for value in values.values()):
        raise ValueError(f"one of {', '.join(values)} must be above 0")


def at_least(name: str, value: int, low: int) -> None:
    """Refuse a count that is not an integer >= low."""
    if not is_concrete(value):
        raise ValueError(f"{name} is traced, and must be known: name it in static_argnames of jit")
    if _is_symbolic(value):
        return
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < low:
        raise ValueError(f"{name} must be an integer >= {low}, got {value!r}")


def seed(name: str, value: object) -> None:
    """Refuse what is no integer from 0 to 2^32 - 1, the seeds of `jax.random.key`."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not (whole and 0 <= value < 2**32):  # type: ignore[operator]
        raise ValueError(f"{name} must be an integer from 0 to 2^32 - 1, got {value!r}")


def numbers(name: str, values: Any) -> None:
    """Refuse text, times, Python objects, masked and sparse arrays, saying what to do."""
    if np.ma.is_masked(values):
        raise ValueError(
            f"{name} is a masked array, and what is masked would count: fill it, as "
            f"{name}.filled(0) does, or leave those pairs out"
        )
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be one array of numbers, rows of one shape") from error
    kind = array.dtype.kind
    if kind not in "OUSTmM":
        return
    for types, words in ENTRIES.items():
        for entry in array.ravel()[: None if kind == "O" else 1]:
            if isinstance(entry, types):
                raise ValueError(f"{name} must be numbers, got {words.format(str(entry)[:40])}")
    remedy = ".toarray() makes one array of it" if hasattr(values, "toarray") else OBJECTS
    raise ValueError(f"{name} must be numbers, got {array.dtype} {list(array.shape)}: {remedy}")


OBJECTS = "fill or leave out what is missing; .astype(float) makes numbers of objects that are some"
ENTRIES: dict[tuple[type, ...], str] = {
    (
        str,
        bytes,
    ): "text such as {!r}: numbers are read by .astype(float), and names are numbered by "
    "numpy.unique(names, return_inverse=True)[1]",
    (datetime.date, datetime.time, datetime.timedelta, np.datetime64, np.timedelta64): "times such "
    "as {}: (times - times.min()) / numpy.timedelta64(1, 's') makes seconds of them",
}
"""Words for entries that are no numbers, by their types."""


def _is_symbolic(value: object) -> bool:
    """Tell whether a number is a symbol, a batch size of `jax.export`, which is at least 1."""
    jax = sys.modules.get("jax")
    return jax is not None and jax.export.is_symbolic_dim(value)


def one_of(name: str, value: str, allowed: Collection[str]) -> None:
    """Refuse a name that is not in the list."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(sorted(allowed))}; got {value!r}")


def non_negative(name: str, values: Any) -> None:
    """Refuse an array with a negative or non-finite entry."""
    if is_concrete(values):
        x = np.asarray(values)
        if not (np.isfinite(x) & (x >= 0)).all():
            worst = x[~np.isfinite(x)][0] if not np.isfinite(x).all() else x.min()
            raise ValueError(f"{name} must be finite and >= 0 everywhere, found {worst}")


def some_mass(name: str, values: Any) -> None:
    """Refuse an array without an entry > 0."""
    if is_concrete(values) and not (np.asarray(values) > 0).any():
        raise ValueError(f"{name} must have some mass, got all zeros")


def keywords(name: str, function: Callable[..., Any], given: Iterable[str]) -> None:
    """Refuse keywords that a function does not take."""
    known = [
        p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY
    ]
    if unknown := sorted(set(given) - set(known)):
        takes = f"it takes {', '.join(known)}" if known else "it takes nothing"
        raise ValueError(f"{name} takes no {', '.join(unknown)}; {takes}")


def shape(where: str, value: object, wanted: object) -> None:
    """Refuse JSON of another shape, naming the entry.

    Args:
        where: What the value is called.
        value: JSON.
        wanted: A type; `float` for any finite number; `[shape]` for a list; `{str: shape}` for a
            dictionary of such values; `{"key": shape}` for one that has this key, `{"key?": shape}`
            for one that may have it; a word or None for just that; `(shape, shape)` for either.
    """
    if wanted is float:
        fits = isinstance(value, int | float) and not isinstance(value, bool)
        # Also an integer may be larger than any float.
        fits = fits and abs(value) <= sys.float_info.max  # type: ignore[arg-type]
    elif wanted is int:  # no count has 19 digits; a damaged file may
        fits = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
    elif isinstance(wanted, type):
        fits = isinstance(value, wanted)
    elif wanted is None or isinstance(wanted, str):
        fits = value == wanted
    elif isinstance(wanted, tuple):
        fits = any(_has(value, one) for one in wanted)
    elif isinstance(wanted, list):
        fits = isinstance(value, list)
        for entry in value if fits else ():  # type: ignore[attr-defined]
            shape(f"an entry of {where}", entry, wanted[0])
    else:
        assert isinstance(wanted, dict)
        fits = isinstance(value, dict)
        if fits:
            _entries(where, value, wanted)  # type: ignore[arg-type]
    if not fits:
        raise ValueError(f"{where} is {str(value)[:40]!r}, which does not belong there")


def _has(value: object, wanted: object) -> bool:
    """Tell whether JSON is of a shape."""
    try:
        shape("", value, wanted)
    except ValueError:
        return False
    return True


def _entries(where: str, value: Mapping[str, object], wanted: Mapping[Any, object]) -> None:
    """Refuse a dictionary whose entries are missing or of another shape."""
    for key, inner in wanted.items():
        if key is str:
            for name, entry in value.items():
                shape(f"{where}.{name}", entry, inner)
        elif key.rstrip("?") in value:
            shape(f"{where}.{key.rstrip('?')}", value[key.rstrip("?")], inner)
        elif not key.endswith("?"):
            raise ValueError(f"{where} has no {key}")


def counted(number: int | str, noun: str) -> str:
    """Write a number with its noun, in the plural unless it is 1: "1 class", "no classes"."""
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{number} {noun if number == 1 else plural}"


def duration(seconds: float) -> str:
    """Write a duration as MM:SS, H:MM:SS or, from a day on, "2 d 3 h"."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    if hours >= 24:
        return f"{hours // 24:,} d {hours % 24} h"
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute:02}:{second:02}"
