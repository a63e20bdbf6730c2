"""Bounds on what XLA's compilers for GPUs and TPUs make of losses and steps; optional.

CI does not install the plug-ins: `python -m benchmarks.accelerators` says which packages they are.
"""

import functools

import pytest

from benchmarks import accelerators

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(accelerators.missing() is not None, reason="needs plug-ins of JAX"),
]
MEGABYTE = 1e6


@functools.cache
def compiled(*fields):
    found = accelerators.in_process(accelerators.Case(*fields))
    assert "error" not in found, found
    return found


@pytest.mark.parametrize("target", ["1 H100", "1 v5e"])
@pytest.mark.parametrize("name", accelerators.LOSSES)
def test_k_kept_whole_is_kept_once(name, target):
    assert compiled(target, "dense", name, 4096)["temporaries"] <= 1.6 * 4 * 4096**2


@pytest.mark.parametrize("name", accelerators.LOSSES)
def test_blocks_fit_beside_a_network(name):
    assert compiled("1 H100", "rule", name, 65536)["temporaries"] <= 150 * MEGABYTE


@pytest.mark.parametrize("target", ["8 H100", "16 v5e"])
@pytest.mark.parametrize("name", accelerators.LOSSES)
def test_devices_share_k_and_exchange_embeddings_once(name, target):
    n, d = 65536, 128
    found = compiled(target, "sharded", name, n)
    assert target != "16 v5e" or found["temporaries"] <= 300 * MEGABYTE
    large = [line for line in found["collectives"] if line["floats"] > n]
    assert sum(line["times"] for line in large if line["kind"] == "all-gather") == 1
    assert all(line["floats"] <= n * d for line in large)


@pytest.mark.parametrize("target", ["8 H100", "8 v5e"])
def test_a_step_gathers_embeddings_and_no_images(target):
    batch = 2048
    moved = [
        line
        for line in compiled(target, "step", "cifar10", batch)["collectives"]
        if line["kind"] not in ("all-reduce", "reduce-scatter")
    ]
    assert all(line["floats"] <= 2 * batch * 128 for line in moved)  # an image has 3,072 floats
