"""A frozen model: a trained network, its data, and features and embeddings, computed once."""

import dataclasses
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Array, Float, Int

from gca_jax.data.dataset import Dataset
from gca_jax.data.splits import evenly_spaced
from gca_jax.evaluation import baseline, features, splits
from gca_jax.evaluation.features import Embed, Features, Variables
from gca_jax.evaluation.splits import Labels, Settings, TestLabels
from gca_jax.experiment import Experiment
from gca_jax.targets import Info

MOST_IMAGES = 10_000  # at most, of which views are embedded
BATCH_SIZE = 120  # images in the plan of a batch
NO_PLAN = "the loss was given in Python, and only the methods of this package have a plan"

Found = TypeVar("Found")


class Kinds(NamedTuple):
    """How test images are grouped: by class or, without labels, by domain."""

    word: Literal["class", "domain"]
    numbers: Labels


class Views(NamedTuple):
    """Embeddings of two augmented views of test images, not normalised; which images: `rows`."""

    rows: Int[np.ndarray, "n"]
    z_a: Float[Array, "n d"]
    z_b: Float[Array, "n d"]


@dataclasses.dataclass(frozen=True, eq=False)
class Frozen:
    """A trained network, frozen, with the data that it is evaluated on.

    What evaluations share is computed when it is first needed. What there is depends on the kind
    of data: features of data that are probed, `dataset` and views of images alone.

    Attributes:
        experiment: The one that was trained.
        variables: What training left: `params` and `batch_stats`.
        baselines: Whether the untrained encoder and the raw input are compared with it.
    """

    experiment: Experiment
    variables: Variables
    baselines: bool = True
    _found: dict[Callable[..., Any], Any] = dataclasses.field(default_factory=dict, init=False)

    def once(self, compute: Callable[["Frozen"], Found]) -> Found:
        """Call `compute` once and cache its value for the other evaluations."""
        if compute not in self._found:
            self._found[compute] = compute(self)
        return self._found[compute]

    @property
    def data(self) -> Any:
        """The experiment's data, of the kind that the evaluation is of."""
        return self.experiment.data

    @property
    def dataset(self) -> Dataset:
        """Images and labels."""
        return self.data.dataset

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
        """Features of the training inputs by each of `encoders`."""
        return features.extract(self.encoders, self.data.train_inputs)

    @cached_property
    def test_features(self) -> dict[str, Features]:
        """Features of the test inputs by each of `encoders`."""
        return features.extract(self.encoders, self.data.test_inputs)

    @cached_property
    def networks(self) -> dict[str, Variables]:
        """Variables of the trained network and of the untrained one, by their names."""
        network, data, seed = self.experiment.network, self.data, self.experiment.seed
        fresh = baseline.untrained(network, seed, data.train_inputs, data.plain, data.input_shape)
        return {"trained": self.variables, "random_encoder": fresh}

    @cached_property
    def encoders(self) -> dict[str, features.Encode]:
        """The encoders compared, as functions of a batch: both networks and the raw input."""
        encode = partial(features.encode, self.experiment.network, self.data.plain)
        if not self.baselines:
            return {"trained": partial(encode, self.variables)}
        encoders = {name: partial(encode, each) for name, each in self.networks.items()}
        return {**encoders, self.data.raw_name: self.data.raw}

    @cached_property
    def kinds(self) -> Kinds | None:
        """Classes of the test images, without labels their domains if they are of several."""
        if self.dataset.labelled:
            return Kinds("class", self.dataset.test_labels)
        domains = self.dataset.test_domains
        several = domains is not None and len(np.unique(domains)) > 1
        return Kinds("domain", domains) if several else None

    @cached_property
    def per_kind(self) -> int:
        """Images of each kind in a batch of a plan, where there are kinds."""
        return 0 if self.kinds is None else splits.most_per_class(self.kinds.numbers, BATCH_SIZE)

    @cached_property
    def embed(self) -> Embed:
        """Function that embeds two augmented views of a batch of images."""
        experiment = self.experiment
        return partial(features.embed, experiment.network, self.data.policy.views, self.variables)

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
        for name in self.experiment.target.takes:
            if name not in self.data.test_info:
                return f"the target needs {name}, and the test images have none"
        return ""

    @property
    def info(self) -> dict[str, np.ndarray]:
        """Entries of each test image that the target takes, arrays `[m]` by name."""
        return {name: self.data.test_info[name] for name in self.experiment.target.takes}

    def loss_keywords(self, info: Info) -> dict[str, Any]:
        """Return the keywords of the method's loss for a batch with these `info` entries."""
        experiment = self.experiment
        return {**experiment.config.loss, **experiment.target.keywords(info)}
