"""The digits recipe, shrunk until a run takes seconds."""

import importlib.util
import pathlib

import jax
import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="package", autouse=True)
def compile_once(tmp_path_factory):
    """Sessions of one run compile the same step: keep what was compiled, for these tests alone."""
    settings = {
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("compiled")),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


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
    """A factory of digits configs of two epochs with three steps each."""

    def make(method="gca_uot", /, **overrides):
        config = digits.get_config(method)
        config.update_from_flattened_dict(
            {
                "model.stage_sizes": (1,),
                "model.width": 4,
                "model.projector_hidden": 8,
                "model.projector_dim": 8,
                "train.batch_size": 472,
                "train.epochs": 2,
                "train.checkpoint_every_epochs": 1,
                **overrides,
            }
        )
        return config.lock()

    return make
