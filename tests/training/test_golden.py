"""Three training steps whose numbers are kept, to notice a change that nobody meant."""

import jax
import numpy as np
import pytest

from gca_jax.experiment import build
from gca_jax.training import step, train

GOLDEN = {
    "loss": [5.57522, 5.55968, 5.54638],
    "gradient_norm": [1.23446, 0.83582, 0.73795],
    "weights": [7.098, 0.015, 4.008, 28.579, 26.532, 0.019, 4.001, 0.022, 3.991, 15.666, 19.002],
}
WHEN_TO_UPDATE = """a training step gives other numbers than it used to. If that is meant (another
default, order of random draws, augmentation or initialisation; not for speed or tidiness), put the
numbers above into GOLDEN in the same commit and say in its message, and in CHANGELOG.md, what
changed for whoever repeats an old run."""


@pytest.mark.usefixtures("one_device")
def test_the_first_steps_give_the_numbers_that_are_kept(tiny):
    training = step.trace(build(tiny(**{"train.batch_size": 128})))
    state, train_step = training.initial(), training.lowered.compile()
    batches = train.batches(training, 0)
    found = {"loss": [], "gradient_norm": []}
    for _ in range(3):
        state, metrics = train_step(state, training.key, next(batches))
        for name, values in found.items():
            values.append(round(float(metrics[name]), 5))
    batches.close()
    found["weights"] = [round(float(np.abs(x).sum()), 3) for x in jax.tree.leaves(state.params)]
    for name, values in found.items():
        close = np.allclose(values, GOLDEN[name], rtol=2e-4, atol=1e-3)
        assert close, f"{found}\n{WHEN_TO_UPDATE}"
