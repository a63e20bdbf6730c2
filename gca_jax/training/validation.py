"""Which step's weights a run on pairs ends with: those that validation pairs are likeliest by."""

from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from gca_jax import distributed, ot
from gca_jax.data.pairs import Pairs
from gca_jax.data.splits import evenly_spaced
from gca_jax.models import Towers, evidence
from gca_jax.training.hooks import STOP
from gca_jax.training.memory import Looks
from gca_jax.training.state import TrainState
from gca_jax.training.step import Training

LIKELIHOOD = "validation_likelihood"  # its name in the log
EPSILON = 0.05  # of the plan
MOST = 2_048  # pairs that are looked at,
IN_PLAN = 1_024  # and in one plan: on a CPU a look then takes the time of some steps
FEW = 256  # pairs, below which others fill the plan
PATIENCE = 5  # looks
FIRST = 100  # step from which looks count that bring nothing better
CHANCE = 2.0  # nats over all pairs, below which ℓ is no better than chance (p = 0.02)


def is_due(step: int) -> bool:
    """Tell whether to look: at 0, 10, 15, 20, 30, 50, 70, and these times 10, 100, ..."""
    while step >= 100 and step % 10 == 0:
        step //= 10
    return step in (0, 10, 15, 20, 30, 50, 70)


class Validation:
    """Keeps the weights of the look with the largest held-out likelihood ℓ; a hook.

    ℓ (`models.evidence.likelihood`) is that of the validation pairs, which may be wrong as
    those of training, in the plan without prior between their embeddings: at ε = 0.05, of at most
    2,048 of them, evenly spaced, and of 1,024 at a time; fewer than 256 stand among training rows,
    as among few a partner is easily found. Of equal looks the last one counts, so that a run which
    finds nothing ends with its last weights. `patience` looks without a better one, from step 100
    on, end the run; its last step is looked at too.
    """

    name = "validation"

    def __init__(self, training: Training):
        experiment, device = training.experiment, jax.local_devices()[0]
        data, part = experiment.data, experiment.data.validation
        pairs = evenly_spaced(len(part.a), MOST)
        plans = -(-len(pairs) // IN_PLAN)
        pairs = pairs[: len(pairs) // plans * plans].reshape(-1, plans).T
        rows = _among_others(data) if pairs.size < FEW else [side[pairs] for side in part]
        features = [
            side.features(some.ravel()).reshape(*some.shape, -1)
            for side, some in zip((data.a, data.b), rows, strict=True)
        ]
        self._network, self._last = experiment.network, training.total_steps
        self._device, self._features = device, jax.device_put(features, device)
        self._patience = experiment.train.patience or PATIENCE
        self.pairs, self._columns = pairs.size, rows[0].shape[1]
        self._looks = Looks(experiment) if experiment.remembers else None
        self.memory: dict[str, Any] = {"looks": []}

    def begin(self, state: TrainState) -> TrainState:
        """Look at the initial weights, which are the best so far, unless that is done."""
        if self.memory["looks"]:
            return state
        state = self._remember(state)
        self._look(0, state.params)
        return state._replace(remembered=_copied(state.memory))

    def __call__(
        self, step: int, state: TrainState, metrics: dict[str, Any]
    ) -> TrainState | Literal["stop"] | None:
        """Look at the weights, if it is time; keep them, or request a stop."""
        if not is_due(step) and step != self._last:
            return None
        state = self._remember(state)
        metrics[LIKELIHOOD] = jax.device_put(np.float32(self._look(step, state.params)))
        if self.chosen[0] == step:
            return state._replace(best=_copied(state.params), remembered=_copied(state.memory))
        return STOP if self.ended else state

    def _remember(self, state: TrainState) -> TrainState:
        """Look at training pairs too, if they are remembered."""
        if self._looks is None or state.memory is None:
            return state
        return self._looks.look(len(self.memory["looks"]), state)

    def _look(self, step: int, params: PyTree) -> float:
        """Compute ℓ and remember it; all processes that of the first, so that they decide alike."""
        here = jax.device_put(jax.device_get(params), self._device)
        log_p = jax.device_get(_log_shares(self._network, here, *self._features))
        log_p = log_p[:, : self.pairs // len(log_p)].ravel().astype(np.float64)
        found = evidence.likelihood(np.log(self._columns) + log_p)
        found = float(distributed.gather(np.array([found]))[0])
        found = found if found * self.pairs > CHANCE else 0.0
        self.memory["looks"].append([step, found])
        return found

    @property
    def chosen(self) -> tuple[int, float]:
        """Step and ℓ of the best look."""
        step, found = max(self.memory["looks"], key=lambda look: (look[1], look[0]))
        return step, found

    @property
    def ended(self) -> bool:
        """Whether so many looks brought nothing better that the run is over."""
        best, _ = self.chosen
        since = [step for step, _ in self.memory["looks"] if step > best and step >= FIRST]
        return len(since) >= self._patience

    @property
    def summary(self) -> dict[str, Any]:
        """What `training.json` says of it."""
        step, found = self.chosen
        looks = self.memory["looks"]
        return {"step": step, "likelihood": found, "pairs": self.pairs, "looks": looks}


def _among_others(data: Pairs) -> list[Int[np.ndarray, "1 k"]]:
    """Return rows of both sides of one plan: of the validation pairs, and then others."""
    others = [
        np.setdiff1d(rows, held)  # of pairs that share a row, another may be trained with
        for rows, held in zip(data.rows, data.validation, strict=True)
    ]
    count = min(IN_PLAN - len(data.validation.a), *map(len, others))
    return [
        np.concatenate([held, rows[evenly_spaced(len(rows), count)]])[None]
        for held, rows in zip(data.validation, others, strict=True)
    ]


# A dozen looks take less time than the code would take to be optimised.
@partial(jax.jit, static_argnums=0, compiler_options={"xla_backend_optimization_level": 0})
def _log_shares(
    network: Towers, params: PyTree, a: Float[Array, "p k f"], b: Float[Array, "p k g"]
) -> Float[Array, "p k"]:
    """Return log p of the pairs of each plan: their shares of their rows' mass, without prior."""

    def of_plan(rows: tuple[Array, Array]) -> Array:
        embeddings: Any = network.apply({"params": params}, *rows)
        kernel = ot.cosine_kernel(*embeddings, epsilon=EPSILON)
        return ot.project(kernel, iterations=evidence.SWEEPS).log_positive_shares

    return jax.lax.map(of_plan, (a, b))


@jax.jit
def _copied(params: PyTree) -> PyTree:
    """Copy weights or a memory, as the next step reuses their buffers."""
    return jax.tree.map(jnp.copy, params)
