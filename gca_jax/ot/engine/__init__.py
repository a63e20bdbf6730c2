"""How sweeps over a kernel are run: whole or in blocks of rows, on one device or several.

The names below are all that the rest of the package uses.
"""

from gca_jax.ot.engine.domain import Domain, choose, smallest_epsilon
from gca_jax.ot.engine.excluded import Excluded
from gca_jax.ot.engine.forward import both_sums, row_sums, sweep
from gca_jax.ot.engine.passes import Passes, Points, in_parts, make_passes
from gca_jax.ot.engine.prior import Prior
from gca_jax.ot.engine.problem import Problem, scaling
from gca_jax.ot.engine.sharding import AxisName, gathered, replicated

__all__ = [
    "AxisName",
    "Domain",
    "Excluded",
    "Passes",
    "Points",
    "Prior",
    "Problem",
    "both_sums",
    "choose",
    "gathered",
    "in_parts",
    "make_passes",
    "replicated",
    "row_sums",
    "scaling",
    "smallest_epsilon",
    "sweep",
]
