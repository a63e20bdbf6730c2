"""What a run on pairs remembers of its training pairs: how likely the plan found them at each look.

Towers come to know wrong pairs by heart. What they made of them before, from the start on, tells
wrong from right pairs better than the weights that the run ends with.
"""

from functools import partial

import jax
import numpy as np
from jaxtyping import Array, Float, PyTree

from gca_jax import distributed, ot
from gca_jax.experiment import Experiment
from gca_jax.models import Towers, evidence
from gca_jax.training.state import TrainState


def empty(experiment: Experiment) -> evidence.Memory:
    """Remember nothing of the training pairs yet."""
    count = len(experiment.data)
    deals = evidence.deals_of(count)
    return evidence.Memory(np.zeros((1 + deals, count), np.float32), np.zeros(count, np.int32))


class Looks:
    """Looks at training pairs: at all of up to 4,096, else at another batch of them each time."""

    def __init__(self, experiment: Experiment):
        self._network, self._data = experiment.network, experiment.data
        self._deals = evidence.deal(len(experiment.data), seed=experiment.seed)

    def look(self, number: int, state: TrainState) -> TrainState:
        """Add look `number`, counted from 0, to the memory of a state."""
        batch = number % len(self._deals.rows)
        rows = self._deals.rows[batch]
        sides = (self._data.a, self._data.b)
        x, y = (side.features(of[rows]) for side, of in zip(sides, self._data.train, strict=True))
        params = jax.device_put(jax.device_get(state.params), jax.local_devices()[0])
        found = self._deals.judge(batch, *map(np.asarray, _embed(self._network, params, x, y)))
        found = distributed.gather(found)[: len(found)]  # of the first process, for all
        kept = {name: np.array(x) for name, x in jax.device_get(state.memory).items()}
        kept["total"][:, rows] += found
        kept["looks"][rows] += 1
        placed = jax.tree.map(
            lambda new, old: jax.device_put(new, old.sharding), kept, state.memory
        )
        return state._replace(memory=placed)


@partial(jax.jit, static_argnums=0, compiler_options={"xla_backend_optimization_level": 0})
def _embed(
    network: Towers, params: PyTree, a: Float[Array, "k f"], b: Float[Array, "k g"]
) -> tuple[Float[Array, "k d"], Float[Array, "k d"]]:
    """Embed both sides on the unit sphere."""
    z_a, z_b = network.apply({"params": params}, a, b)
    return ot.normalize(z_a), ot.normalize(z_b)
