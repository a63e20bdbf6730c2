"""Views a second of the augmentation, beside torchvision's and as a part of a training step.

python -m benchmarks.augment                              # two or three minutes
python -m benchmarks.augment --torch_python=PYTHON        # with a Python that has torchvision
python -m benchmarks.augment --quick                      # few repeats, no training step
"""

import importlib.util
import itertools
import json
import pathlib
import subprocess
import sys

import jax
import numpy as np
import optax

from benchmarks import measure
from configs import cifar10
from gca_jax import losses, models
from gca_jax.data.views import augment, policies
from gca_jax.training import step

BATCH = 512
COMPARED = ("standard", "everything")
STANDARD = policies.POLICIES["cifar"][0]
EVERYTHING = policies.replace(
    [*policies.POLICIES["byol"][1], policies.POLICIES["digits"][0][-1]],
    saturation=0.4,
    blur_probability=0.5,
    erase_area=(0.02, 0.33),
)
NORMALISATION = dict(mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616))
KEYS = list(jax.random.split(jax.random.key(0), 64))  # each another order of the jitter


def images(n):
    return np.random.default_rng(0).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)


def speed(names, repeats):
    """Views a second of each policy, each time with the next key."""
    batch = jax.numpy.asarray(images(BATCH))

    def both_views(name):
        keys, made = itertools.cycle(KEYS), augment.make(name, **NORMALISATION)
        views = jax.jit(made.views).lower(KEYS[0], batch).compile()
        return lambda: views(next(keys), batch)

    times = measure.seconds({name: both_views(name) for name in names}, repeats)
    return {name: 2 * BATCH / t for name, t in times.items()}


def peer(python, size):
    """torchvision's views a second, in a process of its own; None where there is none."""
    script = pathlib.Path(__file__).with_name("augment_peer.py")
    run = subprocess.run([python, str(script), str(size)], capture_output=True, text=True)
    if run.returncode:
        print(f"no peer: {python} {script.name}: {run.stderr.strip().splitlines()[-1]}")
        return None
    return json.loads(run.stdout.splitlines()[-1])


def share_of_step(batch_size, repeats):
    """Seconds of the two views and of the whole step, CIFAR-10's config with a smaller batch."""
    config = cifar10.get_config()
    policy = augment.make(**config.augment)
    network, optimizer = models.create(**config.model), optax.sgd(0.1)
    loss = lambda a, b: losses.METHODS[config.method](a, b, **config.loss)  # noqa: E731
    batch = jax.numpy.asarray(images(batch_size))
    variables = step.init_variables(network, KEYS[0], batch.shape[1:])
    initial = step.create_state(variables, optimizer, with_target=False)
    train_step = jax.jit(step.make_train_step(network, policy, loss, optimizer, KEYS[1]))
    train_step = train_step.lower(initial, batch).compile()
    views = jax.jit(policy.views).lower(KEYS[0], batch).compile()
    times = measure.seconds(
        {"views": lambda: views(KEYS[0], batch), "step": lambda: train_step(initial, batch)},
        repeats,
    )
    return {"batch_size": batch_size, **times, "share": times["views"] / times["step"]}


def main():
    parser = measure.arguments("augment", __doc__, quick="few repeats, no training step")
    parser.add_argument("--torch_python", default=sys.executable, help="has torchvision")
    arguments = parser.parse_args()
    named = list(policies.POLICIES)
    policies.POLICIES |= {"standard": (STANDARD,) * 2, "everything": (EVERYTHING,) * 2}
    repeats = 5 if arguments.quick else 60
    result = {**measure.machine(), "batch": BATCH, "views_per_second": speed(COMPARED, repeats)}
    others = arguments.torch_python != sys.executable or importlib.util.find_spec("torchvision")
    if others and (theirs := peer(arguments.torch_python, 2048 if arguments.quick else 10_240)):
        again = speed(COMPARED, repeats)  # before and after, as the machine's speed may drift
        ours = {k: (again[k] + result["views_per_second"][k]) / 2 for k in COMPARED}
        result["torchvision_views_per_second"] = theirs
        result["times_torchvision"] = {name: ours[name] / theirs[name] for name in COMPARED}
    colour = [name for name in named if name not in ("digits", "fashion_mnist")]
    result["policies_views_per_second"] = speed(colour, max(5, repeats // 4))
    if not arguments.quick:
        result["resnet18_step"] = share_of_step(batch_size=64, repeats=5)
    print(json.dumps(result, indent=2))
    measure.write(result, "augment", arguments.out)


if __name__ == "__main__":
    main()
