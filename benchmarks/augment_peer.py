"""torchvision's pipeline on PIL images with two workers, timed; needs torch and torchvision only.

python benchmarks/augment_peer.py IMAGES, with any Python that has them. Prints a JSON object: views
a second with crop, flip, jitter and grey, and with blur, solarisation and erasing too.
"""

import json
import sys
import time
from functools import partial

import numpy as np
import torch
from PIL import Image
from torchvision import transforms

NORMALISE = transforms.Normalize((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
STANDARD = [
    transforms.RandomResizedCrop(32),
    transforms.RandomHorizontalFlip(),
    transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
    transforms.RandomGrayscale(p=0.2),
]
CHAINS = {
    "standard": [*STANDARD, transforms.ToTensor(), NORMALISE],
    "everything": [
        *STANDARD,
        transforms.RandomApply([transforms.GaussianBlur(3, (0.1, 2.0))], p=0.5),
        transforms.RandomSolarize(128, p=0.2),
        transforms.ToTensor(),
        NORMALISE,
        transforms.RandomErasing(p=0.5, scale=(0.02, 0.33)),
    ],
}


def two_views(chain, images):
    """Two views of each image of an array."""
    return [torch.stack([chain(Image.fromarray(image)) for image in images]) for _ in range(2)]


def views_per_second(chain, size, batch_size=512):
    """From the second batch to the last, so that starting the workers does not count."""
    images = np.random.default_rng(0).integers(0, 256, (size, 32, 32, 3), dtype=np.uint8)
    collate = partial(two_views, transforms.Compose(chain))
    options = dict(num_workers=2, drop_last=True, collate_fn=collate)
    loader = torch.utils.data.DataLoader(images, batch_size, **options)
    marks = [time.perf_counter() for _ in loader]
    return 2 * batch_size * (len(marks) - 1) / (marks[-1] - marks[0])


if __name__ == "__main__":
    size = int(sys.argv[1])
    print(json.dumps({name: views_per_second(chain, size) for name, chain in CHAINS.items()}))
