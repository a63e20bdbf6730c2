"""Views a second of the augmentation, beside torchvision's and as a part of a training step.

python -m benchmarks.augment          # two or three minutes
python -m benchmarks.augment --quick  # few repeats, two recipes, no training step

torchvision's pipeline works on PIL images in two processes, where torchvision is installed.
"""

import functools
import importlib.util
import itertools
import time

import jax
import numpy as np
import PIL.Image

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


def images(n):
    return np.random.default_rng(0).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)


def speed(names, repeats):
    """Views a second of each recipe, each time with the next key."""
    batch = jax.numpy.asarray(images(BATCH))
    every = list(jax.random.split(jax.random.key(0), 64))  # each another order of the jitter

    def both_views(name):
        keys, made = itertools.cycle(every), augment.make(name, **NORMALISATION)
        views = jax.jit(made.views).lower(every[0], batch).compile()
        return lambda: views(next(keys), batch)

    times = measure.seconds({name: both_views(name) for name in names}, repeats)
    return {name: 2 * BATCH / t for name, t in times.items()}


def two_views(chain, batch):
    """Two views of each image, as a worker of torch's loader makes them."""
    return [[chain(PIL.Image.fromarray(image)) for image in batch] for _ in range(2)]


def torchvision_speed(size):
    """torchvision's views a second, from the second batch on: starting workers does not count."""
    from torch.utils.data import DataLoader
    from torchvision import transforms as t

    colour = t.ColorJitter(0.4, 0.4, 0.4, 0.1)
    first = [t.RandomResizedCrop(32), t.RandomHorizontalFlip(), t.RandomApply([colour], p=0.8)]
    first.append(t.RandomGrayscale(p=0.2))
    last = [t.ToTensor(), t.Normalize(*NORMALISATION.values())]
    further = [t.RandomApply([t.GaussianBlur(3, (0.1, 2.0))], p=0.5), t.RandomSolarize(128, p=0.2)]
    erase = t.RandomErasing(p=0.5, scale=(0.02, 0.33))
    chains = (*first, *last), (*first, *further, *last, erase)
    # A process with JAX must not be forked.
    options = dict(num_workers=2, drop_last=True, multiprocessing_context="spawn")
    found = {}
    for name, chain in zip(COMPARED, chains, strict=True):
        collate = functools.partial(two_views, t.Compose(chain))
        loader = DataLoader(images(size), BATCH, collate_fn=collate, **options)
        marks = [time.perf_counter() for _ in loader]
        found[name] = 2 * BATCH * (len(marks) - 1) / (marks[-1] - marks[0])
    return found


def share_of_step(batch_size=64, repeats=5):
    """Seconds of the two views and of the whole step, CIFAR-10's config with a smaller batch."""
    config, batch = cifar10.get_config(), images(batch_size)
    config.train.batch_size, key = batch_size, jax.random.key(0)
    made = experiment.build(config, dataset=data.arrays(batch, test_images=batch))
    training = trace(made)
    whole = Batch(batch, np.arange(batch_size, dtype=np.int32), {})
    step = measure.stepping(training.lowered.compile(), training.initial(), training.key, whole)
    views = jax.jit(made.data.policy.views).lower(key, batch).compile()
    times = measure.seconds({"views": lambda: views(key, batch), "step": step}, repeats)
    return {"batch_size": batch_size, **times, "share": times["views"] / times["step"]}


def work(quick):
    colour = [name for name in policies.POLICIES if name not in ("digits", "fashion_mnist")]
    policies.POLICIES |= {"standard": (STANDARD,) * 2, "everything": (EVERYTHING,) * 2}
    repeats = 5 if quick else 60
    result = {"batch": BATCH, "views_per_second": speed(COMPARED, repeats)}
    if importlib.util.find_spec("torchvision"):
        theirs = torchvision_speed(2048 if quick else 10_240)
        again = speed(COMPARED, repeats)  # before and after, as the machine's speed may drift
        ours = {k: (again[k] + result["views_per_second"][k]) / 2 for k in COMPARED}
        result["torchvision_views_per_second"] = theirs
        result["times_torchvision"] = {name: ours[name] / theirs[name] for name in COMPARED}
    if not quick:
        result["policies_views_per_second"] = speed(colour, max(5, repeats // 4))
        result["resnet18_step"] = share_of_step()
    return result


if __name__ == "__main__":
    measure.command("augment", __doc__, work)
