"""Where the time of a training step goes, and the same step in plain PyTorch, taking turns.

python -m benchmarks.step             # a few minutes on two cores
python -m benchmarks.step --quick     # few repeats, without CIFAR-10
python -m benchmarks.step --cpu_time  # CPU seconds: on a busy machine

Random images of the shapes of digits, Fashion-MNIST (`small`) and CIFAR-10 (ResNet-18, a small
batch). The parts are compiled alone, so their sum is not the whole step, whose compiler sees them
together: `rest` is what is left, norms for the log among it, and may be below zero. The diagnosis
is what `loss, diagnosed` takes beyond `loss`, in logged steps alone. The encoder is
its forward and reverse pass. PyTorch's step, timed where torch is installed, is that without data
and augmentation: encoder, NT-Xent, reverse pass, update; the same network, batch and optimizer.
"""

import dataclasses
import importlib.util
import json
import os
import time
import types

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


def case(config, shape, batch):
    """Functions by name, each a part of the step, the whole of it, or all but data and views."""
    config.train.batch_size, key = batch, jax.random.key(0)
    images = np.random.default_rng(0).integers(0, 256, (4 * batch, *shape), dtype=np.uint8)
    made = experiment.build(config, dataset=data.arrays(images, test_images=images[:batch]))
    training = trace(made)
    network, state = made.network, training.initial()
    optimizer, _ = make_optimizer(
        training.total_steps, training.steps_per_epoch, **config.optimizer
    )
    stream = train.batches(training, 0)
    batch = next(stream)
    views = jax.jit(made.data.views)(key, batch.inputs)
    z = network.embed({"params": state.params, "batch_stats": state.batch_stats}, views).pair

    def encoder(params):
        found = network.embed({"params": params, "batch_stats": state.batch_stats}, views)
        return sum(jnp.vdot(a, b) for a, b in zip(found.pair, z, strict=True)), found.batch_stats

    def update(gradients):
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        return optax.apply_updates(state.params, updates), opt_state

    def value_and_gradient(name, **more):
        loss = lambda z: losses.METHODS[name](*z, **config.loss, **more)  # noqa: E731
        return jax.jit(jax.value_and_grad(loss, has_aux=True)), z

    data_of_views = types.SimpleNamespace(views=lambda _, views: views)
    bare = make_train_step(
        dataclasses.replace(made, data=data_of_views), optimizer, training.total_steps
    )
    compiled = {
        "augmentation": (jax.jit(made.data.views), key, batch.inputs),
        "encoder": (jax.jit(jax.grad(encoder, has_aux=True)), state.params),
        "loss": value_and_gradient("simclr"),
        "loss, diagnosed": value_and_gradient("simclr", diagnose=True),
        "loss of gca_uot": value_and_gradient("gca_uot"),
        "optimizer": (jax.jit(update), state.params),
        "step without views": (jax.jit(bare), state, key, batch._replace(inputs=views)),
    }
    bound = {name: lambda f=f, args=args: f(*args) for name, (f, *args) in compiled.items()}
    step = measure.stepping(training.lowered.compile(), training.initial(), training.key, batch)
    size = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    return {"data": lambda: next(stream).inputs, **bound, "step": step}, size


def torch_step(config, shape, batch):
    """SimCLR's step in plain PyTorch, and how many parameters its network has."""
    import torch
    from torch import nn
    from torch.nn import functional

    def conv(channels, width, side, stride):
        layer = nn.Conv2d(channels, width, side, stride, side // 2, bias=False)
        return nn.Sequential(layer, nn.BatchNorm2d(width))

    class Block(nn.Module):
        def __init__(self, channels, width, stride):
            super().__init__()
            first, second = conv(channels, width, 3, stride), conv(width, width, 3, 1)
            self.branch = nn.Sequential(first, nn.ReLU(inplace=True), second)
            same = stride == 1 and channels == width
            self.shortcut = nn.Identity() if same else conv(channels, width, 1, stride)

        def forward(self, x):
            return functional.relu(self.branch(x) + self.shortcut(x))

    model, (height, side, channels) = config.model, shape
    small, wide = model.stem == "cifar", model.width
    layers = [conv(channels, wide, *((3, 1) if small else (7, 2))), nn.ReLU(inplace=True)]
    layers += [] if small else [nn.MaxPool2d(3, 2, 1)]
    for stage, blocks in enumerate(model.stage_sizes):
        for index in range(blocks):
            width = model.width * 2**stage
            layers.append(Block(wide, width, 2 if stage and not index else 1))
            wide = width
    hidden = nn.Linear(wide, model.projector_hidden, bias=False)
    out = nn.Linear(model.projector_hidden, model.projector_dim, bias=False)
    pool = nn.AdaptiveAvgPool2d(1), nn.Flatten()
    net = nn.Sequential(*layers, *pool, hidden, nn.ReLU(), out)
    optimizer = {
        "sgd": lambda p: torch.optim.SGD(p, 0.1, 0.9, weight_decay=1e-6, nesterov=True),
        "adamw": lambda p: torch.optim.AdamW(p, 1e-3, weight_decay=1e-4),
    }[config.optimizer.name](net.parameters())
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    x = torch.randn(2 * batch, channels, height, side)
    positives = torch.arange(2 * batch).roll(batch)

    def step():
        optimizer.zero_grad()
        z = functional.normalize(net(x))
        scores = (z @ z.T / 0.5).fill_diagonal_(float("-inf"))
        functional.cross_entropy(scores, positives).backward()
        optimizer.step()

    return step, sum(p.numel() for p in net.parameters())


def measured(config, shape, batch, repeats, cpu_time):
    """Images a second, shares of the step, and how many times as fast as PyTorch."""
    functions, parameters = case(config, shape, batch)
    if importlib.util.find_spec("torch"):
        functions["torch"], theirs = torch_step(config, shape, batch)
        assert theirs == parameters, (theirs, parameters)
    clock = time.process_time if cpu_time else time.perf_counter
    times = measure.seconds(functions, repeats, patience=120.0, settle=False, clock=clock)
    parts = "data", "augmentation", "encoder", "loss", "optimizer"
    share = {name: times[name] / times["step"] for name in parts}
    share["rest"] = 1 - sum(share.values())
    result = {"batch": batch, "images_per_second": batch / times["step"], "share": share}
    result |= {"milliseconds": {name: 1e3 * t for name, t in times.items()}}
    result |= {"parameters": parameters}
    if "torch" in times:
        result["times_torch"] = times["torch"] / times["step without views"]
    return result


def work(quick, cpu_time):
    result = {"threads": len(os.sched_getaffinity(0)), "cpu_time": cpu_time}
    for name, settings in CASES.items():
        if not quick or name != "cifar10":  # half a minute to compile it
            result[name] = measured(*settings, 3 if quick else 15, cpu_time)
            print(name, json.dumps(result[name], indent=1), flush=True)
    return result


if __name__ == "__main__":
    measure.command("step", __doc__, work, cpu_time=False)
