"""What is judged: a frozen network, and what it makes of the images, computed when first needed."""

import dataclasses
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, Literal, NamedTuple, TypeVar

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from gca_jax.data.dataset import Dataset
from gca_jax.data.splits import evenly_spaced
from gca_jax.evaluation import baseline, features, splits
from gca_jax.evaluation.features import Embed, Features, Variables
from gca_jax.evaluation.splits import Labels, Settings, TestLabels
from gca_jax.experiment import Experiment
from gca_jax.targets import Groups

MOST_IMAGES = 10_000  # whose views are measured
BATCH_SIZE = 120  # of views that a plan joins
NO_PLAN = "the loss was given in Python, and only the methods of this package have a plan"

Found = TypeVar("Found")


class Kinds(NamedTuple):
    """What tells test images apart: their classes, or without labels their domains."""

    word: Literal["class", "domain"]
    numbers: Labels


class Views(NamedTuple):
    """Embeddings of two augmented views of test images, not normalised; which images: `rows`."""

    rows: Int[np.ndarray, "n"]
    z_a: Float[Array, "n d"]
    z_b: Float[Array, "n d"]


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """A trained network and the images that it is judged by.

    Attributes:
        experiment: The one that was trained.
        variables: What training left: `params` and `batch_stats`.
    """

    experiment: Experiment
    variables: Variables
    _found: dict[Callable[..., Any], Any] = dataclasses.field(default_factory=dict, init=False)

    def once(self, compute: Callable[["Subject"], Found]) -> Found:
        """Give what several evaluations need, computed for the first of them."""
        if compute not in self._found:
            self._found[compute] = compute(self)
        return self._found[compute]

    @property
    def dataset(self) -> Dataset:
        """The experiment's images and labels."""
        return self.experiment.dataset

    @cached_property
    def settings(self) -> Settings:
        """Settings of the probes."""
        return Settings(self.experiment.seed, **self.experiment.config.evaluation)

    @property
    def classes(self) -> tuple[Labels, TestLabels] | None:
        """Classes of the training images `[n]` and of the test images `[m]`, if they have any."""
        data = self.dataset
        return (data.train_labels, data.test_labels) if data.labelled else None

    @cached_property
    def train_features(self) -> dict[str, Features]:
        """Features of the training images by each of `probes.ENCODERS`."""
        return features.extract(self.encoders, self.dataset.train_images)

    @cached_property
    def test_features(self) -> dict[str, Features]:
        """Features of the test images by each of `probes.ENCODERS`."""
        return features.extract(self.encoders, self.dataset.test_images)

    @cached_property
    def networks(self) -> dict[str, Variables]:
        """Variables of the trained network and of the untrained one, by names of `ENCODERS`."""
        network, plain = self.experiment.network, self.experiment.policy.plain
        images, seed = self.dataset.train_images, self.experiment.seed
        fresh = baseline.untrained(network, seed, images, plain)
        return {"trained": self.variables, "random_encoder": fresh}

    @cached_property
    def encoders(self) -> dict[str, features.Encode]:
        """Each of `probes.ENCODERS`, as a function of a batch of images."""
        encode = partial(features.encode, self.experiment.network, self.experiment.policy.plain)
        encoders = {name: partial(encode, each) for name, each in self.networks.items()}
        return {**encoders, "pixels": features.pixels}

    @cached_property
    def kinds(self) -> Kinds | None:
        """Classes of the test images, without labels their domains, or None."""
        if self.dataset.labelled:
            return Kinds("class", self.dataset.test_labels)
        domains = self.dataset.test_domains
        return None if domains is None else Kinds("domain", domains)

    @cached_property
    def per_kind(self) -> int:
        """Images of each kind in a batch of a plan, where there are kinds."""
        return 0 if self.kinds is None else splits.most_per_class(self.kinds.numbers, BATCH_SIZE)

    @cached_property
    def embed(self) -> Embed:
        """Embeds two augmented views of a batch of images."""
        experiment = self.experiment
        return partial(features.embed, experiment.network, experiment.policy.views, self.variables)

    @cached_property
    def views(self) -> Views:
        """Embeddings of test images, evenly spaced where there are very many."""
        images = self.dataset.test_images
        rows = evenly_spaced(len(images), MOST_IMAGES)
        some = images if len(rows) == len(images) else images[rows]
        # The batch size of the plan, so that views and network are compiled once.
        kinds = 0 if self.kinds is None else len(np.unique(self.kinds.numbers))
        size = self.per_kind * kinds or min(BATCH_SIZE, len(images))
        return Views(rows, *features.embed_all(self.embed, some, self.experiment.key, size))

    @property
    def no_plan(self) -> str:
        """Why the loss has no transport plan here; empty where it has one."""
        if "loss" in self.experiment.given:
            return NO_PLAN
        known = self.experiment.alignment.known
        if known is not None and getattr(self.dataset, f"test_{known}") is None:
            return f"the target needs {known}, and the test images have none"
        return ""

    @property
    def groups(self) -> Groups | None:
        """What the target has to know of each test image `[m]`; None: nothing."""
        data = self.dataset
        return self.experiment.alignment.groups(data.test_labels, data.test_domains)

    def loss_keywords(self, groups: Groups | jax.Array | None) -> dict[str, Any]:
        """Give the keywords of the method's loss for a batch of these groups `[b]`."""
        experiment = self.experiment
        return {**experiment.config.loss, **experiment.alignment.keywords(groups)}
