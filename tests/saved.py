"""A folder as a run leaves it, without the time that training takes."""

import jax
import numpy as np

from gca_jax.experiment import build
from gca_jax.files import write_json
from gca_jax.shapes import Summary
from gca_jax.training import checkpoint
from gca_jax.training.state import TrainState, init_variables
from gca_jax.workdir import RunFolder

RESNETS = {
    "basic": {"model.stage_sizes": (1, 2), "model.width": 4},
    "bottleneck": {
        **{"model.stage_sizes": (1, 1), "model.width": 4},
        **{"model.block": "bottleneck", "model.stem": "imagenet"},
    },
}


def encoders(tiny, dataset, folder):
    """Save a run for each kind of encoder, in folders of its name."""
    for name, changes in RESNETS.items():
        save(build(tiny("ince", **changes), dataset=dataset), folder / name)
    save(build(tiny("ince,vit"), dataset=dataset), folder / "vit")


def save(experiment, folder, identity=None):
    """Write config, summary and a checkpoint of random weights and statistics, which it returns."""
    rng = np.random.default_rng(0)
    data, network = experiment.data, experiment.network
    shapes = init_variables.eval_shape(network, experiment.key, data.input_shape)
    variables = jax.tree.map(lambda x: rng.uniform(0.1, 1, x.shape).astype(x.dtype), shapes)
    state = TrainState(np.int32(3), **variables, opt_state={"count": np.int32(3)})
    folder.mkdir(parents=True, exist_ok=True)
    with checkpoint.open_manager(RunFolder(folder)) as manager:
        checkpoint.save(manager, state, checkpoint.Progress(3), experiment.record, identity)
        manager.wait_until_finished()
    known = {"finished": True, "steps": 3, "device": "cpu", **data.inputs}
    write_json(folder / "config.json", experiment.record)
    write_json(folder / "training.json", {**dict.fromkeys(Summary.__required_keys__, 1), **known})
    return variables
