import functools

import pytest

from gca_jax.experiment import build
from gca_jax.training import step
from tests.runs import pretrain


@pytest.fixture(scope="session", autouse=True)
def traced_once():
    """The step of an experiment is traced once, however often it is trained."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step, "trace", functools.lru_cache(maxsize=8)(step.trace))
        yield


@pytest.fixture(scope="session")
def experiment(tiny):
    """Six steps on digits, with checkpoints of steps 3 and 6."""
    return build(tiny())


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory, experiment):
    """The workdir of that run, made once for all tests that only read it."""
    workdir = tmp_path_factory.mktemp("unbroken") / "run"
    pretrain(experiment, workdir)
    return workdir
