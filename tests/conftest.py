"""A strict session: eight CPU devices, rank promotion raises, warnings are errors.

Most of its time is compilation, of functions that run once: XLA leaves out what is not needed for
their values. `processes.environment` says so, also to the processes that tests start.
"""

import atexit
import gc
import importlib.util
import os
import pathlib
import shutil
import tempfile

from tests import processes

os.environ |= processes.environment(devices=8) | {"MPLBACKEND": "Agg"}
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # else that of the process that started this one
    compiled = tempfile.mkdtemp(prefix="gca_jax_compiled_")
    atexit.register(shutil.rmtree, compiled, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = compiled
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

import jax
import jaxtyping
import pytest

from tests import annotations

ROOT = pathlib.Path(__file__).parents[1]

jax.config.update("jax_numpy_rank_promotion", "raise")
jaxtyping.install_import_hook("gca_jax", f"{annotations.__name__}.check")


def pytest_collection_finish():
    """Tracing makes many objects: looking for cycles among them as often as usual costs a tenth."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


@pytest.fixture
def unchecked():
    """Annotations are not checked: for tests of what is said about a wrong argument."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module")
def in_parts():
    """Weight a K kept whole in parts, as a large one is; what was traced before does not count."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gca_jax.ot.engine.passes.PART", 1)
        patch.setattr("gca_jax.losses._diagnosis.CACHED", 1)
        jax.clear_caches()
        yield
    jax.clear_caches()


@pytest.fixture
def one_device(monkeypatch):
    """A step over one device is traced and compiled in half the time."""
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    monkeypatch.setattr("gca_jax.training.step.make_mesh", lambda: mesh)


@pytest.fixture(scope="module")
def quick_evaluation():
    """Evaluations of this process take less time: `processes.quicken`."""
    with pytest.MonkeyPatch.context() as patch:
        processes.quicken(patch.setattr)
        yield


@pytest.fixture(scope="session")
def browse():
    """Opens a page in the one browser of the session, in two sizes: `tests.browser.visit`."""
    from tests import browser  # here: most sessions of a developer open no page

    with browser.started() as browse:
        yield browse


def load_config(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "configs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def digits():
    """The module configs/digits.py."""
    return load_config("digits")


@pytest.fixture(scope="session")
def tiny(digits):
    """A factory of digits configs of two epochs with three steps each, and few probes."""

    encoders = {
        "resnet": {"model.stage_sizes": (1,), "model.width": 4},
        "vit": {"model.width": 16, "model.depth": 1, "model.heads": 2, "model.patch": 4},
    }

    def make(words="gca_uot", /, **overrides):
        config = digits.get_config(words)
        config.update_from_flattened_dict(
            {
                **encoders[config.model.encoder],
                "model.projector_hidden": 8,
                "model.projector_dim": 8,
                "train.batch_size": 472,
                "train.epochs": 2,
                "train.checkpoint_every_epochs": 1,
                "evaluation.draws": 2,
                "evaluation.strengths": (1.0,),
                **overrides,
            }
        )
        return config.lock()

    return make
