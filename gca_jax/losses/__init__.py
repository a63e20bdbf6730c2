"""The losses: pure functions of two batches of embeddings, `(z_a, z_b, **settings) → (value, aux)`.

A loss poses a problem (a kernel and a target plan), projects the kernel onto a set of plans, and
measures the divergence of the target from the plan (Chen et al., NeurIPS 2024, equations 1 to 14)::

    value, aux = gca_uot(z_a, z_b, epsilon=0.5)
    value, aux = METHODS["gca_ince"](z_a, z_b, epsilon=0.1, layout="joint")

`value` is a mean over rows. `aux` holds scalars for a log, which pass no gradient: alignment of
the embeddings, mass of the plan, whether the value overflowed; with `diagnose=True` also what takes
a pass over K, as uniformity, residual, entropy and contrastive accuracy (docs/losses.md).
Embeddings are normalised here and may be
float16, bfloat16, float32 or float64; the arithmetic is float32 or, for float64, float64. The
gradient is the exact derivative of the value, except where `gradient=` says otherwise. That of a
row grows as 1/length, beyond the dtype's range for the shortest rows: docs/reliability.md.

Shapes: z_a [n, d] and z_b [m, d]; positive pairs have the same index. With `layout="cross"` the
kernel is z_a against z_b, [n, m]; with `"joint"`, SimCLR's, it is all 2n views against all 2n
views without self-pairs, and n = m. A wrong shape, dtype, name or number is a `ValueError` that
names the argument, an unknown keyword a `TypeError` that lists the right ones.
"""

from gca_jax.losses._common import Aux, KernelOptions, Out
from gca_jax.losses._diagnosis import if_wanted, may_be_wanted
from gca_jax.losses._methods import (
    METHODS,
    Loss,
    Method,
    byol,
    clip,
    gca_gce,
    gca_ince,
    gca_rince,
    gca_uot,
    gce,
    ince,
    iot,
    iot_uni,
    keywords,
    rcl,
    rince,
    simclr,
    transport,
)
from gca_jax.losses._sharded import sharded

__all__ = [
    "METHODS",
    "Aux",
    "KernelOptions",
    "Loss",
    "Method",
    "Out",
    "byol",
    "clip",
    "gca_gce",
    "gca_ince",
    "gca_rince",
    "gca_uot",
    "gce",
    "if_wanted",
    "ince",
    "iot",
    "iot_uni",
    "keywords",
    "may_be_wanted",
    "rcl",
    "rince",
    "sharded",
    "simclr",
    "transport",
]
