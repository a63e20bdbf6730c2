"""Contrastive learning as distribution alignment, in JAX.

    import gca_jax

    value, aux = gca_jax.losses.gca_uot(z_a, z_b, epsilon=0.5)

`losses`, `metrics`, `ot`, `theorems`, and `align` and `load` (which need the extra `train`) are
imported when they are first named.
"""

import importlib
from typing import TYPE_CHECKING

__all__ = ["__version__", "align", "load", "losses", "metrics", "ot", "theorems"]

__version__ = "0.3.0"

if TYPE_CHECKING:
    from gca_jax import losses, metrics, ot, theorems
    from gca_jax.api import align, load
else:  # hidden from type checkers, which would accept any name
    FUNCTIONS = {"align": "api", "load": "api"}

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if name in FUNCTIONS:
            return getattr(importlib.import_module(f"{__name__}.{FUNCTIONS[name]}"), name)
        return importlib.import_module(f"{__name__}.{name}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
