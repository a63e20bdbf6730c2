"""Training tests compile the same steps: keep them."""

import jax
import pytest


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
