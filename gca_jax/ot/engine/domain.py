"""How a kernel's sweeps are run, and the rule that chooses where the caller does not.

Domain. "scaling": matrix-vector products with K itself and a reverse pass that saves only vectors;
taken for the cosine kernel with a known ε >= 0.03 (`SMALLEST_SCALING_EPSILON`). "log":
log-sum-exps, for any kernel and any ε, a traced one included.

Block. In the scaling domain K is kept whole while a device's share of it has at most
`largest_whole()` entries: a sixteenth of the device's memory or less, 2^28 entries where JAX names
no limit, as on a CPU. A larger one is formed anew in every pass, in blocks of rows of about `BLOCK`
entries.

Axis. Inside `jax.shard_map` each device goes over its share of K's rows (scaling domain only).
"""

from typing import Literal

import jax
import jax.numpy as jnp

from gca_jax import check
from gca_jax.ot.engine.sharding import AxisName

Domain = Literal["scaling", "log"]

SMALLEST_SCALING_EPSILON = 0.0299
"""Below it e^(-2/ε), the least entry of a cosine kernel, leaves too little of float32's range.

It is 0.03 with room for the rounding of a learned ε, such as exp(log 0.03)."""

SMALLEST_OF_FLOAT64 = 0.003
"""The bound of float64, for a caller's domain="scaling"; the rule keeps float32's for both."""

WHOLE_SHARE = 1 / 16
"""Of a device's memory, the most that K may take: a network's activations need the rest."""

USUAL_WHOLE = 2**28
"""Entries of K that a device of unknown memory keeps whole: 1 GiB of float32, n = 16,384."""

BLOCK = 2**22
"""Entries of K formed at a time where it is not kept: 16 MiB of float32."""


def choose(
    shape: tuple[int, int],
    epsilon: float | None,
    domain: Domain | None,
    block_size: int | None,
    axis_name: AxisName | None,
) -> tuple[Domain, int | None]:
    """Choose the domain, and the rows of K formed at a time (None: K is kept whole).

    `shape` is that of K over all devices; `epsilon` is None where ε is not known or the scaling
    domain not possible; `domain` and `block_size` are None where the caller leaves them to the
    rule.

    Raises:
      ValueError: an unknown domain, a block size < 1, a block size or an axis in the log domain.
    """
    if domain is None:
        large = epsilon is not None and epsilon >= SMALLEST_SCALING_EPSILON
        domain = "scaling" if large else "log"
    check.one_of("domain", domain, ("scaling", "log"))
    if domain == "log":
        for name, value in (("block_size", block_size), ("axis_name", axis_name)):
            if value is not None:
                raise ValueError(
                    f"{name}={value!r} needs the scaling domain: a cosine kernel with a known "
                    f"epsilon >= {SMALLEST_SCALING_EPSILON}, or domain='scaling'"
                )
        return domain, None
    n, m = shape
    rows = n if axis_name is None else n // jax.lax.axis_size(axis_name)
    if block_size is None:
        block_size = rows if _fits(rows * m) else max(1, BLOCK // m)
    check.at_least("block_size", block_size, 1)
    return domain, block_size if block_size < rows else None


def _fits(entries: int) -> bool:
    """Tell whether so many entries of K are kept whole; a symbolic number, of an export, is."""
    return jax.export.is_symbolic_dim(entries) or entries <= largest_whole()


def largest_whole() -> int:
    """Return the most entries of K that a device keeps whole unless the caller says otherwise.

    `WHOLE_SHARE` of its memory in float32, rounded down to a power of two, so that a limit which
    differs a little between processes or restarts seldom changes the program.
    """
    memory = device_memory()
    if memory is None:
        return USUAL_WHOLE
    entries = int(memory * WHOLE_SHARE) // 4
    return 1 << max(entries.bit_length() - 1, 0)


def device_memory() -> int | None:
    """Return the bytes JAX may use of this process's first device; None if it names no limit.

    A program that is lowered for devices which this process does not have follows the devices that
    it has: 2^28 entries on a CPU. State `block_size` there.
    """
    return (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")


def smallest_epsilon(dtype: jnp.dtype) -> float:
    """Return the smallest ε that the scaling domain takes in a dtype."""
    return SMALLEST_OF_FLOAT64 if dtype == jnp.float64 else SMALLEST_SCALING_EPSILON
