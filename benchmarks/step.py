"""Where the time of a training step goes, and the same step in plain PyTorch, taking turns.

python -m benchmarks.step                         # a few minutes on two cores
python -m benchmarks.step --torch_python=PYTHON   # with a Python that has torch
python -m benchmarks.step --quick                 # few repeats
python -m benchmarks.step --cpu_time              # CPU seconds: on a busy machine

Random images of the shapes of digits, Fashion-MNIST (`small`) and CIFAR-10 (ResNet-18, a small
batch). The parts are compiled alone, so their sum is not the whole step, whose compiler sees them
together: `rest` is what is left, norms for the log among it, and may be below zero. The encoder is
its forward and reverse pass. PyTorch's step is that without data and augmentation: encoder,
NT-Xent, reverse pass, update; the same network, batch and optimizer, on the same cores.
"""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import time
import types
from importlib.util import find_spec

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import measure
from configs import cifar10, digits, fashion_mnist
from gca_jax import data, experiment, losses
from gca_jax.training import train
from gca_jax.training.step import make_optimizer, make_train_step, trace

CASES = {
    "digits": (digits.get_config("simclr"), (8, 8, 1), 256),
    "fashion_mnist": (fashion_mnist.get_config("simclr,small"), (28, 28, 1), 128),
    "cifar10": (cifar10.get_config("simclr"), (32, 32, 3), 32),
}
KEY = jax.random.key(0)


def case(config, shape, batch):
    """Functions by name, each a part of the step, the whole of it, or all but data and views."""
    config.train.batch_size = batch
    images = np.random.default_rng(0).integers(0, 256, (4 * batch, *shape), dtype=np.uint8)
    made = experiment.build(config, dataset=data.arrays(images, test_images=images[:batch]))
    training = trace(made)
    network, state = made.network, training.initial()
    optimizer, _ = make_optimizer(
        training.total_steps, training.steps_per_epoch, **config.optimizer
    )
    stream = train.batches(training, 0)
    batch = next(stream)
    views = jax.jit(made.data.views)(KEY, batch.inputs)
    z = network.embed({"params": state.params, "batch_stats": state.batch_stats}, views).pair

    def encoder(params):
        found = network.embed({"params": params, "batch_stats": state.batch_stats}, views)
        return sum(jnp.vdot(a, b) for a, b in zip(found.pair, z, strict=True)), found.batch_stats

    def update(gradients):
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        return optax.apply_updates(state.params, updates), opt_state

    def value_and_gradient(name):
        loss = lambda z: losses.METHODS[name](*z, **config.loss)  # noqa: E731
        return jax.jit(jax.value_and_grad(loss, has_aux=True)), z

    data_of_views = types.SimpleNamespace(views=lambda _, views: views)
    bare = make_train_step(
        dataclasses.replace(made, data=data_of_views), optimizer, training.total_steps
    )
    compiled = {
        "augmentation": (jax.jit(made.data.views), KEY, batch.inputs),
        "encoder": (jax.jit(jax.grad(encoder, has_aux=True)), state.params),
        "loss": value_and_gradient("simclr"),
        "loss of gca_uot": value_and_gradient("gca_uot"),
        "optimizer": (jax.jit(update), state.params),
        "step without views": (jax.jit(bare), state, KEY, batch._replace(inputs=views)),
    }
    bound = {name: lambda f=f, args=args: f(*args) for name, (f, *args) in compiled.items()}
    step = measure.stepping(training.lowered.compile(), training.initial(), training.key, batch)
    size = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    return {"data": lambda: next(stream).inputs, **bound, "step": step}, size


class Peer:
    """PyTorch's step in a process of its own, which makes one whenever it is asked to."""

    def __init__(self, python, config, shape, batch):
        keys = "stage_sizes", "width", "stem", "projector_hidden", "projector_dim"
        model = {key: config.model[key] for key in keys}
        described = {"shape": shape, "batch": batch, "optimizer": config.optimizer.name, **model}
        script = pathlib.Path(__file__).with_name("step_peer.py")
        threads = len(os.sched_getaffinity(0))
        command = [python, str(script), json.dumps({**described, "threads": threads})]
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.process = subprocess.Popen(command, **pipes)
        self.about = json.loads(self.process.stdout.readline() or "null")

    def step(self, cpu_time):
        """Seconds of one step."""
        print(file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())[cpu_time]

    def close(self):
        """End the process."""
        self.process.stdin.close()
        self.process.wait()


def measured(config, shape, batch, torch_python, repeats, cpu_time):
    """Images a second, shares of the step, and the peer's images a second where there is one."""
    functions, parameters = case(config, shape, batch)
    clock = time.process_time if cpu_time else time.perf_counter
    peer = Peer(torch_python, config, shape, batch) if torch_python else None
    if peer is not None:
        assert peer.about["parameters"] == parameters, (peer.about, parameters)
        functions["torch"] = lambda: peer.step(cpu_time)
    times = measure.seconds(functions, repeats, patience=120.0, settle=False, clock=clock)
    if peer is not None:
        peer.close()
    parts = "data", "augmentation", "encoder", "loss", "optimizer"
    share = {name: times[name] / times["step"] for name in parts}
    share["rest"] = 1 - sum(share.values())
    result = {"batch": batch, "images_per_second": batch / times["step"], "share": share}
    result |= {"milliseconds": {name: 1e3 * t for name, t in times.items()}}
    if peer is not None:
        result |= {"times_torch": times["torch"] / times["step without views"], **peer.about}
    return result


def work(quick, cpu_time, torch_python):
    """What is measured of each shape."""
    if torch_python == sys.executable and find_spec("torch") is None:
        torch_python = None
    result = {"threads": len(os.sched_getaffinity(0)), "cpu_time": cpu_time}
    for name, settings in CASES.items():
        result[name] = measured(*settings, torch_python, 3 if quick else 15, cpu_time)
        print(name, json.dumps(result[name], indent=1), flush=True)
    return result


if __name__ == "__main__":
    measure.command("step", __doc__, work, quick=False, cpu_time=False, torch_python=sys.executable)
