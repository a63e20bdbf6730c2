"""Memory, collectives and FLOPs on an H100, TPU v5e slices and many CPUs, compiled without one.

python -m benchmarks.accelerators               # an hour or two on two cores
python -m benchmarks.accelerators --quick       # losses of 4,096 rows
python -m benchmarks.accelerators --only=H100   # cases whose title has these words

XLA compiles for a device that it is told about; nothing is executed, so there are no times. GPUs
and TPUs need the plug-ins of both, which change what JAX finds: install them beside this project's
requirements in an environment of their own, and take its Python; without them the CPUs are left.
Cases that are not compiled keep their lines in the JSON.
"""

import importlib.metadata
import importlib.util
import json
import math
import os
import pathlib
import subprocess
import sys
from functools import partial
from typing import NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from benchmarks import loss, measure
from gca_jax import config, experiment, losses
from gca_jax.data.dataset import Dataset, Streamed
from gca_jax.training import step

OUT = "benchmarks/results/accelerators.json"
PLUGINS = ("jax_cuda13_plugin", "libtpu")
ENVIRONMENT = {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1", "CUDA_VISIBLE_DEVICES": "-1"}
LOSSES = ("simclr", "gca_ince", "gca_uot")
GIB = 2**30


class Target(NamedTuple):
    """Devices to compile for."""

    platform: str
    topology: str
    devices: int
    memory: int | None = None  # bytes of each that JAX may use; None: those of this machine


H100, V5E = int(0.75 * 84_929_347_584), int(15.75 * GIB)
TARGETS = {
    "1 H100": Target("cuda", "1x1x1", 1, H100),
    "8 H100": Target("cuda", "1x1x8", 8, H100),
    "1 v5e": Target("tpu", "v5e:2x4", 1, V5E),
    "8 v5e": Target("tpu", "v5e:2x4", 8, V5E),
    "16 v5e": Target("tpu", "v5e:4x4", 16, V5E),
    "256 v5e": Target("tpu", "v5e:16x16", 256, V5E),
    **{f"{n} CPU": Target("cpu", "", n) for n in (8, 64, 256)},  # virtual ones, of one process
}


class Case(NamedTuple):
    """What to compile: a loss of n rows, or the step of a config on a batch of n images.

    A loss is value, `aux` and gradient, run in a way. "dense" and "sharded whole" keep K whole;
    "dense value" is without `aux`, "dense diagnosed" with the diagnosis.
    """

    target: str
    what: str  # "step", or a way of a loss
    name: str  # the loss, or the config
    n: int

    @property
    def title(self) -> str:
        """Name the case."""
        return f"{self.name} {self.what} {self.n} on {self.target}"


def cases(quick):
    """All that is compiled, the quickest first."""
    ways = ("sharded whole", "sharded", "dense")
    if quick:
        found = [Case("8 CPU", way, "gca_ince", 4096) for way in ways]
        return found + [Case(t, "dense", "gca_ince", 4096) for t in ("1 H100", "1 v5e")]
    found = [
        Case(target, what, name, 4096)
        for target in ("1 H100", "1 v5e")
        for what in ("dense", "dense value", "dense diagnosed")
        for name in LOSSES
    ]
    found += [Case(f"{n} CPU", way, "gca_ince", 65536) for n in (8, 64, 256) for way in ways]
    found += [Case(t, "rule", name, 65536) for t in ("1 H100", "1 v5e") for name in LOSSES]
    found += [Case(t, "sharded", name, 65536) for t in ("8 H100", "16 v5e") for name in LOSSES]
    found += [Case("256 v5e", "sharded", "gca_uot", 65536)]
    found += [
        Case(target, "step", name, batch)
        for name, batches in (("cifar10", (512, 2048, 2048)), ("imagenet100", (128, 1024, 1024)))
        for target, batch in zip(("1 H100", "8 H100", "8 v5e"), batches, strict=True)
    ]
    return [*found, Case("256 v5e", "step", "cifar10", 32768)]


def mesh(target):
    """The devices of a target, which this machine need not have, along the axis `data`."""
    if target.platform == "cpu":
        return jax.make_mesh((target.devices,), ("data",), axis_types=(AxisType.Auto,))
    known = {"topology_name": target.topology}
    if target.platform == "cuda":
        described = pathlib.Path(__file__).with_name("h100.textproto").read_text()
        known = {"topology": target.topology, "target_config": described}
    devices = topologies.get_topology_desc(platform=target.platform, **known).devices
    return Mesh(np.array(devices[: target.devices]), ("data",), axis_types=(AxisType.Auto,))


def lower(case, devices):
    return (lowered_step if case.what == "step" else lowered_loss)(case, devices)


def lowered_loss(case, devices):
    """Value and gradient of a loss of n rows, d = 128, joint layout."""
    rows, whole = (NamedSharding(devices, PartitionSpec(*axes)) for axes in (("data",), ()))
    split = case.what.startswith("sharded")
    one = losses.sharded(case.name, devices) if split else losses.METHODS[case.name]
    settings = {"epsilon": loss.EPSILON, "layout": "joint"}
    if case.what == "sharded whole" or case.what.startswith("dense"):
        settings["block_size"] = case.n
    settings["diagnose"] = case.what.endswith("diagnosed")
    alone = case.what.endswith("value")
    value = (lambda a, b: one(a, b, **settings)[0]) if alone else partial(one, **settings)
    step = jax.value_and_grad(value, argnums=(0, 1), has_aux=not alone)
    z = jax.ShapeDtypeStruct((case.n // 2, 128), jnp.float32, sharding=rows)
    return jax.jit(step, out_shardings=(whole, (rows, rows))).lower(z, z)


def lowered_step(case, devices):
    """The training step of a config for GCA-UOT, on a batch of n images that are never read."""
    settings = config.load(case.name, "gca_uot")
    settings.train.batch_size = case.n
    side, classes, streamed = (32, 10, False) if case.name == "cifar10" else (224, 100, True)
    size = max(2 * case.n, 50_000)
    images = np.broadcast_to(np.uint8(0), (size, side, side, 3))
    if streamed:
        images = Streamed(None, np.arange(size), side)
    labels = np.arange(size, dtype=np.int32) % classes
    dataset = Dataset(case.name, images, labels, images, labels, classes)
    with mock.patch("gca_jax.training.step.make_mesh", return_value=devices):
        return step.trace(experiment.build(settings, dataset=dataset)).lowered


def compile_case(*fields):
    """Compile one case in this process."""
    case = Case(*fields)
    target = TARGETS[case.target]
    with mock.patch("gca_jax.ot.engine.domain.device_memory", return_value=target.memory):
        compiled = lower(case, mesh(target)).compile()
    memory, count = compiled.memory_analysis(), flops(case)
    arguments, results = memory.argument_size_in_bytes, memory.output_size_in_bytes
    own = memory.peak_memory_in_bytes - arguments - results + memory.alias_size_in_bytes
    return case._asdict() | {
        "devices": target.devices,
        "temporaries": max(memory.temp_size_in_bytes, own),
        "arguments": arguments,
        "peak": memory.peak_memory_in_bytes,
        "flops": count and count / target.devices,
        "collectives": measure.collectives(compiled),
    }


def flops(case):
    """XLA's count before it optimises, a device's share; loops count one turn, so not for blocks.

    It is counted on a CPU, as the compiler for GPUs does not count, of the convolutions that
    accelerators run: those for a CPU have loops.
    """
    if case.what not in ("dense", "step") or TARGETS[case.target].platform == "cpu":
        return None
    cpu = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,))
    with mock.patch("gca_jax.models.convolution.FEW_CHANNELS", math.inf):
        return lower(case, cpu).cost_analysis()["flops"]


def in_process(case):
    """Compile a case in a process of its own, as an accelerator's plug-in wants it."""
    call = f"a.json.dumps(a.compile_case(*{tuple(case)}))"
    program = f"from benchmarks import accelerators as a; print({call})"
    target, environment = TARGETS[case.target], os.environ | ENVIRONMENT
    if target.platform == "cpu":
        environment["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={target.devices}"
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    if run.returncode:
        said = [line for line in run.stderr.splitlines() if "Error" in line] or ["no message"]
        return case._asdict() | {"error": f"status {run.returncode}: {said[-1][:300]}"}
    return json.loads(run.stdout.splitlines()[-1])


def missing():
    """One line that says what to install, or None where both plug-ins are there."""
    absent = [name for name in PLUGINS if not importlib.util.find_spec(name)]
    if not absent:
        return None
    return (
        f"{sys.executable} has no {' and no '.join(absent)}: beside the requirements in an "
        f"environment of their own, python -m pip install {' '.join(packages())}"
    )


def packages():
    """The plug-ins at the versions that go with this JAX."""
    version = jax.__version__
    libtpu = next(r for r in importlib.metadata.requires("jax") if r.startswith("libtpu"))
    cuda = [f"{name}=={version}" for name in ("jax-cuda13-plugin", "jax-cuda13-pjrt")]
    return [*cuda, libtpu.partition(";")[0].strip()]


def work(quick, only):
    """Compile the cases; the lines of the others stay as they are in the JSON."""
    chosen = [case for case in cases(quick) if only in case.title]
    if said := missing():
        print(said)
        chosen = [case for case in chosen if TARGETS[case.target].platform == "cpu"]
    found = {}
    for case in chosen:
        found[case] = in_process(case)
        print(f"{case.title:<44}{summary(found[case])}", flush=True)
    path = pathlib.Path(OUT)
    known = json.loads(path.read_text())["lines"] if path.exists() and not quick else []
    lines = {Case(*(line[field] for field in Case._fields)): line for line in known} | found
    return {
        "jax": jax.__version__,
        "lines": [lines[case] for case in cases(quick) if case in lines],
    }


def summary(line):
    if "error" in line:
        return line["error"]
    share = line["temporaries"] / 4 / line["n"] ** 2 * line["devices"]
    units = "" if line["what"] == "step" else f"  {share:.2f} n m 4 bytes"
    return f"{line['temporaries'] / 1e6:>10.1f} MB{units}  peak {line['peak'] / 1e6:.1f} MB"


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")  # the plug-ins are for the processes that compile
    measure.command("accelerators", __doc__, work, only="")
