"""Linear probes that were fitted to clean images, on corruptions of the test images.

The corruptions are made on the fly (`data.corruptions`), of any labelled data set, from the images
that the run is judged by: a run that is judged on validation images reads no test image.
"""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from gca_jax import features
from gca_jax.data import corruptions
from gca_jax.data.dataset import Images
from gca_jax.evaluation import linear
from gca_jax.evaluation.probes import NO_LABELS, Labelled, Result
from gca_jax.evaluation.subject import Subject

OWN = "occlusion"  # which Hendrycks and Dietterich do not have
TITLE = "corruptions"
Found = dict[str, Any]
"""`clean` accuracy, `accuracy` (corruption to its accuracies by severity), `mean` over a subset."""


@dataclasses.dataclass(frozen=True)
class Corrupted:
    """Images that are corrupted when slices of them are taken, the same ones every time."""

    images: Images
    name: str
    severity: int
    seed: int

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, h, w, c)."""
        return self.images.shape

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: slice) -> UInt8[np.ndarray, "k h w c"]:
        """Corrupt a slice; its random numbers follow from where it starts."""
        start, _, _ = rows.indices(len(self))
        return corruptions.corrupt(self.images[rows], self.name, self.severity, self.seed, start)


def evaluate(subject: Subject) -> Result | None:
    """Measure the corruptions where `config.evaluation.corruptions` asks for them."""
    if not subject.settings.corruptions:
        return None
    if not subject.dataset.labelled:
        return Result("corruptions", TITLE, left_out=NO_LABELS)
    return Result("corruptions", TITLE, numbers={"corruptions": measure(subject)})


def measure(subject: Subject) -> Found:
    """Measure the linear probes of all of `probes.ENCODERS` on every corruption and severity.

    Encoder, probe and the strength that was chosen are the same for every corruption; none is
    chosen on corrupted images. The random numbers are those of the run's seed.

    Returns:
        `clean`, `accuracy` and `mean` of the trained encoder; `baselines`, an encoder to its own.
    """
    data = subject.dataset
    kinds = corruptions.names(data.test_images.shape[-1])
    probes = subject.once(linear.probes)
    found: dict[str, Found] = {
        encoder: {"clean": clean.accuracy, "accuracy": {kind: [] for kind in kinds}}
        for encoder, clean in subject.once(linear.scores).items()
    }
    for kind in tqdm(kinds, TITLE, unit=" corruptions", disable=None):
        for severity in corruptions.SEVERITIES:
            images = Corrupted(data.test_images, kind, severity, subject.experiment.seed)
            seen = features.extract(subject.encoders, images)
            for encoder, probe in probes.items():
                share = probe.accuracy(Labelled(seen[encoder], data.test_labels))
                found[encoder]["accuracy"][kind].append(share)
    for one in found.values():
        one["mean"] = means(one["accuracy"])
    return {**found.pop("trained"), "baselines": found}


def means(accuracy: dict[str, list[float]]) -> dict[str, float]:
    """Average over all corruptions, and over those that are published; each severity alike."""
    published = [shares for kind, shares in accuracy.items() if kind != OWN]
    every = [*accuracy.values()]
    return {"all": float(np.mean(every)), f"without {OWN}": float(np.mean(published))}
