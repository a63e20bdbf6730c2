"""What `import gca_jax` offers beside the losses: `align` two arrays, `load` a run's encoder.

And the features of all pictures in a folder, as a table (`--mode=embed`).
"""

import contextlib
import dataclasses
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int
from ml_collections import ConfigDict
from numpy.typing import ArrayLike
from tqdm import tqdm

from gca_jax import check, config, files, models
from gca_jax.data import tables
from gca_jax.data.pairs import Side, pair
from gca_jax.data.sources import reading, tree
from gca_jax.data.sources.in_place import Files
from gca_jax.data.sources.tree import Tree
from gca_jax.data.tables import checked
from gca_jax.evaluation.evaluate import evaluate
from gca_jax.evaluation.features import Encoder, Features, checked_images
from gca_jax.evaluation.pairs import embed_rows
from gca_jax.experiment import build, network_of, policy_of
from gca_jax.training import candidates, state
from gca_jax.training.checkpoint import restore_variables
from gca_jax.training.train import train
from gca_jax.workdir import RunFolder, flatten


@dataclasses.dataclass(frozen=True, eq=False)
class Aligned:
    """Two trained towers.

    Attributes:
        report: What `evaluation.json` of a run holds: `report["retrieval"]["a_to_b"]["recall_1"]`.
        rows: [2, n], the rows of `a` and of `b` of each training pair.
        weights: [n], the share of its row's mass that the plan gives each training pair.
        probabilities: [n], how likely each training pair is right, calibrated.
    """

    report: Mapping[str, Any]
    rows: Int[np.ndarray, "2 n"]
    weights: Float[np.ndarray, "n"]
    probabilities: Float[np.ndarray, "n"]
    _network: models.Towers = dataclasses.field(repr=False)
    _variables: Mapping[str, Any] = dataclasses.field(repr=False)
    _sides: tuple[Side, Side] = dataclasses.field(repr=False)

    def a(self, rows: ArrayLike) -> Float[np.ndarray, "k d"]:
        """Embed rows like those of `a` on the unit sphere."""
        return self._embed("a", rows)

    def b(self, rows: ArrayLike) -> Float[np.ndarray, "k d"]:
        """Embed rows like those of `b` on the unit sphere."""
        return self._embed("b", rows)

    def suspects(self, count: int) -> Int[np.ndarray, "2 count"]:
        """Return the rows of `a` and of `b` of the training pairs that are least likely right.

        The least comes first; of equal ones that of least weight.
        """
        return self.rows[:, np.lexsort((self.weights, self.probabilities))[:count]]

    def to_check(self, count: int) -> Int[np.ndarray, "2 count"]:
        """Return the rows of `a` and of `b` of the training pairs that are most uncertain.

        Those whose probability is nearest to 1/2, of which one learns most by looking at them.
        """
        return self.rows[:, np.argsort(np.abs(self.probabilities - 0.5), kind="stable")[:count]]

    def _embed(self, name: str, rows: ArrayLike) -> Float[np.ndarray, "k d"]:
        side, x = self._sides["ab".index(name)], checked(name, rows)
        if x.shape[1:] != side.raw.shape[1:]:
            raise ValueError(
                f"rows of {name} have shape {list(side.raw.shape[1:])}, got {list(x.shape[1:])}"
            )
        return embed_rows(self._network, f"embed_{name}", self._variables, side.scale(x))


def align(
    a: ArrayLike,
    b: ArrayLike,
    *,
    words: str = "",
    settings: Mapping[str, Any] | None = None,
    workdir: str | Path | None = None,
    **data: Any,
) -> Aligned:
    """Train two towers so that rows of `a` and of `b` that belong together embed close together.

    Given pairs may be few, and some of them wrong: towers start from the linear maps that held-out
    pairs are likeliest by, and end at the step that validation pairs are likeliest by.

    Args:
        a: [n, ...], features or images.
        b: [m, ...].
        words: A method and a kind of towers, as after the colon of --config: "gca_ince,linear"; ""
            is "gce,residual"; "auto" trains the best of twelve (docs/pairs.md).
        settings: Changes of the config by dotted keys: {"target.name": "self_weighted"}.
        workdir: Folder of the run, which is resumed there; None uses one that is deleted.
        **data: Keywords of `data.pairs.pair`: `pairs` (row i with row i, or [k, 2]), `confidence`,
            `test`, `test_fraction`, `labels`, `seed`, ...

    Returns:
        Functions of both sets, what was measured on test pairs, and weights of the training pairs.

    Raises:
        ValueError: A mistake in the arrays or in the settings.
    """
    made = config.make("pairs", words).lock()
    for key in settings or {}:
        if key not in dict(flatten(made)):
            raise ValueError(f"settings: config.make('pairs') has no key {key}")
        if key.split(".")[0] == "data":
            raise ValueError(f"settings: {key} is of files; align takes it as a keyword of its own")
    plain = {k: v.item() if isinstance(v, np.generic) else v for k, v in (settings or {}).items()}
    if "seed" in plain:
        check.seed("settings: seed", plain["seed"])
    try:
        made.update_from_flattened_dict(plain)
    except TypeError as error:
        raise ValueError(f"settings: {error}") from error
    both = pair(a, b, split=made.evaluation.split, **data)
    with contextlib.ExitStack() as stack:
        path = workdir or stack.enter_context(tempfile.TemporaryDirectory())
        made = candidates.best(made, path, both)
        experiment = build(made, dataset=both)
        folder = RunFolder.open(path, experiment.record)
        train(experiment, folder)
        found = evaluate(experiment, folder) | folder.tried
        variables, _ = restore_variables(folder)
        rows, shares, right = (
            folder.arrays[name] for name in ("weight_rows", "log_shares", "posterior")
        )
    towers = experiment.network, variables, (both.a, both.b)
    return Aligned(found, rows, np.exp(shares), right, *towers)


def load(
    workdir: str | Path | RunFolder,
    *,
    encoder: object = None,
    data: Any = None,
    step: int | None = None,
) -> Encoder:
    """Load the encoder of a run from its last checkpoint; its data set is not needed.

    Args:
        workdir: Folder of the run.
        encoder: The Flax module that the run was built with, where it was built with one.
        data: Where the run was built with data of a kind of its own, what has their `plain`.
        step: Of another checkpoint, which `train.keep_every_epochs` has kept.

    Raises:
        FileNotFoundError: There is no run or no checkpoint in `workdir`.
        ValueError: There is no checkpoint of this step; the run is on pairs, or has another
            encoder.
    """
    folder = workdir if isinstance(workdir, RunFolder) else RunFolder.open(workdir)
    training, made = folder.summary, config.restore(folder.config).lock()
    given = made.given.get("encoder") if "given" in made else None
    if given is not None and encoder is None:
        raise ValueError(
            f"{folder.path} was built in Python with an encoder of its own: from Python, "
            f"gca_jax.load({str(folder.path)!r}, encoder={given}(...)) loads it"
        )
    shape = tuple(training["input_shape"])
    network, how = _network(made, folder, encoder, data, shape)
    variables, at = restore_variables(folder, step)
    if encoder is not None:
        drawn = state.init_variables.eval_shape(network, jax.random.key(0), shape)
        shapes, others = (jax.tree.map(lambda x: x.shape, each) for each in (variables, drawn))
        if shapes != others:
            raise ValueError(f"the weights in {folder.path} are not of the encoder {encoder}")
    shorter = training.get("shorter_side", shape[0])
    return Encoder(made, network, variables, step=at, shape=shape, shorter_side=shorter, **how)


def _network(
    made: ConfigDict, folder: RunFolder, encoder: object, data: Any, shape: tuple[int, ...]
) -> tuple[models.Network, dict[str, Any]]:
    """Build a run's network and the input options of its `Encoder`."""
    if made.data.kind == "pairs":
        raise ValueError(
            f"{folder.path} is a run on pairs, whose two encoders gca_jax.align(a, b) gives"
        )
    if made.data.kind == "images":
        policy, checks = policy_of(made), partial(checked_images, shape)
        how = {"plain": policy.plain, "checked": checks, "policy": policy}
        return network_of(made, encoder), how
    if data is None:
        raise ValueError(
            f"{folder.path} was built in Python with data of its own kind: from Python, "
            f"gca_jax.load({str(folder.path)!r}, encoder=..., data=...) loads it"
        )
    return network_of(made, encoder), {"plain": data.plain, "checked": np.asarray}


class Embedding(NamedTuple):
    """The pictures that could be read, [k] rows of a tree, with their features [k, f]."""

    rows: Int[np.ndarray, "k"]
    features: Features


def write_features(encoder: Encoder, folder: str | Path, out: Path) -> None:
    """Write the features of all pictures in a folder, and report skipped ones.

    Args:
        encoder: Of a run.
        folder: Any tree of pictures.
        out: File to write or overwrite; its ending is one of `tables.WRITERS`.

    Raises:
        ValueError: There are no pictures, or none can be read.
    """
    found = tree.scan_any(folder, "--images", encoder.reads_arrays)
    print(found)
    embedded = embed_pictures(encoder, found)
    table = columns(found, embedded)
    files.replace(out, lambda file: tables.WRITERS[out.suffix](file, table))
    print(f"{out}: {', '.join(table)} {list(embedded.features.shape)}")


def embed_pictures(encoder: Encoder, found: Tree) -> Embedding:
    """Encode every picture of a tree, a batch at a time, and report skipped ones.

    Raises:
        ValueError: None of them can be read.
    """
    size, count = encoder.batch_size, len(found.files)
    rows, parts = [], []
    faults = reading.Faults(str(found.root), skip=True, looks={})
    with tqdm(None, f"embedding {found.root}", count, unit=" images", disable=None) as bar:
        for start in range(0, count, size):
            asked = np.arange(start, min(start + size, count))
            good, some = reading.read(
                Files(found, fixed=False),
                asked,
                encoder.shape,
                faults,
                shorter_side=encoder.shorter_side,
            )
            if len(good):
                rows.append(good)
                parts.append(encoder.encode(some.images))
            bar.update(len(asked))
    faults.report(np.arange(count))
    return Embedding(np.concatenate(rows), np.concatenate(parts))


def columns(found: Tree, embedded: Embedding) -> Mapping[str, np.ndarray]:
    """Return the table's columns: path, class and domain where folders name them, features."""
    named = {"path": found.files, "class": found.classes, "domain": found.domains}
    names = {
        name: np.array(values)[embedded.rows]
        for name, values in named.items()
        if values is not None
    }
    return {**names, "features": embedded.features}
