"""Two processes that train together give what one process gives."""

import jax
import numpy as np
import pytest

from gca_jax.training import checkpoint
from tests import processes

PROGRAM = """
import runpy, sys, jax
index, count, port, workdir = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
if count > 1:
    jax.distributed.initialize(f"127.0.0.1:{port}", count, index, heartbeat_timeout_seconds=20)
from gca_jax.experiment import build
from gca_jax.training import loop
config = runpy.run_path("configs/digits.py")["get_config"]("gca_uot")
config.update_from_flattened_dict({"model.stage_sizes": (1,), "model.width": 4,
    "model.projector_hidden": 8, "model.projector_dim": 8, "train.batch_size": 472,
    "train.epochs": 1})
loop.pretrain(build(config.lock()), workdir)
print("trained in", jax.process_count(), "on", jax.device_count())
"""


def train(workdir, count, devices):
    """Train in `count` processes of `devices` devices each; return the last line of each."""
    return [out.splitlines()[-1] for out in processes.run(PROGRAM, count, devices, workdir)]


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path):
    together, alone = tmp_path / "together", tmp_path / "alone"
    assert train(together, 2, 2) == ["trained in 2 on 4"] * 2
    assert train(alone, 1, 4) == ["trained in 1 on 4"]
    # Written by two processes, read by this one.
    ours, theirs = (checkpoint.restore_variables(path)[0] for path in (together, alone))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), ours, theirs)
    assert len((together / "metrics.jsonl").read_text().splitlines()) == 3
