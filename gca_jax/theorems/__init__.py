"""The theorems of the paper as functions of two batches, with the domain on which each holds.

    check = theorem_5(z_a, z_b, epsilon=0.1)
    check.holds, check.residual, check.tolerance, check.statement

They run under `jit` and `vmap`. `python -m gca_jax.theorems` tries all of them on random batches in
float64 and prints the table.
"""

from gca_jax.theorems.statements import (
    THEOREM_6_COUNTEREXAMPLE,
    Check,
    limit_rince_to_ince,
    theorem_1,
    theorem_2,
    theorem_3,
    theorem_4,
    theorem_5,
    theorem_6,
    theorem_7,
)

__all__ = [
    "THEOREM_6_COUNTEREXAMPLE",
    "Check",
    "limit_rince_to_ince",
    "theorem_1",
    "theorem_2",
    "theorem_3",
    "theorem_4",
    "theorem_5",
    "theorem_6",
    "theorem_7",
]
