"""`gca_jax.align`: two arrays in, two functions out."""

import contextlib
import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from gca_jax import config_files, config_pairs, pairs
from gca_jax.data.pairs import Side, pair
from gca_jax.data.tables import checked
from gca_jax.evaluation.evaluate import evaluate
from gca_jax.evaluation.pairs import embed_rows
from gca_jax.models import Towers
from gca_jax.training import checkpoint
from gca_jax.training.train import pretrain


@dataclasses.dataclass(frozen=True, eq=False)
class Aligned:
    """Two trained towers.

    Attributes:
        report: What `evaluation.json` of a run holds: `report["retrieval"]["a_to_b"]["recall_1"]`.
        rows: [2, n], the rows of `a` and of `b` of each training pair.
        weights: [n], the share of its row's mass that the plan gives each training pair.
    """

    report: Mapping[str, Any]
    rows: Int[np.ndarray, "2 n"]
    weights: Float[np.ndarray, "n"]
    _network: Towers = dataclasses.field(repr=False)
    _variables: Mapping[str, Any] = dataclasses.field(repr=False)
    _sides: tuple[Side, Side] = dataclasses.field(repr=False)

    def a(self, rows: ArrayLike) -> Float[np.ndarray, "k d"]:
        """Embed rows like those of `a` on the unit sphere."""
        return self._embed("a", rows)

    def b(self, rows: ArrayLike) -> Float[np.ndarray, "k d"]:
        """Embed rows like those of `b` on the unit sphere."""
        return self._embed("b", rows)

    def suspects(self, count: int) -> Int[np.ndarray, "2 count"]:
        """Give the rows of `a` and of `b` of the training pairs with the least weight."""
        return self.rows[:, np.argsort(self.weights, kind="stable")[:count]]

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
    words: str = "gca_ince",
    settings: Mapping[str, Any] | None = None,
    workdir: str | Path | None = None,
    **data: Any,
) -> Aligned:
    """Train two towers whose embeddings of row i of `a` and of row i of `b` are near each other.

    Args:
        a: [n, ...], features or images.
        b: [n, ...].
        words: A method and a kind of towers, as after the colon of --config: "gca_ince,linear".
        settings: Changes of the config by dotted keys: {"target.name": "self_weighted"}.
        workdir: Folder of the run, which is resumed there; None uses one that is deleted.
        **data: Keywords of `data.pairs.pair`: `test`, `test_fraction`, `labels`, `seed`, ...

    Returns:
        Functions of both sets, what was measured on test pairs, and weights of the training pairs.

    Raises:
        ValueError: A mistake in the arrays or in the settings.
    """
    run = config_pairs.make(words).lock()
    for key in settings or {}:
        if unknown := config_files.missing_key(run, key):
            raise ValueError(f"settings: {unknown}")
        if key.split(".")[0] == "data":
            raise ValueError(f"settings: {key} is of files; align takes it as a keyword of its own")
    run.update_from_flattened_dict(dict(settings or {}))
    both = pair(a, b, split=run.evaluation.split, **data)
    experiment = pairs.build(run, data=both)
    with contextlib.ExitStack() as stack:
        folder = workdir or stack.enter_context(tempfile.TemporaryDirectory())
        pretrain(experiment, folder)
        found = evaluate(experiment, folder)
        variables, _ = checkpoint.restore_variables(folder)
        with np.load(Path(folder) / "evaluation.npz") as arrays:
            rows, shares = arrays["weight_rows"], arrays["log_shares"]
    return Aligned(found, rows, np.exp(shares), experiment.network, variables, (both.a, both.b))
