"""A run's `config.json` as its --config: what is loaded is the config that the run had."""

import json

import pytest
from absl import flags
from ml_collections import ConfigDict, config_dict, config_flags

from gca_jax import cli, config
from gca_jax.workdir import as_json, flatten

NAMES = [path.stem for path in sorted(config.FOLDER.glob("*.py"))]
CHANGES = {
    "as they are": {},
    "of the run": {"seed": 4, "train.steps": 7, "model.projector_dim": 4},
    "optional": {"loss.until": 1e-6, "loss.gradient": "implicit"},
    "lists": {"augment.erase_area": (0.1, 0.2), "evaluation.strengths": (0.5,)},
}


def flagged(name, changes):
    """The config of a command line, read by the parser that main.py has."""
    values = flags.FlagValues()
    argv = ["main.py", f"--config={name}", *(f"--config.{key}={x}" for key, x in changes.items())]
    holder = config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
    values["config"].parser = cli.ConfigFile()
    values(argv)
    return holder.value


def leave(folder, made):
    """Write a config as a run leaves it; give its name for --config."""
    (folder / "config.json").write_text(json.dumps(as_json(made)))
    return str(folder / "config.json")


def optional(made):
    """Types of the settings that may be None, by dotted key."""
    return {
        f"{name}.{key}": value.get_type()
        for name, group in made.items()
        if isinstance(group, ConfigDict)
        for key, value in group.items(preserve_field_references=True)
        if isinstance(value, config_dict.FieldReference)
    }


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_a_run_s_config_is_given_back(tmp_path, changes):
    made = config.load("digits", "gca_uot")
    made.update_from_flattened_dict(changes)
    again = config.load(leave(tmp_path, made))
    assert as_json(again) == as_json(made)
    assert dict(flatten(again)) == dict(flatten(made))  # in which no list is a tuple
    assert not again.is_locked


@pytest.mark.parametrize("words", ["", "byol,smoke", "gca_ince,vit", "rince"])
@pytest.mark.parametrize("name", NAMES)
def test_so_it_is_of_every_config_file(tmp_path, name, words):
    if name == "pairs":
        words = words.replace("byol", "iot").replace("vit", "linear")
    made = config.load(name, words)
    again = config.load(leave(tmp_path, made))
    assert as_json(again) == as_json(made)
    assert dict(flatten(again)) == dict(flatten(made))
    assert optional(made)
    assert optional(made).items() <= optional(again).items()


@pytest.mark.parametrize("method", ["gca_ince", "byol"])
def test_of_data_of_one_s_own_too(tmp_path, method):
    made = config.make("own", method, data={"name": "mine"}, evaluation={"depths": (1, 5)})
    made.given = {"dataset": "Mine", "encoder": "Small"}
    again = config.load(leave(tmp_path, made))
    assert as_json(again) == as_json(made)
    assert again.evaluation.depths == (1, 5)
    assert again.given.dataset == "Mine"
    assert ("predictor_hidden" in again.model) == (method == "byol")
    assert ("target_decay" in again.train) == (method == "byol")


def test_what_was_not_set_can_be_and_has_its_type(tmp_path):
    again = config.load(leave(tmp_path, config.load("digits", "gca_uot")))
    known = optional(again)
    changes = {"train.steps": 5, "target.alpha": 0.5, "log.wandb": "mine", "augment.rotation": 9.0}
    for key, value in changes.items():
        assert known[key] is type(value)
        group, name = key.split(".")
        assert again[group][name] is None
        with pytest.raises(TypeError):
            again[group][name] = ("of another type",)
        again[group][name] = value
        assert again[group][name] == value
        again[group][name] = None
    again.loss.until = 1e-6  # which the loss alone knows the type of
    with pytest.raises(AttributeError, match="lenght"):
        again.lock().train.lenght = 3


def test_a_set_optional_setting_can_be_unset(tmp_path):
    made = config.load("digits", "gca_uot")
    made.train.steps, made.loss.until = 7, 1e-6
    again = config.load(leave(tmp_path, made))
    again.train.steps = again.loss.until = None
    assert as_json(again) == as_json(config.load("digits", "gca_uot"))


def test_flags_change_it_as_they_do_the_file_s(tmp_path):
    changes = {"loss.until": "1e-6", "augment.rotation": "30", "train.steps": "5", "seed": "4"}
    changes |= {"augment.erase_area": "(0.1, 0.2)", "loss.gradient": "implicit"}
    path = leave(tmp_path, config.load("digits", "gca_uot"))
    of_file, again = (flagged(name, changes) for name in ("digits:gca_uot", path))
    assert as_json(again) == as_json(of_file)
    assert json.dumps(as_json(again)) == json.dumps(as_json(of_file))  # in which 30 is not 30.0
    assert (again.augment.rotation, again.augment.erase_area) == (30.0, (0.1, 0.2))


def test_options_and_damage_are_refused(tmp_path):
    path = leave(tmp_path, config.load("digits"))
    with pytest.raises(ValueError, match=r"a run's config takes no options: --config\.KEY=VALUE"):
        config.load(path, "ince")
    with pytest.raises(ValueError, match=r"there is no config file .*/nothing/config\.json"):
        config.load(str(tmp_path / "nothing/config.json"))
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ValueError, match=r"config\.json is damaged \(config\.json is '\[\]'"):
        config.load(path)
