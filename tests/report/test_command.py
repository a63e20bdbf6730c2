import json
import shlex

import pytest
from absl import flags
from ml_collections import config_flags

from gca_jax.config_files import FOLDER as CONFIGS
from gca_jax.report import markdown as module
from gca_jax.report.markdown import command


def config_of(arguments):
    """The config that these command-line arguments give, read by the library that main.py uses."""
    values, argv = flags.FlagValues(), ["main.py", *arguments]
    holder = config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
    flags.DEFINE_string("workdir", None, "", flag_values=values)
    values(argv)
    return json.loads(holder.value.to_json())


# ml_collections 1.1.0 reads config files that way.
@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
@pytest.mark.parametrize(
    "changes",
    [
        [],
        ["--config.seed=4"],
        ["--config.loss.epsilon=0.1", "--config.augment.erase_area=(0.1, 0.2)"],
        ["--config.loss.until=1e-6", "--config.loss.gradient=implicit"],
    ],
)
def test_the_command_gives_the_config_of_the_run(changes, monkeypatch):
    monkeypatch.chdir(CONFIGS.parent)
    used = config_of(["--config=configs/digits.py:gca_uot", *changes])
    words = shlex.split(command(used))
    assert words[:2] == ["python", "main.py"]
    assert len(words) == 4 + len(changes)
    assert config_of(words[2:]) == used


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
@pytest.mark.parametrize("words", ["byol,smoke", "byol,vit", "byol,vit,smoke"])
def test_a_smoke_run_and_an_encoder_are_named_so(words, monkeypatch):
    monkeypatch.chdir(CONFIGS.parent)
    used = config_of([f"--config=configs/svhn.py:{words}", "--config.model.projector_dim=4"])
    assert command(used) == (
        f"python main.py --config=configs/svhn.py:{words} --workdir=DIR "
        "--config.model.projector_dim=4"
    )


def test_without_the_config_file_the_seed_is_given(tmp_path, monkeypatch):
    monkeypatch.setattr(module.config_files, "FOLDER", tmp_path)
    used = dict(method="ince", seed=5, data={"name": "digits"}, model={"encoder": "resnet"})
    assert command(used) == (
        "python main.py --config=configs/digits.py:ince --workdir=DIR --config.seed=5"
    )
