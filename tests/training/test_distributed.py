"""Two processes that train together give what one process gives."""

import os
import pathlib
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from gca_jax.training import checkpoint

ROOT = pathlib.Path(__file__).parents[2]
PROGRAM = """
import runpy, sys, jax
index, count, port, workdir = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
if count > 1:
    jax.distributed.initialize(f"127.0.0.1:{port}", count, index, heartbeat_timeout_seconds=20)
from gca_jax.training import loop
config = runpy.run_path("configs/digits.py")["get_config"]("gca_uot")
config.update_from_flattened_dict({"model.stage_sizes": (1,), "model.width": 4,
    "model.projector_hidden": 8, "model.projector_dim": 8, "train.batch_size": 472,
    "train.epochs": 1})
loop.pretrain(config.lock(), workdir)
print("trained in", jax.process_count(), "on", jax.device_count())
"""


def launch(workdir, count, devices):
    """Run `count` processes of `devices` CPU devices each; return the last line of each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = f"--xla_force_host_platform_device_count={devices}"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(i), str(count), str(port), str(workdir)],
            cwd=ROOT,
            env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(count)
    ]
    try:
        results = [process.communicate(timeout=300) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, err) in zip(processes, results, strict=True):
        assert process.returncode == 0, err
    return [out.splitlines()[-1] for out, _ in results]


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path):
    together, alone = tmp_path / "together", tmp_path / "alone"
    assert launch(together, 2, 2) == ["trained in 2 on 4"] * 2
    assert launch(alone, 1, 4) == ["trained in 1 on 4"]
    # Written by two processes, read by this one.
    ours, theirs = (checkpoint.restore_variables(path)[1] for path in (together, alone))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), ours, theirs)
    assert len((together / "metrics.jsonl").read_text().splitlines()) == 3
