"""A run that Orbax 0.12.8 and JAX 0.10.2 wrote is read, and goes on, with what is installed now."""

import tarfile

import jax
import numpy as np

from gca_jax import config
from gca_jax.data.pairs import pair
from gca_jax.experiment import build
from gca_jax.training.train import train
from gca_jax.workdir import RunFolder
from tests.conftest import ROOT
from tests.runs import restore_variables

WRITTEN = ROOT / "tests" / "training" / "run_of_orbax_0_12_8.tar.gz"


def experiment(steps):
    """What was trained: two steps of linear towers, in a process of its own."""
    rng = np.random.default_rng(0)
    a = rng.standard_normal((40, 3)).astype(np.float32)
    b = a @ rng.standard_normal((3, 2)).astype(np.float32)
    settings = config.make("pairs", "gca_ince,linear")
    settings.model.dim, settings.train.batch_size, settings.train.steps = 2, 8, steps
    return build(settings, dataset=pair(a, b))


def test_a_run_of_another_version_is_read_and_goes_on(tmp_path):
    with tarfile.open(WRITTEN) as archive:
        archive.extractall(tmp_path, filter="data")
    variables, step = restore_variables(tmp_path)
    assert step == 2
    found = jax.tree_util.tree_leaves_with_path(variables)
    found = {jax.tree_util.keystr(k, simple=True, separator="/"): x for k, x in found}
    with np.load(tmp_path / "weights.npz") as weights:  # saved by NumPy when the run was written
        assert found.keys() == set(weights)
        for name, values in weights.items():
            np.testing.assert_array_equal(found[name], values)
    longer = experiment(steps=3)
    assert train(longer, RunFolder.open(tmp_path, longer.record))["steps"] == 3
