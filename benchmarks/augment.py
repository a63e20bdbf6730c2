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

from benchmarks import measure
from configs import cifar10
from gca_jax import data, experiment
from gca_jax.data.batches import Batch
from gca_jax.data.views import augment, policies
from gca_jax.training.step import trace

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


def share_of_step(batch_size=64, repeats=5):
    """Seconds of the two views and of the whole step, CIFAR-10's config with a smaller batch."""
    config, batch = cifar10.get_config(), images(batch_size)
    config.train.batch_size = batch_size
    made = experiment.build(config, dataset=data.arrays(batch, test_images=batch))
    training = trace(made)
    whole = Batch(batch, np.arange(batch_size, dtype=np.int32), {})
    step = measure.stepping(training.lowered.compile(), training.initial(), training.key, whole)
    views = jax.jit(made.data.policy.views).lower(KEYS[0], batch).compile()
    times = measure.seconds({"views": lambda: views(KEYS[0], batch), "step": step}, repeats)
    return {"batch_size": batch_size, **times, "share": times["views"] / times["step"]}


def work(quick, torch_python):
    colour = [name for name in policies.POLICIES if name not in ("digits", "fashion_mnist")]
    policies.POLICIES |= {"standard": (STANDARD,) * 2, "everything": (EVERYTHING,) * 2}
    repeats = 5 if quick else 60
    result = {"batch": BATCH, "views_per_second": speed(COMPARED, repeats)}
    others = torch_python != sys.executable or importlib.util.find_spec("torchvision")
    if others and (theirs := peer(torch_python, 2048 if quick else 10_240)):
        again = speed(COMPARED, repeats)  # before and after, as the machine's speed may drift
        ours = {k: (again[k] + result["views_per_second"][k]) / 2 for k in COMPARED}
        result["torchvision_views_per_second"] = theirs
        result["times_torchvision"] = {name: ours[name] / theirs[name] for name in COMPARED}
    result["policies_views_per_second"] = speed(colour, max(5, repeats // 4))
    if not quick:
        result["resnet18_step"] = share_of_step()
    return result


if __name__ == "__main__":
    measure.command("augment", __doc__, work, quick=False, torch_python=sys.executable)
