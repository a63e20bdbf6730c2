"""Images a second of the loaders, beside their plain counterparts and a training step.

python -m benchmarks.data                    # about five minutes
python -m benchmarks.data --quick            # few images and repeats, no training step

Everything is made here: random arrays of CIFAR's size, JPEG files of ImageNet's mean size. What
is compared takes turns, so that a slow moment of the machine hits all alike.
"""

import io
import itertools
import os
import statistics
import tempfile
import time
from functools import partial

import numpy as np
import PIL.Image
import tensorflow_datasets as tfds

from benchmarks import augment, measure
from gca_jax.data import arrays
from gca_jax.data.batches import Order
from gca_jax.data.dataset import Streamed
from gca_jax.data.images import ImageData
from gca_jax.data.sources import reading, tfds_sets
from gca_jax.data.stream import stream, two_crops
from gca_jax.data.views.augment import make
from tests.data import prepared

BATCH = 512
SIDES, SIZE = (375, 500), 224
CROP = ((0.08, 1.0), (3 / 4, 4 / 3))


def in_memory(repeats):
    """Images of 32 x 32 pixels a second, whole epochs, the permutations included."""
    images, policy = augment.images(50_000), make("cifar", **augment.NORMALISATION)
    data = ImageData(arrays(images, test_images=images[:1]), policy)
    order = Order(50_000, BATCH, seed=0)
    steps = order.size // BATCH
    starts = itertools.count(0, steps)

    def epoch():
        for _ in itertools.islice(data.batches(order, next(starts)), steps):
            pass

    return steps * BATCH / measure.seconds({"epoch": epoch}, repeats, settle=False)["epoch"]


def photographs(count):
    """JPEG bytes of pictures with the detail of photographs: 40 to 80 kB each."""
    rng, made = np.random.default_rng(0), []
    for _ in range(count):
        picture = np.zeros((*SIDES, 3))
        for cell in (2, 8, 32, 128):  # noise at every scale
            coarse = rng.normal(size=(SIDES[0] // cell + 2, SIDES[1] // cell + 2, 3))
            coarse = PIL.Image.fromarray(np.uint8(np.clip(coarse * 32 + 128, 0, 255)))
            picture += np.asarray(coarse.resize(SIDES[::-1], PIL.Image.Resampling.BICUBIC), float)
        buffer = io.BytesIO()
        PIL.Image.fromarray(np.uint8(picture / 4)).save(buffer, "jpeg", quality=90)
        made.append(buffer.getvalue())
    return made


def streaming(count, repeats):
    """Photographs a second, each decoded and cropped twice to 224 pixels."""
    encoded = photographs(count)
    images = Streamed([{"image": picture} for picture in encoded], np.arange(count), SIZE)
    order = Order(count, 64, seed=0)
    steps = count // 64

    def plain():
        rng = np.random.default_rng(0)
        for picture in encoded[: steps * 64]:
            image = np.asarray(PIL.Image.open(io.BytesIO(picture)).convert("RGB"))
            two_crops(rng, image, SIZE, CROP)

    def steadily(make, *arguments):
        """Seconds from the second batch on, when as many are begun as are finished."""
        batches = make(*arguments)
        next(batches)
        start = time.perf_counter()
        for _ in itertools.islice(batches, steps):
            pass
        elapsed = time.perf_counter() - start
        batches.close()
        return elapsed

    cores = os.cpu_count()
    functions = {"plain loop of Pillow": plain}
    for n in sorted({1, 2, cores, 2 * cores}):
        functions[f"{n} threads"] = partial(steadily, stream, images, order, 0, CROP, n)
    times = measure.seconds(functions, repeats, patience=600, settle=False)
    speed = {name: steps * 64 / t for name, t in times.items()}
    return {"kB_each": statistics.mean(map(len, encoded)) / 1000, "images_per_second": speed}


def to_memory(count, repeats):
    """Records of a prepared data set to one array in memory, images a second."""
    with tempfile.TemporaryDirectory() as folder:
        prepared.write_tfds("cifar10", folder, {"train": count, "test": 10})
        builder = tfds.builder("cifar10", data_dir=folder)
        encoded = tfds_sets.Split.of(builder, "train")
        decoded = builder.as_data_source("train")
        faults = reading.Faults("cifar10", skip=False)

        def ours():
            reading.read(encoded, np.arange(count), (32, 32, 3), faults, classes=10)

        def one_by_one():
            np.stack([row["image"] for row in decoded])

        functions = {"ours": ours, "one by one": one_by_one}
        times = measure.seconds(functions, max(2, repeats // 3), settle=False)
    return {name: count / t for name, t in times.items()}


def work(quick):
    repeats = 2 if quick else 9
    result = {
        "in_memory_images_per_second": in_memory(repeats),
        "jpeg_two_crops": streaming(128 if quick else 1024, repeats),
        "tfds_to_memory_images_per_second": to_memory(1000 if quick else 10_000, repeats),
    }
    if not quick:
        # Timed on 64 images and scaled: it is proportional to them but for the loss.
        step = augment.share_of_step()["step"] * BATCH / 64
        load = BATCH / result["in_memory_images_per_second"]
        result["resnet18_step"] = dict(step_seconds=step, loader_seconds=load, share=load / step)
    return result


if __name__ == "__main__":
    measure.command("data", __doc__, work, quick=False)
